// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"maps"
	"slices"
	"sync"
)

// followers see to it that tables which depend on other clusters' hosts are built anew
// when those change: of aggregate clusters, and of all clusters when the set of the
// proxies like this one changes.
type followers struct {
	wake    chan struct{}
	started bool // guarded by the manager's mu

	mu      sync.Mutex
	running bool
	pending map[string]struct{} // names of clusters that changed
}

// follow starts the goroutine when the first cluster needs it. It is called with mu held.
func (m *Manager) follow(c *Cluster) {
	_, ok := c.policy.(Follower)
	f := &m.following
	if f.started || !ok && m.options.LocalCluster == "" {
		return
	}
	f.started = true
	f.mu.Lock()
	f.running = true
	f.mu.Unlock()
	m.wait.Go(func() {
		for {
			select {
			case <-m.done:
				return
			case <-f.wake:
				m.rebuildFollowers()
			}
		}
	})
}

// changed tells that a cluster has published other hosts. What followers publish are
// the hosts of others, of which has been told.
func (m *Manager) changed(c *Cluster) {
	if m == nil {
		return
	}
	if _, ok := c.policy.(Follower); !ok {
		m.tell(c.Name)
	}
}

// tell has whoever follows a cluster built anew. It does not wait.
func (m *Manager) tell(name string) {
	f := &m.following
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.running {
		return
	}
	if f.pending == nil {
		f.pending = map[string]struct{}{}
	}
	f.pending[name] = struct{}{}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (m *Manager) rebuildFollowers() {
	f := &m.following
	f.mu.Lock()
	changed := f.pending
	f.pending = nil
	f.mu.Unlock()
	clusters := slices.Collect(maps.Values(m.All()))
	m.mu.Lock()
	clusters = slices.AppendSeq(clusters, maps.Values(m.warming))
	m.mu.Unlock()
	// An aggregate may follow another.
	rebuilt := map[*Cluster]struct{}{}
	for more := true; more; {
		more = false
		for _, c := range clusters {
			p, ok := c.policy.(Follower)
			if _, done := rebuilt[c]; !ok || done || !slices.ContainsFunc(p.Follows(), func(n string) bool { _, ok := changed[n]; return ok }) {
				continue
			}
			rebuilt[c], changed[c.Name], more = struct{}{}, struct{}{}, true
		}
	}
	for c := range rebuilt {
		c.rebuild()
	}
	if _, ok := changed[m.options.LocalCluster]; !ok {
		return
	}
	for _, c := range clusters {
		if c.Name != m.options.LocalCluster {
			c.rebuildLater()
		}
	}
}

// rebuild publishes the hosts that the cluster has once more.
func (c *Cluster) rebuild() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.publish(c.set.Hosts)
	}
}

// rebuildLater is rebuild, but that changes within the merge window go together.
func (c *Cluster) rebuildLater() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.rebuildSoon()
	}
}

// slow tells whether tables are not to be built by whoever changes a host's health.
func (c *Cluster) slow() bool {
	p, ok := c.policy.(SlowPolicy)
	return ok && p.Slow()
}

// peers are the proxies like this one; set is what this cluster is to publish.
func (c *Cluster) peers(set *PrioritySet) *HostSet {
	if c.manager == nil || c.manager.options.LocalCluster == "" {
		return nil
	}
	if c.Name == c.manager.options.LocalCluster {
		return set.Levels[0]
	}
	local := c.manager.active.get(c.manager.options.LocalCluster)
	if local == nil {
		return nil
	}
	if n := local.newest.Load(); len(n.Hosts) > 0 {
		return n.Levels[0]
	}
	return nil
}

// Leaves returns the active clusters of some names, in their order and each once; in
// place of one that follows others, an aggregate, it has those.
func (m *Manager) Leaves(names []string) []*Cluster {
	var out []*Cluster
	seen := map[string]struct{}{}
	var visit func([]string)
	visit = func(names []string) {
		for _, n := range names {
			c := m.Get(n)
			if _, ok := seen[n]; ok || c == nil {
				continue
			}
			seen[n] = struct{}{}
			if f, ok := c.policy.(Follower); ok {
				visit(f.Follows())
				continue
			}
			out = append(out, c)
		}
	}
	visit(names)
	return out
}

// Newest returns the newest host set; it takes no lock.
func (c *Cluster) Newest() *PrioritySet { return c.newest.Load() }

// Manager returns the manager that the cluster belongs to.
func (c *Cluster) Manager() *Manager { return c.manager }
