// SPDX-License-Identifier: Apache-2.0

package streamtest

import (
	"io"
	"strconv"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// Request is what the client sends. The zero Request is GET / to example.com.
type Request struct {
	Method, Path, Authority string
	Header                  []string // "name: value"
	// Body is sent with a content-length unless Chunked or Trailer is set.
	Body    []Piece
	Chunked bool
	Trailer []string
	// OnPiece is called on the loop with each piece of the response's body that
	// the client gets.
	OnPiece func(piece string)
}

func (r *Request) lines() []field {
	or := func(s, def string) string {
		if s == "" {
			return def
		}
		return s
	}
	l := []field{
		{header.Method, or(r.Method, "GET")},
		{header.Path, or(r.Path, "/")},
		{header.Authority, or(r.Authority, "example.com")},
		{header.Scheme, "http"},
	}
	for _, h := range r.Header {
		l = append(l, split(h))
	}
	return l
}

// Upstream is what the fake upstream does. The zero Upstream reads the request
// and answers 200 without a body.
type Upstream struct {
	Status  int
	Header  []string
	Body    []Piece
	Chunked bool // the response's length is not told
	Trailer []string
	// After, if set, holds the response back until it is closed.
	After <-chan struct{}
	// Inform are the heads of interim responses to send first.
	Inform [][]string
	// Err, if set, is what happens instead of a response.
	Err error
	// Duplex reads the request's body on a task of its own, while the response
	// goes back.
	Duplex bool
	// OnPiece is called on the loop with each piece of the request's body that
	// the upstream gets.
	OnPiece func(piece string)
}

// Seen is one message as it came out at the far end of the chain.
type Seen struct {
	Header  Lines
	HasBody bool
	Length  int64 // as the message tells it; -1 if it does not
	Body    string
	Pieces  []string // the body as it came
	Trailer Lines
	Err     error // what broke the body off
}

// Result is what came of a call.
type Result struct {
	// Seen is the response as the client got it.
	Seen
	// Status is the response's; 0 if the stream was broken off without one.
	Status int
	// Informed are the interim responses.
	Informed []Lines
	// Called tells that the request reached the upstream, Upstream as what.
	Called   bool
	Upstream Seen
	// Info is what was known of the stream at its end, without the heads.
	Info streaminfo.Stream
}

// Call is a request being served.
type Call struct {
	rig  *Rig
	req  Request
	up   Upstream
	done chan struct{}
	res  Result

	owner         owner
	s             stream.Stream
	heads         [4]header.Map // request, its trailer, response, its trailer
	task, upload  *engine.Task
	gone, settled bool
}

// Wait waits for the call's end.
func (c *Call) Wait() *Result {
	<-c.done
	return &c.res
}

// Cancel lets the client go away.
func (c *Call) Cancel() {
	c.rig.loop.Post(func() {
		if c.task != nil && !c.settled {
			c.task.Interrupt(stream.ErrDownstreamGone)
		}
	})
}

// Run serves the request on a task.
func (c *Call) Run(t *engine.Task) {
	defer close(c.done)
	c.task = t
	c.owner.rig = c.rig
	s := &c.s
	s.Begin(t, &c.owner)
	c.request(s)
	s.Route() // As the connection manager does, before any filter.
	chain := c.rig.chain((*terminal)(c))
	if chain.Serve(s) {
		c.respond(s)
	}
	chain.End(s)
	c.settled = true
	t.Clear()
	c.res.Informed = c.owner.informed
	c.res.Info = s.Info
	c.res.Info.Request, c.res.Info.Response = nil, nil
	c.res.Info.RequestTrailer, c.res.Info.ResponseTrailer = nil, nil
	c.res.Info.LocalReplyBody = nil
	for i := range c.heads {
		c.heads[i].Reset()
	}
	s.Wipe() // What filters keep for a stream is wiped.
}

func (c *Call) request(s *stream.Stream) {
	h := &c.heads[0]
	for _, f := range c.req.lines() {
		h.AddBytes(f.name, []byte(f.value))
	}
	s.Request.Header = h
	s.Info.Request = h
	s.Info.Protocol = streaminfo.HTTP11
	s.Info.Conn = &streaminfo.Connection{ID: 1, Requests: 1}
	s.Info.Remote = address.Addr{}
	c.message(&s.Request, c.req.Body, c.req.Chunked, c.req.Trailer, &c.heads[1])
	s.Info.RequestTrailer = s.Request.Trailer
}

// message gives a message its body.
func (c *Call) message(m *stream.Message, pieces []Piece, chunked bool, trailer []string, t *header.Map) {
	if len(pieces) == 0 && !chunked && trailer == nil {
		return
	}
	chunked = chunked || trailer != nil
	m.Length = -1
	if !chunked {
		m.Length = length(pieces)
		m.Header.SetInt(header.ContentLength, m.Length)
	} else {
		m.Trailer = t
	}
	m.Body = newBody(c.rig.loop, pieces, chunked, m.Trailer, trailer)
}

// respond is the client reading the response.
func (c *Call) respond(s *stream.Stream) {
	c.res.Status, _ = strconv.Atoi(string(s.Response.Header.Get(header.Status)))
	c.res.see(&s.Response)
	if err := c.res.read(&s.Response, c.req.OnPiece); err != nil {
		s.Fail(err)
	}
}

func (v *Seen) see(m *stream.Message) {
	v.Header, v.HasBody, v.Length = linesOf(m.Header), m.Body != nil, m.Length
}

// read reads a message's body to its end.
func (v *Seen) read(m *stream.Message, each func(string)) error {
	if m.Body == nil {
		return nil
	}
	for {
		m.Body.Ready() // Must never do harm.
		p, err := m.Body.Next()
		if len(p) > 0 {
			v.Pieces = append(v.Pieces, string(p))
			v.Body += string(p)
			if each != nil {
				each(string(p))
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			v.Err = err
			return err
		}
	}
	if m.Trailer != nil {
		v.Trailer = linesOf(m.Trailer)
	}
	return nil
}

// terminal is the fake upstream, the last filter of the chain.
type terminal Call

// Request takes the request and makes the response.
func (u *terminal) Request(s *stream.Stream) error {
	c := (*Call)(u)
	c.res.Called = true
	c.res.Upstream.see(&s.Request)
	if c.up.Duplex {
		c.rig.loop.Go(engine.RunnerFunc(func(t *engine.Task) {
			c.upload = t
			// What went wrong is in the result.
			_ = c.res.Upstream.read(&s.Request, c.up.OnPiece)
			c.upload = nil
			c.gone = true
		}))
	} else if err := c.res.Upstream.read(&s.Request, c.up.OnPiece); err != nil {
		return err
	}
	for _, head := range c.up.Inform {
		var h header.Map
		for _, line := range head {
			f := split(line)
			h.Add(f.name, f.value)
		}
		if err := s.Inform(&h); err != nil {
			return err
		}
	}
	if err := await(c.rig.loop, c.up.After); err != nil {
		return err
	}
	if c.up.Err != nil {
		return c.up.Err
	}
	h := &c.heads[2]
	h.AddInt(header.Status, int64(max(c.up.Status, 200)))
	for _, line := range c.up.Header {
		f := split(line)
		h.AddBytes(f.name, []byte(f.value))
	}
	s.Response = stream.Message{Header: h}
	c.message(&s.Response, c.up.Body, c.up.Chunked, c.up.Trailer, &c.heads[3])
	s.Info.Response = h
	s.Info.ResponseTrailer = s.Response.Trailer
	return nil
}

// Response does nothing: the fake upstream is the last filter.
func (*terminal) Response(*stream.Stream) error { return nil }

// End ends the upload.
func (u *terminal) End(*stream.Stream) {
	if !u.up.Duplex || !u.res.Called {
		return
	}
	for !u.gone {
		if u.upload != nil {
			u.upload.Interrupt(stream.ErrDownstreamGone)
		}
		u.task.Yield()
	}
}
