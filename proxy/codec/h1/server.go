// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"errors"
	"io"
	"time"

	"weir.dev/weir/proxy/codec"
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
func (s *Server) Attach(e codec.Ends, o *Options) {
	s.in.attach(e)
	s.out.attach(e)
	s.opts = o
	s.parser.Reset(o)
	s.head = nil
}

// Detach gives the buffers back.
func (s *Server) Detach() {
	s.body.progress = nil
	s.in.begin()
	s.in.release()
	s.out.release()
	s.body.start(&s.in, framedByNone, 0)
}

// ReadRequest reads the next request's head into m and h. It returns ErrIdle if
// nothing of it has arrived, io.EOF if the client has closed instead, and an
// *codec.Error if what arrived is no request. headTimeout, if not 0, bounds the time
// from the first byte to the last of the head.
func (s *Server) ReadRequest(t *engine.Task, headTimeout time.Duration, m *stream.Message, h *header.Map) error {
	s.in.begin()
	s.parser.Next()
	s.head = nil
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
	if s.opts.PreserveCase {
		m.Spelling = s.parser.Spelling()
	}
	f := framedByNone
	switch {
	case hd.Chunked:
		f = framedByChunks
		m.Length = -1
		s.trailer.Reset()
		s.body.chunks.Reset(s.opts, &s.trailer, false)
		m.Trailer = &s.trailer
	case hd.ContentLength > 0:
		f = framedByLength
	}
	s.body.start(&s.in, f, hd.ContentLength)
	if f != framedByNone {
		m.Body = &s.body
	}
}

// Head returns what the present request's head said apart from its fields; nil
// before there is one.
func (s *Server) Head() *codec.Head {
	if s.head == nil {
		return nil
	}
	return &s.head.Head
}

// H2C returns the settings with which the present request offers to go on in HTTP/2
// (RFC 7540 §3.2), in base64url; nil if it does not, or if the options do not want
// to know.
func (s *Server) H2C() []byte { return s.head.H2C }

// OnBody has p told of each piece of the requests' bodies that arrives, until
// Detach.
func (s *Server) OnBody(p codec.Progress) { s.body.progress = p }

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
	s.body.start(&s.in, framedByClose, -1)
	s.body.leaver = s
	return &s.body
}

// Leave gives the connection and the buffers away; see [codec.Leaver].
func (s *Server) Leave() (codec.Ends, []byte) {
	s.out.release()
	return s.body.leave()
}

// Carried counts bytes that were carried past the codec.
func (s *Server) Carried(received, sent int) {
	s.body.bytes += uint64(received)
	s.out.bytes += uint64(sent)
}

// NoTunnel takes Tunnel back, where the upgrade was not granted: what follows the
// head is the next request. It reports false if bytes of it were read already.
func (s *Server) NoTunnel() bool {
	if s.body.bytes > 0 {
		return false
	}
	s.body.start(&s.in, framedByNone, 0)
	return true
}

// Inform sends an interim response.
func (s *Server) Inform(h *header.Map) error {
	if s.head.HTTP10() {
		return nil // Which has none.
	}
	s.out.begin(nil)
	var err error
	if s.out.buf, err = AppendResponse(s.out.buf, h, &Framing{Case: s.opts.Case}); err != nil {
		return err
	}
	return s.out.flush()
}

// spelled returns how the names of a message were spelled where it came from.
func spelled(m *stream.Message) *Spelling {
	s, _ := m.Spelling.(*Spelling) // Of another protocol there is none.
	return s
}

// WriteResponse sends a response and reports whether the connection must be
// closed to end it. After an error the connection is of no use.
func (s *Server) WriteResponse(m *stream.Message, status int, r *codec.Response) (closes bool, err error) {
	f, hasBody := s.frame(m, status, r)
	s.out.begin(r.Progress)
	if s.out.buf, err = AppendResponse(s.out.buf, m.Header, &f); err != nil {
		return true, &codec.SourceError{Err: err}
	}
	s.out.head = len(s.out.buf)
	if !hasBody {
		return f.Close, s.out.flush()
	}
	trailer := m.Trailer
	if !s.opts.EnableTrailers {
		trailer = nil
	}
	err = s.out.body(m.Body, &f, trailer, -1)
	if err == nil && r.Tunnel {
		// If the client is gone already, who reads from it finds out.
		_ = s.out.closeWrite()
	}
	return f.Close, err
}

// frame decides how the response is framed (RFC 9112 §6).
func (s *Server) frame(m *stream.Message, status int, r *codec.Response) (f Framing, hasBody bool) {
	f = Framing{Close: r.Close, Case: s.opts.Case}
	if s.opts.PreserveCase {
		f.Spelling = spelled(m)
	}
	http10 := s.head != nil && s.head.HTTP10()
	hasBody = m.Body != nil
	switch {
	case r.Tunnel:
		f.Upgrade = status == 101
		f.Close = false
		return f, hasBody
	case status < 200 || status == 204:
		hasBody = false
	case status == 304 || s.isHead:
		hasBody = false
		if m.Length > 0 || m.Body == nil && m.Length == 0 && m.Header.Has(header.ContentLength) {
			f.Body, f.Length = BodyLength, m.Length
		}
	case m.Body == nil:
		f.Body = BodyLength
	case m.Length >= 0:
		f.Body, f.Length = BodyLength, m.Length
	case http10:
		f.Close = true
	default:
		f.Body = BodyChunked
	}
	f.KeepAlive = http10 && !f.Close
	return f, hasBody
}

// Sent returns how many bytes of the response's head and body were written, and
// whether the client may have seen any of it.
func (s *Server) Sent() (head int, body uint64, begun bool) {
	return s.out.head, s.out.bytes, s.out.begun
}

// Buffered reports whether bytes behind the present request were read.
func (s *Server) Buffered() bool { return !s.in.empty() }

// Rest returns what was read and belongs to no request: after [ErrPreface] all of the
// connection.
func (s *Server) Rest() []byte { return s.in.rest() }

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

// Reset closes the connection so that the client sees that the response is not
// whole.
func (s *Server) Reset() { s.out.reset() }
