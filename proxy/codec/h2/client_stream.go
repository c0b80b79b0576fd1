// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"errors"
	"io"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// A pendingHead is a response's head that was received and not yet read.
type pendingHead struct {
	m      header.Map
	hd     codec.Head
	arena  []byte
	length int64
	end    bool
}

// maxPending bounds the heads of one stream that wait to be read: interim responses
// that come faster than they are passed on.
const maxPending = 8

// A ClientStream is one exchange with a server.
type ClientStream struct {
	exchange
	hd      codec.Head
	heads   []*pendingHead
	arena   []byte // of the head that was read
	tail    []byte // of the trailers
	final   bool   // the final head was read
	out     sender
	length  int64 // content-length to send, -1 for none
	upgrade bool
	connect bool
	isHead  bool
	hasBody bool
	m       *header.Map // what Open was given
	protoc  []byte
}

// Queued returns how many bytes of the response have come that nobody has read.
func (s *ClientStream) Queued() int { return s.queue.n }

var _ codec.ClientStream = (*ClientStream)(nil)

func (s *ClientStream) begin(c *Client) {
	s.open(&c.conn, 0)
	s.live, s.counted = true, true
	s.hd = codec.Head{}
	s.final, s.upgrade, s.connect, s.isHead = false, false, false, false
	s.m = nil
	s.tail = s.tail[:0]
}

// client returns the connection.
func (s *ClientStream) client() *Client { return s.c.role.(*Client) }

// ID returns the stream's number, 0 before the head was sent.
func (s *ClientStream) ID() uint32 { return s.id }

// OnBody has p told of each piece of the response's body that arrives.
func (s *ClientStream) OnBody(p codec.Progress) { s.progress = p }

// Open checks the request's head. It is sent with the first piece of the body, or by
// Flush; until then m must not change.
func (s *ClientStream) Open(m *stream.Message, r *codec.Request) error {
	if err := checkRequest(m.Header, r.Upgrade); err != nil {
		return &codec.SourceError{Err: err}
	}
	method := m.Header.Get(header.Method)
	s.m, s.upgrade, s.connect = m.Header, r.Upgrade, string(method) == "CONNECT"
	s.isHead, s.hasBody = string(method) == "HEAD", m.Body != nil
	s.out = sender{length: -1, trailer: m.Trailer, progress: r.Progress}
	s.length = -1
	if r.Upgrade {
		// What the answer is told to grant.
		s.protoc = append(s.protoc[:0], m.Header.Get(header.Upgrade)...)
	}
	switch {
	case r.Upgrade || s.connect:
	case m.Body != nil && m.Length >= 0:
		s.out.length, s.length = m.Length, m.Length
	case m.Body == nil && expectsBody(method):
		s.length = 0
	}
	return nil
}

// sendHead sends what Open left, if it has not been sent.
func (s *ClientStream) sendHead(end bool) error {
	c := s.client()
	if s.id != 0 {
		return nil
	}
	if s.m == nil {
		return ErrReset
	}
	if s.upgrade {
		if err := s.waitSettings(); err != nil {
			return err
		}
	}
	if _, err := s.turn(0); err != nil {
		return err
	}
	if c.goAway.remote {
		c.pass(&s.exchange)
		return &codec.ResetError{Code: uint32(frame.RefusedStream), Refused: true, GoAway: true, Reason: "GOAWAY"}
	}
	c.sendSettings()
	s.id = c.next
	c.next += 2
	c.last = s.id
	if c.next > frame.MaxWindow-2 {
		defer c.drain() // RFC 9113 §5.1.1: no number is left.
	}
	s.sendWindow = c.peer.window
	c.table.put(&s.exchange)
	c.keep.opening()
	s.begun = true
	s.writeRequest(s.m, s.upgrade, s.length, end)
	s.m = nil
	if end {
		s.endSend()
	}
	c.pass(&s.exchange)
	return nil
}

// waitSettings waits for the server to say whether it takes extended CONNECT (RFC
// 8441 §3).
func (s *ClientStream) waitSettings() error {
	c := s.client()
	c.sendSettings()
	for !c.settings.received {
		if err := s.sendErr(); err != nil {
			return err
		}
		c.unsettled = append(c.unsettled, &s.exchange)
		if err := s.waitSend(); err != nil {
			return err
		}
	}
	if !c.peer.connect || !c.lim.AllowConnect {
		return errWriteConnect
	}
	return nil
}

// Flush sends the head. Of a request without a body or tunnel it is the end.
func (s *ClientStream) Flush() error {
	return s.sendHead(!s.upgrade && !s.connect && !s.hasBody)
}

// SendReady sends what Open left and as much of the body as is there already.
func (s *ClientStream) SendReady(m *stream.Message, most int) (done bool, err error) {
	err = s.send(m, most)
	if errors.Is(err, errMore) {
		return false, nil
	}
	return true, err
}

// SendBody sends what Open left and the body.
func (s *ClientStream) SendBody(m *stream.Message) error { return s.send(m, -1) }

func (s *ClientStream) send(m *stream.Message, most int) error {
	if err := s.sendErr(); err != nil {
		return err
	}
	if m.Body == nil {
		return s.sendHead(true)
	}
	if s.id == 0 {
		if err := s.out.first.peek(m.Body); err != nil {
			return err
		}
		none := s.out.first.empties() && (s.out.trailer == nil || s.out.trailer.Len() == 0) && s.out.length <= 0
		if err := s.sendHead(none); err != nil || none {
			return err
		}
	}
	return s.sendBody(m.Body, &s.out, most)
}

// SendTunnel sends bytes as they come, after the exchange has left HTTP, and ends
// this side when they end.
func (s *ClientStream) SendTunnel(b stream.Body) error {
	return s.sendBody(b, &sender{length: -1, progress: s.out.progress}, -1)
}

// Tunnel returns the bytes that the server sends as a body, without a response
// before them.
func (s *ClientStream) Tunnel() stream.Body {
	s.headed = true
	return &s.body
}

// received takes a head that has arrived.
func (s *ClientStream) received(p *pendingHead) *codec.Error {
	c := s.client()
	hd := &p.hd
	if hd.Status < 200 {
		if p.end || p.length > 0 {
			c.unpend(p)
			return errStatus
		}
		if len(s.heads) >= maxPending {
			c.unpend(p)
			return errHeads
		}
		s.heads = append(s.heads, p)
		s.wakeReader()
		return nil
	}
	s.headed = true
	switch {
	case hd.Status/100 == 2 && (s.upgrade || s.connect):
		hd.Tunnel = true
		p.length = -1
		p.m.Del(header.ContentLength)
		if s.upgrade {
			hd.Status, hd.Upgrade, hd.Protocol = 101, true, s.protoc
			p.m.Set(header.Status, "101")
			p.m.AddView(header.Upgrade, s.protoc)
		}
	case hd.Status == 204 && p.length > 0:
		c.unpend(p)
		return errLength
	case s.isHead, hd.Status == 204, hd.Status == 304:
		s.noBody = true
	default:
		s.exchange.length = p.length
	}
	if p.end {
		// Before anybody can read the head: one that promises what does not come is none.
		if err := s.checkContent(0, true); err != nil {
			c.unpend(p)
			return err
		}
		s.endRecv()
	}
	s.heads = append(s.heads, p)
	s.wakeReader()
	return nil
}

// ReadResponse reads the next response head, be it interim, into m and h, which
// must be empty. io.EOF means that the connection ended before the first byte of a
// response.
func (s *ClientStream) ReadResponse(m *stream.Message, h *header.Map) error {
	for len(s.heads) == 0 {
		if err := s.headErr(); err != nil {
			return err
		}
		if err := s.waitRead(); err != nil {
			return err
		}
	}
	p := s.heads[0]
	copy(s.heads, s.heads[1:])
	s.heads[len(s.heads)-1] = nil
	s.heads = s.heads[:len(s.heads)-1]
	// The memory goes with the fields; what the caller's map had is used again.
	*h, p.m = p.m, *h
	s.arena, p.arena = p.arena, s.arena
	s.hd = p.hd
	s.final = s.hd.Status >= 200 || s.hd.Status == 101
	*m = stream.Message{Header: h, Length: max(p.length, 0)}
	if s.final && !s.noBody && !p.end {
		m.Body, m.Length = &s.body, p.length
		if !s.hd.Tunnel {
			m.Trailer = &s.trailer
		}
	}
	s.client().unpend(p)
	return nil
}

// headErr returns why no head will come.
func (s *ClientStream) headErr() error {
	err := s.err
	if err == nil {
		err = s.c.err
	}
	if err == nil && s.recvEnd {
		return ErrIncomplete
	}
	if err == io.EOF && s.hd.Status != 0 {
		return ErrIncomplete
	}
	return gatewayError(err)
}

// gatewayError makes of what is wrong with the server what a client is told.
func gatewayError(err error) error {
	if err == nil {
		return nil
	}
	var own *ConnectionError
	if errors.As(err, &own) && !own.Remote {
		return badGateway(own.Reason)
	}
	var bad *codec.Error
	if errors.As(err, &bad) && bad.Status < 500 {
		return &codec.Error{Status: 502, Detail: bad.Detail, Reason: bad.Reason}
	}
	return err
}

// Head returns what the response's head said apart from its fields.
func (s *ClientStream) Head() *codec.Head { return &s.hd }

// Sent returns how many bytes of the request's head and body were sent, and whether
// the server may have seen any of it.
func (s *ClientStream) Sent() (head int, body uint64, begun bool) {
	return s.headSent, s.bodySent, s.begun
}

// Received returns how many bytes of the response's body have arrived.
func (s *ClientStream) Received() uint64 { return s.exchange.received }

// ResponseDone reports whether the response, not an interim one, was read to its
// end.
func (s *ClientStream) ResponseDone() bool {
	return s.final && s.recvEnd && s.queue.n == 0
}

// Broken reports whether the response ended before its end, or went wrong.
func (s *ClientStream) Broken() bool {
	return !s.recvEnd && (s.err != nil || s.c.err != nil)
}

// Reset breaks the exchange off with a code.
func (s *ClientStream) Reset(code frame.Code) {
	c := s.c
	if s.err != nil || s.sentEnd && s.recvEnd || c.err != nil {
		return
	}
	if s.id != 0 {
		c.sendReset(s.id, code)
		c.resets.add(s.id)
		c.forget(&s.exchange)
	}
	s.fail(ErrReset)
	c.grantIf(&s.exchange)
	c.uncount(&s.exchange)
}

// Release ends the use of the stream. What is unfinished is reset with CANCEL.
func (s *ClientStream) Release() {
	if !s.live {
		return
	}
	c := s.client()
	if !(s.sentEnd && s.recvEnd) {
		s.Reset(frame.Cancel)
	}
	s.release(frame.Cancel)
	c.put(s)
	c.released()
}
