// SPDX-License-Identifier: Apache-2.0

package grpcjsontranscoder

import (
	"strings"
)

// unescaping says which escapes of a path's variable are resolved.
type unescaping uint8

const (
	exceptReserved unescaping = iota // all but RFC 6570's reserved characters
	exceptSlash
	everything
)

func (u unescaping) keeps(c byte) bool {
	switch u {
	case exceptReserved:
		return strings.IndexByte("!#$&'()*+,/:;=?@[]", c) >= 0
	case exceptSlash:
		return c == '/'
	}
	return false
}

// unescape resolves percent-encoding; what is not an escape stays as it is.
func unescape(s string, u unescaping, plus bool) string {
	if !strings.ContainsRune(s, '%') && !(plus && strings.ContainsRune(s, '+')) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' && plus {
			c = ' '
		}
		if c == '%' && i+2 < len(s) {
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if x := byte(hi<<4 | lo); hi >= 0 && lo >= 0 && !u.keeps(x) {
				c = x
				i += 2
			}
		}
		b = append(b, c)
	}
	return string(b)
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// value is what the variable has of the path's parts.
func (v *variable) value(parts []string, u unescaping) string {
	end := v.end
	if v.rest {
		end = len(parts)
	}
	if !v.several() {
		return unescape(parts[v.start], everything, false)
	}
	var b strings.Builder
	for i := v.start; i < end; i++ {
		if i > v.start {
			b.WriteByte('/')
		}
		b.WriteString(unescape(parts[i], u, false))
	}
	return b.String()
}

// parameters calls f with each name and value of a query that has both.
func parameters(query string, plus bool, f func(name, value string)) {
	for query != "" {
		var p string
		p, query, _ = strings.Cut(query, "&")
		name, value, ok := strings.Cut(p, "=")
		if ok && name != "" {
			f(unescape(name, everything, false), unescape(value, everything, plus))
		}
	}
}
