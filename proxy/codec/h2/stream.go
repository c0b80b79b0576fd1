// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"io"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// exchange is what the streams of both roles have in common. It is the user's from
// the time it is handed out until Release.
type exchange struct {
	c  *conn
	id uint32
	// One of the two is set: whose part this is.
	srv *ServerStream
	cli *ClientStream

	live    bool // in its user's hands
	counted bool // among the concurrent ones
	recvEnd bool // the peer has sent all
	sentEnd bool
	noBody  bool // what is received can have no content
	headed  bool // the head was received; of a response the final one
	// err is why nothing more comes or goes, though what has come can be read.
	err error

	// Sending.
	sendWindow int64
	writer     *engine.Task
	list       *waitList
	next, prev *exchange
	granted    bool
	ticket     uint32 // its place among those that wait
	headSent   int
	bodySent   uint64
	begun      bool
	lastFrame  mark
	born       int64
	answered   bool

	// Receiving.
	recvWindow int64
	recvMax    uint32
	recvDue    uint32
	reader     *engine.Task
	queue      queue
	received   uint64
	length     int64 // content-length, or -1
	body       body
	trailer    header.Map
	progress   codec.Progress // of what is received
}

// open readies a stream for its life.
func (s *exchange) open(c *conn, id uint32) {
	*s = exchange{
		c: c, id: id, srv: s.srv, cli: s.cli, queue: queue{small: s.queue.small[:0], bufs: s.queue.bufs[:0]},
		trailer:    s.trailer,
		sendWindow: c.peer.window, recvWindow: int64(c.lim.streamWindow), recvMax: c.lim.streamWindow,
		length: -1, born: c.loop.Now(),
	}
	s.body.s = s
	s.trailer.Reset()
	s.queue.loop = c.loop
}

// sendErr returns why the stream cannot send.
func (s *exchange) sendErr() error {
	if s.err != nil {
		return s.err
	}
	return s.c.err
}

// fail ends the stream for err and wakes who waits on it.
func (s *exchange) fail(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	if s.writer != nil {
		s.writer.Wake()
	}
	s.wakeReader()
}

func (s *exchange) wakeReader() {
	if s.reader != nil {
		s.reader.Wake()
	}
}

// content takes the content of a DATA frame.
func (s *exchange) content(p []byte, end bool) {
	c := s.c
	if err := s.checkContent(len(p), end); err != nil {
		c.credit(len(p))
		c.messageError(s, err)
		return
	}
	if len(p) > 0 {
		s.received += uint64(len(p))
		s.queue.push(p)
		c.queued += int64(len(p))
		if s.progress != nil {
			s.progress.Moved(len(p))
		}
	}
	if end {
		s.endRecv()
	}
	s.wakeReader()
}

// checkContent holds content against what the head said (RFC 9113 §8.1.1).
func (s *exchange) checkContent(n int, end bool) *codec.Error {
	switch {
	case !s.headed:
		return errNoHead
	case s.noBody && n > 0:
		return errBodyHere
	case s.noBody || s.length < 0:
		return nil
	case int64(s.received)+int64(n) > s.length, end && int64(s.received)+int64(n) != s.length:
		return errLengthWrong
	}
	return nil
}

// endRecv notes that the peer has sent all.
func (s *exchange) endRecv() {
	s.recvEnd = true
	if s.sentEnd {
		s.c.closed(s)
	}
	s.wakeReader()
}

// endSend notes that all was sent.
func (s *exchange) endSend() {
	s.sentEnd = true
	if s.recvEnd {
		s.c.closed(s)
	}
}

// drop forgets what was received and not read.
func (s *exchange) drop() {
	n := s.queue.drop()
	s.c.queued -= int64(n)
	if n > 0 {
		s.c.credit(n)
	}
}

// release ends the user's part in the stream: what is unfinished is reset.
func (s *exchange) release(code frame.Code) {
	c := s.c
	if !s.live {
		return
	}
	s.live = false
	if s.err == nil && !(s.sentEnd && s.recvEnd) && c.err == nil {
		if s.sentEnd {
			code = frame.NoError // RFC 9113 §8.1: the answer is whole, the rest is not wanted.
		}
		c.sendReset(s.id, code)
		s.fail(ErrReset)
		c.resets.add(s.id)
	} else if c.table.get(s.id) == s {
		c.resets.add(s.id) // Reset here while it was served.
	}
	c.forget(s)
	c.grantIf(s)
	s.drop()
	c.uncount(s)
	c.live--
}

// body is the content received on a stream: a stream.Body.
type body struct {
	s *exchange
	// before, if set, runs once before the first wait: to send 100 (Continue).
	before func() error
}

// Next returns the next piece of the content. What was handed out is given back to
// the sender's window.
func (b *body) Next() ([]byte, error) {
	s := b.s
	for {
		if p := s.queue.next(); len(p) > 0 {
			c := s.c
			c.queued -= int64(len(p))
			c.credit(len(p))
			s.credit(len(p))
			if s.recvEnd && s.queue.n == 0 {
				return p, io.EOF
			}
			return p, nil
		}
		if s.recvEnd {
			return nil, io.EOF
		}
		if err := s.readErr(); err != nil {
			return nil, err
		}
		if b.before != nil {
			f := b.before
			b.before = nil
			if err := f(); err != nil {
				return nil, err
			}
			continue
		}
		if err := s.waitRead(); err != nil {
			return nil, err
		}
	}
}

// Ready reports whether Next would return without waiting.
func (b *body) Ready() bool {
	s := b.s
	return s.queue.n > 0 || s.recvEnd || s.readErr() != nil
}

// readErr returns why nothing more will come.
func (s *exchange) readErr() error {
	err := s.err
	if err == nil {
		err = s.c.err
	}
	if err == io.EOF {
		return ErrIncomplete
	}
	if s.c.client {
		return gatewayError(err)
	}
	return err
}

func (s *exchange) waitRead() error {
	t := s.c.loop.Task()
	s.reader = t
	err := t.Wait()
	s.reader = nil
	return err
}

// queue is content that was received and not yet read. A little is kept in memory
// of the stream's own, so that a byte does not cost a buffer.
type queue struct {
	loop  *engine.Loop
	small []byte
	sr    int // what of small was read
	lent  bool
	bufs  []chunk
	first int // chunk being read
	n     int // bytes in all
}

type chunk struct {
	b []byte
	r int
}

// smallMost is how much is kept without a buffer.
const smallMost = 4 << 10

func (q *queue) push(p []byte) {
	q.n += len(p)
	if len(q.bufs) == 0 && !q.lent && len(q.small)+len(p) <= smallMost {
		q.small = append(q.small, p...)
		return
	}
	for len(p) > 0 {
		k := len(q.bufs) - 1
		if k < 0 || len(q.bufs[k].b) == cap(q.bufs[k].b) {
			q.bufs = append(q.bufs, chunk{b: q.loop.Buffer()[:0]})
			k++
		}
		c := &q.bufs[k]
		n := min(len(p), cap(c.b)-len(c.b))
		c.b = append(c.b, p[:n]...)
		p = p[n:]
	}
}

// next returns the next piece, which is valid until it is called again.
func (q *queue) next() []byte {
	q.settle()
	if q.n == 0 {
		return nil
	}
	if q.sr < len(q.small) {
		p := q.small[q.sr:]
		q.sr, q.lent = len(q.small), true
		q.n -= len(p)
		return p
	}
	c := &q.bufs[q.first]
	p := c.b[c.r:]
	c.r = len(c.b)
	q.n -= len(p)
	return p
}

// settle takes back what was handed out.
func (q *queue) settle() {
	if q.lent || q.sr > 0 {
		q.small, q.sr, q.lent = q.small[:0], 0, false
	}
	for q.first < len(q.bufs) {
		c := &q.bufs[q.first]
		if c.r < len(c.b) || c.r == 0 {
			return
		}
		q.loop.PutBuffer(c.b)
		*c = chunk{}
		q.first++
	}
	q.bufs, q.first = q.bufs[:0], 0
}

// drop forgets everything and returns how much that was.
func (q *queue) drop() int {
	n := q.n
	for i := q.first; i < len(q.bufs); i++ {
		q.loop.PutBuffer(q.bufs[i].b)
		q.bufs[i] = chunk{}
	}
	q.bufs, q.first = q.bufs[:0], 0
	q.small, q.sr, q.lent, q.n = q.small[:0], 0, false, 0
	return n
}

var _ stream.Body = (*body)(nil)

// part returns the memory that holds the names and values of the received head, for
// those of the trailers to follow.
func (s *exchange) part() []byte {
	if s.srv != nil {
		return s.srv.arena
	}
	return s.cli.tail
}

func (s *exchange) setPart(b []byte) {
	if s.srv != nil {
		s.srv.arena = b
	} else {
		s.cli.tail = b
	}
}
