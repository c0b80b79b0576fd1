// SPDX-License-Identifier: Apache-2.0

// Package ingress reads Ingress and IngressClass of networking.k8s.io.
//
// The Ingresses of one class are a gateway here, which listens on port 80 and, if one of
// them has a certificate, on port 443. What one host name serves is one unit of
// translation; all is remembered by what it read (package memo).
//
// Those of class "istio" are what Istio makes of them: its objects say how their Services
// are spoken to, by a [Refiner].
package ingress

import (
	"reflect"
	"strings"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// prefix begins the names of gateways; what follows is the class.
const prefix = "ingress-"

// The ports that Ingresses are served at, if their class does not say.
const (
	plainPort  = 80
	securePort = 443
)

// A To is where an Ingress leads requests.
type To struct {
	Service source.Name
	Port    int32
	// Listen is the gateway's port, Secure that it speaks TLS.
	Listen int32
	Secure bool
	// Exact is the one path, Prefix begins the paths that lead there: with Whole, with
	// whole steps. Without either, all paths do.
	Exact, Prefix string
	Whole         bool
	// From is the Ingress, and Field where in it this stands; Name begins routes' names.
	From        source.Key
	Field, Name string
}

// A Refiner says for a class what is made of requests for a Service: routes, first match
// first, or what is wrong with it.
type Refiner func(c *memo.Ctx, to To) ([]*graph.Route, *graph.Problem)

// Options of a Dialect.
type Options struct {
	Backends *backend.Backends
	// Istio refines the Ingresses of Istio's class; nil leaves these to others.
	Istio Refiner
}

// A Dialect reads Ingresses. It serves one memo.DB.
type Dialect struct {
	*graph.Tables[hostOf]
	backends *backend.Backends
	istio    Refiner

	ingress  *memo.Func[source.Name, *ingress]
	class    *memo.Func[string, class]
	standard *memo.Func[struct{}, string] // the class of Ingresses that name none
	of       *memo.Index[source.Key, string, source.Name]
	domains  *memo.Index[source.Key, string, string]        // host names of a class
	members  *memo.Index[source.Key, domainOf, source.Name] // Ingresses of a host name
	certs    *memo.Func[string, []certificate]
	host     *memo.Func[hostOf, *graph.Host]
	graphs   *memo.Func[source.Name, *graph.Gateway]
	claims   *memo.Func[domainOf, map[place]source.Name]
	status   *memo.Func[source.Key, *status.Update]
}

// New returns a Dialect.
func New(o Options) *Dialect {
	d := &Dialect{backends: o.Backends, istio: o.Istio}
	d.ingress = memo.NewFunc(d.readIngress, alike[*ingress])
	d.class = memo.NewFunc(d.readClass, memo.Equal[class])
	d.standard = memo.NewFunc(readStandard, memo.Equal[string])
	d.of = memo.NewIndex(d.classesOf, source.Compare)
	d.domains = memo.NewIndex(d.domainsOf, strings.Compare)
	d.members = memo.NewIndex(d.membersOf, source.Compare)
	d.certs = memo.NewFunc(d.readCertificates, alike[[]certificate])
	d.Tables = graph.NewTables(d.readTable, func(a, b hostOf) int { return attach.CompareHosts(a.host, b.host) })
	d.host = memo.NewFunc(d.readHost, nil)
	d.graphs = memo.NewFunc(d.readGraph, nil)
	d.claims = memo.NewFunc(d.readClaims, alike[map[place]source.Name])
	d.status = memo.NewFunc(d.statusOf, alike[*status.Update])
	return d
}

func alike[V any](a, b V) bool { return reflect.DeepEqual(a, b) }

// Indexes are those that Views need to have: none.
func (d *Dialect) Indexes() []*source.Index { return nil }

// Change tells the dialect that an object came, changed or went.
func (d *Dialect) Change(db *memo.DB, key source.Key, is, was bool) {
	if is == was || key.Kind != source.Ingress && key.Kind != source.IngressClass {
		return
	}
	if key.Kind == source.Ingress {
		toggle(db, d.of, key, is)
		toggle(db, d.domains, key, is)
		toggle(db, d.members, key, is)
	}
	if is {
		d.status.Watch(db, key)
	} else {
		d.status.Unwatch(db, key)
	}
}

func toggle[B, M comparable](db *memo.DB, x *memo.Index[source.Key, B, M], key source.Key, is bool) {
	if is {
		x.Add(db, key)
	} else {
		x.Remove(db, key)
	}
}

// Status returns the object whose status a change is, and the update.
func (d *Dialect) Status(ch memo.Change) (key source.Key, u *status.Update, ok bool) {
	return d.status.Watched(ch)
}

// Owns reports whether a gateway is a class of Ingresses.
func (d *Dialect) Owns(gateway source.Name) bool {
	return gateway.Namespace == "" && strings.HasPrefix(gateway.Name, prefix)
}

func gatewayOf(class string) source.Name { return source.Name{Name: prefix + class} }

func classIn(gateway source.Name) string { return strings.TrimPrefix(gateway.Name, prefix) }

// Gateways returns the classes that have Ingresses, by name.
func (d *Dialect) Gateways(c *memo.Ctx) []source.Name {
	var out []source.Name
	for _, name := range d.classes(c) {
		out = append(out, gatewayOf(name))
	}
	return out
}

// Parameters are none: see readClass.
func (d *Dialect) Parameters(*memo.Ctx, source.Name) v1alpha1.GatewayParametersSpec {
	return v1alpha1.GatewayParametersSpec{}
}

// Awaits is never so: the status of an Ingress tells of addresses.
func (d *Dialect) Awaits(*memo.Ctx, source.Key) (gateway source.Name, ok bool) {
	return source.Name{}, false
}

// Gateway returns what a class serves, or nil if it has no Ingress.
func (d *Dialect) Gateway(c *memo.Ctx, name source.Name) *graph.Gateway { return d.graphs.Get(c, name) }

// Host returns a virtual host.
func (d *Dialect) Host(c *memo.Ctx, id graph.HostID) *graph.Host { return d.host.Get(c, id.(hostOf)) }
