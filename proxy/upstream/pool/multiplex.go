// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"errors"
	"io"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"
)

// exchange2 is an exchange on a stream of an HTTP/2 connection.
type exchange2 struct {
	*h2.ClientStream
	conn     *Conn
	fresh    bool
	received uint64 // on the connection when the stream was opened
}

// multiplex makes a new connection one of HTTP/2.
func (c *Conn) multiplex() {
	c.multi = h2.NewClient(codec.Ends{Transport: c.Transport, Socket: c.Socket, Plain: c.plain(), Loop: c.loop}, &c.worker.Cluster().HTTP.HTTP2, c.worker.HTTP2, c)
	c.worker.Stats.CxHTTP2Total.Inc()
	if c.Transport.Ready() || !c.Socket.Idle(c) {
		c.loop.Go(c)
	}
}

// Run reads an HTTP/2 connection until there is nothing to read.
func (c *Conn) Run(t *engine.Task) {
	for !c.closed {
		c.serving = true
		keep := c.multi.Serve(t)
		c.serving = false
		if !keep {
			c.end()
			return
		}
		if !c.Transport.Ready() && c.Socket.Idle(c) {
			return
		}
	}
}

// stream opens a stream, or returns nil if the connection takes no more now.
func (c *Conn) stream() Exchange {
	if c.closed || c.retired {
		return nil
	}
	if c.requests > 0 && c.spent() {
		c.retire()
		return nil
	}
	s := c.multi.Open()
	if s == nil {
		return nil
	}
	c.idle.Stop()
	c.used = true
	if c.requests++; c.worker.Cluster().MaxRequestsPerConnection > 0 && c.spent() {
		c.retire() // This is the last.
	}
	var x *exchange2
	k := c.pools.kept
	if n := len(k.exchanges2); n > 0 {
		x = k.exchanges2[n-1]
		k.exchanges2 = k.exchanges2[:n-1]
	} else {
		x = new(exchange2)
	}
	x.ClientStream, x.conn, x.fresh, x.received = s, c, c.requests == 1 && !c.rested, c.Socket.Received
	return x
}

// retire lets the streams finish and takes no more.
func (c *Conn) retire() {
	if !c.retired {
		c.retired = true
		c.multi.Drain()
	}
}

// Available is called when the connection takes streams again.
func (c *Conn) Available(*h2.Client) { c.pool.serveWaiting(c) }

// GoingAway is called when the host takes no more streams.
func (c *Conn) GoingAway(*h2.Client) {
	c.retired = true
	c.worker.Stats.CxCloseNotify.Inc()
	c.pool.forgetConn(c)
	c.pool.grow()
}

// Quiet is called when the last stream has ended.
func (c *Conn) Quiet(*h2.Client) {
	if c.closed {
		return
	}
	c.account()
	c.used = false
	if c.retired || c.pool.drained || !c.Host.InCluster() {
		c.pool.forgetConn(c)
		c.retire()
		return
	}
	c.rest()
}

// Closed is called when the connection is over.
func (c *Conn) Closed(_ *h2.Client, err error) {
	c.retired = true
	own, ok := errors.AsType[*h2.ConnectionError](err)
	c.lost = errors.Is(err, io.EOF) || engine.IsReset(err) || ok && own.Remote
	c.pool.forgetConn(c)
	if !c.serving { // Otherwise its reader closes it.
		c.end()
	}
}

// end closes an HTTP/2 connection that is over.
func (c *Conn) end() {
	if c.closed {
		return
	}
	remote := c.lost || c.Socket.HungUp()
	if c.multi.Streams() > 0 {
		c.countAbort(remote)
	}
	c.close(remote)
}

func (x *exchange2) put() {
	c := x.conn
	x.ClientStream.Release()
	x.ClientStream, x.conn = nil, nil
	if k := c.pools.kept; len(k.exchanges2) < maxFreeExchanges {
		k.exchanges2 = append(k.exchanges2, x)
	}
}

func (x *exchange2) Connection() *streaminfo.Connection { return x.conn.Info }

func (x *exchange2) Protocol() streaminfo.Protocol { return streaminfo.HTTP2 }

func (x *exchange2) Fresh() bool { return x.fresh }

func (x *exchange2) Unseen() bool {
	_, _, begun := x.Sent()
	return !begun || !x.fresh && x.Head().Size == 0 && x.conn.Socket.Received == x.received
}

func (x *exchange2) Traffic() uint64 {
	head, body, _ := x.Sent()
	return uint64(head) + body + x.Received()
}

func (x *exchange2) HungUp() bool { return x.conn.closed || x.conn.Socket.HungUp() }

// Release ends the stream: one that is not over is reset, the connection stays.
func (x *exchange2) Release(bool) { x.put() }

// Unused takes a stream back that was never sent.
func (x *exchange2) Unused() {
	x.conn.requests--
	x.put()
}
