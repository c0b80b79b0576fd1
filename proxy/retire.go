// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"slices"
	"sync"
	"time"

	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/xds"
)

// A leaving is something that the configuration has no more and that connections may
// still use: a listener, an older configuration of one, clusters.
type leaving struct {
	// idle reports whether nothing uses it any more.
	idle func() bool
	// expire ends those who use it when the drain time is over; nil leaves them.
	expire func()
	// end takes it away.
	end func()

	deadline time.Time
	expired  bool
}

// leavers are all that is leaving. One goroutine looks after them, all with the
// proxy's lock held.
type leavers struct {
	list []*leaving
	kick chan struct{}
	done sync.WaitGroup
}

// lookEvery is how often what is leaving is looked at, while there is any.
const lookEvery = 100 * time.Millisecond

// leave takes something away once it is idle or the drain time is over; with the
// proxy's lock held.
func (p *Proxy) leave(l leaving) {
	if l.idle() {
		l.end()
		return
	}
	l.deadline = time.Now().Add(p.opts.DrainTime)
	p.leaving.list = append(p.leaving.list, &l)
	select {
	case p.leaving.kick <- struct{}{}:
	default: // It looks already.
	}
}

// seeOff looks after what is leaving until the proxy closes.
func (p *Proxy) seeOff() {
	tick := time.NewTicker(lookEvery)
	tick.Stop()
	defer tick.Stop()
	for {
		select {
		case <-p.flushStop:
			return
		case <-p.leaving.kick:
			tick.Reset(lookEvery)
		case now := <-tick.C:
			if !p.lookAfter(now) {
				tick.Stop()
			}
		}
	}
}

// lookAfter takes away what may go and reports whether something is left.
func (p *Proxy) lookAfter(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving.list = slices.DeleteFunc(p.leaving.list, func(l *leaving) bool {
		if !l.idle() && !now.Before(l.deadline) {
			if l.expire == nil {
				l.end()
				return true
			}
			if !l.expired { // What it closes is idle a little later.
				l.expired = true
				l.expire()
			}
		}
		if !l.idle() {
			return false
		}
		l.end()
		return true
	})
	return len(p.leaving.list) > 0
}

// endLeaving takes away all that is left, when the listeners are closed.
func (p *Proxy) endLeaving() {
	p.leaving.done.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.leaving.list {
		l.end()
	}
	p.leaving.list = nil
}

// retire drains a listener that is gone from the configuration and closes it in
// its own time.
func (p *Proxy) retire(r *running) {
	r.l.StopAccepting()
	r.l.Drain()
	p.retiring[r] = true
	p.leave(leaving{
		idle: func() bool { return r.l.Active() == 0 },
		end: func() {
			delete(p.retiring, r)
			r.close()
		},
	})
}

// retireConfig sees off what an update of a listener has taken out of use.
func (p *Proxy) retireConfig(r *listener.Retired) {
	p.leave(leaving{idle: r.Idle, expire: r.Expire, end: r.Close})
}

// inFlight is how long a cluster outlives the routes to it: a stream may have found its
// route and still wait for a filter before it asks for the cluster.
const inFlight = time.Second

// removeClusters takes away clusters that are gone from the configuration, when the
// streams that may still ask for them have: those in flight, and those of connections
// that began with older filter chains, whose routes may name them.
func (p *Proxy) removeClusters(changes []*xds.Change) {
	var gone []string
	for _, c := range changes {
		if c.Message == nil {
			gone = append(gone, c.Name)
		}
	}
	if len(gone) == 0 {
		return
	}
	began := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave(leaving{
		idle: func() bool { return time.Since(began) > inFlight && !p.outdated() },
		end: func() {
			for _, name := range gone {
				if !p.known.has(name) { // It may have come back.
					p.clusters.Remove(name)
				}
			}
		},
	})
}

// names is a set of names.
type names struct {
	mu sync.RWMutex
	m  map[string]struct{}
}

func (n *names) has(name string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	_, ok := n.m[name]
	return ok
}

func (n *names) set(name string, there bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !there:
		delete(n.m, name)
	case n.m == nil:
		n.m = map[string]struct{}{name: {}}
	default:
		n.m[name] = struct{}{}
	}
}

// outdated reports whether a connection is open that began with a listener which is
// gone, or with a filter chain that its listener has no more.
func (p *Proxy) outdated() bool {
	for r := range p.retiring {
		if r.l.Active() > 0 {
			return true
		}
	}
	for _, r := range p.listeners {
		if l, ok := r.l.(*listener.Listener); ok && l.Outdated() > 0 {
			return true
		}
	}
	return false
}
