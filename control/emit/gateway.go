// SPDX-License-Identifier: Apache-2.0

package emit

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

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
	ids     []graph.HostID
	hosts   []*host
	round   int
}

// A host is a virtual host of a table.
type host struct {
	id      graph.HostID
	table   *table
	message *hostMessage
	round   int // in which the table was last seen to have it
}

// Watch has Take keep a Gateway's resources up to date.
func (e *Emitter) Watch(db *memo.DB, name source.Name) {
	g := &gateway{
		name: name, frame: &frame{}, resources: &Resources{rest: (&xds.Builder{}).Build("")}, stale: true,
		tables: map[graph.TableID]bool{}, clusters: map[graph.ClusterID]bool{}, endpoints: map[graph.ClusterID]bool{}, secrets: map[string]bool{},
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
	if id, ids, ok := e.hosts.Watched(ch); ok {
		if t := e.tables[id]; t != nil && !slices.Equal(t.ids, ids) {
			e.rehost(db, t, ids)
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
			known.origin = t.origin
			continue
		}
		e.tables[t.id] = &table{id: t.id, gateway: g.name, origin: t.origin}
		e.hosts.Watch(db, t.id)
		e.rehost(db, e.tables[t.id], e.hosts.Get(db.Ctx(), t.id))
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
		e.rehost(db, e.tables[t.id], nil)
		delete(e.tables, t.id)
		e.hosts.Unwatch(db, t.id)
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
}

// rehost makes ids the virtual hosts of a table.
func (e *Emitter) rehost(db *memo.DB, t *table, ids []graph.HostID) {
	e.touch(t.gateway).tables[t.id] = true
	old := t.hosts
	t.ids, t.hosts = ids, make([]*host, len(ids))
	t.round++
	// What is new is used before what is old is dropped, so that what is both stays.
	for i, id := range ids {
		h := e.at[id]
		if h == nil {
			h = &host{id: id, table: t}
			e.at[id] = h
			e.host.Watch(db, id)
			e.setHost(db, h, e.host.Get(db.Ctx(), id))
		}
		t.hosts[i], h.round = h, t.round
	}
	for _, h := range old {
		if h.round != t.round {
			delete(e.at, h.id)
			e.host.Unwatch(db, h.id)
			e.dropHost(db, e.gateways[t.gateway], h.message)
		}
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
	g.tables[h.table.id] = true
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
	return graph.ClusterID{Backend: id.Backend, Port: id.Port, Subset: id.Subset}
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
	for id := range g.tables {
		t := e.tables[id]
		if t == nil {
			b.Routes().Delete(id.Name())
			continue
		}
		hosts := make([]*routev3.VirtualHost, len(t.hosts))
		for i, h := range t.hosts {
			hosts[i] = h.message.message
		}
		b.Routes().Put(id.Name(), build.RouteConfiguration(id.Name(), hosts), t.origin)
	}
	for id := range g.clusters {
		if m, ok := e.clusters.get(id, g.name); ok && m != nil {
			b.Clusters().Put(id.Name(), m, xds.Origin{Object: id.Backend.String()})
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
	clear(g.tables)
	clear(g.clusters)
	clear(g.endpoints)
	clear(g.secrets)
	g.gone, g.stale = nil, false
	g.resources = &Resources{Listeners: g.frame.listeners, Limits: g.frame.limits, rest: b.Build("")}
}
