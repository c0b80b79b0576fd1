// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"errors"
	"io"
	"time"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

var (
	// ErrIdle is returned when there is no request and nothing read: the
	// connection can wait without buffers.
	ErrIdle = errors.New("no request")
	// ErrHeadTimeout is returned when a head took too long to arrive.
	ErrHeadTimeout = errors.New("request head timeout")
)

// A Server reads requests from one downstream connection and writes the
// responses. It is attached to a connection while that has work and may then
// serve another, so an idle connection costs no buffer.
type Server struct {
	in      input
	out     output
	parser  Parser
	opts    *Options
	body    payload
	trailer header.Map
	head    *Head
	isHead  bool
	// continued tells that 100 (Continue) was sent, or that no client waits
	// for it.
	continued bool
}

// Attach readies the server for a connection.
func (s *Server) Attach(e Ends, o *Options) {
	s.in.attach(e)
	s.out.attach(e)
	s.opts = o
	s.parser.Reset(o)
	s.head = nil
}

// Detach gives the buffers back.
func (s *Server) Detach() {
	s.in.begin()
	s.in.release()
	s.out.release()
	s.body = payload{chunks: s.body.chunks}
}

// ReadRequest reads the next request's head into m and h. It returns ErrIdle if
// nothing of it has arrived, io.EOF if the client has closed instead, and an
// *Error if what arrived is no request. headTimeout, if not 0, bounds the time
// from the first byte to the last of the head.
func (s *Server) ReadRequest(t *engine.Task, headTimeout time.Duration, m *stream.Message, h *header.Map) error {
	s.in.begin()
	s.parser.Next()
	timed := false
	for {
		if !s.in.empty() {
			n, done, err := s.parser.Request(s.in.rest(), h)
			s.in.r += n
			s.in.pin()
			if err != nil {
				return err
			}
			if done {
				break
			}
			if headTimeout > 0 && !timed {
				timed = true
				t.SetDeadline(int64(headTimeout), ErrHeadTimeout)
			}
		} else if !s.parser.Begun() && !s.in.src.Ready() {
			return ErrIdle
		}
		if err := s.in.fill(); err != nil {
			return s.headError(err)
		}
	}
	if timed {
		t.SetDeadline(0, nil)
	}
	s.begin(m, h)
	return nil
}

// headError tells an end between requests from one within a head.
func (s *Server) headError(err error) error {
	if err == io.EOF && (s.parser.Begun() || !s.in.empty()) {
		return ErrIncomplete
	}
	return err
}

func (s *Server) begin(m *stream.Message, h *header.Map) {
	hd := s.parser.Head()
	s.head = hd
	s.isHead = string(h.Get(header.Method)) == "HEAD"
	s.continued = !hd.Expect100
	*m = stream.Message{Header: h, Length: max(hd.ContentLength, 0)}
	f := framedByNone
	switch {
	case hd.Chunked:
		f = framedByChunks
		m.Length = -1
		s.trailer.Reset()
		m.Trailer = &s.trailer
	case hd.ContentLength > 0:
		f = framedByLength
	}
	s.body.start(&s.in, f, hd.ContentLength, &s.trailer, s.opts)
	if f != framedByNone {
		m.Body = &s.body
	}
}

// Head returns what the present request's head said apart from its fields.
func (s *Server) Head() *Head { return s.head }

// OnContinue sets what is done when the body of a request that expects 100
// (Continue) is first waited for.
func (s *Server) OnContinue(f func() error) {
	if !s.continued {
		s.body.before = func() error { s.continued = true; return f() }
	}
}

// RequestDone reports whether the request was read to its end.
func (s *Server) RequestDone() bool { return s.body.done() }

// Tunnel returns the bytes that follow the request's head as a body that ends
// with the connection: what comes after a protocol switch or CONNECT.
func (s *Server) Tunnel() stream.Body {
	s.body.start(&s.in, framedByClose, -1, nil, s.opts)
	return &s.body
}

// Inform sends an interim response.
func (s *Server) Inform(h *header.Map) error {
	s.out.begin(nil)
	var err error
	if s.out.buf, err = AppendResponse(s.out.buf, h, Framing{Interim: true}); err != nil {
		return err
	}
	return s.out.flush()
}

// Response options.
type Response struct {
	// Close announces that the connection ends after this response.
	Close bool
	// Tunnel tells that the connection leaves HTTP with this response.
	Tunnel bool
	// Progress, if set, is told of each piece of the body.
	Progress Progress
	// Spelling and Case say how names are written.
	Names Names
}

// WriteResponse sends a response. After an error the connection is of no use,
// and Sent tells whether the client has seen any of it.
func (s *Server) WriteResponse(m *stream.Message, o *Response) error {
	f, length := s.frame(m, o)
	s.out.begin(o.Progress)
	var err error
	if s.out.buf, err = AppendResponse(s.out.buf, m.Header, f); err != nil {
		return &SourceError{err}
	}
	if m.Body == nil || !f.HasBody {
		return s.out.flush()
	}
	return s.out.body(m.Body, length, f.Chunked, func() *header.Map { return s.trailerOf(m) })
}

func (s *Server) trailerOf(m *stream.Message) *header.Map {
	if !s.opts.EnableTrailers {
		return nil
	}
	return m.Trailer
}

// Sent returns how many bytes of the body were written, and whether any of the
// response was.
func (s *Server) Sent() (body uint64, any bool) { return s.out.bytes, s.out.begun }

// Received returns how many bytes of the request's body were read.
func (s *Server) Received() uint64 { return s.body.bytes }

// maxDrain is how much of a request that nobody read is read and thrown away
// to keep the connection; what is longer costs the client its connection.
const maxDrain = 64 << 10

// Finish ends an exchange whose response was sent and reports whether the
// connection can carry another. What is left of the request is skipped if it is
// there already and short.
func (s *Server) Finish() bool {
	for skipped := 0; !s.body.done(); {
		if !s.continued || !s.body.Ready() || skipped > maxDrain {
			return false
		}
		p, err := s.body.Next()
		if err != nil && err != io.EOF {
			return false
		}
		skipped += len(p)
	}
	return true
}
