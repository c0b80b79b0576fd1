// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"errors"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/engine"
)

// An Owner is told what becomes of a Client: the pool that has it. Its methods are
// called on the connection's loop and must not wait.
type Owner interface {
	// Available tells that Open works again after it did not, or that the server has
	// told its limit, which is reached.
	Available(c *Client)
	// GoingAway tells that the server takes no more streams; those at work may go on.
	GoingAway(c *Client)
	// Quiet tells that the last stream was released.
	Quiet(c *Client)
	// Closed tells, once, that the connection has ended, within Serve before it
	// returns false or outside of it. The owner closes the transport. err is nil
	// if it ended as it should.
	Closed(c *Client, err error)
}

// A Client is the client's end of one HTTP/2 connection.
type Client struct {
	conn
	w     Owner
	free  []*ClientStream
	heads []*pendingHead
	next  uint32
	short bool // Open has failed for want of a stream
	// unsettled are streams that wait for the server's settings.
	unsettled []*exchange
}

// firstStreams is how many streams a client opens before it knows the server's
// limit; RFC 9113 §6.5.2 asks that it be no less.
const firstStreams = 100

// NewClient returns a client for a new connection. It sends nothing before the
// first request, or before Serve.
func NewClient(e codec.Ends, o *Options, st *Stats, w Owner) *Client {
	c := &Client{w: w, next: 1}
	c.init(e, o, st, c, true)
	c.peer.streams = firstStreams
	return c
}

// Serve reads and handles all there is. It returns false once the connection is
// over.
func (c *Client) Serve(t *engine.Task) bool {
	c.serving = true
	c.sendSettings()
	c.serving = false
	return c.serve(t)
}

// Open returns a stream for one request, or nil if the server's limit or our own is
// reached, or the connection is going away.
func (c *Client) Open() *ClientStream {
	if c.Capacity() == 0 {
		c.short = true
		return nil
	}
	var r *ClientStream
	if n := len(c.free); n > 0 {
		r = c.free[n-1]
		c.free = c.free[:n-1]
	} else {
		r = new(ClientStream)
		r.cli = r
	}
	r.begin(c)
	c.live++
	c.counted++
	c.st.StreamsActive.Inc()
	return r
}

// Capacity returns how many streams can be opened now.
func (c *Client) Capacity() int {
	if c.err != nil || c.goAway.draining {
		return 0
	}
	most := min(c.lim.MaxConcurrentStreams, c.peer.streams)
	left := (frame.MaxWindow-int64(c.next))/2 - int64(c.live)
	return int(max(min(int64(most)-int64(c.counted), left), 0))
}

// Settled reports whether the server has told its limit of streams.
func (c *Client) Settled() bool { return c.settings.received }

// Streams returns how many streams are in use.
func (c *Client) Streams() int { return c.live }

// Drain takes no more streams and ends the connection after the last. Only then the
// server is told: one that hears of the end before a stream's head has arrived may
// leave that unanswered.
func (c *Client) Drain() { c.drain() }

// Draining reports whether the connection takes no more streams.
func (c *Client) Draining() bool { return c.goAway.draining }

// Close ends the connection at once, without a word.
func (c *Client) Close(err error) { c.close(err) }

// GoAway ends the connection: with NO_ERROR after its last stream, otherwise at
// once, with code and debug text for the server.
func (c *Client) GoAway(code frame.Code, debug string) { c.terminate(code, debug) }

// Err returns why the connection ended, nil before.
func (c *Client) Err() error { return c.err }

func (c *Client) admits(id uint32) (blockFate, *ConnectionError) {
	switch {
	case id%2 == 0:
		return 0, errStreamID
	case id > c.last:
		return 0, errIdle
	case c.resets.has(id):
		return fateIgnored, nil
	}
	return 0, errHeadersLate
}

// head takes a response's head, or its trailers.
func (c *Client) head(s *exchange, _ uint32, end bool, size int, fragment []byte, e *frame.Error) *ConnectionError {
	if s.headed {
		c.trailers(s, end, fragment, e)
		return nil
	}
	r := s.cli
	p := c.pend()
	c.read.begin(sectionResponse, &p.m, &p.hd, p.arena[:0])
	ok := c.decode(fragment)
	p.arena = c.read.arena
	if !ok {
		return nil
	}
	c.read.finishResponse()
	p.hd.Size, p.end, p.length = size, end, c.read.length
	if err := c.read.err; err != nil || e != nil {
		c.unpend(p)
		if e != nil {
			c.abort(s, e.Code, badGateway(errMessage.Reason))
		} else {
			c.messageError(s, err)
		}
		return nil
	}
	if err := c.read.refused; err != nil {
		c.unpend(p)
		c.st.HeaderOverflow.Inc()
		c.guard.streamError()
		c.abort(s, frame.Cancel, &codec.Error{Status: 502, Detail: err.Detail, Reason: err.Reason})
		return nil
	}
	if err := r.received(p); err != nil {
		c.messageError(s, err)
	}
	return nil
}

// gone wakes nobody else: the stream's own waits see the error.
func (c *Client) gone(*exchange, error) {}

func (c *Client) slot() {
	if c.short && c.Capacity() > 0 {
		c.short = false
		c.w.Available(c)
	}
}

// settled applies what the settings did not say, once, and lets those go on that
// waited for them.
func (c *Client) settled() {
	for _, s := range c.unsettled {
		if s.writer != nil {
			s.writer.Wake()
		}
	}
	c.unsettled = nil
	if c.short && c.err == nil && c.Capacity() == 0 {
		c.w.Available(c) // To have what waits go elsewhere.
	}
	c.slot()
}

// goingAway ends the streams that the server has not looked at.
func (c *Client) goingAway(last uint32, _ frame.Code) {
	err := &codec.ResetError{Code: uint32(frame.RefusedStream), Refused: true, GoAway: true, Reason: "GOAWAY"}
	first := !c.goAway.draining
	c.goAway.draining, c.goAway.remote = true, true
	c.table.each(func(s *exchange) {
		if s.id > last && s.err == nil {
			c.forget(s)
			c.uncount(s)
			c.broken(s, err)
		}
	})
	if first {
		c.w.GoingAway(c)
	}
	c.endIfIdle()
}

func (c *Client) over(err error, _ bool) {
	if errors.Is(err, ErrClosed) {
		err = nil
	}
	c.w.Closed(c, err)
}

// released notes that a stream is used no more.
func (c *Client) released() {
	if c.live > 0 || c.done {
		return
	}
	c.conn.rest.Set(trimAfter)
	c.endIfIdle()
	if c.err == nil {
		c.w.Quiet(c)
	}
}

func (c *Client) put(r *ClientStream) {
	for _, p := range r.heads {
		c.unpend(p)
	}
	clear(r.heads)
	r.heads = r.heads[:0]
	r.progress, r.out = nil, sender{}
	if cap(r.arena) > arenaMost {
		r.arena = nil
	}
	if cap(r.tail) > arenaMost {
		r.tail = nil
	}
	if len(c.free) < freeMost && !c.done {
		c.free = append(c.free, r)
	}
}

func (c *Client) trim() { c.free, c.heads = nil, nil }

// pend returns memory for a head that arrives.
func (c *Client) pend() *pendingHead {
	n := len(c.heads)
	if n == 0 {
		return new(pendingHead)
	}
	p := c.heads[n-1]
	c.heads = c.heads[:n-1]
	p.hd = codec.Head{}
	p.m.Reset()
	return p
}

func (c *Client) unpend(p *pendingHead) {
	if cap(p.arena) > arenaMost {
		p.arena = nil
	}
	if len(c.heads) < freeMost {
		c.heads = append(c.heads, p)
	}
}

func badGateway(reason string) *codec.Error {
	return &codec.Error{Status: 502, Detail: detailProtocol, Reason: reason}
}
