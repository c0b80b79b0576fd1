// SPDX-License-Identifier: Apache-2.0

// Package curltest does what a curl command line says, as far as documentation needs it, so that the lines
// people are told to type are the lines that tests run. It knows -s, -i, -I, -X, -H, -d, -m and long forms of
// them, --cacert, --cert, --key, --connect-to ::HOST:PORT, --http1.1 and --http2-prior-knowledge; what it does
// not know it refuses.
package curltest

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
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
	// CA, Cert and Key are files of PEM: whom to trust, and whom to be.
	CA, Cert, Key string
	ConnectTo     string // the address that all connections go to, if any
	HTTP1, H2C    bool   // only HTTP/1.1; HTTP/2 without TLS
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
	switch word {
	case "--http1.1":
		c.HTTP1 = true
		return 0, nil
	case "--http2-prior-knowledge":
		c.H2C = true
		return 0, nil
	case "--cacert", "--cert", "--key", "--connect-to":
		if len(next) == 0 {
			return 0, fmt.Errorf("option %s wants its value as the next word", word)
		}
		return 1, c.file(word, next[0])
	}
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

// file applies an option of TLS that has a value.
func (c *Command) file(option, value string) error {
	switch option {
	case "--cacert":
		c.CA = value
	case "--cert":
		c.Cert = value
	case "--key":
		c.Key = value
	case "--connect-to":
		to, ok := strings.CutPrefix(value, "::")
		if !ok {
			return fmt.Errorf("--connect-to %q does not begin with :: and so is not for every host", value)
		}
		c.ConnectTo = to
	}
	return nil
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
	transport, err := c.transport()
	if err != nil {
		return "", err
	}
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
	first := resp.Proto + " " + resp.Status
	if resp.ProtoMajor == 2 {
		first = fmt.Sprintf("HTTP/2 %d", resp.StatusCode) // HTTP/2 has no reason phrase.
	}
	return fmt.Sprintf("%s\n%s\n\n%s", first, strings.Join(head, "\n"), body), nil
}

// transport speaks the protocols that the options allow, to whom they say.
func (c *Command) transport() (*http.Transport, error) {
	t := &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{}, Protocols: &http.Protocols{}}
	t.Protocols.SetHTTP1(!c.H2C)
	t.Protocols.SetHTTP2(!c.HTTP1 && !c.H2C)
	t.Protocols.SetUnencryptedHTTP2(c.H2C)
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	if c.ConnectTo != "" {
		t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, c.ConnectTo)
		}
	}
	return t, nil
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
