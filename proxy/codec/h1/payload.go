// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"errors"
	"io"

	"weir.dev/weir/proxy/codec"
)

// ErrIncomplete is returned when the peer closes the connection in the midst
// of a message.
var ErrIncomplete = errors.New("connection closed before the message ended")

type framing uint8

const (
	framedByNone framing = iota
	framedByLength
	framedByChunks
	framedByClose
)

// payload is a message's body as it is read from the connection: a
// stream.Body.
type payload struct {
	in      *input
	framing framing
	left    int64
	chunks  Chunked // Reset by the owner before start
	// before, if set, runs once before the first read that would wait: to send
	// 100 (Continue).
	before func() error
	// progress, if set, is told of each piece that arrives. Its owner keeps it.
	progress codec.Progress

	leaver codec.Leaver // who can give the connection away, if this is all its rest

	piece []byte // decoded ahead by Ready
	ahead bool
	err   error // what Next returns from now on
	bytes uint64
}

func (p *payload) start(in *input, f framing, length int64) {
	p.in, p.framing, p.left = in, f, length
	p.leaver = nil
	p.before, p.piece, p.ahead, p.err, p.bytes = nil, nil, false, nil, 0
	if f == framedByNone {
		p.err = io.EOF
	}
}

// Leaver returns who can give the connection away, nil if the body is not all the
// rest of it.
func (p *payload) Leaver() codec.Leaver { return p.leaver }

// leave ends the use of the connection and returns its ends and what was read ahead.
func (p *payload) leave() (codec.Ends, []byte) {
	in := p.in
	rest := append(append([]byte(nil), p.piece...), in.rest()...)
	p.bytes -= uint64(len(p.piece))
	p.piece, p.ahead, p.err = nil, false, io.EOF
	e := codec.Ends{Transport: in.src, Socket: in.socket, Plain: in.plain, Loop: in.loop}
	in.release()
	return e, rest
}

// done reports whether the body was read to its end.
func (p *payload) done() bool { return p.err == io.EOF }

// Next returns the next piece of the body.
func (p *payload) Next() ([]byte, error) {
	if p.ahead {
		b := p.piece
		p.piece, p.ahead = nil, false
		return b, p.err
	}
	for p.err == nil {
		if b := p.decode(); len(b) > 0 || p.err != nil {
			return b, p.err
		}
		if err := p.read(); err != nil {
			return nil, err
		}
	}
	return nil, p.err
}

// Ready reports whether Next would return without waiting.
func (p *payload) Ready() bool {
	if p.ahead || p.err != nil {
		return true
	}
	if b := p.decode(); len(b) > 0 || p.err != nil {
		p.piece, p.ahead = b, true
		return true
	}
	return p.in.src.Ready()
}

// decode takes the next piece from what was read already.
func (p *payload) decode() []byte {
	in := p.in
	if in.empty() {
		return nil
	}
	var b []byte
	switch p.framing {
	case framedByLength:
		b = in.buf[in.r:min(int64(in.w), int64(in.r)+p.left)]
		in.r += len(b)
		if p.left -= int64(len(b)); p.left == 0 {
			p.err = io.EOF
		}
	case framedByChunks:
		n, data, done, err := p.chunks.Next(in.rest())
		in.r += n
		b = data
		if err != nil {
			p.err = err
		} else if done {
			p.err = io.EOF
		}
		if p.chunks.state == chunkTrailers {
			in.pin() // The trailer map has views of its lines.
		}
	default:
		b = in.rest()
		in.r = in.w
	}
	p.bytes += uint64(len(b))
	if p.progress != nil && len(b) > 0 {
		p.progress.Moved(len(b))
	}
	return b
}

func (p *payload) read() error {
	if p.before != nil && !p.in.src.Ready() {
		before := p.before
		p.before = nil
		if err := before(); err != nil {
			p.err = err
			return err
		}
	}
	err := p.in.fill()
	switch {
	case err == nil:
		return nil
	case err == io.EOF && p.framing == framedByClose:
		p.err = io.EOF
	case err == io.EOF:
		p.err = ErrIncomplete
	default:
		// An interrupt passes: the connection itself may still be whole.
		return err
	}
	return p.err
}

// moved notes bytes of a length-framed body that the kernel moved.
func (p *payload) moved(n int) {
	p.left -= int64(n)
	p.bytes += uint64(n)
	if p.progress != nil {
		p.progress.Moved(n)
	}
	if p.left == 0 {
		p.err = io.EOF
	}
}
