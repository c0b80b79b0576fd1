// SPDX-License-Identifier: Apache-2.0

package grpcweb

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"testing"

	"weir.dev/weir/proxy/stream"
)

// pieces is a body in pieces of one size.
type pieces struct {
	rest []byte
	size int
}

func (p *pieces) Next() ([]byte, error) {
	if len(p.rest) == 0 {
		return nil, io.EOF
	}
	n := min(p.size, len(p.rest))
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b, nil
}

func (*pieces) Ready() bool { return true }

// FuzzBase64 reads base64 in pieces as the standard library does at once, and writes
// what it can read.
func FuzzBase64(f *testing.F) {
	for _, s := range []string{"", "AAAA", "AA==", "AAA=", "AA==AAA=", "A", "====", "AA=A", "a+/Z"} {
		f.Add([]byte(s), byte(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, size byte) {
		got, err := stream.Collect(&decoded{body: &pieces{b, int(size) + 1}}, nil, 1<<20)
		var bad *stream.Error
		if err != nil && !errors.As(err, &bad) {
			t.Fatal(err)
		}
		want, wantErr := []byte{}, error(nil)
		for g := b; len(g) > 0 && wantErr == nil; { // Group by group, as padding may be anywhere.
			n := min(4, len(g))
			var x []byte
			x, wantErr = base64.StdEncoding.DecodeString(string(g[:n]))
			if bytes.ContainsAny(g[:n], "\r\n") {
				wantErr = io.ErrUnexpectedEOF
			}
			want, g = append(want, x...), g[n:]
		}
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%q: %q %v, want %q %v", b, got, err, want, wantErr)
		}
		out, err := stream.Collect(&framed{body: &pieces{b, int(size) + 1}, text: true}, nil, 1<<22)
		if err != nil {
			t.Fatal(err)
		}
		back, err := stream.Collect(&decoded{body: &pieces{out, 5}}, nil, 1<<22)
		if err != nil || !bytes.Equal(back, b) {
			t.Fatalf("%q came back as %q: %v", b, back, err)
		}
	})
}
