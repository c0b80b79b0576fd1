// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// A ServerStream is one request of a client and its response.
type ServerStream struct {
	exchange
	owner   any
	message stream.Message
	header  header.Map
	hd      codec.Head
	arena   []byte
	refusal *codec.Error
	tunnel  bool // the body is what comes after an upgrade
	isHead  bool
	// headBytes is what the head takes of the connection's allowance.
	headBytes int
}

var _ codec.ServerStream = (*ServerStream)(nil)

// begin makes the message of what was read.
func (s *ServerStream) begin(end bool) {
	h := &s.header
	s.isHead = string(h.Get(header.Method)) == "HEAD"
	s.tunnel = s.hd.Upgrade || string(h.Get(header.Method)) == "CONNECT"
	s.message = stream.Message{Header: h, Length: max(s.length, 0)}
	if !end && !s.tunnel {
		s.message.Body, s.message.Trailer = &s.body, &s.trailer
		s.message.Length = s.length
	}
}

// Message returns the request. What it holds is valid until Release.
func (s *ServerStream) Message() *stream.Message { return &s.message }

// Refusal says why the request cannot be served, and how to answer it; nil if it
// can. Its message is empty.
func (s *ServerStream) Refusal() *codec.Error { return s.refusal }

// SetOwner keeps whatever the handler wants to find again.
func (s *ServerStream) SetOwner(o any) { s.owner = o }

// Owner returns what SetOwner kept.
func (s *ServerStream) Owner() any { return s.owner }

// ID returns the stream's number.
func (s *ServerStream) ID() uint32 { return s.id }

// Head returns what the request's head said apart from its fields.
func (s *ServerStream) Head() *codec.Head { return &s.hd }

// OnBody has p told of each piece of the request's body that arrives.
func (s *ServerStream) OnBody(p codec.Progress) { s.progress = p }

// OnContinue sets what is done when the body of a request that expects 100
// (Continue) is first waited for.
func (s *ServerStream) OnContinue(f func() error) {
	if s.hd.Expect100 {
		s.body.before = f
	}
}

// RequestDone reports whether the request has arrived to its end.
func (s *ServerStream) RequestDone() bool { return s.recvEnd }

// Tunnel returns the bytes that follow the request's head as a body that ends when
// the client ends its side.
func (s *ServerStream) Tunnel() stream.Body {
	s.body.before = nil
	return &s.body
}

// NoTunnel takes Tunnel back, where the upgrade was not granted.
func (s *ServerStream) NoTunnel() bool { return true }

// Inform sends an interim response.
func (s *ServerStream) Inform(h *header.Map) error {
	if err := checkResponse(h); err != nil {
		return &codec.SourceError{Err: err}
	}
	if _, err := s.turn(0); err != nil {
		return err
	}
	s.writeResponse(h, false, -1, false)
	s.c.pass(&s.exchange)
	return nil
}

// WriteResponse sends the response. It never asks for the connection to be closed:
// where the response is the last, Drain is called.
func (s *ServerStream) WriteResponse(m *stream.Message, status int, r *codec.Response) (last bool, err error) {
	if err := s.sendErr(); err != nil {
		return false, err
	}
	if err := checkResponse(m.Header); err != nil {
		return false, &codec.SourceError{Err: err}
	}
	b, o, length := s.plan(m, status, r)
	if err := o.first.peek(b); err != nil {
		return false, err
	}
	trailers := o.trailer != nil && o.trailer.Len() > 0
	end := b == nil || o.first.empties() && !trailers && o.length <= 0
	if _, err := s.turn(0); err != nil {
		return false, err
	}
	s.begun = true
	s.answered = true
	s.c.guard.answered()
	s.writeResponse(m.Header, r.Tunnel, length, end)
	if end {
		s.endSend()
		s.c.pass(&s.exchange)
		return false, nil
	}
	s.c.pass(&s.exchange)
	return false, s.sendBody(b, &o, -1)
}

// plan decides what is sent as the body, and the content-length, -1 for none.
func (s *ServerStream) plan(m *stream.Message, status int, r *codec.Response) (b stream.Body, o sender, length int64) {
	b, length = m.Body, -1
	o = sender{length: -1, trailer: m.Trailer, progress: r.Progress}
	declared := m.Header.Has(header.ContentLength)
	switch {
	case r.Tunnel:
		o.trailer = nil
	case status < 200 || status == 204:
		b = nil
	case status == 304 || s.isHead:
		b = nil
		if m.Length > 0 || m.Body == nil && m.Length == 0 && declared {
			length = m.Length
		}
	case b == nil:
		if declared {
			length = 0
		}
	case m.Length >= 0:
		length, o.length = m.Length, m.Length
	}
	return b, o, length
}

// Sent returns how many bytes of the response's head and body were sent, and
// whether the client may have seen any of it.
func (s *ServerStream) Sent() (head int, body uint64, begun bool) {
	return s.headSent, s.bodySent, s.begun
}

// Received returns how many bytes of the request's body have arrived.
func (s *ServerStream) Received() uint64 { return s.received }

// Finish ends an exchange whose response was sent. The connection can always carry
// another: a request that has not ended is reset, with NO_ERROR (RFC 9113 §8.1).
func (s *ServerStream) Finish() bool {
	if s.err == nil && s.sentEnd && !s.recvEnd {
		s.reset(frame.NoError)
	}
	return s.err == nil || s.sentEnd
}

// Reset breaks the exchange off with INTERNAL_ERROR.
func (s *ServerStream) Reset() { s.ResetWith(frame.InternalError) }

// ResetWith breaks the exchange off with a code.
func (s *ServerStream) ResetWith(code frame.Code) {
	if s.err == nil && !(s.sentEnd && s.recvEnd) {
		s.reset(code)
	}
}

// reset resets a stream that is being served; it goes on counting until it is
// released.
func (s *ServerStream) reset(code frame.Code) {
	c := s.c
	if c.err != nil {
		return
	}
	c.sendReset(s.id, code)
	s.fail(ErrReset)
	c.grantIf(&s.exchange)
	s.drop()
}

// Release ends the handler's use of the stream. What is unfinished is reset.
func (s *ServerStream) Release() {
	if !s.live {
		return
	}
	c := s.c.role.(*Server)
	c.held -= s.headBytes
	s.release(frame.InternalError)
	c.put(s)
	c.released()
}
