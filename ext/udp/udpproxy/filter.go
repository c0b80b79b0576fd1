// SPDX-License-Identifier: Apache-2.0

package udpproxy

import (
	"cmp"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
)

// factory makes the filters of one configuration.
type factory struct {
	*config
	services *extension.Services
	log      *slog.Logger
	stats    *stats.Sharded[downstreamStats]
	begun    time.Time
	filters  atomic.Int64 // how many are not closed

	mu       sync.Mutex
	clusters map[string]*stats.Sharded[upstreamStats] // by what statistics call the cluster
}

func newFactory(cfg *config, c *extension.Network) *factory {
	f := &factory{config: cfg, services: c.Services, log: c.Log("udp"), begun: time.Now(), clusters: map[string]*stats.Sharded[upstreamStats]{}}
	f.stats = stats.Register[downstreamStats](c.Stats.Scope("udp."+cfg.statPrefix+"."), len(c.Loops))
	c.Own(f.close)
	return f
}

func (f *factory) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Close()
	for _, s := range f.clusters {
		s.Close()
	}
}

// clusterStats returns a loop's statistics of a cluster.
func (f *factory) clusterStats(c *upstream.Cluster, loop int) *upstreamStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := cmp.Or(c.AltStatName, c.Name)
	s := f.clusters[name]
	if s == nil {
		s = stats.Register[upstreamStats](f.services.Stats.Scope("cluster."+name+".udp."), len(f.services.Loops))
		f.clusters[name] = s
	}
	return s.At(loop)
}

// New returns the filter of a loop. Sessions of the one before go on if they could
// have begun under the new configuration.
func (f *factory) New(w *listener.PacketWorker, old listener.PacketFilter) listener.PacketFilter {
	n := &filter{
		factory: f, worker: w, loop: w.Loop(), shard: w.Loop().ID(), stats: f.stats.At(w.Loop().ID()),
		table: map[key]*session{}, ending: map[*session]struct{}{}, uses: map[string]*use{}, watched: map[*use]struct{}{},
	}
	n.pick.Connection = &n.info
	f.filters.Add(1)
	if o, ok := old.(*filter); ok {
		n.inherit(o)
	}
	return n
}

// filter is the proxy's part on one loop.
type filter struct {
	*factory
	worker *listener.PacketWorker
	loop   *engine.Loop
	shard  int
	stats  *downstreamStats
	table  map[key]*session
	// ending are the sessions that take no more datagrams of clients and wait for
	// late answers.
	ending map[*session]struct{}
	uses   map[string]*use // by cluster
	// watched are the uses and those that they replaced, until their sessions end.
	watched map[*use]struct{}
	info    streaminfo.Connection
	pick    upstream.PickContext
	closed  bool
}

// key is what a session is found by. It is made of whole words without gaps, so
// that it is hashed at once.
type key struct {
	remote, local [2]uint64
	// ports are the client's and the local one, and the number of the interface if
	// the client's address is local to a link.
	ports uint64
	// host is the session's if each datagram is balanced by itself.
	host *upstream.HostState
}

func keyOf(d *engine.Datagram) key {
	r, l := d.Remote.Addr().As16(), d.Local.Addr().As16()
	k := key{ports: uint64(d.Remote.Port()) | uint64(d.Local.Port())<<16}
	k.remote = [2]uint64{binary.NativeEndian.Uint64(r[:8]), binary.NativeEndian.Uint64(r[8:])}
	k.local = [2]uint64{binary.NativeEndian.Uint64(l[:8]), binary.NativeEndian.Uint64(l[8:])}
	if z := d.Remote.Addr().Zone(); z != "" {
		n, err := strconv.ParseUint(z, 10, 32)
		if err == nil {
			k.ports |= n << 32
		}
	}
	return k
}

// use is a cluster in use by the filter's sessions.
type use struct {
	filter  *filter
	cluster *upstream.Cluster
	worker  *upstream.Worker
	limit   *breaker.Limit
	stats   *upstreamStats
	left    bool // the cluster was replaced or removed
}

// Receive forwards a client's datagram.
func (f *filter) Receive(down *engine.PacketSocket, d *engine.Datagram) bool {
	k := keyOf(d)
	if f.perPacket {
		f.balance(k, down, d)
		return false
	}
	s := f.table[k]
	if s == nil {
		s = f.begin(k, down, d)
	} else if s.host.Health() == upstream.Unhealthy {
		s = f.move(s, d)
	}
	if s != nil {
		s.forward(d.Data)
	}
	return false
}

// begin makes a session for a datagram that has none.
func (f *filter) begin(k key, down *engine.PacketSocket, d *engine.Datagram) *session {
	u := f.route(d)
	if u == nil {
		return nil
	}
	if !u.limit.CanAcquire() {
		u.worker.Stats.CxOverflow.Inc()
		return nil
	}
	h := f.choose(u, d)
	switch {
	case u.left:
		return f.begin(k, down, d) // The choice brought to light that there is another cluster.
	case h == nil:
		u.worker.Stats.CxNoneHealthy.Inc()
		return nil
	}
	return f.open(k, u, h, down, d)
}

// move gives a client whose host is unhealthy a session with a better one, if there
// is one.
func (f *filter) move(s *session, d *engine.Datagram) *session {
	h := f.choose(s.use, d)
	if s.ending {
		return f.begin(s.key, s.down, d) // The choice brought to light that the host is gone.
	}
	if h == nil || h.Health() == upstream.Unhealthy || h.Same(s.host) {
		return s
	}
	k, u, down := s.key, s.use, s.down
	s.retire()
	return f.open(k, u, h, down, d)
}

// balance forwards a datagram to a host of its own.
func (f *filter) balance(k key, down *engine.PacketSocket, d *engine.Datagram) {
	u := f.route(d)
	if u == nil {
		return
	}
	h := f.choose(u, d)
	switch {
	case u.left:
		f.balance(k, down, d) // As in begin.
		return
	case h == nil:
		u.worker.Stats.CxNoneHealthy.Inc()
		return
	}
	k.host = h.HostState
	s := f.table[k]
	if s == nil {
		if !u.limit.CanAcquire() {
			u.worker.Stats.CxOverflow.Inc()
			return
		}
		if s = f.open(k, u, h, down, d); s == nil {
			return
		}
	}
	s.forward(d.Data)
}

// route finds the cluster of a datagram; nil if there is none.
func (f *filter) route(d *engine.Datagram) *use {
	f.info.Remote, f.info.Local = address.IP(d.Remote), address.IP(d.Local)
	f.info.DirectRemote, f.info.DirectLocal = f.info.Remote, f.info.Local
	name, res := f.cluster, match.Matched
	if f.routes != nil {
		name, res = f.routes.Match(match.Data{Conn: &f.info})
	}
	u := f.uses[name]
	var c *upstream.Cluster
	if res == match.Matched {
		c = f.services.Clusters.Get(name)
	}
	switch {
	case c == nil:
		f.stats.NoRoute.Inc()
		return nil
	case u != nil && u.cluster == c:
		return u
	}
	// The sessions of a cluster that was replaced end when it says so.
	u = &use{filter: f, cluster: c, worker: c.Worker(f.shard), stats: f.clusterStats(c, f.shard)}
	u.limit = &c.Resources(breaker.Default).Connections
	u.worker.Watch(u)
	f.uses[name] = u
	f.watched[u] = struct{}{}
	return u
}

// choose asks the balancer for a host.
func (f *filter) choose(u *use, d *engine.Datagram) *upstream.Host {
	f.pick.Hash, f.pick.HasHash = f.hash.key, f.hash.on
	if f.hash.sourceIP {
		f.pick.Hash = hashIP(d.Remote.Addr())
	}
	h, _ := u.worker.Pick(&f.pick)
	return h
}

// hashIP hashes an address's text, as Envoy does: either proxy takes a client to the
// same host.
func hashIP(a netip.Addr) uint64 {
	var buf [64]byte
	b := a.AppendTo(buf[:0])
	return match.XXH64(unsafe.String(unsafe.SliceData(b), len(b)), 0)
}

// HostsLeft ends the sessions with hosts that are gone.
func (u *use) HostsLeft(*upstream.Worker) {
	f := u.filter
	gone := f.services.Clusters.Get(u.cluster.Name) != u.cluster
	for _, s := range f.table {
		if s.use == u && (gone || !s.host.InCluster()) {
			s.retire()
		}
	}
	if gone {
		u.leave()
	}
}

// leave ends the use of a cluster that was replaced or removed.
func (u *use) leave() {
	u.left = true
	u.worker.Unwatch(u)
	delete(u.filter.watched, u)
	if u.filter.uses[u.cluster.Name] == u {
		delete(u.filter.uses, u.cluster.Name)
	}
}

// inherit takes over the sessions of the filter of an earlier configuration. Those
// that this one would make otherwise only wait for late answers.
func (f *filter) inherit(old *filter) {
	same := f.perPacket == old.perPacket && f.originalSource == old.originalSource && f.read == old.read
	f.uses, old.uses = old.uses, map[string]*use{}
	f.watched, old.watched = old.watched, map[*use]struct{}{}
	for u := range f.watched {
		u.filter = f
	}
	f.ending, old.ending = old.ending, map[*session]struct{}{}
	for s := range f.ending {
		s.filter = f
	}
	f.table, old.table = old.table, map[key]*session{}
	for _, s := range f.table {
		s.filter = f
		old.stats.Active.Dec()
		f.stats.Active.Inc()
		s.periodic()
		if u := f.routeOf(s); !same || u != s.use {
			s.retire()
		}
	}
}

// routeOf finds the cluster that a session would have now, without counting.
func (f *filter) routeOf(s *session) *use {
	name := f.cluster
	if f.routes != nil {
		f.info.Remote, f.info.Local = address.IP(s.remote), address.IP(s.local)
		var res match.Result
		if name, res = f.routes.Match(match.Data{Conn: &f.info}); res != match.Matched {
			return nil
		}
	}
	return f.uses[name]
}

// ReceiveFailed counts an error of a listening socket.
func (f *filter) ReceiveFailed(error) { f.stats.RxErrors.Inc() }

// Drain lets late answers through and ends the sessions.
func (f *filter) Drain() {
	for _, s := range f.table {
		s.retire()
	}
}

// Close ends every session.
func (f *filter) Close() {
	if f.closed {
		return
	}
	f.closed = true
	for _, s := range f.table {
		s.close()
	}
	for s := range f.ending {
		s.close()
	}
	for u := range f.watched {
		u.leave()
	}
	if f.filters.Add(-1) == 0 {
		f.logProxy(f.shard)
	}
}
