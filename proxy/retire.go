// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"time"

	"weir.dev/weir/proxy/listener"
)

// retire drains a listener that is gone from the configuration and closes it in
// its own time.
func (p *Proxy) retire(r *running) {
	r.l.StopAccepting()
	r.l.Drain()
	p.retiring[r] = true
	p.wg.Go(func() {
		p.await(func() bool { return r.l.Active() == 0 })
		r.close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.retiring, r)
	})
}

// await waits until over reports true, the drain time has passed or the proxy closes.
func (p *Proxy) await(over func() bool) {
	deadline := time.NewTimer(p.opts.DrainTime)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !over() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return
		case <-p.flushStop:
			return
		}
	}
}

// removeClusters takes away the clusters that the snapshot has no more: at once if
// nobody can ask for them, else when the connections that began with older listeners,
// whose routes may name them, have ended or their drain time is over.
func (p *Proxy) removeClusters() {
	var gone []string
	for name := range p.clusters.All() {
		if !p.known[name] {
			gone = append(gone, name)
		}
	}
	if len(gone) == 0 {
		return
	}
	remove := func() {
		for _, name := range gone {
			if !p.known[name] { // It may have come back.
				p.clusters.Remove(name)
			}
		}
	}
	if !p.outdated() {
		remove()
		return
	}
	p.wg.Go(func() {
		p.await(func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return !p.outdated()
		})
		p.mu.Lock()
		defer p.mu.Unlock()
		select {
		case <-p.flushStop: // All of them are being closed.
		default:
			remove()
		}
	})
}

// outdated reports whether a connection is open that began with a listener which is
// gone, or with a configuration that its listener has no more.
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

// expire closes, when the drain time is over, what is left of the connections that
// have an older configuration of a listener than c.
func (p *Proxy) expire(s server, c *compiledListener) {
	l, ok := s.(*listener.Listener)
	if !ok {
		return
	}
	p.wg.Go(func() {
		deadline := time.NewTimer(p.opts.DrainTime)
		defer deadline.Stop()
		select {
		case <-deadline.C:
			l.Expire(c.config)
		case <-p.flushStop:
		}
	})
}
