// SPDX-License-Identifier: Apache-2.0

package grpc

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// FuzzParseResponse: no bytes of a host do harm, and a status that was written is read.
func FuzzParseResponse(f *testing.F) {
	for _, s := range []string{"", "\x08\x01", "\x08\x02", "\x12\x02hi\x08\x01", "\xff\xff\xff", "\x08"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parseResponse(b); err != nil {
			return
		}
		more := protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), serving)
		if status, err := parseResponse(more); err != nil || status != serving {
			t.Errorf("%q with a status is %d, %v", b, status, err)
		}
	})
}
