// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"weir.dev/weir/proxy/overload"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream/breaker"
	"weir.dev/weir/proxy/upstream/outlier"
)

// ErrClosed is returned by a Manager that was closed.
var ErrClosed = errors.New("the cluster manager is closed")

// Options are what a Manager needs of the engine.
type Options struct {
	// Loops are the event loops; Loops[i].ID() is i.
	Loops []Loop
	// Stats is the store's root scope.
	Stats *stats.Scope
	// Seed gives seeds for random choices; nil takes unpredictable ones. It may be
	// called from several goroutines.
	Seed func() uint64
	// Deferred has a cluster made when it is first asked for, if nothing of it is lost by
	// that (cluster_manager.enable_deferred_cluster_creation). Until then it counts nothing.
	Deferred bool
	// LocalCluster names the cluster of the proxies like this one
	// (cluster_manager.local_cluster_name), "" if there is none.
	LocalCluster string
	// Runtime overrules circuit breakers and outlier detection; nil overrules nothing.
	Runtime breaker.Runtime
	// OutlierEvents is told of hosts that are ejected; nil does not want to know.
	OutlierEvents func(*outlier.Event)
	// NewConnection is how many connections to hosts the overload manager keeps from
	// being opened (connection_pool_new_connection); nil is none.
	NewConnection *overload.Level

	manager *Manager
}

func (o *Options) seed() uint64 {
	if o.Seed != nil {
		return o.Seed()
	}
	return rand.Uint64()
}

// A Manager holds all clusters. Its methods may be called from any goroutine.
type Manager struct {
	options Options
	active  directory
	members *stats.Sharded[managerStats]

	// asleep is the size of deferred.
	asleep atomic.Int32

	mu      sync.Mutex
	warming map[string]*Cluster
	// deferred are clusters that were not asked for yet, and lulling such that wait for
	// their first answer.
	deferred, lulling map[string]*deferred
	// news is closed, and made anew, when a cluster has become active.
	news   chan struct{}
	closed bool
	done   chan struct{}
	wait   sync.WaitGroup

	following followers
}

// directory is a map that is read without a lock. It is kept in parts, so that a change
// among many clusters copies few of them.
type directory struct {
	seed  maphash.Seed
	parts [256]atomic.Pointer[map[string]*Cluster] // a map is never written to after it was stored
	n     int                                      // guarded by the writer's lock
}

func (d *directory) part(name string) *atomic.Pointer[map[string]*Cluster] {
	return &d.parts[maphash.String(d.seed, name)%uint64(len(d.parts))]
}

func (d *directory) get(name string) *Cluster {
	if m := d.part(name).Load(); m != nil {
		return (*m)[name]
	}
	return nil
}

// set puts a cluster in, or takes it out if c is nil. Writers take turns.
func (d *directory) set(name string, c *Cluster) {
	next := map[string]*Cluster{}
	if m := d.part(name).Load(); m != nil {
		maps.Copy(next, *m)
	}
	d.n -= len(next)
	if c == nil {
		delete(next, name)
	} else {
		next[name] = c
	}
	d.n += len(next)
	d.part(name).Store(&next)
}

func (d *directory) all() map[string]*Cluster {
	out := map[string]*Cluster{}
	for i := range d.parts {
		if m := d.parts[i].Load(); m != nil {
			maps.Copy(out, *m)
		}
	}
	return out
}

// managerStats are Envoy's cluster_manager statistics.
type managerStats struct {
	Added    stats.Counter `stat:"cluster_added"`
	Modified stats.Counter `stat:"cluster_modified"`
	Removed  stats.Counter `stat:"cluster_removed"`
	Active   stats.Gauge   `stat:"active_clusters"`
	Warming  stats.Gauge   `stat:"warming_clusters"`
	Deferred stats.Gauge   `stat:"deferred_clusters"` // Weir's own: of the active, those not yet asked for
}

// NewManager returns a Manager without clusters. It must be closed before the loops end.
func NewManager(o Options) *Manager {
	m := &Manager{options: o, active: directory{seed: maphash.MakeSeed()}, warming: map[string]*Cluster{},
		deferred: map[string]*deferred{}, lulling: map[string]*deferred{}, done: make(chan struct{}), news: make(chan struct{})}
	m.following.wake = make(chan struct{}, 1)
	m.options.manager = m
	m.members = stats.Register[managerStats](o.Stats.Scope("cluster_manager"), 1)
	return m
}

// Get returns the active cluster of a name, or nil. It takes no lock, unless clusters are
// deferred and this one was not asked for before, or is not there.
func (m *Manager) Get(name string) *Cluster {
	if c := m.active.get(name); c != nil {
		return c
	}
	if m.asleep.Load() == 0 {
		return m.active.get(name) // It may have been made just now.
	}
	return m.wake(name)
}

// All returns the active clusters by name, without those that are deferred.
func (m *Manager) All() map[string]*Cluster { return m.active.all() }

// Warming returns a cluster that waits for its first answer, or nil.
func (m *Manager) Warming(name string) *Cluster {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.warming[name]
}

// Await returns the active cluster of a name, once there is one. It errs when ctx is
// done, or with ErrClosed.
func (m *Manager) Await(ctx context.Context, name string) (*Cluster, error) {
	for {
		m.mu.Lock()
		c, news := m.rouse(name), m.news
		m.mu.Unlock()
		if c != nil {
			return c, nil
		}
		select {
		case <-news:
		case <-m.done:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for cluster %q: %w", name, ctx.Err())
		}
	}
}

// Update adds a cluster or replaces the one of the same name. The new one becomes
// active when it is warm (at once, if it is not to wait); until then the old one
// serves, and afterwards its connections drain. An unchanged configuration changes
// nothing. cfg is the manager's now, whatever it returns. The channel is closed when the cluster is active or was itself replaced.
func (m *Manager) Update(cfg *Config) (<-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		cfg.Close()
		return nil, ErrClosed
	}
	if active := m.unchanged(cfg); active != nil {
		cfg.Close()
		return active, nil
	}
	if m.defers(cfg) {
		return m.lull(cfg)
	}
	c, err := newCluster(cfg, &m.options)
	if err != nil {
		cfg.Close()
		return nil, err
	}
	m.follow(c)
	if err := c.start(); err != nil {
		c.close(true)
		return nil, err
	}
	if w := m.warming[cfg.Name]; w != nil {
		m.retire(w)
	}
	if d := m.lulling[cfg.Name]; d != nil {
		delete(m.lulling, cfg.Name)
		m.dismiss(d)
	}
	m.warming[cfg.Name] = c
	select {
	case <-c.warm:
		m.activate(c)
		return c.active, nil
	default:
	}
	if !c.WaitForWarm {
		m.activate(c)
		return c.active, nil
	}
	m.count()
	m.onceWarm(c.warm, func() {
		// It may have been replaced or removed in the meantime.
		if m.warming[c.Name] == c {
			m.activate(c)
		}
	})
	return c.active, nil
}

// onceWarm has then called, with mu held, when warm is closed, unless the manager is
// closed before.
func (m *Manager) onceWarm(warm <-chan struct{}, then func()) {
	m.wait.Go(func() {
		select {
		case <-warm:
		case <-m.done:
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.closed {
			then()
		}
	})
}

// unchanged returns what Update does if the newest cluster of the name is of the same
// configuration, and otherwise nil. It is called with mu held.
func (m *Manager) unchanged(cfg *Config) <-chan struct{} {
	name := cfg.Name
	for _, d := range []*deferred{m.lulling[name], m.deferred[name]} {
		if d != nil && m.warming[name] == nil {
			if d.hash == cfg.hash {
				return d.active
			}
			return nil
		}
	}
	old := cmp.Or(m.warming[name], m.active.get(name))
	if old != nil && old.config.Same(cfg) {
		return old.active
	}
	return nil
}

// activate makes a warming cluster active. It is called with mu held.
func (m *Manager) activate(c *Cluster) {
	delete(m.warming, c.Name)
	old, asleep := m.active.get(c.Name), m.deferred[c.Name]
	m.active.set(c.Name, c)
	close(c.active)
	if old != nil {
		m.retire(old)
	}
	if asleep != nil {
		m.rest(c.Name, nil)
		m.dismiss(asleep)
	}
	m.announce(c.Name, old != nil || asleep != nil)
}

// announce tells that a cluster has become active, in place of another if it is modified.
// It is called with mu held.
func (m *Manager) announce(name string, modified bool) {
	close(m.news)
	m.news = make(chan struct{})
	if modified {
		m.members.At(0).Modified.Inc()
	} else {
		m.members.At(0).Added.Inc()
	}
	m.count()
	m.tell(name)
}

// Remove takes a cluster away, active or warming; its connections drain. It reports
// whether there was one.
func (m *Manager) Remove(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, a := m.warming[name], m.active.get(name)
	l, d := m.lulling[name], m.deferred[name]
	if w != nil {
		delete(m.warming, name)
		m.retire(w)
	}
	if l != nil {
		delete(m.lulling, name)
		m.dismiss(l)
	}
	if a != nil {
		m.active.set(name, nil)
		m.retire(a)
	}
	if d != nil {
		m.rest(name, nil)
		m.dismiss(d)
	}
	if a != nil || d != nil {
		m.members.At(0).Removed.Inc()
		m.tell(name)
	}
	m.count()
	return w != nil || l != nil || a != nil || d != nil
}

// retire closes a cluster without waiting for its goroutines; Close does that.
func (m *Manager) retire(c *Cluster) {
	select {
	case <-c.active:
	default:
		close(c.active)
	}
	end := m.closed
	m.wait.Go(func() { c.close(end) })
}

func (m *Manager) count() {
	s := m.members.At(0)
	s.Active.Set(int64(m.active.n + len(m.deferred)))
	s.Warming.Set(int64(len(m.warming) + len(m.lulling)))
	s.Deferred.Set(int64(len(m.deferred)))
}

// Close takes all clusters away and waits for every goroutine. A second Close does
// nothing.
func (m *Manager) Close() {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		m.wait.Wait()
		return
	}
	m.closed = true
	close(m.done)
	for _, c := range m.warming {
		m.retire(c)
	}
	clear(m.warming)
	for _, all := range []map[string]*deferred{m.lulling, m.deferred} {
		for _, d := range all {
			m.dismiss(d)
		}
		clear(all)
	}
	for name, c := range m.All() {
		m.active.set(name, nil)
		m.retire(c)
	}
	m.mu.Unlock()
	m.wait.Wait()
	m.members.Close()
}
