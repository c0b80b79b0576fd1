// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"errors"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// MaxInterim bounds the responses of class 1xx that are passed over before the one that
// counts.
const MaxInterim = 16

// ErrInterim tells that a server sent more interim responses than that.
var ErrInterim = errors.New("too many interim responses")

// ReadFinal reads the response to a request that asked for no other protocol into m and
// h, passing over the interim ones before it. Its status is in the head of x.
func ReadFinal(x ClientStream, m *stream.Message, h *header.Map) error {
	for range MaxInterim + 1 {
		h.Reset()
		if err := x.ReadResponse(m, h); err != nil {
			return err
		}
		if x.Head().Status >= 200 {
			return nil
		}
	}
	return ErrInterim
}
