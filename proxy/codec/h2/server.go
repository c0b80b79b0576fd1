// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// A Handler serves the requests of a connection. Its methods are called on the
// connection's loop and must not wait.
type Handler interface {
	// Request tells that a request's head is complete; the handler starts a task
	// and serves it there, until it calls Release.
	// If it has a Refusal, that is what to answer.
	Request(s *ServerStream)
	// Gone tells, once, that nobody waits for the response of a stream that is
	// still being served: the client has reset it (a *codec.ResetError), it was
	// reset for what the client sent (a *codec.Error), or the connection is lost.
	// The handler interrupts its task.
	Gone(s *ServerStream, err error)
	// Quiet tells that the last stream was released: the connection is idle.
	Quiet()
	// Over tells that the connection has ended while Serve did not run: the handler
	// closes it. Where Serve runs it returns false instead.
	Over(err error)
}

// A Server is the server's end of one HTTP/2 connection.
type Server struct {
	conn
	h    Handler
	free []*ServerStream
	held int // bytes of the heads of streams in hand
}

// maxHeld bounds the heads that a connection has in hand. A few bytes that refer to
// the compression table may be a head of full size: many of them, on streams that
// are kept waiting, are what this is against.
const maxHeld = 4 << 20

// NewServer returns a server for a connection whose preface has not been read.
func NewServer(e codec.Ends, o *Options, st *Stats, h Handler) *Server {
	c := &Server{h: h}
	c.init(e, o, st, c, false)
	return c
}

// ValidSettings reports whether p is the payload of a SETTINGS frame that a client
// may send.
func ValidSettings(p []byte) bool {
	return frame.CheckSettings(frame.Header{Type: frame.Settings, Length: uint32(len(p))}, p) == nil
}

// Upgrade begins the connection of a client that has sent its first request in
// HTTP/1 with an offer to go on in HTTP/2 (RFC 7540 §3.2), and has been granted it:
// settings is the valid payload that it has sent along, and m the head of the
// request, which has no body. It is called before Serve.
func (c *Server) Upgrade(settings []byte, m *header.Map, size int) {
	c.sendSettings()
	if !c.applySettings(settings) {
		return // Serve tells the client why.
	}
	r := c.take(1)
	c.last = 1
	m.CopyTo(&r.header)
	r.hd = codec.Head{Version: streaminfo.HTTP2, KeepAlive: true, Fields: m.Len(), Size: size}
	c.read.length, c.read.size = -1, m.Size()
	c.begin(r, true)
}

// Serve reads and handles all there is. It returns false once the connection is
// over, its last words included: it is to be closed then, and it is good to linger.
func (c *Server) Serve(t *engine.Task) bool {
	c.serving = true
	c.sendSettings()
	c.serving = false
	return c.serve(t)
}

// Streams returns how many streams are being served.
func (c *Server) Streams() int { return c.live }

// Each calls f for every stream that is being served.
func (c *Server) Each(f func(*ServerStream)) {
	c.table.each(func(s *exchange) {
		if s.live {
			f(s.srv)
		}
	})
}

// Drain announces the end of the connection so that no request is lost. It ends
// after its last stream.
func (c *Server) Drain() { c.drain() }

// Draining reports whether the end was announced, by whichever side.
func (c *Server) Draining() bool { return c.goAway.draining }

// GoAway ends the connection: with NO_ERROR after its last stream, otherwise at
// once, with code and debug text for the client.
func (c *Server) GoAway(code frame.Code, debug string) { c.terminate(code, debug) }

// Close ends the connection at once, without a word.
func (c *Server) Close(err error) { c.close(err) }

// Err returns why the connection ended, nil before.
func (c *Server) Err() error { return c.err }

// admits decides about a header block on a stream that is not open.
func (c *Server) admits(id uint32) (blockFate, *ConnectionError) {
	if id%2 == 0 {
		return 0, errStreamID
	}
	if id <= c.last {
		if id > c.goAway.last || c.resets.has(id) {
			return fateIgnored, nil
		}
		return 0, errHeadersLate
	}
	c.last = id
	switch {
	case id > c.goAway.last:
		return fateIgnored, nil
	case c.counted >= int(c.lim.MaxConcurrentStreams), c.held > maxHeld:
		return fateRefused, nil
	}
	return fateTaken, nil
}

// head takes a request's head, or its trailers.
func (c *Server) head(s *exchange, id uint32, end bool, size int, fragment []byte, e *frame.Error) *ConnectionError {
	if s != nil {
		c.trailers(s, end, fragment, e)
		return nil
	}
	r := c.take(id)
	c.read.begin(sectionRequest, &r.header, &r.hd, r.arena[:0])
	ok := c.decode(fragment)
	r.arena = c.read.arena
	if !ok {
		c.put(r)
		return nil
	}
	b := &c.read
	b.finishRequest()
	r.arena = b.arena
	r.hd.Size = size
	switch {
	case e != nil:
		c.refuse(r, e.Code)
	case b.err != nil:
		c.malformed(r, b.err)
	case b.length > 0 && end:
		c.malformed(r, errLengthWrong)
	case b.refused != nil:
		c.answer(r, b.refused, end)
	default:
		if n := r.hd.Underscored; n > 0 {
			c.st.DroppedUnderscores.Add(uint64(n))
		}
		c.begin(r, end)
	}
	return nil
}

// begin hands a request to the handler.
func (c *Server) begin(r *ServerStream, end bool) {
	s := &r.exchange
	s.headed, s.recvEnd = true, end
	s.length = c.read.length
	r.begin(end)
	c.table.put(s)
	s.live, s.counted = true, true
	c.live++
	c.counted++
	c.st.StreamsActive.Inc()
	r.headBytes = c.read.size
	c.held += r.headBytes
	c.h.Request(r)
}

// refuse resets a stream that was never opened.
func (c *Server) refuse(r *ServerStream, code frame.Code) {
	c.resets.add(r.id)
	c.sendReset(r.id, code)
	c.put(r)
}

// malformed answers a request that is none (RFC 9113 §8.1.1).
func (c *Server) malformed(r *ServerStream, err *codec.Error) {
	c.st.MessagingError.Inc()
	if !c.lim.KeepStreamOnError {
		c.put(r)
		c.fail(&ConnectionError{Code: frame.ProtocolError, Reason: err.Reason})
		return
	}
	c.refuse(r, frame.ProtocolError)
	c.guard.streamError()
}

// answer has the handler answer a request that is refused for err.
func (c *Server) answer(r *ServerStream, err *codec.Error, end bool) {
	switch err {
	case errLarge, errMany:
		c.st.HeaderOverflow.Inc()
	case errUnderscore:
		c.st.RejectedUnderscores.Inc()
	}
	r.header.Reset()
	c.read.length = -1
	r.refusal = err
	c.begin(r, end)
}

// trailers takes what follows a request's body.
func (c *conn) trailers(s *exchange, end bool, fragment []byte, e *frame.Error) {
	r := s.part()
	c.read.begin(sectionTrailer, &s.trailer, nil, r)
	ok := c.decode(fragment)
	s.setPart(c.read.arena)
	if !ok {
		return
	}
	b := &c.read
	switch {
	case e != nil:
		c.abort(s, e.Code, errMessage)
	case !end:
		c.messageError(s, errTrailer)
	case b.err != nil:
		s.trailer.Reset()
		c.messageError(s, b.err)
	case b.refused != nil:
		c.st.HeaderOverflow.Inc()
		s.trailer.Reset()
		c.guard.streamError()
		c.abort(s, frame.EnhanceYourCalm, b.refused)
	default:
		if err := s.checkContent(0, true); err != nil {
			c.messageError(s, err)
			return
		}
		c.st.Trailers.Inc()
		s.endRecv()
	}
}

// gone tells the handler of a stream that has no client any more.
func (c *Server) gone(s *exchange, err error) { c.h.Gone(s.srv, err) }

func (c *Server) slot()    {}
func (c *Server) settled() {}

// goingAway notes that the client will send no more requests.
func (c *Server) goingAway(_ uint32, code frame.Code) {
	c.goAway.draining, c.goAway.remote = true, true
	if code != frame.NoError {
		c.lost(&ConnectionError{Code: code, Remote: true})
	}
}

func (c *Server) over(err error, within bool) {
	if !within {
		c.h.Over(err)
	}
}

// released notes that the handler is done with a stream.
func (c *Server) released() {
	if c.live > 0 {
		return
	}
	if c.done {
		return
	}
	c.conn.rest.Set(trimAfter)
	c.endIfIdle()
	if c.err == nil {
		c.h.Quiet()
	}
}

// freeMost bounds the streams whose memory a busy connection keeps.
const freeMost = 256

func (c *Server) take(id uint32) *ServerStream {
	var r *ServerStream
	if n := len(c.free); n > 0 {
		r = c.free[n-1]
		c.free = c.free[:n-1]
	} else {
		r = new(ServerStream)
		r.srv = r
	}
	r.open(&c.conn, id)
	r.hd = codec.Head{}
	r.header.Reset()
	return r
}

func (c *Server) put(r *ServerStream) {
	r.owner, r.refusal, r.message.Body, r.message.Trailer = nil, nil, nil, nil
	r.progress = nil
	if cap(r.arena) > arenaMost {
		r.arena = nil
	}
	if len(c.free) < freeMost && !c.done {
		c.free = append(c.free, r)
	}
}

// arenaMost is the memory for names and values that a stream keeps for the next.
const arenaMost = 16 << 10

func (c *Server) trim() { c.free = nil }
