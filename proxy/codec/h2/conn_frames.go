// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2/frame"
)

// handleFrame handles one frame whose header is right.
func (c *conn) handleFrame(h frame.Header, p []byte) {
	if !c.settings.received && (h.Type != frame.Settings || h.Flags.Has(frame.Ack)) {
		c.fail(errNoSettings)
		return
	}
	// RFC 9113 §6.10: nothing comes between the frames of a header block.
	if c.block.open && (h.Type != frame.Continuation || h.StreamID != c.block.id) {
		c.fail(errInterleaved)
		return
	}
	switch h.Type {
	case frame.Data:
		c.data(h, p)
	case frame.Headers:
		c.headers(h, p)
	case frame.Continuation:
		c.continuation(h, p)
	case frame.RSTStream:
		c.rstStream(h, p)
	case frame.Settings:
		c.settingsFrame(h, p)
	case frame.Ping:
		c.ping(h, p)
	case frame.GoAway:
		c.goAwayFrame(p)
	case frame.WindowUpdate:
		c.windowUpdate(h, p)
	case frame.Priority:
		if !c.guard.priority() {
			return
		}
		if _, e := frame.ParsePriority(h, p); e != nil {
			c.failFrame(h, e)
		}
	}
}

// idle reports whether the stream was not opened yet. Those of even numbers are a
// server's, which nobody opens without push.
func (c *conn) idle(id uint32) bool { return id%2 == 0 || id > c.last }

func (c *conn) data(h frame.Header, p []byte) {
	body, e := frame.ParseData(h, p)
	if e != nil {
		c.failFrame(h, e)
		return
	}
	if c.idle(h.StreamID) {
		c.fail(errIdle)
		return
	}
	end := h.Flags.Has(frame.EndStream)
	if !c.guard.empty(len(body) == 0 && !end) {
		return
	}
	// RFC 9113 §6.9: the whole payload counts, padding included.
	n := len(p)
	if c.recvWindow -= int64(n); c.recvWindow < 0 {
		c.fail(errConnWindow)
		return
	}
	s := c.table.get(h.StreamID)
	if s == nil || s.recvEnd || s.err != nil {
		c.dataLate(s, h.StreamID, n)
		return
	}
	if s.recvWindow -= int64(n); s.recvWindow < 0 {
		c.credit(n)
		c.guard.streamError()
		c.abort(s, frame.FlowControlError, errStreamWindow)
		return
	}
	if pad := n - len(body); pad > 0 {
		c.credit(pad)
		s.credit(pad)
	}
	s.content(body, end)
}

// dataLate handles DATA that nobody takes. What it took of the connection's window
// is given back at once.
func (c *conn) dataLate(s *exchange, id uint32, n int) {
	c.credit(n)
	switch {
	case s == nil && !c.resets.has(id) && id <= c.goAway.last:
		// It has ended, or the peer itself has reset it.
		c.sendReset(id, frame.StreamClosed)
		c.guard.closedStream()
	case s != nil && s.recvEnd && s.err == nil:
		c.guard.streamError()
		c.abort(s, frame.StreamClosed, errDataLate)
	default:
		c.guard.late(n)
	}
}

// block is a header block whose end has not arrived.
type block struct {
	open   bool
	end    bool // END_STREAM
	id     uint32
	frames int
	bytes  []byte
	err    *frame.Error
	size   int // of all the frames' payloads
}

func (b *block) reset(*conn) { *b = block{} }

const (
	// maxContinuations is how many CONTINUATION frames a header block may have.
	// nghttp2, and with it Envoy, takes 8.
	maxContinuations = 16
	// blockSlack is by how much a header block may be longer than what its head may
	// hold and still be decoded, so that its stream can be refused and not the
	// connection.
	blockSlack = 32 << 10
)

func (c *conn) headers(h frame.Header, p []byte) {
	fragment, e := frame.ParseHeaders(h, p)
	if e != nil && e.Conn {
		c.failFrame(h, e)
		return
	}
	end := h.Flags.Has(frame.EndStream)
	if !c.guard.empty(len(fragment) == 0 && !end) {
		return
	}
	c.block = block{open: true, end: end, id: h.StreamID, err: e, size: len(p) + frame.HeaderLen}
	if h.Flags.Has(frame.EndHeaders) {
		c.endBlock(fragment)
		return
	}
	c.block.bytes = append(c.block.bytes, fragment...)
}

func (c *conn) continuation(h frame.Header, p []byte) {
	b := &c.block
	if !b.open {
		c.fail(errContinuation)
		return
	}
	if !c.guard.empty(len(p) == 0) {
		return
	}
	b.frames++
	b.size += len(p) + frame.HeaderLen
	if b.frames > maxContinuations || len(b.bytes)+len(p) > c.lim.MaxHeadBytes+blockSlack {
		c.st.ContinuationFlood.Inc()
		c.fail(errBlock)
		return
	}
	b.bytes = append(b.bytes, p...)
	if h.Flags.Has(frame.EndHeaders) {
		c.endBlock(b.bytes)
	}
}

// blockFate is what becomes of a header block.
type blockFate uint8

const (
	// fateTaken opens a stream.
	fateTaken blockFate = iota
	// fateIgnored only keeps the decoder in step.
	fateIgnored
	// fateRefused answers REFUSED_STREAM.
	fateRefused
)

// endBlock decodes a whole header block and hands it to the role.
func (c *conn) endBlock(fragment []byte) {
	id, end, e := c.block.id, c.block.end, c.block.err
	size := c.block.size
	s := c.table.get(id)
	fate := fateTaken
	if s == nil {
		var err *ConnectionError
		if fate, err = c.role.admits(id); err != nil {
			c.fail(err)
			return
		}
	} else if s.err != nil || s.recvEnd {
		fate = fateIgnored
	}
	c.block = block{}
	c.headTimer.Stop()
	if fate != fateTaken {
		c.read.ignore()
		if !c.decode(fragment) {
			return
		}
		c.refuseBlock(s, id, fate)
		return
	}
	c.guard.streams++
	if err := c.role.head(s, id, end, size, fragment, e); err != nil {
		c.fail(err)
	}
}

// refuseBlock answers a header block that was not taken.
func (c *conn) refuseBlock(s *exchange, id uint32, fate blockFate) {
	switch {
	case fate == fateRefused:
		c.st.RefusedStream.Inc()
		c.resets.add(id)
		c.sendReset(id, frame.RefusedStream)
		c.guard.refused()
	case s != nil && s.recvEnd && s.err == nil:
		c.guard.streamError()
		c.abort(s, frame.StreamClosed, errHeadersLate)
	default:
		c.st.NoStream.Inc()
		c.guard.late(0)
	}
}

func (c *conn) rstStream(h frame.Header, p []byte) {
	code, e := frame.ParseRSTStream(p)
	if e != nil {
		c.failFrame(h, e)
		return
	}
	if c.idle(h.StreamID) {
		c.fail(errIdle)
		return
	}
	s := c.table.get(h.StreamID)
	if s == nil || s.err != nil {
		c.guard.late(0)
		return
	}
	c.st.RxReset.Inc()
	if !c.guard.reset(s) {
		return
	}
	c.table.del(s)
	if c.client || !s.live {
		c.uncount(s)
	}
	err := &codec.ResetError{Code: uint32(code), Refused: code == frame.RefusedStream, Reason: code.String()}
	c.broken(s, err)
}

// broken ends a stream that was reset, by whom ever.
func (c *conn) broken(s *exchange, err error) {
	s.fail(err)
	if !c.client {
		s.drop()
	}
	c.grantIf(s)
	if s.live {
		c.role.gone(s, err)
	}
}

func (c *conn) windowUpdate(h frame.Header, p []byte) {
	if !c.guard.windowUpdate() {
		return
	}
	n, e := frame.ParseWindowUpdate(h, p)
	if h.StreamID == 0 {
		if e != nil {
			c.failFrame(h, e)
			return
		}
		if c.sendWindow += int64(n); c.sendWindow > frame.MaxWindow {
			c.fail(errOverflow)
			return
		}
		c.grant()
		return
	}
	if c.idle(h.StreamID) {
		c.fail(errIdle)
		return
	}
	s := c.table.get(h.StreamID)
	if s == nil || s.err != nil {
		return
	}
	if e != nil {
		c.failFrame(h, e)
		return
	}
	if s.sendWindow += int64(n); s.sendWindow > frame.MaxWindow {
		c.guard.streamError()
		c.abort(s, frame.FlowControlError, errStreamWindow)
		return
	}
	s.windowOpen()
}

func (c *conn) ping(h frame.Header, p []byte) {
	data, e := frame.ParsePing(p)
	if e != nil {
		c.failFrame(h, e)
		return
	}
	if !h.Flags.Has(frame.Ack) {
		b := c.out.reserve(frame.HeaderLen + 8)
		c.out.commit(frame.AppendPing(b, data, true))
		c.control()
		return
	}
	if data == drainPing && c.goAway.graceful {
		c.drained()
		return
	}
	c.keep.answered()
}

func (c *conn) goAwayFrame(p []byte) {
	last, code, _, e := frame.ParseGoAway(p)
	if e != nil {
		c.failFrame(frame.Header{}, e)
		return
	}
	c.role.goingAway(last, code)
}

// sendReset writes RST_STREAM.
func (c *conn) sendReset(id uint32, code frame.Code) {
	c.st.TxReset.Inc()
	b := c.out.reserve(frame.HeaderLen + 4)
	c.out.commit(frame.AppendRSTStream(b, id, code))
	c.control()
}

// abort resets a stream for what the peer did. It stays in the table while it is
// being served: frames that are on their way are ignored, and it counts among the
// concurrent ones, or resets would be a way around their limit.
func (c *conn) abort(s *exchange, code frame.Code, err error) {
	if s.err != nil {
		return
	}
	c.sendReset(s.id, code)
	if !s.live || c.client {
		c.uncount(s)
	}
	if !s.live {
		c.forget(s)
		c.resets.add(s.id)
	}
	c.broken(s, err)
}

// messageError ends a stream, or by default the connection, for a malformed
// message.
func (c *conn) messageError(s *exchange, err *codec.Error) {
	c.st.MessagingError.Inc()
	if !c.lim.KeepStreamOnError {
		c.fail(&ConnectionError{Code: frame.ProtocolError, Reason: err.Reason})
		return
	}
	c.guard.streamError()
	c.abort(s, frame.ProtocolError, err)
}

// forget takes a stream out of the table.
func (c *conn) forget(s *exchange) { c.table.del(s) }

// uncount ends a stream's part in the limit of concurrent ones.
func (c *conn) uncount(s *exchange) {
	if s.counted {
		s.counted = false
		c.counted--
		c.st.StreamsActive.Dec()
		c.role.slot()
	}
}

// closed ends a stream both of whose sides have ended.
func (c *conn) closed(s *exchange) {
	c.forget(s)
	c.uncount(s)
}

// recent remembers streams that were reset here, for what the peer sent before it
// knew.
type recent struct {
	ids  []uint32
	next int
}

// recentMost is how many there are: as many as may be reset, such as when a client
// with many streams is gone, before the peer has seen the first reset.
const recentMost = 1024

func (r *recent) add(id uint32) {
	if len(r.ids) < recentMost {
		r.ids = append(r.ids, id)
		return
	}
	r.ids[r.next] = id
	r.next = (r.next + 1) % recentMost
}

func (r *recent) has(id uint32) bool {
	for _, x := range r.ids {
		if x == id {
			return true
		}
	}
	return false
}
