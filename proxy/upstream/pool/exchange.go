// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h1"
	"weir.dev/weir/proxy/streaminfo"

	"weir.dev/weir/proxy/upstream"
)

// An Exchange is one request's use of an upstream connection: all of an HTTP/1
// connection for a while, or a stream of an HTTP/2 one. It belongs to one loop and
// is of no use after Release or Unused.
type Exchange interface {
	codec.ClientStream
	// Connection returns what is known of the connection.
	Connection() *streaminfo.Connection
	// Protocol returns what the connection speaks.
	Protocol() streaminfo.Protocol
	// Fresh reports whether no request was sent on the connection before.
	Fresh() bool
	// Unseen reports whether a host that ended the connection has probably not looked
	// at the request: it was not sent, or the connection had been in use before and
	// nothing came on it since.
	Unseen() bool
	// Traffic counts the bytes that crossed the wire, either way: when it stands
	// still, nothing moves.
	Traffic() uint64
	// HungUp reports whether the host has ended the connection.
	HungUp() bool
	// Release ends the exchange and gives the connection back. complete tells that
	// the request was sent whole; an exchange that is not over is broken off. Views
	// of the response end here.
	Release(complete bool)
	// Unused gives the connection back without a request.
	Unused()
}

// exchange1 is an exchange on an HTTP/1 connection.
type exchange1 struct {
	h1.Client
	conn *Conn
}

// maxFreeExchanges bounds what a loop keeps of a cluster's exchanges.
const maxFreeExchanges = 256

// kept is what a loop keeps of a cluster's exchanges, to be used again.
type kept struct {
	exchanges  []*exchange1
	exchanges2 []*exchange2
}

func keptOf(w *upstream.Worker) *kept {
	k, _ := w.Kept.(*kept)
	if k == nil {
		k = new(kept)
		w.Kept = k
	}
	return k
}

// exchange begins an exchange on a free HTTP/1 connection.
func (c *Conn) exchange() Exchange {
	k := c.pools.kept
	var x *exchange1
	if n := len(k.exchanges); n > 0 {
		x = k.exchanges[n-1]
		k.exchanges = k.exchanges[:n-1]
	} else {
		x = new(exchange1)
	}
	x.conn = c
	x.Attach(codec.Ends{Transport: c.Transport, Socket: c.Socket, Plain: c.plain(), Loop: c.loop}, &c.worker.Cluster().Codec)
	return x
}

func (x *exchange1) put() *Conn {
	c := x.conn
	x.conn = nil
	x.Detach()
	if k := c.pools.kept; len(k.exchanges) < maxFreeExchanges {
		k.exchanges = append(k.exchanges, x)
	}
	return c
}

func (x *exchange1) Connection() *streaminfo.Connection { return x.conn.Info }

func (x *exchange1) Protocol() streaminfo.Protocol { return streaminfo.HTTP11 }

func (x *exchange1) Fresh() bool { return x.conn.requests == 0 && !x.conn.rested }

func (x *exchange1) Unseen() bool { return !x.Fresh() && x.Head().Size == 0 }

func (x *exchange1) Traffic() uint64 { return x.conn.Socket.Received + x.conn.Socket.Sent }

func (x *exchange1) HungUp() bool { return x.conn.Socket.HungUp() }

func (x *exchange1) Release(complete bool) {
	over, reuse := x.ResponseDone() || x.Left(), complete && x.Reusable()
	c := x.put()
	if over {
		c.release(reuse)
		return
	}
	c.abort()
}

func (x *exchange1) Unused() {
	c := x.put()
	c.requests--
	c.release(true)
}
