// SPDX-License-Identifier: Apache-2.0

// Package istio reads Istio's objects of traffic at gateways: Gateway, VirtualService,
// DestinationRule, ServiceEntry and WorkloadEntry; and RouteRule and DestinationPolicy, as
// they were in 2018, which refine what an Ingress leads to.
//
// The proxies that one selector of Gateways chooses are a gateway here. What one host
// name serves is one unit of translation; all is remembered by what it read (package
// memo).
//
// As Istio's webhook refuses an object that is wrong, such a one is dropped whole:
// docs/design/0008. Proxies beside workloads (the mesh) are not served: what is for
// them alone is reported.
package istio

import (
	"reflect"
	"slices"
	"strings"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// rootNamespace is whose DestinationRules count for all, and where gateways run that
// nobody has placed elsewhere.
const rootNamespace = "istio-system"

// Options of a Dialect.
type Options struct {
	Backends *backend.Backends
}

// A Dialect reads Istio's objects. It serves one memo.DB.
type Dialect struct {
	*graph.Tables[hostOf]
	backends *backend.Backends

	rules    *source.Index // DestinationRules by host
	entries  *source.Index // ServiceEntries by host
	routes   *source.Index // RouteRules by service
	policies *source.Index // DestinationPolicies by service

	gateway *memo.Func[source.Name, *gateway]
	fleets  *memo.Func[struct{}, []string]
	layout  *memo.Func[string, *layout]
	virtual *memo.Func[source.Name, *virtual]
	domains *memo.Index[source.Key, graph.TableID, string]    // domains of a table
	members *memo.Index[source.Key, hostOf, source.Name]      // VirtualServices of a domain
	bytes   *memo.Index[source.Key, source.Name, source.Name] // VirtualServices of a Gateway that speak of connections
	users   *memo.Index[source.Key, source.Name, source.Name] // VirtualServices that delegate to one
	target  *memo.Func[targetID, *target]
	host    *memo.Func[hostOf, *graph.Host]
	graphs  *memo.Func[source.Name, *graph.Gateway]
	rule    *memo.Func[source.Name, *routeRule]
	ordered *memo.Func[source.Name, []source.Name] // RouteRules of a service
	status  *memo.Func[source.Key, *status.Update]
}

// New returns a Dialect.
func New(o Options) *Dialect {
	d := &Dialect{backends: o.Backends}
	d.rules = &source.Index{Kind: source.IstioDestinationRule, Keys: hostsOfRule}
	d.entries = &source.Index{Kind: source.IstioServiceEntry, Keys: hostsOfEntry}
	d.routes = &source.Index{Kind: source.IstioRouteRule, Keys: serviceOfRouteRule}
	d.policies = &source.Index{Kind: source.IstioDestinationPolicy, Keys: serviceOfPolicy}
	d.gateway = memo.NewFunc(d.readGateway, alike[*gateway])
	d.fleets = memo.NewFunc(d.readFleets, slices.Equal[[]string])
	d.layout = memo.NewFunc(d.readLayout, alike[*layout])
	d.virtual = memo.NewFunc(d.readVirtual, nil)
	d.domains = memo.NewIndex(d.domainsOf, strings.Compare)
	d.members = memo.NewIndex(d.membersOf, source.Compare)
	d.bytes = memo.NewIndex(d.bytesOf, source.Compare)
	d.users = memo.NewIndex(d.usersOf, source.Compare)
	d.target = memo.NewFunc(d.readTarget, alike[*target])
	d.Tables = graph.NewTables(d.readTable, func(a, b hostOf) int { return attach.CompareHosts(a.domain, b.domain) })
	d.host = memo.NewFunc(d.readHost, nil)
	d.graphs = memo.NewFunc(d.readGraph, nil)
	d.rule = memo.NewFunc(d.readRouteRule, nil)
	d.ordered = memo.NewFunc(d.orderRouteRules, slices.Equal[[]source.Name])
	d.status = memo.NewFunc(d.statusOf, alike[*status.Update])
	return d
}

func alike[V any](a, b V) bool { return reflect.DeepEqual(a, b) }

// Indexes are those that Views need to have.
func (d *Dialect) Indexes() []*source.Index {
	return []*source.Index{d.rules, d.entries, d.routes, d.policies}
}

// Change tells the dialect that an object came, changed or went.
func (d *Dialect) Change(db *memo.DB, key source.Key, is, was bool) {
	if is == was || !ours(key.Kind) {
		return
	}
	if key.Kind == source.IstioVirtualService {
		toggle(db, d.domains, key, is)
		toggle(db, d.members, key, is)
		toggle(db, d.bytes, key, is)
		toggle(db, d.users, key, is)
	}
	if is {
		d.status.Watch(db, key)
	} else {
		d.status.Unwatch(db, key)
	}
}

func toggle[K, B, M comparable](db *memo.DB, x *memo.Index[K, B, M], key K, is bool) {
	if is {
		x.Add(db, key)
	} else {
		x.Remove(db, key)
	}
}

// ours reports whether a kind is one of Istio's.
func ours(k source.Kind) bool {
	return slices.Contains([]string{source.IstioGateway.Group, source.IstioRouteRule.Group, source.IstioAuthorizationPolicy.Group}, k.Group)
}

// Status returns the object whose status a change is, and the update.
func (d *Dialect) Status(ch memo.Change) (key source.Key, u *status.Update, ok bool) {
	return d.status.Watched(ch)
}

// Parameters are none: nothing of Istio's says how proxies are run.
func (d *Dialect) Parameters(*memo.Ctx, source.Name) v1alpha1.GatewayParametersSpec {
	return v1alpha1.GatewayParametersSpec{}
}

// Awaits is never so: Istio's statuses tell of configuration, not of proxies.
func (d *Dialect) Awaits(*memo.Ctx, source.Key) (gateway source.Name, ok bool) {
	return source.Name{}, false
}

// Gateway returns what a fleet serves, or nil if there is none.
func (d *Dialect) Gateway(c *memo.Ctx, name source.Name) *graph.Gateway { return d.graphs.Get(c, name) }

// Host returns a virtual host.
func (d *Dialect) Host(c *memo.Ctx, id graph.HostID) *graph.Host { return d.host.Get(c, id.(hostOf)) }
