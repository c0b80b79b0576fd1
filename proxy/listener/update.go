// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"slices"

	"weir.dev/weir/proxy/conn"
)

// A Retired is what an update has taken out of use: filter chains, and the rest of the
// configuration if that was replaced too. Connections that began with it may go on.
type Retired struct {
	l          *Listener
	base       *base // nil if it is still in use
	chains     []*Chain
	generation uint64
}

// Update replaces the configuration: connections to come have the new one. Those whose
// filter chain it has too go on; the others are asked to finish.
func (l *Listener) Update(c *Config) *Retired {
	l.countTLS(c)
	old := l.config.Load()
	c.generation = old.generation + 1
	r := &Retired{l: l, generation: c.generation}
	if c.base != old.base {
		r.base = old.base
	}
	for _, ch := range old.chains.all {
		if !c.has(ch) {
			r.chains = append(r.chains, ch)
		}
	}
	l.config.Store(c)
	l.each(func(w *worker) { w.update(c) })
	return r
}

// update asks the connections to finish whose chain the configuration has no more.
func (w *worker) update(c *Config) {
	for ch, o := range w.owners {
		if c.has(ch) {
			o.cfg = c // So that the old one can go.
			continue
		}
		o.retired = c.generation
		w.listener.outdated.Add(o.open)
		delete(w.owners, ch)
	}
	w.conns.Each(func(k *conn.Conn) {
		if o, ok := k.Owner().(*owner); ok && o.retired == c.generation {
			k.Drain()
		}
	})
}

// Idle reports whether no connection uses it any more.
func (r *Retired) Idle() bool {
	if r.base != nil && r.base.arriving.Load() > 0 {
		return false
	}
	return !slices.ContainsFunc(r.chains, func(c *Chain) bool { return c.open.Load() > 0 })
}

// Expire closes the connections that still use it.
func (r *Retired) Expire() {
	r.l.each(func(w *worker) {
		w.conns.Each(func(k *conn.Conn) {
			switch o := k.Owner().(type) {
			case *owner:
				if o.retired != 0 && o.retired <= r.generation {
					k.Close()
				}
			case *arriving:
				if o.cfg.base == r.base {
					k.Close()
				}
			}
		})
	})
}

// Close closes what was made for it. It must be idle, or its listener closed.
func (r *Retired) Close() {
	for _, ch := range r.chains {
		ch.close()
	}
	if r.base != nil {
		r.base.close()
	}
}
