// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/codec/h1"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"
)

var (
	// ErrOverflow is returned when a circuit breaker does not let a connection or
	// a waiting request through (response flag UO).
	ErrOverflow = errors.New("circuit breaker open")
	// ErrPoolClosed is returned to those who wait for a connection of a host that
	// is closed meanwhile.
	ErrPoolClosed = errors.New("host closed")
)

// A ConnectError is a connection that could not be made.
type ConnectError struct {
	Address address.Addr
	Err     error
}

// Error says what was connected to and why it failed.
func (e *ConnectError) Error() string { return fmt.Sprintf("connect to %s: %v", e.Address, e.Err) }

// Unwrap returns the cause.
func (e *ConnectError) Unwrap() error { return e.Err }

// Reason says it as Envoy's response bodies, logs and details do.
func (e *ConnectError) Reason() string {
	var no syscall.Errno
	if !errors.As(e.Err, &no) {
		return e.Err.Error()
	}
	when := "delayed"
	switch no {
	case syscall.ENETUNREACH, syscall.EADDRNOTAVAIL, syscall.EACCES, syscall.EPERM:
		when = "immediate" // No packet was ever sent.
	default:
		if e.Address.IsUnix() {
			when = "immediate"
		}
	}
	text := no.Error()
	return when + " connect error: " + strings.ToUpper(text[:1]) + text[1:]
}

// Timeout reports whether the connection took too long.
func (e *ConnectError) Timeout() bool { return errors.Is(e.Err, engine.ErrDialTimeout) }

// httpPool is one loop's HTTP/1 connections to one host.
type httpPool struct {
	worker  *Worker
	host    *Host
	loop    *engine.Loop
	idle    []*Conn // the last used at the end
	all     map[*Conn]struct{}
	waiting []*waiter
	drained bool
}

// waiter is a request that waits for a connection to become free.
type waiter struct {
	task *engine.Task
	conn *Conn
	err  error
	done bool
}

// Conn is one upstream HTTP/1 connection. It carries one request at a time and
// belongs to one loop.
type Conn struct {
	Socket    *engine.Conn
	Transport conn.Transport
	Info      *streaminfo.Connection

	pool     *httpPool
	breaker  *Resource
	requests uint32
	until    int64 // the loop's time after which it takes no more requests
	idle     engine.Timer
	idleAt   int64 // the loop's time at which it has been idle for too long; 0 is never
	closed   bool
	used     bool
	rx, tx   uint64 // bytes already counted
}

// Connect returns a connection to the host for one request: an idle one, or a new
// one, or the next to become free if no more may be opened. fresh tells that it was
// dialled for this request.
func (w *Worker) Connect(t *engine.Task, h *Host, p ResourcePriority) (c *Conn, fresh bool, err error) {
	local := h.Local(w.loop)
	pool, _ := local.Pool.(*httpPool)
	if pool == nil {
		pool = &httpPool{worker: w, host: h, loop: t.Loop(), all: map[*Conn]struct{}{}, drained: !h.InCluster()}
		local.Pool = pool
	}
	pool.host = h // A logical host's address may be another by now.
	if c := pool.takeIdle(); c != nil {
		return c, false, nil
	}
	return pool.open(t, p)
}

// takeIdle returns the connection that was used last: the others may then shrink
// away.
func (p *httpPool) takeIdle() *Conn {
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		c.Socket.NotIdle()
		c.idle.Stop()
		if c.Transport.Ready() || c.Socket.HungUp() { // Closed by the host, or it spoke unasked.
			c.close(true)
			continue
		}
		if c.until > 0 && p.loop.Now() >= c.until {
			p.worker.Stats.CxMaxDurationReached.Inc()
			c.close(false)
			continue
		}
		c.used = true
		return c
	}
	return nil
}

// open dials, or waits where no further connection is allowed.
func (p *httpPool) open(t *engine.Task, prio ResourcePriority) (*Conn, bool, error) {
	st := p.worker.Stats
	res := p.worker.cluster.Resources(prio)
	st.RqPendingTotal.Inc()
	if !res.Pending.TryAcquire() {
		st.RqPendingOverflow.Inc()
		return nil, false, ErrOverflow
	}
	defer res.Pending.Release()
	st.RqPendingActive.Inc()
	defer st.RqPendingActive.Dec()
	c, fresh, err := p.wanted(t, res)
	var failed *ConnectError
	if errors.As(err, &failed) {
		st.RqPendingFailureEject.Inc()
	}
	return c, fresh, err
}

func (p *httpPool) wanted(t *engine.Task, res *Resources) (*Conn, bool, error) {
	if !p.mayOpen(&res.Connections) {
		p.worker.Stats.CxOverflow.Inc()
		c, err := p.wait(t)
		return c, false, err
	}
	c, err := p.dial(t, &res.Connections)
	return c, err == nil, err
}

// mayOpen takes one of the connections that the breaker allows. The first to a host
// is always allowed, as in Envoy, or a loop could starve.
func (p *httpPool) mayOpen(r *Resource) bool {
	limit := p.worker.cluster.MaxConnectionsPerHost
	if limit > 0 && p.host.ActiveConnections() >= limit && len(p.all) > 0 {
		return false
	}
	if r.TryAcquire() {
		return true
	}
	if len(p.all) > 0 {
		return false
	}
	r.Acquire()
	return true
}

// wait queues for the next connection to become free.
func (p *httpPool) wait(t *engine.Task) (*Conn, error) {
	w := &waiter{task: t}
	p.waiting = append(p.waiting, w)
	for !w.done {
		if err := t.Wait(); err != nil {
			p.forget(w)
			if w.conn != nil {
				w.conn.Unused()
			}
			return nil, err
		}
	}
	return w.conn, w.err
}

func (p *httpPool) forget(w *waiter) {
	for i, x := range p.waiting {
		if x == w {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			return
		}
	}
}

// pass hands a free connection, or an error, to who has waited longest.
func (p *httpPool) pass(c *Conn, err error) bool {
	if len(p.waiting) == 0 {
		return false
	}
	w := p.waiting[0]
	p.waiting = p.waiting[1:]
	w.conn, w.err, w.done = c, err, true
	w.task.Wake()
	return true
}

// Ends returns the connection as the codec sees it.
func (c *Conn) Ends() h1.Ends {
	e := h1.Ends{Transport: c.Transport, Loop: c.pool.loop}
	if c.Transport == conn.Transport(c.Socket) {
		e.Socket = c.Socket
	}
	return e
}

// Host returns the host that the connection leads to.
func (c *Conn) Host() *Host { return c.pool.host }

// Fresh reports whether no request was sent on the connection before.
func (c *Conn) Fresh() bool { return c.requests == 0 }

// Release gives the connection back after a request. reuse tells that the exchange
// was complete and the connection may carry another.
func (c *Conn) Release(reuse bool) {
	if c.closed {
		return
	}
	p := c.pool
	c.requests++
	c.account()
	if limit := p.worker.cluster.MaxRequestsPerConnection; limit > 0 && c.requests >= limit && reuse {
		p.worker.Stats.CxMaxRequests.Inc()
		reuse = false
	}
	old := c.until > 0 && p.loop.Now() >= c.until
	if old && reuse {
		p.worker.Stats.CxMaxDurationReached.Inc()
	}
	if !reuse || old {
		c.close(c.Socket.HungUp())
		return
	}
	if p.pass(c, nil) { // Those who waited before a drain are still served.
		return
	}
	if p.drained || !p.host.InCluster() {
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

// rest arms the timer of an idle connection.
func (c *Conn) rest() {
	now, at := c.pool.loop.Now(), int64(0)
	if d := c.pool.worker.cluster.HTTP.IdleTimeout; d > 0 {
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

// Abort closes the connection in the midst of a request.
func (c *Conn) Abort() {
	if c.closed {
		return
	}
	st, remote := c.pool.worker.Stats, c.Socket.HungUp()
	st.CxDestroyWithActiveRq.Inc()
	if remote {
		st.CxDestroyRemoteWithActiveRq.Inc()
	} else {
		st.CxDestroyLocalWithActiveRq.Inc()
	}
	c.close(remote)
}

// Unused gives the connection back without a request.
func (c *Conn) Unused() {
	c.requests--
	c.Release(true)
}

// account adds what crossed the wire since the last time to the statistics.
func (c *Conn) account() {
	st := c.pool.worker.Stats
	st.CxRxBytesTotal.Add(c.Socket.Received - c.rx)
	st.CxTxBytesTotal.Add(c.Socket.Sent - c.tx)
	c.rx, c.tx = c.Socket.Received, c.Socket.Sent
}

// Ready is called when an idle connection can be read: the host closed it, or it
// spoke unasked, which makes it unfit.
func (c *Conn) Ready(*engine.Conn) {
	if !c.Transport.Ready() && c.Socket.Idle(c) {
		return // It was for the transport alone, such as a session ticket.
	}
	c.pool.dropIdle(c)
	c.close(true)
}

func (c *Conn) idled() {
	if c.used || c.closed {
		return
	}
	if now := c.pool.loop.Now(); c.idleAt > 0 && now >= c.idleAt {
		c.pool.worker.Stats.CxIdleTimeout.Inc()
	} else {
		c.pool.worker.Stats.CxMaxDurationReached.Inc()
	}
	c.pool.dropIdle(c)
	c.close(false)
}

func (p *httpPool) dropIdle(c *Conn) {
	for i, x := range p.idle {
		if x == c {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return
		}
	}
}

// close ends the connection and lets a waiting request open another in its place.
func (c *Conn) close(remote bool) {
	if c.closed {
		return
	}
	c.closed = true
	p, st := c.pool, c.pool.worker.Stats
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
	delete(p.all, c)
	st.CxActive.Dec()
	p.host.AddConnections(-1)
	c.breaker.Release()
	p.refill()
	p.worker.Drop()
}

// refill opens a connection for the request that has waited longest, now that one
// more is allowed.
func (p *httpPool) refill() {
	if len(p.waiting) == 0 {
		return
	}
	p.worker.Hold()
	p.loop.Go(engine.RunnerFunc(func(t *engine.Task) {
		defer p.worker.Drop()
		res := &p.worker.cluster.Resources(DefaultPriority).Connections
		if len(p.waiting) == 0 || !p.mayOpen(res) {
			return
		}
		c, err := p.dial(t, res)
		if err != nil {
			p.pass(nil, err)
			return
		}
		if !p.pass(c, nil) {
			c.Unused()
		}
	}))
}

// Drain lets what runs, and who waits, finish and closes idle connections.
func (p *httpPool) Drain() {
	p.drained = true
	for _, c := range p.idle {
		c.Socket.NotIdle()
		c.close(false)
	}
	p.idle = nil
}

// Close closes all connections at once: requests on them fail.
func (p *httpPool) Close() {
	drained := p.drained
	p.Drain()
	p.drained = drained
	for p.pass(nil, ErrPoolClosed) {
	}
	for c := range p.all {
		if c.Socket != nil {
			c.Socket.Abort(ErrPoolClosed)
		}
	}
}
