// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"io"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// A Client sends one request at a time on an upstream connection and reads the
// response. Like a Server it is attached to a connection only while it works,
// so a pooled connection costs no buffer.
type Client struct {
	in      input
	out     output
	parser  Parser
	opts    *Options
	body    payload
	trailer header.Map
	framing Framing
	left    bool
}

// Attach readies the client for an exchange on a connection.
func (c *Client) Attach(e codec.Ends, o *Options) {
	c.in.attach(e)
	c.out.attach(e)
	c.in.begin()
	c.opts = o
	c.parser.Reset(o)
	c.left = false
	c.body.start(&c.in, framedByNone, 0)
}

// Detach gives the buffers back. Views of the response end here.
func (c *Client) Detach() {
	c.in.release()
	c.out.release()
}

// Open builds the request's head. It is sent with the first piece of the body,
// or by Flush.
func (c *Client) Open(m *stream.Message, r *codec.Request) error {
	c.framing = Framing{Upgrade: r.Upgrade, Case: c.opts.Case}
	if c.opts.PreserveCase {
		c.framing.Spelling = spelled(m)
	}
	method := m.Header.Get(header.Method)
	f := &c.framing
	switch {
	case r.Upgrade || string(method) == "CONNECT":
	case m.Body != nil && m.Length >= 0:
		f.Body, f.Length = BodyLength, m.Length
	case m.Body != nil:
		f.Body = BodyChunked
	case expectsBody(method):
		f.Body = BodyLength
	}
	c.parser.SetRequest(method, r.Upgrade)
	c.out.begin(r.Progress)
	var err error
	if c.out.buf, err = AppendRequest(c.out.buf, m.Header, f); err != nil {
		return &codec.SourceError{Err: err}
	}
	c.out.head = len(c.out.buf)
	return nil
}

// expectsBody reports whether a request without a body says so by
// Content-Length: 0 (RFC 9110 §8.6).
func expectsBody(method []byte) bool {
	switch string(method) {
	case "POST", "PUT", "PATCH":
		return true
	}
	return false
}

// Flush sends the head.
func (c *Client) Flush() error { return c.out.flush() }

// SendReady sends what Open left and as much of the body as is there already, up
// to most bytes. It reports whether that was all; if not, SendBody goes on.
func (c *Client) SendReady(m *stream.Message, most int) (done bool, err error) {
	err = c.out.body(m.Body, &c.framing, c.trailerOf(m), most)
	if err == errMore {
		return false, nil
	}
	return true, err
}

// SendBody sends what Open left and the body. An error of the body itself is a
// *SourceError.
func (c *Client) SendBody(m *stream.Message) error {
	return c.out.body(m.Body, &c.framing, c.trailerOf(m), -1)
}

func (c *Client) trailerOf(m *stream.Message) *header.Map {
	if !c.opts.EnableTrailers {
		return nil
	}
	return m.Trailer
}

// SendTunnel sends bytes as they come, after the connection has left HTTP, and ends
// this side when they end.
func (c *Client) SendTunnel(b stream.Body) error {
	if err := c.out.body(b, &Framing{}, nil, -1); err != nil {
		return err
	}
	return c.out.closeWrite()
}

// Tunnel returns the bytes that the server sends as a body that ends with the
// connection, without a response before them.
func (c *Client) Tunnel() stream.Body {
	c.left = true
	c.body.start(&c.in, framedByClose, -1)
	c.body.leaver = c
	c.out.begin(nil)
	return &c.body
}

// Leave gives the connection and the buffers away; see [codec.Leaver].
func (c *Client) Leave() (codec.Ends, []byte) {
	c.out.release()
	return c.body.leave()
}

// Carried counts bytes that were carried past the codec.
func (c *Client) Carried(received, sent int) {
	c.body.bytes += uint64(received)
	c.out.bytes += uint64(sent)
}

// Sent returns how many bytes of the request's head and body were written, and
// whether the server may have seen any of it.
func (c *Client) Sent() (head int, body uint64, begun bool) {
	return c.out.head, c.out.bytes, c.out.begun
}

// ReadResponse reads the next response head, be it interim, into m and h, which
// must be empty. io.EOF means that the connection ended before the first byte
// of a response.
func (c *Client) ReadResponse(m *stream.Message, h *header.Map) error {
	c.parser.Next()
	c.in.begin() // Of an interim response nothing is kept.
	for {
		if !c.in.empty() {
			n, done, err := c.parser.Response(c.in.rest(), h)
			c.in.r += n
			c.in.pin()
			if err != nil {
				return err
			}
			if done {
				break
			}
		}
		if err := c.in.fill(); err != nil {
			if err == io.EOF && (c.parser.Begun() || !c.in.empty()) {
				return ErrIncomplete
			}
			return err
		}
	}
	c.begin(m, h)
	return nil
}

func (c *Client) begin(m *stream.Message, h *header.Map) {
	hd := c.parser.Head()
	*m = stream.Message{Header: h, Length: max(hd.ContentLength, 0)}
	if c.opts.PreserveCase {
		m.Spelling = c.parser.Spelling()
	}
	f := framedByNone
	switch {
	case hd.Tunnel, hd.UntilClose:
		c.left = hd.Tunnel
		f = framedByClose
		m.Length = -1
	case hd.HasBody && hd.Chunked:
		f = framedByChunks
		m.Length = -1
		c.trailer.Reset()
		c.body.chunks.Reset(c.opts, &c.trailer, true)
		m.Trailer = &c.trailer
	case hd.HasBody:
		f = framedByLength
	}
	c.body.start(&c.in, f, hd.ContentLength)
	if hd.Tunnel {
		c.body.leaver = c
	}
	if f != framedByNone {
		m.Body = &c.body
	}
}

// Head returns what the response's head said apart from its fields.
func (c *Client) Head() *codec.Head { return &c.parser.Head().Head }

// Received returns how many bytes of the response's body were read.
func (c *Client) Received() uint64 { return c.body.bytes }

// ResponseDone reports whether the response, not an interim one, was read to its
// end.
func (c *Client) ResponseDone() bool {
	s := c.parser.Head().Status
	return (s >= 200 || s == 101) && c.body.done()
}

// Broken reports whether the response ended before its end, or went wrong.
func (c *Client) Broken() bool { return c.body.err != nil && c.body.err != io.EOF }

// Left reports whether the connection has left HTTP: it is a tunnel.
func (c *Client) Left() bool { return c.left }

// Reusable reports whether the connection can carry another request: the
// response has ended, nothing follows it, and the server keeps it open.
func (c *Client) Reusable() bool {
	hd := c.parser.Head()
	return c.ResponseDone() && hd.KeepAlive && !hd.UntilClose && !hd.Tunnel && !c.framing.Close && c.in.empty()
}
