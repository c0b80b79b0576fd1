// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"errors"
	"io"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// errMore tells that a body has not ended.
var errMore = errors.New("more")

var errBodyLength = errors.New("body is not as long as its head says")

const (
	// maxCopy is up to which size a piece is copied behind the head so that
	// both leave in one plain send.
	maxCopy = 4 << 10
	// maxPending is how much is gathered from small pieces before it is sent.
	maxPending = 16 << 10
	// minSplice is from which size on a body is moved by the kernel.
	minSplice = 64 << 10
)

// output writes messages to a connection, each with as few calls as can be.
type output struct {
	dst      codec.Transport
	socket   *engine.Conn
	plain    bool // the kernel may move bodies
	loop     *engine.Loop
	buf      []byte // built and not yet sent
	pooled   []byte // the pool's buffer under buf
	progress codec.Progress
	bytes    uint64 // of the body
	head     int    // bytes of the head
	begun    bool   // something of this message was sent
}

func (o *output) attach(e codec.Ends) {
	o.dst, o.socket, o.plain, o.loop = e.Transport, e.Socket, e.Plain, e.Loop
}

func (o *output) closeWrite() error { return o.dst.CloseWrite() }

func (o *output) reset() { o.socket.Reset() }

func (o *output) begin(p codec.Progress) {
	o.release()
	o.room()
	o.progress, o.bytes, o.begun = p, 0, false
}

// room takes a buffer, if there is none, for what is to be built.
func (o *output) room() {
	if o.pooled == nil {
		o.pooled = o.loop.Buffer()
		o.buf = o.pooled[:0]
	}
}

func (o *output) release() {
	if o.pooled != nil {
		o.loop.PutBuffer(o.pooled)
		o.pooled, o.buf = nil, nil
	}
}

// flush sends what is pending. The buffer goes back: while the peer is waited for
// none is held, and the next message is built in one that the caches still have.
func (o *output) flush() error {
	var err error
	if len(o.buf) > 0 {
		o.begun = true
		_, err = o.dst.Write(o.buf)
	}
	o.release()
	return err
}

// body sends what is pending and then the body as f frames it; trailer is
// read once the body has ended.
//
// With most >= 0 it stops with errMore, everything pending sent, where it would
// have to wait for the body, or once it has sent that many bytes; it can then be
// called again.
func (o *output) body(b stream.Body, f *Framing, trailer *header.Map, most int) error {
	chunked, length := f.Body == BodyChunked, int64(-1)
	if f.Body == BodyLength {
		length = f.Length
	}
	for {
		splice := !chunked && o.canSplice(b)
		if splice || len(o.buf) > maxPending || !b.Ready() {
			if err := o.flush(); err != nil {
				return err
			}
		}
		if most >= 0 && (!b.Ready() || o.bytes > uint64(most)) {
			if err := o.flush(); err != nil {
				return err
			}
			return errMore
		}
		if splice {
			return o.splice(b.(*payload), length)
		}
		p, err := b.Next()
		last := err == io.EOF
		if err != nil && !last {
			return &codec.SourceError{Err: err}
		}
		o.bytes += uint64(len(p))
		if length >= 0 && int64(o.bytes) > length {
			return &codec.SourceError{Err: errBodyLength}
		}
		if err := o.piece(p, chunked); err != nil {
			return err
		}
		if o.progress != nil {
			o.progress.Moved(len(p))
		}
		if last {
			break
		}
	}
	if length >= 0 && int64(o.bytes) != length {
		return &codec.SourceError{Err: errBodyLength}
	}
	if chunked {
		var err error
		o.room()
		if o.buf, err = AppendLastChunk(o.buf, trailer, f); err != nil {
			return &codec.SourceError{Err: err}
		}
	}
	return o.flush()
}

// piece sends one piece, or keeps it pending if it is small.
func (o *output) piece(p []byte, chunked bool) error {
	if len(p) == 0 {
		return nil
	}
	if chunked || len(p) <= maxCopy {
		o.room()
	}
	if chunked {
		o.buf = AppendChunkHead(o.buf, len(p))
	}
	if len(p) <= maxCopy {
		o.buf = append(o.buf, p...)
	} else {
		o.begun = true
		if err := o.dst.Write2(o.buf, p); err != nil {
			return err
		}
		o.buf = o.buf[:0]
	}
	if chunked {
		o.buf = append(o.buf, '\r', '\n')
	}
	return nil
}

// canSplice reports whether the kernel can move the rest of the body: it comes
// as it stands on one socket and goes as it stands to another.
func (o *output) canSplice(b stream.Body) bool {
	p, ok := b.(*payload)
	return ok && o.plain && p.in.plain && p.framing == framedByLength &&
		p.err == nil && !p.ahead && p.in.empty() && p.left >= minSplice
}

func (o *output) splice(p *payload, length int64) error {
	if length >= 0 && int64(o.bytes)+p.left != length {
		return &codec.SourceError{Err: errBodyLength}
	}
	_, err := o.socket.Splice(p.in.socket, p.left, func(n int) {
		p.moved(n)
		o.bytes += uint64(n)
		if o.progress != nil {
			o.progress.Moved(n)
		}
	})
	if err == io.EOF {
		return &codec.SourceError{Err: ErrIncomplete}
	}
	return err
}
