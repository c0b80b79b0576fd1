// SPDX-License-Identifier: Apache-2.0

// Package grpcframe reads and writes gRPC's message framing: one byte of flags,
// the length in four bytes, the message (the gRPC specification's
// PROTOCOL-HTTP2, "Length-Prefixed-Message"). Bodies come in pieces that have
// nothing to do with messages; nothing here waits, and only a Decoder keeps
// bytes, at most a message of the length it was given.
package grpcframe

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// HeadSize is the length of a frame's head in bytes.
const HeadSize = 5

// Flags of a frame.
const (
	// Compressed tells that the message is compressed as grpc-encoding says.
	Compressed = 1
	// Trailer marks grpc-web's last frame, which holds the trailers.
	Trailer = 0x80
)

// ErrTooLarge is returned for a message that is longer than the limit.
var ErrTooLarge = errors.New("gRPC message too large")

// AppendHead appends the head of a frame of n bytes; n must fit 32 bits.
func AppendHead(dst []byte, flags byte, n int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, flags), uint32(n))
}

// Seal fills in the head of a frame that was begun at dst[at:] with HeadSize
// bytes of room and now ends where dst does.
func Seal(dst []byte, at int, flags byte) {
	dst[at] = flags
	binary.BigEndian.PutUint32(dst[at+1:], uint32(len(dst)-at-HeadSize))
}

// A Tracker follows frames as their bytes pass by. Its zero value is ready.
type Tracker struct {
	// Count is how many frames have begun.
	Count uint64

	head [HeadSize]byte
	have int    // bytes of the head
	left uint32 // bytes of the message
}

// Advance follows p up to the end of the frame at hand, or as far as p goes, and
// returns how many bytes that was and whether the frame is complete.
func (t *Tracker) Advance(p []byte) (n int, complete bool) {
	if t.have < HeadSize && len(p) > 0 {
		if t.have == 0 {
			t.Count++
		}
		n = copy(t.head[t.have:], p)
		if t.have += n; t.have < HeadSize {
			return n, false
		}
		t.left = binary.BigEndian.Uint32(t.head[1:])
	}
	if t.have < HeadSize {
		return n, false
	}
	if rest := len(p) - n; uint64(rest) < uint64(t.left) {
		t.left -= uint32(rest)
		return len(p), false
	}
	n += int(t.left)
	t.have, t.left = 0, 0
	return n, true
}

// Inspect follows all of p and returns how many frames begin in it.
func (t *Tracker) Inspect(p []byte) uint64 {
	before := t.Count
	for len(p) > 0 {
		n, _ := t.Advance(p)
		p = p[n:]
	}
	return t.Count - before
}

// Partial reports whether bytes of a frame were seen that is not complete.
func (t *Tracker) Partial() bool { return t.have > 0 }

// Frame is one message as it was sent.
type Frame struct {
	Flags byte
	// Data is valid until the next call of the decoder, and as long as the piece
	// that it came in.
	Data []byte
}

// A Decoder takes messages out of a body.
type Decoder struct {
	// Max bounds a message, in bytes.
	Max int

	track Tracker
	buf   []byte // a message that came in several pieces
	done  bool   // buf was handed out
}

// Next takes the next message out of p and returns how much of p was used; ok
// is false if p ends before the message does, and then all of p was used.
func (d *Decoder) Next(p []byte) (f Frame, n int, ok bool, err error) {
	if d.done {
		d.buf, d.done = d.buf[:0], false
	}
	if len(p) == 0 {
		return Frame{}, 0, false, nil
	}
	whole := !d.track.Partial()
	n, ok = d.track.Advance(p)
	if d.track.have == HeadSize || ok {
		if size := binary.BigEndian.Uint32(d.track.head[1:]); uint64(size) > uint64(max(d.Max, 0)) {
			return Frame{}, n, false, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, size, d.Max)
		}
	}
	if ok && whole {
		return Frame{Flags: p[0], Data: p[HeadSize:n]}, n, true, nil
	}
	d.buf = append(d.buf, p[:n]...)
	if !ok {
		return Frame{}, n, false, nil
	}
	d.done = true
	return Frame{Flags: d.buf[0], Data: d.buf[HeadSize:]}, n, true, nil
}

// Partial reports whether a message has begun that is not complete.
func (d *Decoder) Partial() bool { return d.track.Partial() }

// Buffered returns how many bytes are kept of a message that is not complete.
func (d *Decoder) Buffered() int {
	if d.done {
		return 0
	}
	return len(d.buf)
}
