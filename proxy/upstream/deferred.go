// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"crypto/sha256"
	"maps"
	"slices"
)

// A Sleeper is a Discovery of clusters that can be deferred, as Envoy's
// enable_deferred_cluster_creation has it.
type Sleeper interface {
	Discovery
	// Rest begins to keep at hand what Start will tell, so that Start tells it before it
	// returns. ready is called once, when that has come or will not come, perhaps before
	// Rest returns.
	Rest(ready func()) error
}

// deferred is a cluster that nobody has asked for: it was compiled to see that it is good,
// and its endpoints are kept as they are sent. With all that a cluster counts and
// computes it would take several times the memory.
type deferred struct {
	name      string
	hash      [sha256.Size]byte
	again     func() *Config
	discovery Sleeper
	// active is closed when the cluster can be asked for or is gone.
	active chan struct{}
}

// open is the channel of all deferred clusters that are active.
var open = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// defers tells whether a cluster can wait until it is asked for: nothing of it does anything
// by itself, nothing but its endpoints is fetched, and to make it does not keep a loop.
func (m *Manager) defers(cfg *Config) bool {
	slow, ok := cfg.policy.(SlowPolicy)
	return m.options.Deferred && cfg.Again != nil && cfg.sleeps && cfg.checks == nil && len(cfg.owned) == 0 && !cfg.secure() && !cfg.ReportsLoad &&
		!(ok && slow.Slow()) && cfg.Name != m.options.LocalCluster && m.warming[cfg.Name] == nil && m.active.get(cfg.Name) == nil
}

// lull is Update for a cluster that is deferred. It is called with mu held.
func (m *Manager) lull(cfg *Config) (<-chan struct{}, error) {
	defer cfg.Close()
	made, err := cfg.discovery()
	if err != nil {
		return nil, err
	}
	d := &deferred{name: cfg.Name, hash: cfg.hash, again: cfg.Again, discovery: made.(Sleeper), active: make(chan struct{})}
	ready := make(chan struct{})
	if err := d.discovery.Rest(func() { close(ready) }); err != nil {
		d.discovery.Close()
		return nil, err
	}
	if w := m.lulling[d.name]; w != nil {
		m.dismiss(w)
	}
	m.lulling[d.name] = d
	select {
	case <-ready:
		m.settle(d)
		return d.active, nil
	default:
	}
	if !cfg.WaitForWarm {
		m.settle(d)
		return d.active, nil
	}
	m.count()
	m.onceWarm(ready, func() {
		if m.lulling[d.name] == d {
			m.settle(d)
		}
	})
	return d.active, nil
}

// settle makes a deferred cluster active. It is called with mu held.
func (m *Manager) settle(d *deferred) {
	delete(m.lulling, d.name)
	old, awake := m.deferred[d.name], m.active.get(d.name) != nil
	active := d.active
	m.rest(d.name, d)
	d.active = open
	if old != nil {
		m.dismiss(old)
	}
	m.announce(d.name, old != nil || awake)
	if awake { // Somebody has asked for the one before.
		m.rouse(d.name)
	}
	close(active) // Not before: who waits for it and then asks must not find the one before.
}

// rest keeps a deferred cluster or, if d is nil, keeps it no more. It is called with mu held.
func (m *Manager) rest(name string, d *deferred) {
	if d == nil {
		delete(m.deferred, name)
	} else {
		m.deferred[name] = d
	}
	m.asleep.Store(int32(len(m.deferred)))
}

// dismiss ends a deferred cluster that is no longer kept. It is called with mu held.
func (m *Manager) dismiss(d *deferred) {
	if d.active != open {
		close(d.active)
	}
	m.wait.Go(d.discovery.Close)
}

// rouse makes the cluster that was deferred, if one of the name was, and returns the
// active one, or nil. It is called with mu held.
func (m *Manager) rouse(name string) *Cluster {
	old, d := m.active.get(name), m.deferred[name]
	if d == nil {
		return old
	}
	c := m.made(d)
	if c == nil {
		m.rest(name, nil)
		m.dismiss(d)
		m.count()
		return old
	}
	m.active.set(name, c)
	m.rest(name, nil) // Not before: who finds none asleep does not ask.
	close(c.active)
	if old != nil {
		m.retire(old)
	}
	m.count()
	return c
}

// made makes a cluster of a deferred one; nil if it cannot be made after all.
func (m *Manager) made(d *deferred) *Cluster {
	cfg := d.again()
	if cfg == nil {
		return nil
	}
	cfg.discovery = func() (Discovery, error) { return d.discovery, nil }
	c, err := newCluster(cfg, &m.options)
	if err != nil {
		cfg.Close()
		return nil
	}
	if err := c.start(); err != nil {
		c.close(true)
		return nil
	}
	return c
}

// wake returns the active cluster of a name, or nil, and makes it if it was deferred.
func (m *Manager) wake(name string) *Cluster {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	return m.rouse(name)
}

// Deferred returns the names of the clusters that nobody has asked for, in order.
func (m *Manager) Deferred() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.deferred))
}
