// SPDX-License-Identifier: Apache-2.0

// Package emissary reads the objects of Emissary-ingress: Listener, Host, Mapping,
// TCPMapping, TLSContext, Module, AuthService, RateLimitService, TracingService,
// LogService and the resolvers of Kubernetes, of both versions, by themselves and in
// annotations of Services and Ingresses.
//
// An install of Emissary, which an ambassador_id names, is a gateway here. What one
// host name serves is one unit of translation, and so is what each Mapping comes to in
// an install; all is remembered by what it read (package memo).
//
// As Emissary does, a Mapping that is wrong is dropped whole: docs/design/0008.
package emissary

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// prefix begins the names of gateways; what follows is the ambassador_id.
const prefix = "emissary-"

// Options of a Dialect.
type Options struct {
	// IDs are the installs that are served; none is all.
	IDs []string
	// Limiter tells that the proxies have the limiter of their process, xds.LimiterCluster.
	Limiter  bool
	Backends *backend.Backends
}

// A Dialect reads Emissary's objects. It serves one memo.DB.
type Dialect struct {
	*graph.Tables[hostOf]
	ids      []string
	limiter  bool
	backends *backend.Backends

	annotation *memo.Func[source.Key, *annotation]
	annotated  *memo.Index[source.Key, source.Kind, id] // objects in annotations, by kind

	installs  *memo.Func[struct{}, []string]
	install   *memo.Func[string, *install]
	services  *memo.Func[string, *services]
	listeners *memo.Func[string, []*listener]
	contexts  *memo.Func[string, []*tlsContext]
	hosts     *memo.Func[string, []*host]
	mapping   *memo.Func[id, *mapping]
	placed    *memo.Func[placedID, *placed]
	groupOf   *memo.Index[source.Key, groupID, id]       // Mappings of a group
	domains   *memo.Index[source.Key, hostID, string]    // host names that Mappings have within a Host
	wild      *memo.Index[source.Key, hostID, string]    // those with wildcards, that may reach into others
	members   *memo.Index[source.Key, membersID, string] // groups of a host name within a Host
	// overriding are the Mappings of an install that have bodies for responses.
	overriding *memo.Index[source.Key, string, id]
	group      *memo.Func[groupID, *group]
	rules      *memo.Func[ruleID, []*graph.Route]
	host       *memo.Func[hostOf, *graph.Host]
	tcp        *memo.Func[string, []*tcpMapping]
	graphs     *memo.Func[source.Name, *graph.Gateway]

	status *memo.Func[source.Key, *status.Update]
}

// New returns a Dialect.
func New(o Options) *Dialect {
	d := &Dialect{ids: o.IDs, limiter: o.Limiter, backends: o.Backends}
	d.annotation = memo.NewFunc(readAnnotation, nil)
	d.annotated = memo.NewIndex(d.annotatedIn, compareIDs)
	d.installs = memo.NewFunc(d.readInstalls, slices.Equal[[]string])
	d.install = memo.NewFunc(d.readInstall, alike[*install])
	d.services = memo.NewFunc(d.readServices, (*services).same)
	d.listeners = memo.NewFunc(d.readListeners, alike[[]*listener])
	d.contexts = memo.NewFunc(d.readContexts, alike[[]*tlsContext])
	d.hosts = memo.NewFunc(d.readHosts, alike[[]*host])
	d.mapping = memo.NewFunc(d.readMapping, alike[*mapping])
	d.placed = memo.NewFunc(d.place, alike[*placed])
	d.groupOf = memo.NewIndex(d.groupsOf, compareIDs)
	d.domains = memo.NewIndex(d.domainsOf, strings.Compare)
	d.wild = memo.NewIndex(d.wildOf, strings.Compare)
	d.members = memo.NewIndex(d.membersOf, strings.Compare)
	d.overriding = memo.NewIndex(d.overridingIn, compareIDs)
	d.group = memo.NewFunc(d.readGroup, nil)
	d.rules = memo.NewFunc(d.readRules, nil)
	d.Tables = graph.NewTables(d.readTable, func(a, b hostOf) int { return wilder(a.domain, b.domain) })
	d.host = memo.NewFunc(d.readHost, nil)
	d.tcp = memo.NewFunc(d.readTCP, alike[[]*tcpMapping])
	d.graphs = memo.NewFunc(d.readGraph, nil)
	d.status = memo.NewFunc(d.statusOf, alike[*status.Update])
	return d
}

func alike[V any](a, b V) bool { return reflect.DeepEqual(a, b) }

// Indexes are those that Views need to have: none.
func (d *Dialect) Indexes() []*source.Index { return nil }

// Change tells the dialect that an object came, changed or went.
func (d *Dialect) Change(db *memo.DB, key source.Key, is, was bool) {
	if is == was {
		return
	}
	switch {
	case key.Kind == source.Service || key.Kind == source.Ingress:
		toggle(db, d.annotated, key, is)
		d.follow(db, key, is)
	case key.Kind == source.EmissaryMapping:
		d.follow(db, key, is)
	case !ours(key.Kind):
		return
	}
	if is {
		d.status.Watch(db, key)
	} else {
		d.status.Unwatch(db, key)
	}
}

// follow adds a Mapping, or what may have some in its annotation, to the indexes of
// Mappings, or takes it away.
func (d *Dialect) follow(db *memo.DB, key source.Key, is bool) {
	toggle(db, d.groupOf, key, is)
	toggle(db, d.domains, key, is)
	toggle(db, d.wild, key, is)
	toggle(db, d.members, key, is)
	toggle(db, d.overriding, key, is)
}

func toggle[K, B, M comparable](db *memo.DB, x *memo.Index[K, B, M], key K, is bool) {
	if is {
		x.Add(db, key)
	} else {
		x.Remove(db, key)
	}
}

// ours reports whether a kind is one of Emissary's.
func ours(k source.Kind) bool { return k.Group == source.EmissaryMapping.Group }

// Status returns the object whose status a change is, and the update.
func (d *Dialect) Status(ch memo.Change) (key source.Key, u *status.Update, ok bool) {
	return d.status.Watched(ch)
}

// Owns reports whether a gateway is an install of Emissary.
func (d *Dialect) Owns(gateway source.Name) bool {
	return gateway.Namespace == "" && strings.HasPrefix(gateway.Name, prefix)
}

func gatewayOf(install string) source.Name { return source.Name{Name: prefix + install} }

func installOf(gateway source.Name) string { return strings.TrimPrefix(gateway.Name, prefix) }

// Gateways returns the installs that there are, by name.
func (d *Dialect) Gateways(c *memo.Ctx) []source.Name {
	var out []source.Name
	for _, i := range d.installs.Get(c, struct{}{}) {
		out = append(out, gatewayOf(i))
	}
	return out
}

// Parameters are none: nothing of Emissary says how proxies are run.
func (d *Dialect) Parameters(*memo.Ctx, source.Name) v1alpha1.GatewayParametersSpec {
	return v1alpha1.GatewayParametersSpec{}
}

// Awaits is never so: Emissary's statuses tell of configuration, not of proxies.
func (d *Dialect) Awaits(*memo.Ctx, source.Key) (gateway source.Name, ok bool) {
	return source.Name{}, false
}

// Gateway returns what an install serves, or nil if there is none.
func (d *Dialect) Gateway(c *memo.Ctx, name source.Name) *graph.Gateway { return d.graphs.Get(c, name) }

// Host returns a virtual host.
func (d *Dialect) Host(c *memo.Ctx, id graph.HostID) *graph.Host { return d.host.Get(c, id.(hostOf)) }

func compareIDs(a, b id) int {
	return cmp.Or(source.CompareKeys(a.Key, b.Key), source.CompareKeys(a.holder, b.holder), cmp.Compare(a.index, b.index))
}
