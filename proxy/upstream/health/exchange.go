// SPDX-License-Identifier: Apache-2.0

package health

import (
	"errors"
	"io"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h1"
	"weir.dev/weir/proxy/codec/h2"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream"
)

// Speak is the version of HTTP that a Client speaks.
type Speak uint8

// Versions.
const (
	SpeakHTTP1 Speak = iota
	SpeakHTTP2
)

// A Client asks one host by HTTP, on a connection that it keeps if it may.
type Client struct {
	probe *Probe
	speak Speak
	alpn  bool // the handshake decides, speak if it does not

	one  *Link // of HTTP/1, at rest
	many *multiplexed
}

// Client returns a client for a host. With alpn the handshake chooses the version, and
// speak counts if it chose none.
func (p *Probe) Client(speak Speak, alpn bool) *Client {
	switch {
	case alpn:
		p.fallback = []string{"h2", "http/1.1"}
	case speak == SpeakHTTP2:
		p.fallback = []string{"h2"}
	default:
		p.fallback = []string{"http/1.1"}
	}
	return &Client{probe: p, speak: speak, alpn: alpn}
}

// A Response is the answer to a check. It is of no use after the function that it is
// given to has returned.
type Response struct {
	stream.Message
	Status int
}

// Do sends a request and gives its response to judge, which reads as much of the body as
// it wants. A request on a connection that the host had closed meanwhile is sent again,
// on a new one.
func (c *Client) Do(t *engine.Task, m *stream.Message, judge func(*Response) (Result, error)) (Result, error) {
	again := *m
	if b, ok := m.Body.(*stream.Bytes); ok {
		whole := *b // Sending uses it up.
		again.Body = &whole
	}
	res, stale, err := c.once(t, m, judge)
	if err != nil && stale {
		res, _, err = c.once(t, &again, judge)
	}
	return res, err
}

// once makes one try. stale tells that it failed on a connection that was at rest before,
// and that nothing came back.
func (c *Client) once(t *engine.Task, m *stream.Message, judge func(*Response) (Result, error)) (res Result, stale bool, err error) {
	if x := c.many; x != nil {
		c.many = nil
		if x.usable(c.probe) {
			return c.exchange2(t, x, true, m, judge)
		}
		x.close()
	}
	l := c.one
	c.one = nil
	if l == nil || !l.Take(c.probe) {
		if l, err = c.probe.Connect(t); err != nil {
			return Result{}, false, err
		}
	}
	if c.speaks(l) == SpeakHTTP2 {
		return c.exchange2(t, newMultiplexed(l, c.probe.Host().Cluster), false, m, judge)
	}
	return c.exchange1(t, l, m, judge)
}

func (c *Client) speaks(l *Link) Speak {
	switch {
	case c.alpn && l.Info.ALPN == "h2":
		return SpeakHTTP2
	case c.alpn && l.Info.ALPN == "http/1.1":
		return SpeakHTTP1
	}
	return c.speak
}

func (c *Client) exchange1(t *engine.Task, l *Link, m *stream.Message, judge func(*Response) (Result, error)) (res Result, stale bool, err error) {
	x := new(h1.Client)
	x.Attach(l.Ends(), &c.probe.Host().Cluster.Codec)
	res, err = converse(x, m, judge)
	stale = l.Used && x.Head().Size == 0 && !interrupted(err)
	reuse := err == nil && c.probe.config.Reuse && x.Reusable()
	x.Detach()
	if !reuse {
		l.Close()
		return res, stale, err
	}
	l.Rest()
	c.one = l
	return res, false, nil
}

func (c *Client) exchange2(_ *engine.Task, x *multiplexed, rested bool, m *stream.Message, judge func(*Response) (Result, error)) (res Result, stale bool, err error) {
	s := x.client.Open()
	if s == nil {
		x.close()
		return Result{}, rested, errNoStream
	}
	res, err = converse(s, m, judge)
	var reset *codec.ResetError
	alive := err == nil || errors.As(err, &reset) && !reset.GoAway
	stale = rested && !alive && s.Head().Size == 0 && !interrupted(err)
	s.Release()
	if !alive || !c.probe.config.Reuse || x.leaving || x.over {
		x.close()
		return res, stale, err
	}
	c.many = x
	return res, stale, err
}

var errNoStream = errors.New("the host takes no stream")

func interrupted(err error) bool {
	_, ok := errors.AsType[*engine.Interrupted](err)
	return ok
}

// converse sends a request and reads its response.
func converse(x codec.ClientStream, m *stream.Message, judge func(*Response) (Result, error)) (Result, error) {
	err := x.Open(m, &codec.Request{})
	if err == nil && m.Body == nil {
		err = x.Flush()
	} else if err == nil {
		err = x.SendBody(m)
	}
	if err != nil {
		return Result{}, err
	}
	var r Response
	var h header.Map
	if err := codec.ReadFinal(x, &r.Message, &h); err != nil {
		return Result{}, err
	}
	r.Status = x.Head().Status
	return read(&r, judge)
}

// read has a response judged and reads what is left of its body, so that the connection
// can be kept.
func read(r *Response, judge func(*Response) (Result, error)) (Result, error) {
	res, err := judge(r)
	for err == nil && r.Body != nil {
		if _, err = r.Body.Next(); err == io.EOF {
			return res, nil
		}
	}
	return res, err
}

// Close closes the connections that are kept.
func (c *Client) Close() {
	if c.one != nil {
		c.one.Close()
	}
	if c.many != nil {
		c.many.close()
	}
	c.one, c.many = nil, nil
}

// multiplexed is a connection of HTTP/2.
type multiplexed struct {
	*Link
	client  *h2.Client
	serving bool
	leaving bool // the host takes no more streams
	over    bool
}

func newMultiplexed(l *Link, cl *upstream.Cluster) *multiplexed {
	x := &multiplexed{Link: l}
	x.client = h2.NewClient(l.Ends(), &cl.HTTP.HTTP2, new(h2.Stats), x)
	if l.Transport.Ready() || !l.Socket.Idle(x) {
		l.Socket.Loop().Go(x)
	}
	return x
}

// Ready is called when the connection can be read.
func (x *multiplexed) Ready(*engine.Conn) { x.Socket.Loop().Go(x) }

// Run reads the connection until there is nothing to read.
func (x *multiplexed) Run(t *engine.Task) {
	for !x.closed {
		x.serving = true
		keep := x.client.Serve(t)
		x.serving = false
		if !keep {
			x.Link.Close()
			return
		}
		if !x.Transport.Ready() && x.Socket.Idle(x) {
			return
		}
	}
}

// usable reports whether the connection takes another check.
func (x *multiplexed) usable(p *Probe) bool {
	return !x.closed && !x.over && !x.leaving && x.client.Capacity() > 0 && x.Info.Remote == p.target(p.Host())
}

// close ends the connection at once.
func (x *multiplexed) close() {
	if !x.over {
		x.client.Close(nil)
	}
	if !x.serving { // Otherwise its reader does.
		x.Link.Close()
	}
}

// Available, GoingAway, Quiet and Closed implement [h2.Owner].
func (x *multiplexed) Available(*h2.Client) {}

// GoingAway is called when the host takes no more streams.
func (x *multiplexed) GoingAway(*h2.Client) { x.leaving = true }

// Quiet is called when the last stream has ended.
func (x *multiplexed) Quiet(*h2.Client) {}

// Closed is called when the connection is over.
func (x *multiplexed) Closed(*h2.Client, error) {
	x.over = true
	if !x.serving {
		x.Link.Close()
	}
}
