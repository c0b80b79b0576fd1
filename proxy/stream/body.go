// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"io"
	"net/http"

	"weir.dev/weir/proxy/route"
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

// firstBuffer bounds what is taken on a peer's word for a length, in bytes.
const firstBuffer = 64 << 10

// Whole reads the body of m, which there must be, to its end, or returns ErrTooLarge
// once it is longer than limit bytes. One that comes in a single piece is not copied: as
// Next is not called again, the piece stays valid. Another is kept in buf, which is
// returned for the next time, grown if need be.
func (m *Message) Whole(buf []byte, limit int) (body, _ []byte, err error) {
	if m.Length > int64(limit) {
		return nil, buf, ErrTooLarge
	}
	p, err := m.Body.Next()
	switch {
	case len(p) > limit:
		return nil, buf, ErrTooLarge
	case err == io.EOF:
		return p, buf, nil
	case err != nil:
		return nil, buf, err
	}
	if room := max(len(p), min(int(m.Length), firstBuffer)); cap(buf) < room {
		buf = make([]byte, 0, room)
	}
	buf, err = Collect(m.Body, append(buf[:0], p...), limit)
	return buf, buf, err
}

// BufferLimit is how much of the request's body filters may keep in memory, in bytes:
// the route's limit, or else DefaultBufferLimit.
func (s *Stream) BufferLimit() int {
	r := s.Route()
	if r == nil || r.BufferLimit == route.NoLimit {
		return DefaultBufferLimit
	}
	return int(min(r.BufferLimit, 1<<30))
}

// TooLarge is the reply to a request whose body is longer than may be kept.
func TooLarge() Reply {
	return Reply{Status: http.StatusRequestEntityTooLarge, Body: "Payload Too Large", Details: "request_payload_too_large"}
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
