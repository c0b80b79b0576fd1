// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// host is a domain of a table and the listener that it belongs to.
type host struct {
	domain   string
	listener listenerID
	port     int32
	// misdirected hosts belong to another listener than the connection.
	misdirected bool
}

// hostOf names a virtual host of a table.
type hostOf struct {
	table graph.TableID
	host  host
}

// readTable returns the domains of a table. A domain belongs to the most specific
// listener of the port that covers it; routes of others do not see its requests.
func (d *Dialect) readTable(c *memo.Ctx, id graph.TableID) []host {
	var all, own []*listener
	for _, l := range d.listeners.Get(c, id.Socket.Gateway).list {
		if !l.serves() || l.socket() != id.Socket {
			continue
		}
		all = append(all, l)
		if id.Host == "" || l.protocol == gwapiv1.HTTPSProtocolType && l.host == id.Host {
			own = append(own, l)
		}
	}
	// The domains of a listener come in the order of hosts, so that there is little to sort.
	var out []host
	for _, l := range own {
		domains := d.domains.Members(c, l.id)
		out = slices.Grow(out, len(domains)+1)
		for _, domain := range domains {
			if owner(all, domain) == l {
				out = append(out, host{domain: domain, listener: l.id, port: l.port})
			}
		}
		if owner(all, l.host) == l {
			out = append(out, host{domain: l.host, listener: l.id, port: l.port})
		}
	}
	if id.Host != "" {
		out = misdirect(out, all, id.Host)
	}
	slices.SortFunc(out, func(a, b host) int { return attach.CompareHosts(a.domain, b.domain) })
	return slices.CompactFunc(out, func(a, b host) bool { return a.domain == b.domain })
}

// owner is the most specific listener that covers a domain.
func owner(all []*listener, domain string) *listener {
	var best *listener
	for _, l := range all {
		if attach.Covers(l.host, domain) && (best == nil || attach.CompareHosts(l.host, best.host) < 0) {
			best = l
		}
	}
	return best
}

// misdirect adds the domains that a connection for host must not be used for: those
// of other listeners and, unless the listener is for all, all others.
func misdirect(hosts []host, all []*listener, own string) []host {
	for _, l := range all {
		if l.host != own && attach.Covers(own, l.host) {
			hosts = append(hosts, host{domain: l.host, misdirected: true})
		}
	}
	if own != attach.AnyHost {
		hosts = append(hosts, host{domain: attach.AnyHost, misdirected: true})
	}
	return hosts
}

// misdirectedRequest is RFC 9110 §15.5.20: the client should ask again on a
// connection for the right name.
const misdirectedRequest = 421

// readHost returns a virtual host: the routes for its domain, then those for wider
// ones at the same listener.
func (d *Dialect) readHost(c *memo.Ctx, id hostOf) *graph.Host {
	out := &graph.Host{Domain: id.host.domain}
	if id.host.misdirected {
		m := &routev3.RouteMatch{}
		build.PathPrefix(m, "/")
		out.Routes = []*graph.Route{{Name: "misdirected", Message: &routev3.Route{Match: m, Action: build.Answer(misdirectedRequest)}}}
		return out
	}
	l := id.host.listener
	for _, domain := range append([]string{id.host.domain}, attach.Wider(id.host.domain)...) {
		var routes []*graph.Route
		for _, key := range d.members.Members(c, hostID{l, domain}) {
			if d.yields(c, key, l, domain) {
				continue
			}
			routes = append(routes, d.rules.Get(c, ruleID{key, id.table.Socket, id.table.Host != "", l})...)
		}
		slices.SortStableFunc(routes, func(a, b *graph.Route) int { return a.Rank.Compare(b.Rank) })
		out.Routes = append(out.Routes, routes...)
	}
	out.Origin = source.Input(c).Place(l.parent).Origin(l.parent, "")
	return out
}

// yields reports whether a route gives way at a listener to an older one of the
// other kind, HTTPRoute or GRPCRoute, for a host name that both have. Gateway API has
// them exclude each other.
func (d *Dialect) yields(c *memo.Ctx, key source.Key, l listenerID, domain string) bool {
	o, ok := source.Get[source.Object](c, key.Kind, key.Name)
	if !ok {
		return true
	}
	for _, other := range d.members.Members(c, hostID{l, domain}) {
		if other.Kind == key.Kind {
			continue
		}
		if rival, ok := source.Get[source.Object](c, other.Kind, other.Name); ok && olderRoute(rival, other, o, key) {
			return true
		}
	}
	return false
}

func olderRoute(a source.Object, ka source.Key, b source.Object, kb source.Key) bool {
	if c := attach.Older(a, b); c != 0 {
		return c < 0
	}
	return source.CompareKeys(ka, kb) < 0
}

// ruleID is a route at a listener of a socket; TLS tells which scheme its requests have.
type ruleID struct {
	route    source.Key
	socket   graph.SocketID
	tls      bool
	listener listenerID
}

// readRules translates the rules of an HTTPRoute or GRPCRoute.
func (d *Dialect) readRules(c *memo.Ctx, id ruleID) []*graph.Route {
	t := &ruler{c: c, d: d, id: id, backing: d.backing.Get(c, id.route)}
	if g := d.gateway.Get(c, id.socket.Gateway); g != nil {
		t.certificate = g.certificate
	}
	object, _ := source.Get[source.Object](c, id.route.Kind, id.route.Name)
	switch o := object.(type) {
	case *gwapiv1.HTTPRoute:
		t.object = o
		t.http(o)
	case *gwapiv1.GRPCRoute:
		t.object = o
		t.grpc(o)
	}
	return t.out
}

// firstRoute returns the backends of the oldest route of a listener for a host name:
// connections are not shared between routes.
func (d *Dialect) firstRoute(c *memo.Ctx, l *listener, domain string) []graph.Backend {
	var first source.Object
	var key source.Key
	for _, k := range d.members.Members(c, hostID{l.id, domain}) {
		o, ok := source.Get[source.Object](c, k.Kind, k.Name)
		if ok && (first == nil || olderRoute(o, k, first, key)) {
			first, key = o, k
		}
	}
	if first == nil {
		return nil
	}
	g := d.gateway.Get(c, l.gateway)
	var out []graph.Backend
	references(first, func(ref reference) {
		to := d.ref(key, ref.to)
		if l.tls != nil {
			to.Mode = graph.HTTP // The bytes are no longer TLS.
		}
		id, problem := d.backends.Resolve(c, to)
		if problem == nil && d.backends.TLS(c, id) {
			id.Certificate = g.certificate
		}
		for _, e := range d.policies.At(c, attach.Place{Gateway: l.gateway, Listener: l.id.target(), Route: key}) {
			if e.Variant != nil && problem == nil {
				id.Variant = e.Variant
			}
		}
		out = append(out, graph.Backend{Cluster: id, Valid: problem == nil, Weight: ref.weight})
	})
	return out
}
