// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/codec/h1"
	"weir.dev/weir/proxy/codec/h2"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/overload"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream/outlier"
)

// A Cluster is a group of hosts and how they are used. Its settings are immutable; its
// hosts change. Its methods may be called from any goroutine unless they say
// otherwise.
type Cluster struct {
	*Settings
	// Codec is how HTTP/1 is spoken; how HTTP/2 is stands in HTTP.HTTP2.
	Codec h1.Options
	// SNIHeader is HTTP.SNIHeader, the zero Name if there is none.
	SNIHeader header.Name
	// MaintenanceKey is the key of the runtime that takes the cluster out of service.
	MaintenanceKey string

	resources resources
	loops     []Loop
	policy    Policy
	discovery Discovery
	stats     *stats.Sharded[Stats]
	members   memberStats
	detach    func()                   // of members
	streams   *stats.Sharded[h2.Stats] // nil unless HTTP/2 may be spoken
	tracked   trackedStats
	tls       *conn.TLSCounters
	outlier   *outlier.Detector // nil without
	checks    HealthChecks      // nil without
	scope     *stats.Scope
	config    *Config
	manager   *Manager
	shed      *overload.Level // of connections to be opened

	active   chan struct{} // closed by the manager when the cluster serves or is gone
	warm     chan struct{}
	warmOnce sync.Once

	mu         sync.Mutex // guards what follows and the order of publication
	closed     bool
	set        *PrioritySet
	sets       SetOptions // HostSets, with the policy of the newest endpoints
	table      Table
	membership uint64
	seeds      func() uint64
	lastErr    error
	lastUpdate time.Time
	merging    *time.Timer // a rebuild that waits for the merge window
	merged     time.Time   // when health or weights were last published
	closing    sync.WaitGroup

	newest     atomic.Pointer[PrioritySet] // set, for who may not lock
	staff      staff
	backingOff atomic.Int32 // hosts that back off
}

// Warm is closed when the cluster's discovery has given its first answer or failed.
func (c *Cluster) Warm() <-chan struct{} { return c.warm }

// Set returns the newest host set, never nil.
func (c *Cluster) Set() *PrioritySet {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.set
}

// CanConnect tells whether the limit of connections per host allows another one to h.
func (c *Cluster) CanConnect(h *Host) bool {
	return c.MaxConnectionsPerHost == 0 || h.ActiveConnections() < c.MaxConnectionsPerHost
}

// Sheds tells whether the overload manager keeps a connection from being opened, this time.
func (c *Cluster) Sheds() bool { return c.shed.Hits() }

// transportFor finds the transport for an endpoint by its metadata, its locality's if it
// has none under the name.
func (c *Cluster) transportFor(e *Endpoint) TransportConfig {
	const ns = "envoy.transport_socket_match"
	have, ok := e.Metadata[ns]
	if !ok {
		have = e.LocalityMetadata[ns]
	}
	return c.TransportFor(have)
}

// TransportFor returns the transport of the first match that all its keys and values are
// in have for, or the cluster's.
func (c *Cluster) TransportFor(have map[string]any) TransportConfig {
	for i := range c.TransportMatches {
		m := &c.TransportMatches[i]
		all := true
		for k, v := range m.Match {
			got, ok := have[k]
			all = all && ok && reflect.DeepEqual(got, v)
		}
		if all {
			return m.Transport
		}
	}
	return c.Transport
}

// TLSCounters are where handshakes with the cluster's hosts are counted; nil if all
// hosts are reached in cleartext.
func (c *Cluster) TLSCounters() *conn.TLSCounters { return c.tls }

// secure tells whether any host may be reached by a transport of its own.
func (s *Settings) secure() bool {
	return s.Transport.Transport != nil || slices.ContainsFunc(s.TransportMatches, func(m TransportMatch) bool { return m.Transport.Transport != nil })
}

// LastUpdate is when discovery last answered, and its error if it failed.
func (c *Cluster) LastUpdate() (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastUpdate, c.lastErr
}

// SetHealth sets and clears health flags of a host, as active checks and outlier
// detection do, and lets all loops know.
func (c *Cluster) SetHealth(h *Host, set, unset HealthFlags) {
	before, after := h.SetFlags(set, unset)
	if before == after {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if before.Health() != Unhealthy && after.Health() == Unhealthy {
		c.leavePools(h)
	}
	if after&PendingDynamicRemoval != 0 && after&FailedActiveHC != 0 {
		c.drop(h)
		return
	}
	c.rebuildSoon()
}

// rebuildSoon publishes changed health or weights, after the merge window if there
// is one. It is called with mu held.
func (c *Cluster) rebuildSoon() {
	if c.merging != nil {
		return
	}
	// The first change goes out at once; those that follow within the window together.
	now := time.Now()
	wait := c.merged.Add(c.MergeWindow).Sub(now)
	if wait <= 0 && !c.slow() {
		c.merged = now
		c.publish(c.set.Hosts)
		return
	}
	c.closing.Add(1)
	c.merging = time.AfterFunc(max(0, wait), func() {
		defer c.closing.Done()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.merging, c.merged = nil, time.Now()
		if !c.closed {
			c.publish(c.set.Hosts)
		}
	})
}

// statName is what statistics call the cluster.
func (s *Settings) statName() string { return cmp.Or(s.AltStatName, s.Name) }

// newCluster makes a cluster without hosts.
func newCluster(cfg *Config, o *Options) (*Cluster, error) {
	d, err := cfg.discovery()
	if err != nil {
		return nil, fmt.Errorf("cluster %q: %w", cfg.Name, err)
	}
	c := &Cluster{
		Settings: &cfg.Settings, MaintenanceKey: "upstream.maintenance_mode." + cfg.Name, config: cfg, policy: cfg.policy, discovery: d,
		manager: o.manager, loops: o.Loops, shed: o.NewConnection, seeds: o.seed, warm: make(chan struct{}), active: make(chan struct{}),
	}
	c.Codec = c.HTTP.codec()
	scope := o.Stats.Scope("cluster." + c.statName())
	if c.secure() {
		c.tls = conn.NewTLSCounters(scope, len(o.Loops))
	}
	c.stats = stats.Register[Stats](scope, len(o.Loops))
	c.detach = stats.Attach(scope, &c.members)
	if cfg.checks != nil {
		c.checks = cfg.checks(c, scope, c.firstChecked)
	}
	if c.Settings.Outlier != nil {
		c.outlier = outlier.New(outlier.Options{
			Config: c.Settings.Outlier, Cluster: c.Name, Loops: len(o.Loops), Stats: scope, Runtime: o.Runtime, Events: o.OutlierEvents, Rand: o.Seed,
		})
	}
	if n := c.HTTP.SNIHeader; n != "" {
		c.SNIHeader = header.NewName(n)
	}
	if c.HTTP.Version != UseHTTP1 {
		c.streams = stats.Register[h2.Stats](scope.Scope("http2."), len(o.Loops))
	}
	c.tracked = newTrackedStats(c.Settings, scope, len(o.Loops))
	c.scope = scope
	c.resources.begin(c, o.Runtime)
	c.sets = c.HostSets
	c.set = NewPrioritySet(nil, c.sets)
	c.newest.Store(c.set)
	c.table = c.policy.Build(c.set)
	c.staff.workers = make([]atomic.Pointer[Worker], len(o.Loops))
	c.staff.show(c)
	return c, nil
}

// start begins discovery.
func (c *Cluster) start() error { return c.discovery.Start(c.update) }

func (c *Cluster) setWarm() { c.warmOnce.Do(func() { close(c.warm) }) }

// update is what discovery calls.
func (c *Cluster) update(endpoints []Endpoint, err error) {
	if c.checks == nil || err != nil {
		defer c.setWarm()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.lastUpdate, c.lastErr = time.Now(), err
	if _, counted := c.discovery.(Assigner); !counted {
		c.count(err)
	}
	if err != nil {
		return
	}
	if len(endpoints) == 0 {
		c.members.UpdateEmpty.Inc()
	}
	c.merge(endpoints)
}

func (c *Cluster) count(err error) {
	m := &c.members
	m.UpdateAttempt.Inc()
	if err != nil {
		m.UpdateFailure.Inc()
	} else {
		m.UpdateSuccess.Inc()
	}
}

// merge makes hosts of endpoints: a host keeps its state if the newest set has its
// address. Of several endpoints with one address the first counts, as in Envoy.
func (c *Cluster) merge(endpoints []Endpoint) {
	hosts := make([]*Host, 0, len(endpoints))
	seen := make(map[identity]struct{}, len(endpoints))
	changed, came := false, false
	for i := range endpoints {
		e := &endpoints[i]
		if _, ok := seen[e.identity()]; ok {
			continue
		}
		seen[e.identity()] = struct{}{}
		e.Weight = max(1, e.Weight)
		h := c.set.find(e)
		switch {
		case h == nil:
			h = NewHost(*e, c, len(c.loops))
			came = true
		case !sameEndpoint(&h.Endpoint, e):
			old := &h.Endpoint
			h = hostOf(*e, c, h.HostState)
			set, unset := edsFlags(e.Status)
			h.SetFlags(set, unset)
			c.recheck(h, old)
			changed = true
		}
		h.SetFlags(0, PendingDynamicRemoval)
		hosts = append(hosts, h)
	}
	for _, h := range c.set.Hosts {
		if _, ok := seen[h.identity()]; !ok && c.stays(h) {
			seen[h.identity()] = struct{}{}
			h.SetFlags(PendingDynamicRemoval, 0)
			hosts = append(hosts, h)
		}
	}
	left := len(hosts) < len(c.set.Hosts) || came
	if left {
		for _, h := range c.set.Hosts {
			if _, ok := seen[h.identity()]; !ok {
				h.leave()
			}
		}
	}
	if a, ok := c.discovery.(Assigner); ok {
		p := a.Policy()
		changed = changed || !p.equal(&c.sets.AssignmentPolicy)
		c.sets.AssignmentPolicy = p
	}
	if !left && !changed && c.set.Version > 0 {
		c.members.UpdateNoRebuild.Inc()
		return
	}
	if left {
		c.membership++
		c.members.Change.Inc()
	}
	c.watch(hosts)
	c.publish(hosts)
}

// edsFlags are the flags that a discovered status asks to set and to clear.
func edsFlags(s HealthStatus) (set, unset HealthFlags) {
	switch s {
	case StatusUnhealthy, StatusTimeout:
		set = FailedEDSHealth
	case StatusDraining:
		set = EDSStatusDraining
	case StatusDegraded:
		set = DegradedEDSHealth
	case StatusUnknown, StatusHealthy:
	}
	return set, (FailedEDSHealth | DegradedEDSHealth | EDSStatusDraining) &^ set
}

// publish computes a host set and hands it to the loops. It is called with mu held, so
// that sets are published in order.
func (c *Cluster) publish(hosts []*Host) {
	version := c.set.Version + 1
	set := NewPrioritySet(hosts, c.sets)
	set.Version = version
	set.Peers = c.peers(set)
	c.set = set
	c.newest.Store(set)
	table := c.policy.Build(set)
	if m, ok := table.(Measured); ok {
		m.Measure(c.table, c)
	}
	c.table = table
	for _, w := range c.staff.show(c) {
		c.loops[w.loop].Post(func() { w.adopt() })
	}
	m := &c.members
	total, healthy, degraded, excluded := set.Counts()
	m.Total.Set(int64(total))
	m.Healthy.Set(int64(healthy))
	m.Degraded.Set(int64(degraded))
	m.Excluded.Set(int64(excluded))
	m.Version.Set(int64(version))
	heaviest := uint32(0)
	for _, h := range hosts {
		heaviest = max(heaviest, h.Weight)
	}
	m.MaxHostWeight.Set(int64(heaviest))
	c.manager.changed(c)
}

// Gauge implements Meter. It is called with mu held.
func (c *Cluster) Gauge(name string, v int64) { c.scope.Gauge(name).Set(v) }

// Count implements Meter. It is called with mu held.
func (c *Cluster) Count(name string, n uint64) { c.scope.Counter(name).Add(n) }

// leavePools drains the pools of a host that has become unhealthy on every loop, as
// Envoy does: what took the host down may be the way to it, which new connections go
// anew. With close_connections_on_host_health_failure they are closed.
func (c *Cluster) leavePools(h *Host) {
	for i, l := range c.loops {
		l.Post(func() {
			switch p := h.local[i].Load(); {
			case p == nil || p.Pool == nil:
			case c.CloseOnHealthFailure:
				p.Pool.Close()
			default:
				p.Pool.Drain()
			}
		})
	}
}

// close ends discovery and lets all pools drain, or closes them if it is the end of
// everything. Picks go on working for those who still hold the cluster.
func (c *Cluster) close(end bool) {
	c.discovery.Close()
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	if c.merging != nil && c.merging.Stop() {
		c.closing.Done()
	}
	hosts := c.set.Hosts
	for _, h := range hosts {
		h.leave()
	}
	c.mu.Unlock()
	c.closing.Wait()
	if c.checks != nil {
		c.checks.Close()
	}
	if c.outlier != nil {
		c.outlier.Close()
	}
	var busy atomic.Int32
	busy.Store(int32(len(c.loops)))
	for i, l := range c.loops {
		l.Post(func() {
			w := c.Worker(i)
			w.adopt()
			for _, h := range hosts {
				if p := h.local[i].Load(); end && p != nil && p.Pool != nil {
					p.Pool.Close()
				} else {
					w.drain(h)
				}
			}
			w.hostsLeft()
			if end {
				return
			}
			w.retire(func() {
				if busy.Add(-1) == 0 {
					c.closeStats()
				}
			})
		})
	}
	c.setWarm()
	if end {
		c.closeStats()
	}
	c.detach()
	c.resources.close()
	c.scope.Close()
}

// closeStats takes away what the loops count.
func (c *Cluster) closeStats() {
	c.stats.Close()
	if c.tls != nil {
		c.tls.Close()
	}
	if c.streams != nil {
		c.streams.Close()
	}
	c.tracked.close()
	c.config.Close()
}

// identity is what makes a host the same host.
type identity struct {
	key  string
	addr address.Addr
}

func (e *Endpoint) identity() identity {
	if e.Key != "" {
		return identity{key: e.Key}
	}
	return identity{addr: e.Address}
}

func sameEndpoint(a, b *Endpoint) bool {
	return a.Address == b.Address && a.Hostname == b.Hostname && a.Weight == b.Weight && a.Locality == b.Locality &&
		a.LocalityWeight == b.LocalityWeight && a.Priority == b.Priority && a.Status == b.Status &&
		a.Check == b.Check && slices.Equal(a.Addresses, b.Addresses) &&
		reflect.DeepEqual(a.Metadata, b.Metadata) && reflect.DeepEqual(a.LocalityMetadata, b.LocalityMetadata)
}

// Dropped is how many requests were dropped: as the load assignment asks, and by circuit
// breakers.
func (c *Cluster) Dropped() (overload, overflow uint64) {
	for s := range c.counted() {
		overload += s.RqDropOverload.Value()
		overflow += s.RqPendingOverflow.Value()
	}
	return overload, overflow
}
