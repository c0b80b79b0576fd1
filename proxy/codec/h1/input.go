// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
)

// minRead is the least room worth a read.
const minRead = 4 << 10

// input is what was read of a connection and not yet used. Everything before
// base is pinned: views of it are in use until the next begin.
type input struct {
	src    codec.Transport
	socket *engine.Conn
	plain  bool // the kernel may move bodies
	loop   *engine.Loop
	buf    []byte
	r, w   int
	base   int
	old    [][]byte // full buffers with pinned bytes
}

func (in *input) attach(e codec.Ends) {
	in.src, in.socket, in.plain, in.loop = e.Transport, e.Socket, e.Plain, e.Loop
}

// begin starts a message: nothing is pinned any more.
func (in *input) begin() {
	for i, b := range in.old {
		in.loop.PutBuffer(b)
		in.old[i] = nil
	}
	in.old = in.old[:0]
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	in.base = in.r
}

// pin keeps what was consumed so far in place.
func (in *input) pin() { in.base = in.r }

// rest returns what was read and not yet used.
func (in *input) rest() []byte { return in.buf[in.r:in.w] }

func (in *input) empty() bool { return in.r == in.w }

// fill reads more behind what there is, waiting for at least one byte. Who has no
// buffer yet gets one once there is something for it: a request that waits for its
// response holds none, and the next takes one that the caches still have.
func (in *input) fill() error {
	if in.buf == nil && in.plain {
		if err := in.socket.AwaitRead(); err != nil {
			return err
		}
	}
	in.room()
	n, err := in.src.Read(in.buf[in.w:])
	in.w += n
	return err
}

// room makes room for a read. What is pinned stays where it is; what is
// neither pinned nor used moves to a new buffer if it must.
func (in *input) room() {
	if in.buf == nil {
		in.buf = in.loop.Buffer()
	}
	if in.r == in.w {
		in.r, in.w = in.base, in.base
	}
	if len(in.buf)-in.w >= minRead {
		return
	}
	tail := in.buf[in.r:in.w]
	var next []byte
	if 2*len(tail) <= engine.BufferSize {
		next = in.loop.Buffer()
	} else {
		next = make([]byte, 4*len(tail))
	}
	n := copy(next, tail)
	in.old = append(in.old, in.buf)
	in.buf, in.r, in.w, in.base = next, 0, n, 0
}

// release gives all buffers back; what is left unread is lost.
func (in *input) release() {
	in.r, in.w = 0, 0
	in.begin()
	if in.buf != nil {
		in.loop.PutBuffer(in.buf)
		in.buf = nil
	}
}
