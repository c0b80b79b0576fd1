// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"cmp"
	"slices"
	"strings"
	"unique"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/backend"
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

// spot is where a listener takes requests: a host name of a socket.
type spot struct {
	socket graph.SocketID
	host   string
}

// spotsOf puts each listener of a Gateway that serves into its spot, where it is alone.
func (d *Dialect) spotsOf(c *memo.Ctx, name source.Name) []memo.Pair[spot, taker] {
	var out []memo.Pair[spot, taker]
	for _, l := range d.listeners.Get(c, name).list {
		if l.serves() {
			out = append(out, memo.Pair[spot, taker]{Bucket: spot{l.socket(), l.host}, Member: taker{l.id, l.protocol}})
		}
	}
	return out
}

// taker is the listener of a spot.
type taker struct {
	listener listenerID
	protocol gwapiv1.ProtocolType
}

func compareTakers(a, b taker) int { return compareListeners(a.listener, b.listener) }

func compareListeners(a, b listenerID) int {
	return cmp.Or(source.CompareKeys(a.parent, b.parent), strings.Compare(a.name, b.name))
}

// owner is the most specific listener of a socket that covers a domain.
func (d *Dialect) owner(c *memo.Ctx, socket graph.SocketID, domain string) listenerID {
	if found := d.spots.Members(c, spot{socket, domain}); len(found) > 0 {
		return found[0].listener
	}
	for _, wider := range attach.Wider(domain) {
		if found := d.spots.Members(c, spot{socket, wider}); len(found) > 0 {
			return found[0].listener
		}
	}
	return listenerID{}
}

// tableOf is the table of a listener of HTTP: all cleartext of a socket shares one, whose
// hosts keep them apart.
func tableOf(socket graph.SocketID, protocol gwapiv1.ProtocolType, host string) (id graph.TableID, ok bool) {
	switch protocol {
	case gwapiv1.HTTPProtocolType:
		return graph.TableID{Socket: socket}, true
	case gwapiv1.HTTPSProtocolType:
		return graph.TableID{Socket: socket, Host: host}, true
	default:
		return graph.TableID{}, false
	}
}

// inTables says which hosts a route or Gateway puts into tables. A domain belongs to the
// most specific listener of the port that covers it; routes of others do not see its
// requests.
func (d *Dialect) inTables(c *memo.Ctx, key source.Key) []memo.Pair[graph.TableID, unique.Handle[hostOf]] {
	if key.Kind == source.Gateway {
		return d.ownHosts(c, key.Name)
	}
	t := &tabled{}
	for _, p := range d.places(c, key) {
		if !p.serves {
			continue
		}
		socket := graph.SocketID{Gateway: p.fleet, Port: p.port}
		table, ok := tableOf(socket, p.protocol, p.host)
		if !ok {
			continue
		}
		for _, domain := range p.hosts {
			if d.owner(c, socket, domain) == p.listener {
				t.add(table, host{domain: domain, listener: p.listener, port: p.port})
			}
		}
	}
	return t.out
}

// tabled are hosts of tables; they are compared and hashed often.
type tabled struct {
	out []memo.Pair[graph.TableID, unique.Handle[hostOf]]
}

func (t *tabled) add(table graph.TableID, h host) {
	t.out = append(t.out, memo.Pair[graph.TableID, unique.Handle[hostOf]]{Bucket: table, Member: unique.Make(hostOf{table, h})})
}

func compareHosts(a, b unique.Handle[hostOf]) int {
	return attach.CompareHosts(a.Value().host.domain, b.Value().host.domain)
}

// ownHosts are the host names of a Gateway's listeners themselves, and the domains that
// connections must not be used for: a connection for one host has those of other listeners
// and, unless its listener is for all, all others.
func (d *Dialect) ownHosts(c *memo.Ctx, gateway source.Name) []memo.Pair[graph.TableID, unique.Handle[hostOf]] {
	t := &tabled{}
	spots := map[spot]*listener{}
	for _, l := range d.sharing(c, gateway) {
		if l.serves() {
			spots[spot{l.socket(), l.host}] = l
		}
	}
	for _, l := range d.listeners.Get(c, gateway).list {
		if !l.serves() {
			continue
		}
		if table, ok := tableOf(l.socket(), l.protocol, l.host); ok {
			t.add(table, host{domain: l.host, listener: l.id, port: l.port})
			if table.Host != "" && l.host != attach.AnyHost {
				t.add(table, host{domain: attach.AnyHost, misdirected: true})
			}
		}
		for _, wider := range attach.Wider(l.host) {
			if o := spots[spot{l.socket(), wider}]; o != nil && o.protocol == gwapiv1.HTTPSProtocolType {
				table, _ := tableOf(o.socket(), o.protocol, o.host)
				t.add(table, host{domain: l.host, misdirected: true})
			}
		}
	}
	return t.out
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
	if g := d.gateway.Get(c, d.gatewayAt(c, id.table.Socket, l)); g != nil && g.proxy != nil && g.proxy.HostStats {
		out.Overlay.Message = &routev3.VirtualHost{VirtualClusters: []*routev3.VirtualCluster{build.AllOfHost(id.host.domain)}}
	}
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
	t := &ruler{c: c, d: d, id: id, gateway: d.gatewayAt(c, id.socket, id.listener), backing: d.backing.Get(c, id.route)}
	if g := d.gateway.Get(c, t.gateway); g != nil {
		t.certificate, t.routing, t.listed = g.certificate, g.routing(), g.proxy != nil && g.proxy.Listed
	}
	t.quiet = d.quiet.Get(c, listenerAt{t.gateway, id.listener})
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

// toFirstRoute has a chain lead to the backends of the oldest route of a listener for a
// host name: connections are not shared between routes.
func (d *Dialect) toFirstRoute(c *memo.Ctx, l *listener, domain string, ch *graph.Chain) {
	var first source.Object
	var key source.Key
	for _, k := range d.members.Members(c, hostID{l.id, domain}) {
		o, ok := source.Get[source.Object](c, k.Kind, k.Name)
		if ok && (first == nil || olderRoute(o, k, first, key)) {
			first, key = o, k
		}
	}
	if first == nil {
		return
	}
	effects := d.policies.At(c, attach.Place{Gateway: l.gateway, Listener: l.id.target(), Route: key})
	for _, e := range effects {
		ch.Network, ch.BySource = filled(ch.Network, e.Network), ch.BySource || e.BySource
	}
	if l.tls != nil && refused(effects) {
		return // Certificates of clients are asked for, and cannot be.
	}
	var backends []graph.Backend
	g, n := d.gateway.Get(c, l.gateway), countReferences(first)
	references(first, func(ref reference) {
		to := d.ref(key, ref.to)
		to.Resolves = ref.forwards && l.tls == nil
		if l.tls != nil {
			to.Mode = graph.HTTP // The bytes are no longer TLS.
		}
		id, problem := d.follow(c, to, n)
		if problem == nil && id.Certificate == "" && d.backends.TLS(c, id) {
			id.Certificate = g.certificate
		}
		if problem == nil {
			id = tuned(effects, id, g.routing())
		}
		if problem == nil && d.backends.Dynamic(c, id) {
			ch.Network = filled(ch.Network, map[string]proto.Message{build.SNIDynamicForwardProxy: d.backends.DynamicSNI()})
		}
		backends = append(backends, graph.Backend{Cluster: id, Valid: problem == nil, Weight: ref.weight})
	})
	ch.Backends, ch.Clusters = backend.FailOver(backends, func(id graph.ClusterID) bool { return d.backends.Fallback(c, id) })
}
