// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// TestFields: a reader of Protocol Buffers finds what was written.
func TestFields(t *testing.T) {
	long := strings.Repeat("x", 300)
	b := Bytes(nil, 1, "text")
	b = Uint(b, 2, 1<<63)
	b = Bool(b, 3, true)
	b = Uint32(b, 4, 7)
	b = Double(b, 5, 0.5)
	b = Message(b, 600, func(dst []byte) []byte { return Bytes(dst, 1, []byte(long)) })
	var inner []byte
	for seen := 1; len(b) > 0; seen++ {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		size := protowire.ConsumeFieldValue(num, typ, b[n:])
		if size < 0 {
			t.Fatalf("field %d: %v", num, protowire.ParseError(size))
		}
		if num == 600 {
			inner, _ = protowire.ConsumeBytes(b[n:])
		} else if int(num) != seen {
			t.Errorf("field %d in the place of %d", num, seen)
		}
		if num == 2 {
			if v, _ := protowire.ConsumeVarint(b[n:]); v != 1<<63 {
				t.Errorf("number %d", v)
			}
		}
		b = b[n+size:]
	}
	if v, n := protowire.ConsumeBytes(inner[1:]); n < 0 || string(v) != long {
		t.Errorf("the message within has %q", inner)
	}
}
