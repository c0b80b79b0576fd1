// SPDX-License-Identifier: Apache-2.0

// Package curltest does what a curl command line says, as far as documentation needs it, so that the lines
// people are told to type are the lines that tests run. It knows -s, -i, -I, -X, -H, -d, -m and long forms of
// them; what it does not know it refuses.
package curltest

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Command is a parsed curl command line.
type Command struct {
	Method, URL string
	Header      http.Header
	Host        string // from -H 'Host: ...'; empty for the URL's
	Body        string
	ShowHead    bool
	MaxTime     time.Duration // from -m; 0 is none
}

// Parse reads a command line that begins with curl.
func Parse(line string) (*Command, error) {
	words, err := Split(line)
	if err != nil {
		return nil, err
	}
	if len(words) == 0 || words[0] != "curl" {
		return nil, fmt.Errorf("%q does not begin with curl", line)
	}
	c := &Command{Header: http.Header{}}
	for args := words[1:]; len(args) > 0; {
		word := args[0]
		args = args[1:]
		if word == "" || word[0] != '-' {
			if c.URL != "" {
				return nil, fmt.Errorf("%q: two URLs", line)
			}
			c.URL = word
			continue
		}
		used, err := c.option(word, args)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		args = args[used:]
	}
	if c.URL == "" {
		return nil, fmt.Errorf("%q: no URL", line)
	}
	if c.Method == "" {
		c.Method = http.MethodGet
		if c.Body != "" {
			c.Method = http.MethodPost
		}
	}
	return c, nil
}

// option applies one word that begins with '-' and returns how many of the next words it used.
func (c *Command) option(word string, next []string) (int, error) {
	long := map[string]string{
		"--silent": "s", "--show-error": "S", "--include": "i", "--head": "I", "--request": "X", "--header": "H", "--data": "d",
		"--max-time": "m",
	}
	letters, isLong := long[word]
	if !isLong {
		letters = word[1:]
	}
	for i, letter := range letters {
		switch letter {
		case 's', 'S':
		case 'i':
			c.ShowHead = true
		case 'I':
			c.ShowHead, c.Method = true, http.MethodHead
		case 'X', 'H', 'd', 'm':
			if i != len(letters)-1 || len(next) == 0 {
				return 0, fmt.Errorf("option -%c wants its value as the next word", letter)
			}
			return 1, c.value(letter, next[0])
		default:
			return 0, fmt.Errorf("option %s is not known here", word)
		}
	}
	return 0, nil
}

// value applies an option that has a value.
func (c *Command) value(letter rune, value string) error {
	switch letter {
	case 'X':
		c.Method = value
	case 'd':
		c.Body = value
	case 'm':
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil || seconds <= 0 {
			return fmt.Errorf("-m %q is not a number of seconds", value)
		}
		c.MaxTime = time.Duration(seconds * float64(time.Second))
	case 'H':
		name, text, ok := strings.Cut(value, ":")
		if !ok {
			return fmt.Errorf("header %q has no colon", value)
		}
		if strings.EqualFold(name, "host") {
			c.Host = strings.TrimSpace(text)
			return nil
		}
		c.Header.Add(name, strings.TrimSpace(text))
	}
	return nil
}

// Do sends the request and returns what curl would print: the head if -i asks for it, its names in lower
// case and sorted, and the body.
func (c *Command) Do() (string, error) {
	req, err := http.NewRequest(c.Method, c.URL, strings.NewReader(c.Body))
	if err != nil {
		return "", err
	}
	req.Header = c.Header.Clone()
	req.Host = c.Host
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "curl")
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "*/*")
	}
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		Timeout:       cmp.Or(c.MaxTime, 30*time.Second),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var body []byte
	// After 101 the connection is another protocol's, which does not end: curl shows what comes until -m.
	if resp.StatusCode != http.StatusSwitchingProtocols {
		if body, err = io.ReadAll(resp.Body); err != nil {
			return "", fmt.Errorf("read the answer: %w", err)
		}
	}
	if !c.ShowHead {
		return string(body), nil
	}
	var head []string
	for name, values := range resp.Header {
		for _, v := range values {
			head = append(head, strings.ToLower(name)+": "+v)
		}
	}
	slices.Sort(head)
	return fmt.Sprintf("%s %s\n%s\n\n%s", resp.Proto, resp.Status, strings.Join(head, "\n"), body), nil
}

// Split cuts a command line into words as a shell does: by blanks, with single and double quotes and
// backslashes. Whatever else means something to a shell is refused.
func Split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord := false
	quote := byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == '\'' && c != '\'', quote == '"' && c != '"' && c != '\\' && c != '$' && c != '`':
			word.WriteByte(c)
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, inWord = c, true
		case c == '\\' && i+1 < len(line):
			i++
			if quote == '"' && !strings.ContainsRune("\"\\$`", rune(line[i])) {
				word.WriteByte('\\')
			}
			word.WriteByte(line[i])
			inWord = true
		case quote == 0 && (c == ' ' || c == '\t'):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		case strings.IndexByte("|&;<>()$`\\*?[", c) >= 0:
			return nil, fmt.Errorf("%q: %q means something to a shell: quote it", line, c)
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
