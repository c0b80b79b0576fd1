// SPDX-License-Identifier: Apache-2.0

package format

import (
	"fmt"
	"strconv"
	"strings"
)

// token is a literal (name is "") or "%NAME(arg):max%".
type token struct {
	lit  string
	name string
	arg  string
	has  bool // parentheses
	max  int  // -1 without a length
	at   int
}

// maxFormat bounds the bytes of one format; configuration beyond it is an
// error of whoever wrote it.
const maxFormat = 1 << 20

func tokenize(s string) ([]token, error) {
	if len(s) > maxFormat {
		return nil, fmt.Errorf("format of %d bytes; %d are the most", len(s), maxFormat)
	}
	var out []token
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			out = append(out, token{lit: lit.String()})
			lit.Reset()
		}
	}
	for i := 0; i < len(s); {
		next := strings.IndexByte(s[i:], '%')
		if next < 0 {
			lit.WriteString(s[i:])
			break
		}
		lit.WriteString(s[i : i+next])
		i += next
		if strings.HasPrefix(s[i:], "%%") {
			lit.WriteByte('%')
			i += 2
			continue
		}
		t, n, err := command(s[i:])
		if err != nil {
			return nil, fmt.Errorf("format %.200q: byte %d: %w", s, i, err)
		}
		flush()
		t.at = i
		out = append(out, t)
		i += n
	}
	flush()
	return out, nil
}

// command reads one "%NAME(arg):max%" at the start of s and returns its length.
func command(s string) (token, int, error) {
	i := 1
	for i < len(s) && (s[i] >= 'A' && s[i] <= 'Z' || s[i] >= '0' && s[i] <= '9' || s[i] == '_') {
		i++
	}
	t := token{name: s[1:i], max: -1}
	if t.name == "" {
		return t, 0, fmt.Errorf(`%.20q begins no operator; write "%%%%" for a percent sign`, s)
	}
	if i < len(s) && s[i] == '(' {
		// An argument ends at the first ')' that ends the command: dates hold
		// percent signs and expressions hold parentheses.
		for j := i + 1; ; j++ {
			k := strings.IndexByte(s[j:], ')')
			if k < 0 {
				return t, 0, fmt.Errorf(`%%%s( has no ")%%" at its end`, t.name)
			}
			j += k
			if limit, n, ok := tail(s[j+1:]); ok {
				t.arg, t.has, t.max = s[i+1:j], true, limit
				return t, j + 1 + n, nil
			}
		}
	}
	limit, n, ok := tail(s[i:])
	if !ok {
		return t, 0, fmt.Errorf("%%%s has no %% at its end", t.name)
	}
	t.max = limit
	return t, i + n, nil
}

// tail reads "%" or ":20%".
func tail(s string) (limit, n int, ok bool) {
	if strings.HasPrefix(s, "%") {
		return -1, 1, true
	}
	if !strings.HasPrefix(s, ":") {
		return 0, 0, false
	}
	i := 1
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	if i == 1 || i >= len(s) || s[i] != '%' {
		return 0, 0, false
	}
	limit, err := strconv.Atoi(s[1:i])
	if err != nil {
		// A length beyond any text cuts nothing.
		limit = -1
	}
	return limit, i + 1, true
}

// nearest returns the name in names that is the fewest edits from s.
func nearest(s string, names []string) string {
	best, least := "", 1<<30
	for _, n := range names {
		if d := distance(s, n); d < least || d == least && n < best {
			best, least = n, d
		}
	}
	return best
}

// distance is the Levenshtein distance, of the first 64 bytes.
func distance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	var row [65]int
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diag, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diag+cost)
		}
	}
	return row[len(b)]
}
