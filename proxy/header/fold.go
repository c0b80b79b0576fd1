// SPDX-License-Identifier: Apache-2.0

package header

// EqualLower reports whether s is lower, which is in lower case, but for the case of
// ASCII letters: how tokens of HTTP are compared.
func EqualLower[T ~string | ~[]byte](s T, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
