// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"io"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/codec/h2/hpack"
	"weir.dev/weir/proxy/engine"
)

// A role is what a client and a server do differently.
type role interface {
	// head takes the head or trailers that the connection's builder has read; s is
	// the stream if there is one. It returns an error that ends the connection.
	head(s *exchange, id uint32, end bool, size int, fragment []byte, e *frame.Error) *ConnectionError
	// admits decides what becomes of a header block on a stream that the table does
	// not have.
	admits(id uint32) (blockFate, *ConnectionError)
	// gone tells that a stream was reset by the peer, or lost.
	gone(s *exchange, err error)
	// slot tells that another stream may be opened.
	slot()
	// goingAway tells that the peer takes no stream above last.
	goingAway(last uint32, code frame.Code)
	// settled tells that the peer's settings were applied.
	settled()
	// over tells, once, that the connection has ended. within tells that Serve is
	// about to return false.
	over(err error, within bool)
	// trim gives up memory that an idle connection does not need.
	trim()
}

// conn is what both ends of an HTTP/2 connection have in common. All of it belongs
// to the connection's loop.
type conn struct {
	ends codec.Ends
	loop *engine.Loop
	lim  limits
	st   *Stats
	role role
	// first is the lowest stream of the peer's side, 1 or 2, and ours the other's.
	client bool

	in   input
	out  output
	enc  hpack.Encoder
	dec  hpack.Decoder
	read builder
	// block is the header block that is arriving.
	block block

	table table
	// last is the highest stream the peer has opened; for a client the highest
	// stream of its own.
	last    uint32
	live    int // streams in their users' hands
	counted int // streams that count towards the limit of concurrent ones
	resets  recent

	peer     peerSettings
	settings pendingSettings

	sendWindow int64
	recvWindow int64 // what the peer may still send
	recvMax    uint32
	recvDue    uint32 // consumed and not yet given back
	queued     int64  // bytes in the queues of streams

	room, window waitList
	granted      int // streams woken to send and not yet seen to
	turns        uint
	tickets      uint32

	guard guard
	keep  keepAlive
	rest  engine.Timer
	// headTimer runs while a request's head has arrived in part.
	headTimer engine.Timer

	serving bool // frames are being handled
	within  bool // Serve runs
	server  *engine.Task
	closer  *engine.Task

	goAway goAway
	// err is why no more frames are taken. flushed then tells that what was left to
	// write is out.
	err  error
	done bool
	// lingering tells that only the peer's end is waited for; discarded is what was
	// read meanwhile.
	lingering bool
	discarded int
	wErr      error
}

// goAway is how far the end of a connection has come.
type goAway struct {
	sent     bool   // the peer knows that no stream above last is taken
	last     uint32 // the highest stream that is
	graceful bool   // a first GOAWAY announced it
	draining bool
	remote   bool // the peer has sent one
	timer    engine.Timer
}

func (c *conn) init(e codec.Ends, o *Options, st *Stats, r role, client bool) {
	c.ends, c.loop, c.lim, c.st, c.role, c.client = e, e.Loop, o.limits(), st, r, client
	c.in.loop, c.out.loop = e.Loop, e.Loop
	c.sendWindow = frame.DefaultWindow
	c.recvWindow, c.recvMax = int64(c.lim.connWindow), c.lim.connWindow
	c.peer = defaultPeer()
	c.goAway.last = frame.MaxWindow
	c.initHPACK()
	c.guard.init(c)
	c.keep.init(c)
	c.rest.Init(c.loop, c.trim)
	c.goAway.timer.Init(c.loop, c.drained)
	c.headTimer.Init(c.loop, c.headLate)
}

// serve reads and handles all there is. It returns false once the connection is
// over.
func (c *conn) serve(t *engine.Task) bool {
	if c.done {
		return false
	}
	if c.lingering {
		return c.discard()
	}
	c.server, c.within = t, true
	defer func() { c.server, c.within = nil, false }()
	for c.err == nil {
		if !c.in.more() && !c.ends.Transport.Ready() {
			c.in.rest()
			c.kick()
			return true
		}
		if !c.in.more() {
			if err := c.in.fill(c.ends.Transport); err != nil {
				c.lost(err)
				break
			}
			c.keep.heard()
			c.dispatch()
		}
		c.serving = true
		if c.err == nil {
			c.handle()
		}
		c.serving = false
		c.kick()
		if c.err == nil && (c.in.more() || c.ends.Transport.Ready()) {
			// The streams that were opened go first, and their answers out.
			t.Yield()
		}
	}
	c.end(t)
	return false
}

// dispatch asks what becomes of a client's connection that has brought something.
func (c *conn) dispatch() {
	if c.lim.Dispatch == nil || c.client {
		return
	}
	c.serving = true
	switch c.lim.Dispatch() {
	case GoAway:
		if !c.goAway.sent {
			c.terminate(frame.NoError, "")
		}
	case Close:
		c.fail(ErrShed)
	default:
	}
	c.serving = false
}

// end sees what is left to write out, within bounds, and ends the connection.
func (c *conn) end(t *engine.Task) {
	t.Clear()
	c.in.release()
	if c.wErr == nil && c.out.pending() {
		c.closer = t
		t.SetDeadline(lastWords, ErrClosed)
		for c.wErr == nil && c.out.pending() {
			if t.Wait() != nil {
				break
			}
		}
		t.SetDeadline(0, nil)
		c.closer = nil
	}
	c.finish(true)
}

// lastWords is how long the last frames of a connection may take, in nanoseconds.
const lastWords = 1_000_000_000

// finish ends the connection for its owner, once.
func (c *conn) finish(within bool) {
	if c.done {
		return
	}
	c.done = true
	if c.err == nil {
		c.err = ErrClosed
	}
	c.keep.stop()
	c.rest.Release()
	c.headTimer.Release()
	c.goAway.timer.Release()
	if !within {
		c.in.release()
	}
	c.out.abandon()
	c.role.over(c.err, within)
}

// lost ends the connection for err: nothing is read or written any more, but for
// what is written already. Streams end with it.
func (c *conn) lost(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.block.reset(c)
	c.table.each(func(s *exchange) {
		c.forget(s)
		if s.err != nil {
			return // Reset here, and told so.
		}
		s.fail(err)
		if s.live {
			c.role.gone(s, err)
		}
	})
	c.grantAll()
	c.role.settled()
}

// fail ends the connection for something the peer did: it is told by a GOAWAY.
func (c *conn) fail(e *ConnectionError) {
	if c.err != nil {
		return
	}
	c.sendGoAway(c.last, e.Code, e.Reason)
	c.lost(e)
	c.kick()
	c.settle()
}

// failFrame ends the connection, or a stream, for what is wrong with a frame.
func (c *conn) failFrame(h frame.Header, e *frame.Error) {
	if e.Conn {
		c.fail(&ConnectionError{Code: e.Code, Reason: e.Reason})
		return
	}
	if s := c.table.get(h.StreamID); s != nil {
		c.abort(s, e.Code, &codec.Error{Status: 400, Detail: detailProtocol, Reason: e.Reason})
	} else if c.idle(h.StreamID) && h.Type != frame.Priority {
		c.fail(&ConnectionError{Code: e.Code, Reason: e.Reason})
	} else {
		c.sendReset(h.StreamID, e.Code)
	}
	c.guard.streamError()
}

// close ends the connection at once.
func (c *conn) close(err error) {
	c.lost(err)
	c.wErr = err
	c.wakeEnd()
}

// settle ends a connection that Serve does not see to the end, once it is flushed
// or nothing is left to do.
func (c *conn) settle() {
	if c.done || c.err == nil {
		return
	}
	switch {
	case c.within:
	case c.wErr != nil:
		c.finish(false)
	case !c.out.pending():
		c.linger()
	}
}

// wakeEnd has the connection ended by whoever sees to that.
func (c *conn) wakeEnd() {
	switch {
	case c.closer != nil:
		c.closer.Wake()
	case c.within && !c.serving && c.server != nil:
		// It may wait in a read of the layer below.
		c.server.Interrupt(ErrClosed)
	default:
		c.settle()
	}
}

// handle handles the frames that have arrived whole.
func (c *conn) handle() {
	for c.err == nil {
		b := c.in.bytes()
		if !c.in.preface {
			n, ok := c.takePreface(b)
			if !ok {
				return
			}
			c.in.take(n)
			continue
		}
		h, ok := frame.Parse(b)
		if !ok {
			c.in.wants(frame.HeaderLen)
			c.awaitHead(c.block.open)
			return
		}
		if e := h.Check(c.lim.MaxFrameSize); e != nil {
			c.refuseFrame(h, e)
			continue
		}
		size := frame.HeaderLen + int(h.Length)
		if len(b) < size {
			c.in.wants(size)
			c.awaitHead(c.block.open || h.Type == frame.Headers)
			return
		}
		c.handleFrame(h, b[frame.HeaderLen:size])
		c.in.take(size)
		if c.out.control > int(c.lim.MaxOutboundControlFrames)/2 && c.err == nil && c.in.rested {
			// They are written before more of them are answered.
			c.in.rested = false
			return
		}
	}
}

// awaitHead bounds the time in which the rest of a request's head arrives.
func (c *conn) awaitHead(part bool) {
	if part && !c.client && c.lim.HeadTimeout > 0 && !c.headTimer.Active() {
		c.headTimer.Set(int64(c.lim.HeadTimeout))
	}
}

func (c *conn) headLate() {
	if c.err == nil {
		c.st.HeadTimeout.Inc()
		c.leave(ErrHeadTimeout)
	}
}

// skipMost is the largest frame that is waited for only to be thrown away.
const skipMost = 64 << 10

// refuseFrame answers a frame whose header is wrong and has it skipped.
func (c *conn) refuseFrame(h frame.Header, e *frame.Error) {
	if !c.settings.received && h.Type != frame.Settings {
		c.fail(errNoSettings)
		return
	}
	if !e.Conn && h.Length > skipMost {
		c.fail(&ConnectionError{Code: e.Code, Reason: e.Reason})
		return
	}
	if h.Type == frame.Data && c.err == nil && !e.Conn {
		c.credit(int(h.Length))
		c.recvWindow -= int64(h.Length)
	}
	c.failFrame(h, e)
	c.in.skip(frame.HeaderLen + int(h.Length))
}

// takePreface reads a client's connection preface.
func (c *conn) takePreface(b []byte) (n int, ok bool) {
	if c.client {
		c.in.preface = true
		return 0, true
	}
	k := min(len(b), len(frame.Preface))
	if string(b[:k]) != frame.Preface[:k] {
		c.fail(errPreface)
		return 0, false
	}
	if k < len(frame.Preface) {
		c.in.wants(len(frame.Preface))
		return 0, false
	}
	c.in.preface = true
	return k, true
}

// input is what was read and not yet handled.
type input struct {
	loop    *engine.Loop
	buf     []byte
	r, w    int
	want    int // bytes without which nothing can be handled
	skipped int // bytes still to be thrown away
	carry   []byte
	preface bool
	rested  bool // a rest was made since the last read
}

// carryMost is up to which size a part of a frame is kept apart, so that an idle
// connection holds no buffer.
const carryMost = 1 << 10

func (in *input) bytes() []byte { return in.buf[in.r:in.w] }

// more reports whether there is something that can be handled.
func (in *input) more() bool { return in.w > in.r && in.w-in.r >= in.want }

func (in *input) take(n int) {
	in.r += n
	in.want = 0
}

func (in *input) wants(n int) { in.want = n }

// skip throws away n bytes, as they come.
func (in *input) skip(n int) {
	in.want = 0
	k := min(n, in.w-in.r)
	in.r += k
	in.skipped = n - k
}

// fill reads more.
func (in *input) fill(src codec.Transport) error {
	in.makeRoom()
	n, err := src.Read(in.buf[in.w:])
	in.w += n
	in.rested = true
	if n > 0 && in.skipped > 0 {
		in.skip(in.skipped)
	}
	if n == 0 && err == nil {
		return io.ErrNoProgress
	}
	return err
}

func (in *input) makeRoom() {
	if in.buf == nil {
		in.buf = in.loop.Buffer()
		in.r, in.w = 0, copy(in.buf, in.carry)
		in.carry = in.carry[:0]
	}
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	if need := in.want; need > len(in.buf) {
		b := make([]byte, need+engine.BufferSize)
		in.w = copy(b, in.buf[in.r:in.w])
		in.r = 0
		in.loop.PutBuffer(in.buf)
		in.buf = b
		return
	}
	if in.r > 0 && (in.w == len(in.buf) || in.r+in.want > len(in.buf)) {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
}

// rest gives the buffer back while nothing is to be read.
func (in *input) rest() {
	if in.buf == nil || in.w-in.r > carryMost {
		return
	}
	in.carry = append(in.carry[:0], in.buf[in.r:in.w]...)
	in.release()
}

func (in *input) release() {
	if in.buf != nil {
		in.loop.PutBuffer(in.buf)
		in.buf = nil
	}
	in.r, in.w = 0, 0
}
