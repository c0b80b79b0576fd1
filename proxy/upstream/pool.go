// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/engine"
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

// A pool is one loop's connections to one host that speak the same and may carry each
// other's requests.
type pool struct {
	*hostPools
	speak   protocol
	options *TransportOptions // what its requests ask for, or nil
	offer   *TransportOptions // what it dials with
	idle    []*Conn           // of HTTP/1, the last used at the end
	multi   []*Conn           // of HTTP/2, as long as they take requests
	conns   int               // open or being dialled
	dialing int
	waiting []*waiter
}

// waiter is a request that waits for a connection to become free.
type waiter struct {
	task *engine.Task
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

// open dials, or waits where no further connection is allowed or one is on its way
// that will carry many requests.
func (p *pool) open(t *engine.Task, prio ResourcePriority) (Exchange, bool, error) {
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
	x, fresh, err := p.wanted(t, res)
	var failed *ConnectError
	if errors.As(err, &failed) {
		st.RqPendingFailureEject.Inc()
	}
	return x, fresh, err
}

func (p *pool) wanted(t *engine.Task, res *Resources) (Exchange, bool, error) {
	if p.speak != speakHTTP1 && p.dialing > 0 {
		x, err := p.wait(t)
		return x, false, err
	}
	if !p.mayOpen(&res.Connections) {
		p.worker.Stats.CxOverflow.Inc()
		x, err := p.wait(t)
		return x, false, err
	}
	c, err := p.dial(t, p, &res.Connections, p.offer)
	if err != nil {
		return nil, false, err
	}
	x := p.begin(c)
	if x == nil {
		return nil, false, ErrPoolClosed // It ended as soon as it was there.
	}
	p.serveWaiting(c)
	return x, true, nil
}

// begin takes the first exchange of a new connection.
func (p *pool) begin(c *Conn) Exchange {
	if p.speak == speakHTTP2 || p.speak == speakALPN && c.Info.ALPN == "h2" {
		c.multiplex()
		p.multi = append(p.multi, c)
		return c.stream()
	}
	c.worker.Stats.CxHTTP1Total.Inc()
	return c.exchange()
}

// mayOpen takes one of the connections that the breaker allows. The first to a host
// is always allowed, as in Envoy, or a loop could starve.
func (p *pool) mayOpen(r *Resource) bool {
	limit := p.worker.cluster.MaxConnectionsPerHost
	if limit > 0 && p.host.ActiveConnections() >= limit && p.conns > 0 {
		return false
	}
	if r.TryAcquire() {
		return true
	}
	if p.conns > 0 {
		return false
	}
	r.Acquire()
	return true
}

// wait queues for the next exchange that becomes free.
func (p *pool) wait(t *engine.Task) (Exchange, error) {
	w := &waiter{task: t}
	p.waiting = append(p.waiting, w)
	for !w.done {
		if err := t.Wait(); err != nil {
			p.forgetWaiter(w)
			if w.x != nil {
				w.x.Unused()
			}
			return nil, err
		}
	}
	return w.x, w.err
}

func (p *pool) forgetWaiter(w *waiter) {
	p.waiting = slices.DeleteFunc(p.waiting, func(x *waiter) bool { return x == w })
}

// next takes who has waited longest; nil if nobody waits.
func (p *pool) next() *waiter {
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
	w := p.next()
	if w == nil {
		return false
	}
	w.wake(c.exchange(), nil)
	return true
}

// serveWaiting gives the streams that an HTTP/2 connection has to those who wait, and
// has another dialled if they are not enough.
func (p *pool) serveWaiting(c *Conn) {
	for c.multi != nil && len(p.waiting) > 0 {
		x := c.stream()
		if x == nil {
			break
		}
		p.next().wake(x, nil)
	}
	p.refill()
}

// fail tells all who wait.
func (p *pool) fail(err error) {
	for w := p.next(); w != nil; w = p.next() {
		w.wake(nil, err)
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
	p.refill()
	if p.conns == 0 && len(p.waiting) == 0 {
		p.drop(p)
	}
}

// refill opens a connection for the request that has waited longest, if one more is
// allowed.
func (p *pool) refill() {
	if len(p.waiting) == 0 || p.speak != speakHTTP1 && p.dialing > 0 {
		return
	}
	p.worker.Hold()
	p.loop.Go(engine.RunnerFunc(func(t *engine.Task) {
		defer p.worker.Drop()
		res := &p.worker.cluster.Resources(DefaultPriority).Connections
		if len(p.waiting) == 0 || p.speak != speakHTTP1 && p.dialing > 0 || !p.mayOpen(res) {
			return
		}
		c, err := p.dial(t, p, res, p.offer)
		if err != nil {
			p.refused(err)
			return
		}
		x := p.begin(c)
		if w := p.next(); w != nil && x != nil {
			w.wake(x, nil)
		} else if x != nil {
			x.Unused()
		}
		p.serveWaiting(c)
	}))
}

// refused tells those who wait for a connection that it could not be made: one of
// them, or all where one would have served them all.
func (p *pool) refused(err error) {
	if p.speak != speakHTTP1 {
		p.fail(err)
		return
	}
	if w := p.next(); w != nil {
		w.wake(nil, err)
	}
}

// drain lets what runs, and who waits, finish and closes idle connections.
func (p *pool) drain() {
	for _, c := range slices.Clone(p.idle) {
		c.Socket.NotIdle()
		c.close(false)
	}
	p.idle = nil
	for _, c := range slices.Clone(p.multi) {
		c.retire()
	}
	p.multi = nil
}
