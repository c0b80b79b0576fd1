// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"io"
)

// A Body is the payload of a message, pulled piece by piece. Back-pressure is
// a Next that is not called. A filter that cares for a body wraps it.
type Body interface {
	// Next returns the next piece, a view that is valid until the next call,
	// waiting on the calling task if none is there yet. The last piece may
	// come together with io.EOF, or io.EOF alone; any other error means that
	// the message is broken off.
	Next() ([]byte, error)
	// Ready reports whether Next would return without waiting.
	Ready() bool
}

// Bytes is a Body that is all there.
type Bytes struct{ b []byte }

// NewBytes returns a Body of b, which is not copied.
func NewBytes(b []byte) *Bytes { return &Bytes{b} }

// Next returns everything at once.
func (b *Bytes) Next() ([]byte, error) {
	p := b.b
	b.b = nil
	return p, io.EOF
}

// Ready returns true.
func (*Bytes) Ready() bool { return true }

// Collect reads a body to its end and returns it, or ErrTooLarge with what was
// read once it is longer than limit bytes.
func Collect(b Body, dst []byte, limit int) ([]byte, error) {
	for {
		p, err := b.Next()
		if len(dst)+len(p) > limit {
			return append(dst, p...), ErrTooLarge
		}
		dst = append(dst, p...)
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
}

// Prefixed is a Body that yields what was read of another and then the rest.
type Prefixed struct {
	head []byte
	rest Body
}

// NewPrefixed returns a Body of head, which is not copied, and then rest.
func NewPrefixed(head []byte, rest Body) *Prefixed { return &Prefixed{head, rest} }

// Next returns the head once, then what the rest returns.
func (p *Prefixed) Next() ([]byte, error) {
	if h := p.head; len(h) > 0 {
		p.head = nil
		return h, nil
	}
	return p.rest.Next()
}

// Ready reports whether Next would return without waiting.
func (p *Prefixed) Ready() bool { return len(p.head) > 0 || p.rest.Ready() }

// DefaultBufferLimit is how much of a message a filter keeps in memory, in
// bytes, where nothing else is configured: Envoy's
// per_connection_buffer_limit_bytes.
const DefaultBufferLimit = 1 << 20
