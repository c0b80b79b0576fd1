// SPDX-License-Identifier: Apache-2.0

package health

import (
	"bytes"
	"encoding/hex"
	"fmt"
)

// A Payload is what an answer must contain: each part after the one before it, with
// anything between.
type Payload [][]byte

// Size is how many bytes the parts have together.
func (p Payload) Size() int {
	n := 0
	for _, part := range p {
		n += len(part)
	}
	return n
}

// A Search looks for a Payload in bytes that come in pieces. It keeps no more of them
// than a part is long.
type Search struct {
	left Payload
	tail []byte
}

// Search returns a search that has seen nothing.
func (p Payload) Search() Search { return Search{left: p} }

// Feed looks at a piece and reports whether all parts were found.
func (s *Search) Feed(piece []byte) bool {
	b := append(s.tail, piece...)
	for len(s.left) > 0 {
		part := s.left[0]
		at := bytes.Index(b, part)
		if at < 0 {
			// The part may have begun: what it could be is kept.
			s.tail = bytes.Clone(b[max(0, len(b)-len(part)+1):])
			return false
		}
		b, s.left = b[at+len(part):], s.left[1:]
	}
	return true
}

func unhex(s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%q is no hexadecimal text", s)
	}
	return b, nil
}
