// SPDX-License-Identifier: Apache-2.0

package emit

import (
	"maps"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
	"weir.dev/weir/xds"
)

// A gateway is what is known of one, and what of it is to be written anew.
type gateway struct {
	name      source.Name
	frame     *frame
	resources *Resources

	stale     bool // something is to be written
	tables    map[graph.TableID]bool
	hosts     map[*host]bool
	clusters  map[graph.ClusterID]bool
	endpoints map[graph.ClusterID]bool
	secrets   map[string]bool
	gone      []string // names of clusters and endpoints of frames before
}

// A table is the virtual hosts of a Gateway's route configuration.
type table struct {
	id      graph.TableID
	gateway source.Name
	origin  xds.Origin
	hosts   map[graph.HostID]*host
}

// A host is a virtual host of a table.
type host struct {
	id      graph.HostID
	table   *table
	message *hostMessage
	gone    bool
}

// name is what the virtual host is delivered as.
func (h *host) name() string { return h.table.id.Name() + "/" + h.message.message.GetName() }

// Watch has Take keep a Gateway's resources up to date.
func (e *Emitter) Watch(db *memo.DB, name source.Name) {
	g := &gateway{
		name: name, frame: &frame{}, resources: &Resources{rest: (&xds.Builder{}).Build("")}, stale: true,
		tables: map[graph.TableID]bool{}, hosts: map[*host]bool{}, clusters: map[graph.ClusterID]bool{}, endpoints: map[graph.ClusterID]bool{}, secrets: map[string]bool{},
	}
	e.gateways[name] = g
	e.frame.Watch(db, name)
}

// Unwatch is the opposite of Watch.
func (e *Emitter) Unwatch(db *memo.DB, name source.Name) {
	if g := e.gateways[name]; g != nil {
		e.reframe(db, g, &frame{})
		e.frame.Unwatch(db, name)
		delete(e.gateways, name)
	}
}

// Take takes a change that the DB's Settle reported, and reports whether it is one of
// the Emitter's. What it reads anew is reported by another Settle, and is no change then.
func (e *Emitter) Take(db *memo.DB, ch memo.Change) bool {
	if name, f, ok := e.frame.Watched(ch); ok {
		if g := e.gateways[name]; g != nil && g.frame != f {
			e.reframe(db, g, f)
		}
		return true
	}
	if id, came, left, ok := e.graph.HostsOf(ch); ok {
		if t := e.tables[id]; t != nil {
			e.rehost(db, t, came, left)
		}
		return true
	}
	if id, m, ok := e.host.Watched(ch); ok {
		if h := e.at[id]; h != nil {
			e.setHost(db, h, m)
		}
		return true
	}
	return e.clusters.take(ch, func(name source.Name, id graph.ClusterID) { e.touch(name).clusters[id] = true }) ||
		e.endpoints.take(ch, func(name source.Name, id graph.ClusterID) { e.touch(name).endpoints[id] = true }) ||
		e.secrets.take(ch, func(name source.Name, id string) { e.touch(name).secrets[id] = true })
}

// touch notes that a Gateway's resources are to be written.
func (e *Emitter) touch(name source.Name) *gateway {
	g := e.gateways[name]
	g.stale = true
	return g
}

// reframe makes f the frame of a Gateway.
func (e *Emitter) reframe(db *memo.DB, g *gateway, f *frame) {
	old := g.frame
	g.frame, g.stale = f, true
	// What is new is used before what is old is dropped, so that what is both stays.
	for _, t := range f.tables {
		if known := e.tables[t.id]; known != nil {
			g.tables[t.id] = g.tables[t.id] || known.origin != t.origin
			known.origin = t.origin
			continue
		}
		e.tables[t.id] = &table{id: t.id, gateway: g.name, origin: t.origin, hosts: map[graph.HostID]*host{}}
		g.tables[t.id] = true
		e.graph.FollowHosts(db, t.id)
	}
	for id := range f.clusters {
		e.useCluster(db, g, id)
	}
	for name := range f.secrets {
		e.useSecret(db, g, name)
	}
	for _, t := range old.tables {
		if e.tables[t.id] == nil || slices.ContainsFunc(f.tables, func(x tableRef) bool { return x.id == t.id }) {
			continue
		}
		e.rehost(db, e.tables[t.id], nil, slices.Collect(maps.Keys(e.tables[t.id].hosts)))
		delete(e.tables, t.id)
		e.graph.UnfollowHosts(db, t.id)
		g.tables[t.id] = true
	}
	for id := range old.clusters {
		e.dropCluster(db, g, id)
	}
	for name := range old.secrets {
		e.dropSecret(db, g, name)
	}
	for _, c := range old.own {
		g.gone = append(g.gone, c.Name)
	}
	if f.sized != old.sized {
		for id, held := range e.clusters.of {
			g.clusters[id] = g.clusters[id] || held.by[g.name] > 0
		}
	}
}

// measured returns a cluster with the statistics that its Gateway has it have.
func (g *gateway) measured(m *clusterv3.Cluster) *clusterv3.Cluster {
	if g.frame.sized {
		m = proto.CloneOf(m)
		m.TrackClusterStats = &clusterv3.TrackClusterStats{RequestResponseSizes: true}
	}
	return m
}

// rehost puts virtual hosts into a table and takes others out.
func (e *Emitter) rehost(db *memo.DB, t *table, came, left []graph.HostID) {
	g := e.touch(t.gateway)
	// What is new is used before what is old is dropped, so that what is both stays.
	for _, id := range came {
		h := &host{id: id, table: t}
		e.at[id], t.hosts[id] = h, h
		e.host.Watch(db, id)
		e.setHost(db, h, e.host.Get(db.Ctx(), id))
	}
	for _, id := range left {
		h := t.hosts[id]
		h.gone, g.hosts[h] = true, true
		delete(e.at, id)
		delete(t.hosts, id)
		e.host.Unwatch(db, id)
		e.dropHost(db, g, h.message)
	}
}

// setHost makes m the message of a virtual host.
func (e *Emitter) setHost(db *memo.DB, h *host, m *hostMessage) {
	old := h.message
	if old == m {
		return
	}
	h.message = m
	g := e.touch(h.table.gateway)
	g.hosts[h] = true
	for _, id := range m.clusters {
		e.useCluster(db, g, id)
	}
	e.dropHost(db, g, old)
}

func (e *Emitter) dropHost(db *memo.DB, g *gateway, m *hostMessage) {
	if m == nil {
		return
	}
	for _, id := range m.clusters {
		e.dropCluster(db, g, id)
	}
}

// endpointsOf is the cluster under which all clusters of a backend's port, or of a
// subset of it, have their endpoints.
func endpointsOf(id graph.ClusterID) graph.ClusterID {
	return graph.ClusterID{Backend: id.Backend, Port: id.Port, Subset: id.Subset, Spread: id.Spread}
}

func (e *Emitter) useCluster(db *memo.DB, g *gateway, id graph.ClusterID) {
	if !e.clusters.use(db, id, g.name) {
		return
	}
	g.clusters[id] = true
	if id.Certificate != "" {
		e.useSecret(db, g, id.Certificate)
	}
	if id := endpointsOf(id); e.endpoints.use(db, id, g.name) {
		g.endpoints[id] = true
	}
}

func (e *Emitter) dropCluster(db *memo.DB, g *gateway, id graph.ClusterID) {
	if !e.clusters.drop(db, id, g.name) {
		return
	}
	g.clusters[id] = true
	if id.Certificate != "" {
		e.dropSecret(db, g, id.Certificate)
	}
	if id := endpointsOf(id); e.endpoints.drop(db, id, g.name) {
		g.endpoints[id] = true
	}
}

func (e *Emitter) useSecret(db *memo.DB, g *gateway, name string) {
	if e.secrets.use(db, name, g.name) {
		g.secrets[name] = true
	}
}

func (e *Emitter) dropSecret(db *memo.DB, g *gateway, name string) {
	if e.secrets.drop(db, name, g.name) {
		g.secrets[name] = true
	}
}

// Flush returns the Gateways whose resources are others since the last Flush.
func (e *Emitter) Flush() []source.Name {
	var out []source.Name
	for name, g := range e.gateways {
		if g.stale {
			e.write(g)
			out = append(out, name)
		}
	}
	return out
}

// Resources returns what a Gateway's proxies need, or nil if it is not watched.
func (e *Emitter) Resources(name source.Name) *Resources {
	if g := e.gateways[name]; g != nil {
		return g.resources
	}
	return nil
}

// write puts what changed into a Gateway's resources.
func (e *Emitter) write(g *gateway) {
	b := g.resources.rest.Edit()
	e.writeTables(g, b)
	for id := range g.clusters {
		if m, ok := e.clusters.get(id, g.name); ok && m != nil {
			b.Clusters().Put(id.Name(), g.measured(m), xds.Origin{Object: id.Backend.String()})
		} else {
			b.Clusters().Delete(id.Name())
		}
	}
	for id := range g.endpoints {
		if l, ok := e.endpoints.get(id, g.name); ok && l.message != nil {
			b.Endpoints().Put(l.name, l.message, xds.Origin{Object: id.Backend.String()})
		} else {
			b.Endpoints().Delete(id.Name())
		}
	}
	for name := range g.secrets {
		if m, ok := e.secrets.get(name, g.name); ok && m != nil {
			b.Secrets().Put(name, m, xds.Origin{Object: "Secret " + name})
		} else {
			b.Secrets().Delete(name)
		}
	}
	for _, name := range g.gone {
		b.Clusters().Delete(name)
		b.Endpoints().Delete(name)
	}
	for _, c := range g.frame.own {
		b.Clusters().Put(c.Name, c.Message, c.Origin)
	}
	for _, l := range g.frame.endpoints {
		b.Endpoints().Put(l.Name, l.Message, l.Origin)
	}
	clear(g.clusters)
	clear(g.endpoints)
	clear(g.secrets)
	g.gone, g.stale = nil, false
	g.resources = &Resources{Listeners: g.frame.listeners, Limits: g.frame.limits, rest: b.Build("")}
}

// writeTables puts what changed of route configurations and virtual hosts into b.
func (e *Emitter) writeTables(g *gateway, b *xds.Builder) {
	for id, changed := range g.tables {
		t := e.tables[id]
		switch {
		case t == nil:
			b.Routes().Delete(id.Name())
		case changed:
			b.Routes().Put(id.Name(), build.RouteConfiguration(id.Name()), t.origin)
		}
	}
	for h := range g.hosts {
		if h.gone {
			b.VirtualHosts().Delete(h.name())
		}
	}
	for h := range g.hosts { // One that came may have the name of one that is gone.
		if !h.gone {
			b.VirtualHosts().Put(h.name(), h.message.message, h.message.origin)
		}
	}
	clear(g.tables)
	clear(g.hosts)
}
