// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"time"

	"weir.dev/weir/proxy/codec/h2"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
)

// Conn is one upstream connection. It belongs to one loop. On HTTP/1 it carries one
// request at a time, on HTTP/2 many, and beside the pools, for a TCP proxy, bytes.
type Conn struct {
	upstream.Conn

	worker  *upstream.Worker
	loop    *engine.Loop
	pools   *hostPools
	pool    *pool // nil if it is not for requests
	breaker *breaker.Limit

	multi    *h2.Client // nil unless it speaks HTTP/2
	serving  bool
	retired  bool // an HTTP/2 connection that takes no more requests
	lost     bool // by the host, of an HTTP/2 connection
	requests uint32
	until    int64 // the loop's time after which it takes no more requests
	idle     engine.Timer
	idleAt   int64 // the loop's time at which it has been idle for too long; 0 is never
	closed   bool
	used     bool
	rested   bool   // it has been idle: the host may have closed it meanwhile
	rx, tx   uint64 // bytes already counted
}

// plain reports whether the socket's bytes are the connection's.
func (c *Conn) plain() bool { return c.Transport == conn.Transport(c.Socket) }

// release gives an HTTP/1 connection back after a request. reuse tells that it may
// carry another.
func (c *Conn) release(reuse bool) {
	if c.closed {
		return
	}
	c.requests++
	c.account()
	if c.pool == nil || reuse && c.spent() { // What carries bytes carries nothing after them.
		reuse = false
	}
	if !reuse {
		c.close(c.Socket.HungUp())
		return
	}
	c.next()
}

// next has an HTTP/1 connection serve who has waited longest, or rest.
func (c *Conn) next() {
	p := c.pool
	if p.pass(c) { // Those who waited before a drain are still served.
		return
	}
	if p.drained || !c.Host.InCluster() {
		c.close(false)
		return
	}
	c.used = false
	if c.Transport.Ready() || !c.Socket.Idle(c) {
		c.close(true) // It spoke or closed after its response.
		return
	}
	p.idle = append(p.idle, c)
	c.rest()
}

// spent reports whether the connection is to carry no more requests, and counts why.
func (c *Conn) spent() bool {
	cl, st := c.worker.Cluster(), c.worker.Stats
	if limit := cl.MaxRequestsPerConnection; limit > 0 && c.requests >= limit {
		st.CxMaxRequests.Inc()
		return true
	}
	if c.until > 0 && c.loop.Now() >= c.until {
		st.CxMaxDurationReached.Inc()
		return true
	}
	return false
}

// rest arms the timer of an idle connection.
func (c *Conn) rest() {
	c.rested = true
	now, at := c.loop.Now(), int64(0)
	if d := c.worker.Cluster().HTTP.IdleTimeout; d > 0 {
		at = now + int64(d)
	}
	c.idleAt = at
	if c.until > 0 && (at == 0 || c.until < at) {
		at = c.until
	}
	if at > 0 {
		c.idle.Set(max(at-now, 1))
	}
}

func (c *Conn) idled() {
	if c.used || c.closed {
		return
	}
	if now := c.loop.Now(); c.idleAt > 0 && now >= c.idleAt {
		c.worker.Stats.CxIdleTimeout.Inc()
	} else {
		c.worker.Stats.CxMaxDurationReached.Inc()
	}
	c.pool.forgetConn(c)
	if c.multi != nil {
		c.retire() // It says that it goes.
		return
	}
	c.close(false)
}

// abort closes the connection in the midst of a request.
func (c *Conn) abort() {
	if c.closed {
		return
	}
	c.countAbort(c.Socket.HungUp())
	c.close(c.Socket.HungUp())
}

func (c *Conn) countAbort(remote bool) {
	st := c.worker.Stats
	st.CxDestroyWithActiveRq.Inc()
	if remote {
		st.CxDestroyRemoteWithActiveRq.Inc()
	} else {
		st.CxDestroyLocalWithActiveRq.Inc()
	}
}

// account adds what crossed the wire since the last time to the statistics.
func (c *Conn) account() {
	st := c.worker.Stats
	st.CxRxBytesTotal.Add(c.Socket.Received - c.rx)
	st.CxTxBytesTotal.Add(c.Socket.Sent - c.tx)
	c.rx, c.tx = c.Socket.Received, c.Socket.Sent
}

// Ready is called when an idle connection can be read: an HTTP/1 host closed it, or
// spoke unasked, which makes it unfit.
func (c *Conn) Ready(*engine.Conn) {
	if c.multi != nil {
		c.loop.Go(c)
		return
	}
	if !c.Transport.Ready() && c.Socket.Idle(c) {
		return // It was for the transport alone, such as a session ticket.
	}
	c.pool.forgetConn(c)
	c.close(true)
}

// close ends the connection and lets a waiting request open another in its place.
func (c *Conn) close(remote bool) {
	if c.closed {
		return
	}
	c.closed = true
	st := c.worker.Stats
	if c.Socket != nil {
		c.Transport.Close()
		c.account()
		c.Socket.Close()
		st.CxLength.Record(uint64(time.Since(c.Info.Start).Milliseconds()))
	}
	st.CxDestroy.Inc()
	if remote {
		st.CxDestroyRemote.Inc()
	} else {
		st.CxDestroyLocal.Inc()
	}
	c.idle.Release()
	st.CxActive.Dec()
	c.Host.AddConnections(-1)
	c.breaker.Release()
	delete(c.pools.all, c)
	if p := c.pool; p != nil {
		p.gone(c)
	}
	c.worker.Drop()
}
