// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/engine"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
)

var (
	// ErrOverflow is returned when a circuit breaker does not let a connection or
	// a waiting request through (response flag UO).
	ErrOverflow = errors.New("circuit breaker open")
	// ErrOverloaded is returned where the overload manager keeps a connection from being
	// opened and there is no other to wait for. It is an ErrOverflow.
	ErrOverloaded = fmt.Errorf("%w: the overload manager keeps it so", ErrOverflow)
	// ErrClosed is returned to those who wait for a connection of a host that
	// is closed meanwhile.
	ErrClosed = errors.New("host closed")
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

// A pool is one loop's connections to one host that speak the same and may carry each
// other's requests. Connections belong to the pool, as in Envoy: one that was dialled
// for a request serves whoever has waited longest, and stays if nobody waits any more.
type pool struct {
	*hostPools
	key     poolKey
	speak   protocol
	offer   *upstream.TransportOptions // what it dials with
	breaker *breaker.Limit             // that counts the pool
	idle    []*Conn                    // of HTTP/1, the last used at the end
	multi   []*Conn                    // of HTTP/2, as long as they take requests
	conns   int                        // open or being dialled
	dialing int
	waiting []*waiter
	single  bool // the last handshake settled on HTTP/1
	drained bool // connections are closed after their requests
}

// waiter is a request that waits for a connection to become free.
type waiter struct {
	task *engine.Task
	res  *breaker.Set
	x    Exchange
	err  error
	done bool
}

// free returns an exchange on a connection that there is, or nil. Of HTTP/1
// connections it takes the one that was used last: the others may then shrink away.
func (p *pool) free() Exchange {
	for i := 0; i < len(p.multi); {
		c := p.multi[i]
		if x := c.stream(); x != nil {
			return x
		}
		if c.retired || c.closed {
			p.forgetConn(c)
			continue
		}
		i++
	}
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
		if c.spent() {
			c.close(false)
			continue
		}
		c.used = true
		return c.exchange()
	}
	return nil
}

// open waits for the next exchange, and dials if none is on its way and the breakers
// allow it. An interrupt of the task ends the wait, not what is being dialled.
func (p *pool) open(t *engine.Task, prio breaker.Priority) (Exchange, error) {
	st := p.worker.Stats
	res := p.worker.Cluster().Resources(prio)
	st.RqPendingTotal.Inc()
	if !res.Pending.TryAcquire() {
		st.RqPendingOverflow.Inc()
		p.rest()
		return nil, ErrOverflow
	}
	defer res.Pending.Release()
	st.RqPendingActive.Inc()
	defer st.RqPendingActive.Dec()
	w := &waiter{task: t, res: res}
	p.waiting = append(p.waiting, w)
	if !p.grow() {
		st.CxOverflow.Inc()
	}
	if w.done { // In overload.
		return nil, w.err
	}
	p.preconnect()
	for !w.done {
		if err := t.Wait(); err != nil {
			p.forgetWaiter(w)
			if w.x != nil {
				w.x.Unused()
			}
			p.rest()
			return nil, err
		}
	}
	if _, ok := errors.AsType[*ConnectError](w.err); ok {
		st.RqPendingFailureEject.Inc()
	}
	return w.x, w.err
}

// grow dials what those who wait need beyond what is on its way. It returns false if
// a breaker does not allow that. In overload those who wait get no connection of their
// own, and if there is none that may become free they are told.
func (p *pool) grow() bool {
	for len(p.waiting) > p.dialing*p.each() && !p.unsettled() {
		if p.worker.Cluster().Sheds() {
			if p.conns == 0 {
				p.fail(ErrOverloaded, 0)
				p.rest()
			}
			return true
		}
		// The first that no dial is for: its priority's breaker counts.
		res := &p.waiting[p.dialing*p.each()].res.Connections
		if !p.mayOpen(res) {
			return false
		}
		p.start(res)
	}
	return true
}

// each returns how many requests a new connection is expected to carry at once.
func (p *pool) each() int {
	if p.speak == speakHTTP1 || p.single {
		return 1
	}
	cl := p.worker.Cluster()
	n := cl.HTTP.HTTP2.Streams()
	if most := cl.MaxRequestsPerConnection; most > 0 {
		n = min(n, most)
	}
	return int(max(n, 1))
}

// unsettled reports whether a host has yet to say how many streams a connection takes:
// until then it is not known whether another is needed.
func (p *pool) unsettled() bool {
	return slices.ContainsFunc(p.multi, func(c *Conn) bool { return !c.retired && !c.multi.Settled() })
}

// start dials a connection on a task of its own: the requests that wait come and go.
func (p *pool) start(breaker *breaker.Limit) {
	c := p.newConn(p, breaker)
	p.conns++
	p.dialing++
	p.loop.Go(engine.RunnerFunc(func(t *engine.Task) {
		remote, err := c.dial(t, p.offer)
		if err == nil {
			err = p.settle(c)
		}
		p.dialing--
		if err != nil {
			p.refused(err)
			c.close(remote)
			return
		}
		p.begin(c)
	}))
}

// settle holds what the handshake has chosen against what the pool speaks.
func (p *pool) settle(c *Conn) error {
	switch alpn := c.Info.ALPN; {
	case p.speak == speakALPN:
		p.single = alpn != "h2"
	case p.speak == speakHTTP2 && alpn == "http/1.1":
		return c.failed(c.Info.Remote, errNotHTTP2)
	}
	return nil
}

var errNotHTTP2 = errors.New("the host chose http/1.1 in the TLS handshake where the cluster is configured for HTTP/2")

// begin puts a new connection to use.
func (p *pool) begin(c *Conn) {
	if p.speak == speakHTTP1 || p.single {
		c.worker.Stats.CxHTTP1Total.Inc()
		c.next()
		p.grow()
		return
	}
	c.multiplex()
	p.multi = append(p.multi, c)
	p.serveWaiting(c)
	if c.multi.Streams() == 0 {
		c.Quiet(c.multi)
	}
}

// mayOpen takes one of the connections that the breaker allows. The first to a host
// is always allowed, as in Envoy, or a loop could starve; one that idles in another
// pool makes room for it.
func (p *pool) mayOpen(r *breaker.Limit) bool {
	limit := p.worker.Cluster().MaxConnectionsPerHost
	if limit > 0 && p.host.ActiveConnections() >= limit {
		if p.conns > 0 {
			return false
		}
		p.spare(p)
	}
	if r.TryAcquire() {
		return true
	}
	if p.conns > 0 {
		return false
	}
	if !p.spare(p) || !r.TryAcquire() {
		r.Acquire()
	}
	return true
}

func (p *pool) forgetWaiter(w *waiter) {
	p.waiting = slices.DeleteFunc(p.waiting, func(x *waiter) bool { return x == w })
}

// take takes who has waited longest; nil if nobody waits.
func (p *pool) take() *waiter {
	if len(p.waiting) == 0 {
		return nil
	}
	w := p.waiting[0]
	p.waiting = slices.Delete(p.waiting, 0, 1)
	return w
}

func (w *waiter) wake(x Exchange, err error) {
	w.x, w.err, w.done = x, err, true
	w.task.Wake()
}

// pass hands a free HTTP/1 connection to who has waited longest.
func (p *pool) pass(c *Conn) bool {
	w := p.take()
	if w == nil {
		return false
	}
	w.wake(c.exchange(), nil)
	return true
}

// serveWaiting gives the streams that an HTTP/2 connection has to those who wait, and
// has another dialled if they are not enough.
func (p *pool) serveWaiting(c *Conn) {
	for len(p.waiting) > 0 {
		x := c.stream()
		if x == nil {
			break
		}
		p.take().wake(x, nil)
	}
	p.grow()
}

// fail tells all who wait, but for the last few.
func (p *pool) fail(err error, but int) {
	for len(p.waiting) > but {
		p.take().wake(nil, err)
	}
}

// forgetConn takes a connection out of those that are free.
func (p *pool) forgetConn(c *Conn) {
	is := func(x *Conn) bool { return x == c }
	if c.multi != nil {
		p.multi = slices.DeleteFunc(p.multi, is)
		return
	}
	p.idle = slices.DeleteFunc(p.idle, is)
}

// gone settles a connection that has closed: a waiting request may open another in its
// place.
func (p *pool) gone(c *Conn) {
	p.forgetConn(c)
	p.conns--
	p.grow()
	p.rest()
}

// refused tells those who wait that a connection could not be made: whoever has no
// other connection to wait for.
func (p *pool) refused(err error) {
	left := p.dialing * p.each()
	if p.each() == 1 && p.conns-1 > p.dialing { // Others become free in time.
		left = max(left, len(p.waiting)-1)
	}
	p.fail(err, left)
}

// quiet reports whether no connection of the pool carries a request, none is being
// dialled, and nobody waits.
func (p *pool) quiet() bool {
	if p.dialing > 0 || len(p.waiting) > 0 || p.conns > len(p.idle)+len(p.multi) {
		return false
	}
	return !slices.ContainsFunc(p.multi, func(c *Conn) bool { return c.multi.Streams() > 0 })
}

// shrink closes a connection that idles, the one that was used the longest ago, and
// reports whether there was one.
func (p *pool) shrink() bool {
	if len(p.idle) > 0 {
		c := p.idle[0]
		c.Socket.NotIdle()
		c.close(false)
		return true
	}
	for _, c := range p.multi {
		if c.multi.Streams() == 0 {
			c.retire()
			return true
		}
	}
	return false
}

// drain lets what runs, and who waits, finish and closes idle connections.
func (p *pool) drain() {
	p.drained = true
	for _, c := range slices.Clone(p.idle) {
		c.Socket.NotIdle()
		c.close(false)
	}
	for _, c := range slices.Clone(p.multi) {
		p.forgetConn(c)
		c.retire()
	}
	p.grow()
}
