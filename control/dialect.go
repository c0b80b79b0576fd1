// SPDX-License-Identifier: Apache-2.0

package control

import (
	"maps"
	"slices"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/dialect/emissary"
	"weir.dev/weir/control/dialect/gatewayapi"
	"weir.dev/weir/control/dialect/ingress"
	"weir.dev/weir/control/dialect/istio"
	"weir.dev/weir/control/emit"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/policy/backendtls"
	"weir.dev/weir/control/policy/envoygateway"
	"weir.dev/weir/control/policy/xtraffic"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// A Dialect reads objects that make gateways: what they serve, and what became of
// the objects. It consists of pure functions over a View, remembered in one memo.DB.
type Dialect interface {
	emit.Graph
	// Parameters returns how a gateway's proxies are to be run, where somebody else runs
	// them.
	Parameters(c *memo.Ctx, gateway source.Name) v1alpha1.GatewayParametersSpec
	// Owns reports whether gateways of that name are the dialect's, whether there is one
	// or not. No other dialect owns it.
	Owns(gateway source.Name) bool
	// Gateways returns those that there are, the one that has precedence first.
	Gateways(c *memo.Ctx) []source.Name
	// Indexes are those that Views need to have.
	Indexes() []*source.Index
	// Change tells that an object came, changed or went, before the DB's Settle.
	Change(db *memo.DB, key source.Key, is, was bool)
	// Status returns the object whose status a change reported by the DB's Settle is, and
	// the update; nil if the object is not the dialect's any more.
	Status(ch memo.Change) (key source.Key, u *status.Update, ok bool)
	// Awaits returns the gateway whose proxies the status of an object tells of, if it
	// tells of any.
	Awaits(c *memo.Ctx, key source.Key) (gateway source.Name, ok bool)
}

// attached are the policies that are attached to Gateways, routes and what they are made
// of: each kind has a line.
func attached(e *envoygateway.Policies) *attach.Policies {
	return attach.NewPolicies(append(e.Foreign(), e.Traffic(), e.Security(), e.Clients(), e.Extensions())...).With(e.Filters())
}

// dialects is all of them as one graph. The order is that of precedence, where two
// serve the same port of one proxy: see docs/guide/dialects.md.
type dialects struct {
	list []Dialect
	// told is what each dialect tells last of objects that several of them read, and again
	// are those of which one has told anew.
	again      map[source.Key]bool
	told       map[source.Key]map[int]*status.Update
	namespaces infra.Namespaces
}

// The names of dialects.
const (
	dialectGatewayAPI = "gateway-api"
	dialectEmissary   = "emissary"
	dialectIstio      = "istio"
	dialectIngress    = "ingress"
)

// DialectNames returns the names of all dialects, in the order of precedence.
func DialectNames() []string {
	return []string{dialectGatewayAPI, dialectEmissary, dialectIstio, dialectIngress}
}

func newDialects(o Options, b *backend.Backends, tls *backendtls.Policies, traffic *xtraffic.Policies) *dialects {
	serves := func(name string) bool { return len(o.Dialects) == 0 || slices.Contains(o.Dialects, name) }
	ds := &dialects{namespaces: o.Namespaces, told: map[source.Key]map[int]*status.Update{}, again: map[source.Key]bool{}}
	if serves(dialectGatewayAPI) {
		e := envoygateway.New(envoygateway.Options{Backends: b, Limits: o.Limits, Proxy: o.Proxy})
		ds.list = append(ds.list, gatewayapi.New(gatewayapi.Options{
			Controller: o.Controller, Backends: b, TLS: tls, Traffic: traffic, Policies: attached(e), Proxies: e, Provisions: o.Provision,
		}))
	}
	if serves(dialectEmissary) {
		ds.list = append(ds.list, emissary.New(emissary.Options{IDs: o.AmbassadorIDs, Limiter: !o.Deliver, Backends: b}))
	}
	var refine ingress.Refiner
	if serves(dialectIstio) {
		own := istio.New(istio.Options{Backends: b})
		ds.list = append(ds.list, own)
		refine = func(c *memo.Ctx, to ingress.To) ([]*graph.Route, *graph.Problem) {
			return own.Routes(c, istio.Backend{
				Service: to.Service, Port: to.Port, Listen: to.Listen, Secure: to.Secure, From: to.From, Field: to.Field, Name: to.Name,
				Path: istio.Path{Exact: to.Exact, Prefix: to.Prefix, Whole: to.Whole},
			})
		}
	}
	if serves(dialectIngress) {
		ds.list = append(ds.list, ingress.New(ingress.Options{Backends: b, Istio: refine}))
	}
	return ds
}

// of returns the dialect that owns a gateway, and its place; nil if none does.
func (ds *dialects) of(gateway source.Name) (int, Dialect) {
	for i, d := range ds.list {
		if d.Owns(gateway) {
			return i, d
		}
	}
	return 0, nil
}

// hostOf is a dialect's host.
type hostOf struct {
	dialect int
	host    graph.HostID
}

// Gateway returns what a gateway serves, or nil.
func (ds *dialects) Gateway(c *memo.Ctx, name source.Name) *graph.Gateway {
	if _, d := ds.of(name); d != nil {
		return d.Gateway(c, name)
	}
	return nil
}

// Parameters returns how a gateway's proxies are run. Those of one without a namespace are
// called as its Deployment is, and are beside it.
func (ds *dialects) Parameters(c *memo.Ctx, name source.Name) v1alpha1.GatewayParametersSpec {
	var out v1alpha1.GatewayParametersSpec
	if _, d := ds.of(name); d != nil {
		out = d.Parameters(c, name)
	}
	if name.Namespace == "" {
		if o, ok := source.Get[*v1alpha1.GatewayParameters](c, source.GatewayParameters, ds.namespaces.Place(name, "")); ok {
			out = o.Spec.Over(out)
		}
	}
	return out
}

// FollowHosts has the DB's Settle report which hosts come into a table and leave it.
func (ds *dialects) FollowHosts(db *memo.DB, table graph.TableID) {
	if _, d := ds.of(table.Socket.Gateway); d != nil {
		d.FollowHosts(db, table)
	}
}

// UnfollowHosts is the opposite of FollowHosts.
func (ds *dialects) UnfollowHosts(db *memo.DB, table graph.TableID) {
	if _, d := ds.of(table.Socket.Gateway); d != nil {
		d.UnfollowHosts(db, table)
	}
}

// HostsOf returns which hosts came into a table and left it, if a change is one of those.
func (ds *dialects) HostsOf(ch memo.Change) (table graph.TableID, came, left []graph.HostID, ok bool) {
	for i, d := range ds.list {
		if table, came, left, ok = d.HostsOf(ch); ok {
			return table, hostsOf(i, came), hostsOf(i, left), true
		}
	}
	return table, nil, nil, false
}

func hostsOf(dialect int, list []graph.HostID) []graph.HostID {
	for i, h := range list {
		list[i] = hostOf{dialect, h}
	}
	return list
}

// Host returns a host.
func (ds *dialects) Host(c *memo.Ctx, id graph.HostID) *graph.Host {
	h := id.(hostOf)
	return ds.list[h.dialect].Host(c, h.host)
}

// Gateways returns those of all dialects, in the order of precedence.
func (ds *dialects) Gateways(c *memo.Ctx) []source.Name {
	var out []source.Name
	for _, d := range ds.list {
		out = append(out, d.Gateways(c)...)
	}
	return out
}

func (ds *dialects) indexes() []*source.Index {
	var out []*source.Index
	for _, d := range ds.list {
		out = append(out, d.Indexes()...)
	}
	return out
}

func (ds *dialects) change(db *memo.DB, key source.Key, is, was bool) {
	if !is {
		delete(ds.told, key)
		delete(ds.again, key)
	}
	for _, d := range ds.list {
		d.Change(db, key, is, was)
	}
}

// status returns what became of an object, if a change is of that. Of an object that
// several dialects read, it is told later: see retold.
func (ds *dialects) status(ch memo.Change) (key source.Key, u *status.Update, ok bool) {
	for i, d := range ds.list {
		key, u, ok = d.Status(ch)
		switch {
		case !ok:
			continue
		case key.Kind != source.Ingress:
			return key, u, true
		case ds.told[key] == nil:
			ds.told[key] = map[int]*status.Update{}
		}
		ds.told[key][i], ds.again[key] = u, true
		return source.Key{}, nil, false
	}
	return source.Key{}, nil, false
}

// retold returns the objects that several dialects read and of which one has told since it
// was last called: Ingresses, which may have objects of Emissary in an annotation.
func (ds *dialects) retold() []source.Key {
	out := slices.SortedFunc(maps.Keys(ds.again), source.CompareKeys)
	clear(ds.again)
	return out
}

// join is what all dialects tell of an object; nil if it is none's.
func (ds *dialects) join(key source.Key) *status.Update {
	var out *status.Update
	for i := range ds.list {
		switch one := ds.told[key][i]; {
		case one == nil:
		case out == nil:
			out = &status.Update{Key: key, Status: one.Status, Problems: one.Problems}
		default:
			out.Problems = slices.Concat(out.Problems, one.Problems)
			if out.Status == nil {
				out.Status = one.Status
			}
		}
	}
	return out
}
