// SPDX-License-Identifier: Apache-2.0

package codec

// ParseLength reads a Content-Length: digits alone, of a value that fits (RFC 9110
// §8.6).
func ParseLength(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 19 {
		return 0, false
	}
	n := int64(0)
	for _, c := range v {
		d := int64(c - '0')
		if c < '0' || c > '9' || n > (1<<63-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}
