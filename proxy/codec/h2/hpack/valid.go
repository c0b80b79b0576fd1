// SPDX-License-Identifier: Apache-2.0

package hpack

import "strings"

// The classes of bytes in names and values.
const (
	inName = 1 << iota
	inValue
)

var classes = buildClasses()

func buildClasses() (t [256]uint8) {
	for c := range 256 {
		b := byte(c)
		if b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0 {
			t[c] |= inName
		}
		if b >= ' ' && b != 0x7f || b == '\t' {
			t[c] |= inValue
		}
	}
	return t
}

// ValidName reports whether s may be a field name: a token (RFC 9110 §5.6.2)
// without upper case (RFC 9113 §8.2.1), behind a colon if it is a
// pseudo-header field. Well-known names need no check.
func ValidName[T string | []byte](s T) bool {
	i := 0
	if len(s) > 1 && s[0] == ':' {
		i = 1
	}
	ok := uint8(inName)
	for ; i < len(s); i++ {
		ok &= classes[s[i]]
	}
	return ok != 0 && len(s) > 0
}

// ValidValue reports whether s may be a field value: no control characters but
// HTAB (RFC 9110 §5.5), and no space or tab at either end (RFC 9113 §8.2.1).
func ValidValue[T string | []byte](s T) bool {
	if len(s) == 0 {
		return true
	}
	if c := s[0]; c == ' ' || c == '\t' {
		return false
	}
	if c := s[len(s)-1]; c == ' ' || c == '\t' {
		return false
	}
	ok := uint8(inValue)
	for i := range len(s) {
		ok &= classes[s[i]]
	}
	return ok != 0
}
