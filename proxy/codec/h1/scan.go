// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"encoding/binary"
	"math/bits"
	"strings"

	"weir.dev/weir/proxy/codec"
)

// lowerToken maps each byte of a token (RFC 9110 §5.6.2) to its lower case and
// every other byte to 0.
var lowerToken = buildLowerToken()

func buildLowerToken() (t [256]byte) {
	for c := range 256 {
		b := byte(c)
		switch {
		case b >= 'A' && b <= 'Z':
			t[c] = b | 0x20
		case b >= 'a' && b <= 'z', b >= '0' && b <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0:
			t[c] = b
		}
	}
	return t
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// Each of the three finds bytes in a word of eight. Borrows can mark a byte
// above a true find, never one below it: the lowest mark is always right.
func below(x uint64, c uint64) uint64 { return (x - c*ones) &^ x & highs }
func equal(x uint64, c uint64) uint64 { return below(x^c*ones, 1) }

// skipValue returns the index at or after i of the first byte that may not
// stand in a field value: a control character other than HTAB (RFC 9110 §5.5).
func skipValue(b []byte, i int) int {
	for {
		for i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:])
			if marks := below(x, 0x20) | equal(x, 0x7f); marks != 0 {
				i += bits.TrailingZeros64(marks) >> 3
				break
			}
			i += 8
		}
		for {
			if i == len(b) {
				return i
			}
			c := b[i]
			if c < 0x20 && c != '\t' || c == 0x7f {
				return i
			}
			i++
			// After a tab or at the tail go on byte by byte for a word's
			// length, then by words again.
			if i&7 == 0 && i+8 <= len(b) {
				break
			}
		}
	}
}

// validValue reports whether b may be a field value.
func validValue(b []byte) bool { return skipValue(b, 0) == len(b) }

// isToken reports whether b is a token.
func isToken(b []byte) bool {
	for _, c := range b {
		if lowerToken[c] == 0 {
			return false
		}
	}
	return len(b) > 0
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// member cuts the first member off a comma-separated list (RFC 9110 §5.6.1);
// it may be empty. A quoted string is not looked for: the lists read here have
// none.
func member(list []byte) (first, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), nil
}

// scanField reads the field line that begins at b[i], lowering its name in
// place: the name is b[i:colon], the value b[start:end] without whitespace
// around it, the next line begins at next. next is 0 when the line is not
// complete.
func scanField(b []byte, i int) (colon, start, end, next int, err *codec.Error) {
	k := i
	for k < len(b) {
		c := lowerToken[b[k]]
		if c == 0 {
			break
		}
		b[k] = c
		k++
	}
	if k == len(b) {
		return 0, 0, 0, 0, nil
	}
	if b[k] != ':' || k == i {
		return 0, 0, 0, 0, nameError(b, i, k)
	}
	start = k + 1
	for start < len(b) && (b[start] == ' ' || b[start] == '\t') {
		start++
	}
	end = skipValue(b, start)
	if end+1 >= len(b) || b[end] != '\r' || b[end+1] != '\n' {
		return 0, 0, 0, 0, valueError(b, end)
	}
	next = end + 2
	for end > start && (b[end-1] == ' ' || b[end-1] == '\t') {
		end--
	}
	return k, start, end, next, nil
}

// nameError says what is wrong with a field name that begins at i and at k has
// a byte that cannot be there.
func nameError(b []byte, i, k int) *codec.Error {
	switch c := b[k]; {
	case k == i && (c == ' ' || c == '\t'):
		return errFold
	case c == ' ' || c == '\t':
		return errSpaceColon
	case c == '\n':
		return errBareLF
	case c == '\r' && k+1 < len(b) && b[k+1] == '\n':
		return errNoColon
	case c == '\r':
		return errBareCR
	}
	return errName
}

// valueError says what is wrong with a field value that ends at i, or returns
// nil if the line may only be incomplete.
func valueError(b []byte, i int) *codec.Error {
	switch {
	case i == len(b) || b[i] == '\r' && i+1 == len(b):
		return nil
	case b[i] == '\n':
		return errBareLF
	case b[i] == '\r':
		return errBareCR
	}
	return errValue
}

// hexDigit has the value of each hexadecimal digit, 0xff for other bytes.
var hexDigit = buildHexDigit()

func buildHexDigit() (t [256]uint8) {
	for c := range 256 {
		switch b := byte(c); {
		case b >= '0' && b <= '9':
			t[c] = b - '0'
		case b >= 'a' && b <= 'f':
			t[c] = b - 'a' + 10
		case b >= 'A' && b <= 'F':
			t[c] = b - 'A' + 10
		default:
			t[c] = 0xff
		}
	}
	return t
}
