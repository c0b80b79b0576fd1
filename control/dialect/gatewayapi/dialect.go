// SPDX-License-Identifier: Apache-2.0

// Package gatewayapi reads the objects of the Kubernetes Gateway API: GatewayClass,
// Gateway, ListenerSet, and the routes of HTTP, gRPC, TLS, TCP and UDP.
//
// It is a set of pure functions over a View, remembered by what they read (package
// memo): what one listener is, where one route attaches, what one rule does, which
// routes one host has. [Dialect.Gateway] and [Dialect.Host] give the graph;
// the functions ...Status say what became of each object.
//
// What to do with what is wrong follows docs/design/0008: the smallest thing that
// can be answered for by itself answers for itself.
package gatewayapi

import (
	"reflect"
	"slices"
	"unique"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/backendtls"
	"weir.dev/weir/control/policy/envoygateway"
	"weir.dev/weir/control/policy/xtraffic"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// DefaultController is the controllerName of GatewayClasses that are ours.
const DefaultController = "weir.dev/gateway-controller"

// Options of a Dialect.
type Options struct {
	// Controller is the controllerName of the GatewayClasses that are ours; the default
	// is DefaultController.
	Controller string
	Backends   *backend.Backends
	TLS        *backendtls.Policies
	// Traffic are the policies of what backends get.
	Traffic *xtraffic.Policies
	// Policies are those that are attached to Gateways, listeners, routes and rules.
	Policies *attach.Policies
	// Proxies reads EnvoyProxies.
	Proxies *envoygateway.Policies
	// Provisions tells that proxies are run as Gateways ask in spec.infrastructure.
	Provisions bool
}

// A Dialect reads the Gateway API's objects. It serves one memo.DB.
type Dialect struct {
	controller gwapiv1.GatewayController
	provisions bool
	backends   *backend.Backends
	tls        *backendtls.Policies
	traffic    *xtraffic.Policies
	policies   *attach.Policies
	proxies    *envoygateway.Policies

	setsOf   *source.Index // ListenerSets by their Gateway
	routesOf map[source.Kind]*source.Index

	// Each of these is one unit of translation.
	class       *memo.Func[string, *class]
	gateway     *memo.Func[source.Name, *gateway]
	certificate *memo.Func[certificateID, certificate]
	listeners   *memo.Func[source.Name, *listeners]
	quiet       *memo.Func[listenerAt, bool]
	sharers     *memo.Func[source.Name, []source.Name]
	contests    *memo.Func[source.Name, map[listenerID]contest]
	overlaps    *memo.Func[source.Name, map[listenerID]*listener]
	parent      *memo.Func[source.Key, *parent]
	attachment  *memo.Func[source.Key, *attachment]
	attached    *memo.Index[source.Key, listenerID, source.Key]  // routes of a listener
	domains     *memo.Index[source.Key, listenerID, string]      // host names that routes have there
	members     *memo.Index[source.Key, hostID, source.Key]      // routes of a host name there
	byBackend   *memo.Index[source.Key, source.Key, source.Key]  // routes that refer to a backend
	governing   *memo.Index[source.Key, source.Name, source.Key] // policies attached to a Gateway, and what it has
	referring   *memo.Index[source.Key, source.Name, source.Key] // filters that routes of a Gateway refer to
	asking      *memo.Index[source.Key, source.Name, asker]      // filters that ExternalAuth filters of its routes need
	backing     *memo.Func[source.Key, *backing]
	rules       *memo.Func[ruleID, []*graph.Route]
	spots       *memo.Index[source.Name, spot, taker]
	hosts       *memo.Index[source.Key, graph.TableID, unique.Handle[hostOf]] // hosts of a table
	host        *memo.Func[hostOf, *graph.Host]
	graphs      *memo.Func[source.Name, *graph.Gateway]

	classStatus   *memo.Func[string, *status.Update]
	gatewayStatus *memo.Func[source.Name, *status.Update]
	setStatus     *memo.Func[source.Name, *status.Update]
	routeStatus   *memo.Func[source.Key, *status.Update]
	policyStatus  *memo.Func[source.Name, *status.Update]
	attachStatus  *memo.Func[source.Key, *status.Update]
	envoys        *memo.Func[struct{}, bool]
	proxyStatus   *memo.Func[source.Name, *status.Update]
	trafficStatus *memo.Func[source.Name, *status.Update]
	backendStatus *memo.Func[source.Key, *status.Update]
}

// New returns a Dialect.
func New(o Options) *Dialect {
	if o.Controller == "" {
		o.Controller = DefaultController
	}
	d := &Dialect{
		controller: gwapiv1.GatewayController(o.Controller), provisions: o.Provisions, backends: o.Backends, tls: o.TLS, traffic: o.Traffic, policies: o.Policies, proxies: o.Proxies,
		setsOf:   &source.Index{Kind: source.ListenerSet, Keys: parentOfSet},
		routesOf: map[source.Kind]*source.Index{},
	}
	d.class = memo.NewFunc(d.readClass, alike[*class])
	d.gateway = memo.NewFunc(d.readGateway, alike[*gateway])
	d.certificate = memo.NewFunc(d.readCertificate, alike[certificate])
	d.listeners = memo.NewFunc(d.readListeners, alike[*listeners])
	d.quiet = memo.NewFunc(d.isQuiet, func(a, b bool) bool { return a == b })
	d.sharers = memo.NewFunc(d.readSharers, slices.Equal[[]source.Name])
	d.contests = memo.NewFunc(d.readContests, alike[map[listenerID]contest])
	d.overlaps = memo.NewFunc(d.readOverlaps, alike[map[listenerID]*listener])
	d.parent = memo.NewFunc(d.readParent, alike[*parent])
	d.attachment = memo.NewFunc(d.attach, alike[*attachment])
	d.attached = memo.NewIndex(d.listenersOf, source.CompareKeys)
	d.domains = memo.NewIndex(d.domainsOf, attach.CompareHosts)
	d.members = memo.NewIndex(d.hostsOf, source.CompareKeys)
	d.byBackend = memo.NewIndex(d.backendsOf, source.CompareKeys)
	d.governing = memo.NewIndex(d.gatewaysOfPolicy, source.CompareKeys)
	d.referring = memo.NewIndex(d.filtersOf, source.CompareKeys)
	d.asking = memo.NewIndex(d.askersOf, compareAskers)
	d.backing = memo.NewFunc(d.resolve, alike[*backing])
	d.rules = memo.NewFunc(d.readRules, nil)
	d.spots = memo.NewIndex(d.spotsOf, compareTakers)
	d.hosts = memo.NewIndex(d.inTables, compareHosts)
	d.host = memo.NewFunc(d.readHost, nil)
	d.graphs = memo.NewFunc(d.readGraph, alike[*graph.Gateway])
	d.classStatus = memo.NewFunc(d.statusOfClass, alike[*status.Update])
	d.gatewayStatus = memo.NewFunc(d.statusOfGateway, alike[*status.Update])
	d.setStatus = memo.NewFunc(d.statusOfSet, alike[*status.Update])
	d.routeStatus = memo.NewFunc(d.statusOfRoute, alike[*status.Update])
	d.policyStatus = memo.NewFunc(d.statusOfPolicy, alike[*status.Update])
	d.proxyStatus = memo.NewFunc(d.statusOfProxy, alike[*status.Update])
	d.trafficStatus = memo.NewFunc(d.statusOfTraffic, alike[*status.Update])
	d.envoys = memo.NewFunc(d.readEnvoys, memo.Equal[bool])
	d.backendStatus = memo.NewFunc(d.statusOfBackend, alike[*status.Update])
	d.attachStatus = memo.NewFunc(d.statusOfAttached, alike[*status.Update])
	return d
}

func alike[V any](a, b V) bool { return reflect.DeepEqual(a, b) }

// Indexes are those that Views need to have.
func (d *Dialect) Indexes() []*source.Index {
	return append(d.policies.Indexes(), d.setsOf)
}

// Change tells the dialect that an object came, changed or went, before the DB's
// Settle.
func (d *Dialect) Change(db *memo.DB, key source.Key, is, was bool) {
	switch {
	case isRoute(key.Kind):
		toggle(db, d.attached, key, is, was)
		toggle(db, d.domains, key, is, was)
		toggle(db, d.members, key, is, was)
		toggle(db, d.byBackend, key, is, was)
		toggle(db, d.referring, key, is, was)
		if key.Kind == source.HTTPRoute {
			toggle(db, d.asking, key, is, was)
		}
		if key.Kind == source.HTTPRoute || key.Kind == source.GRPCRoute {
			toggle(db, d.hosts, key, is, was)
		}
		watch(db, d.routeStatus, key, is, was)
	case key.Kind == source.GatewayClass:
		watch(db, d.classStatus, key.Name.Name, is, was)
	case key.Kind == source.Gateway:
		toggle(db, d.spots, key.Name, is, was)
		toggle(db, d.hosts, key, is, was)
		watch(db, d.gatewayStatus, key.Name, is, was)
	case key.Kind == source.ListenerSet:
		watch(db, d.setStatus, key.Name, is, was)
	case key.Kind == source.BackendTLSPolicy:
		watch(db, d.policyStatus, key.Name, is, was)
	case key.Kind == source.XBackendTrafficPolicy:
		watch(db, d.trafficStatus, key.Name, is, was)
	case key.Kind == source.EnvoyProxy:
		watch(db, d.proxyStatus, key.Name, is, was)
	case slices.Contains(backend.Kinds(), key.Kind):
		watch(db, d.backendStatus, key, is, was)
	case d.policies.Of(key.Kind) != nil:
		if is && !was {
			d.governing.Add(db, key)
		} else if was && !is {
			d.governing.Remove(db, key)
		}
		watch(db, d.attachStatus, key, is, was)
	}
}

func toggle[K, B, M comparable](db *memo.DB, x *memo.Index[K, B, M], key K, is, was bool) {
	switch {
	case is && !was:
		x.Add(db, key)
	case was && !is:
		x.Remove(db, key)
	}
}

func watch[K comparable, V any](db *memo.DB, f *memo.Func[K, V], key K, is, was bool) {
	switch {
	case is && !was:
		f.Watch(db, key)
	case was && !is:
		f.Unwatch(db, key)
	}
}

// Status returns the object whose status a change reported by the DB's Settle is, and
// the update; nil if the object is not ours any more. ok tells that it is one of the
// dialect's.
func (d *Dialect) Status(ch memo.Change) (key source.Key, u *status.Update, ok bool) {
	if key, u, ok = d.routeStatus.Watched(ch); ok {
		return key, u, true
	}
	if key, u, ok = d.attachStatus.Watched(ch); ok {
		return key, u, true
	}
	if key, u, ok = d.backendStatus.Watched(ch); ok {
		return key, u, true
	}
	if name, u, ok := d.classStatus.Watched(ch); ok {
		return source.Key{Kind: source.GatewayClass, Name: source.Name{Name: name}}, u, true
	}
	for kind, f := range map[source.Kind]*memo.Func[source.Name, *status.Update]{
		source.Gateway: d.gatewayStatus, source.ListenerSet: d.setStatus, source.BackendTLSPolicy: d.policyStatus,
		source.EnvoyProxy: d.proxyStatus, source.XBackendTrafficPolicy: d.trafficStatus,
	} {
		if name, u, ok := f.Watched(ch); ok {
			return source.Key{Kind: kind, Name: name}, u, true
		}
	}
	return source.Key{}, nil, false
}

// Awaits returns the fleet that the status of a Gateway or ListenerSet tells of.
func (d *Dialect) Awaits(c *memo.Ctx, key source.Key) (fleet source.Name, ok bool) {
	switch key.Kind {
	case source.Gateway:
	case source.ListenerSet:
		o, ok := source.Get[*gwapiv1.ListenerSet](c, source.ListenerSet, key.Name)
		if !ok {
			return source.Name{}, false
		}
		key.Name = gatewayOfSet(o)
	default:
		return source.Name{}, false
	}
	if g := d.gateway.Get(c, key.Name); g != nil {
		return g.fleet, true
	}
	return key.Name, true
}

// Gateway returns what a fleet serves, or nil if none of its Gateways is ours and accepted.
func (d *Dialect) Gateway(c *memo.Ctx, fleet source.Name) *graph.Gateway {
	return d.graphs.Get(c, fleet)
}

// Host returns a virtual host.
func (d *Dialect) Host(c *memo.Ctx, id graph.HostID) *graph.Host {
	return d.host.Get(c, id.(unique.Handle[hostOf]).Value())
}

// FollowHosts has the DB's Settle report which hosts come into a table and leave it, for
// HostsOf.
func (d *Dialect) FollowHosts(db *memo.DB, table graph.TableID) { d.hosts.Follow(db, table) }

// UnfollowHosts is the opposite of FollowHosts.
func (d *Dialect) UnfollowHosts(_ *memo.DB, table graph.TableID) { d.hosts.Unfollow(table) }

// HostsOf returns a table, the hosts that came into it and those that left it, if a change
// reported by Settle is one of those.
func (d *Dialect) HostsOf(ch memo.Change) (table graph.TableID, came, left []graph.HostID, ok bool) {
	table, c, l, ok := d.hosts.Followed(ch)
	return table, graph.HostIDs(c), graph.HostIDs(l), ok
}
