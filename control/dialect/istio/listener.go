// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// readGraph returns what a fleet serves, or nil if there is none.
func (d *Dialect) readGraph(c *memo.Ctx, name source.Name) *graph.Gateway {
	fleet := fleetIn(name)
	if !slices.Contains(d.fleets.Get(c, struct{}{}), fleet) {
		return nil
	}
	out := &graph.Gateway{ID: name}
	out.Origin.Object = "Istio's Gateways of " + first(fleet, "all proxies")
	for _, k := range d.layout.Get(c, fleet).sockets {
		s := &graph.Socket{ID: graph.SocketID{Gateway: name, Port: k.port}}
		for _, server := range k.servers {
			d.chains(c, s, fleet, server)
		}
		if len(s.Chains) > 0 {
			out.Sockets = append(out.Sockets, s)
		}
	}
	return out
}

// Filters are those that a chain of HTTP has for the rules that ask for them.
func Filters() map[string]proto.Message {
	return map[string]proto.Message{build.Fault: &faultv3.HTTPFault{}}
}

// chains adds the chains of a server to its port.
func (d *Dialect) chains(c *memo.Ctx, s *graph.Socket, fleet string, server *server) {
	key := source.Key{Kind: source.IstioGateway, Name: server.id.gateway}
	origin := source.Input(c).Place(key).Origin(key, fmt.Sprintf("spec.servers[%d]", server.id.index))
	add := func(ch *graph.Chain) {
		same := func(o *graph.Chain) bool { return o.Hostname == ch.Hostname && o.Inspect == ch.Inspect }
		if slices.ContainsFunc(s.Chains, same) {
			return // The older has it.
		}
		ch.Origin = origin
		s.Chains = append(s.Chains, ch)
	}
	switch {
	case server.http && server.secure:
		for _, h := range server.hosts {
			add(&graph.Chain{
				Name: h.name, Hostname: h.name, Inspect: true, TLS: server.tls,
				Table: &graph.TableID{Socket: s.ID, Host: h.name}, Idle: Filters(),
			})
		}
	case server.http:
		add(&graph.Chain{Name: "http", Hostname: attach.AnyHost, Table: &graph.TableID{Socket: s.ID}, Idle: Filters()})
	case server.passthrough:
		d.passthrough(c, fleet, server, add)
	default:
		d.plain(c, fleet, server, add)
	}
}

// bytesOf says for which Gateways a VirtualService has rules of connections.
func (d *Dialect) bytesOf(c *memo.Ctx, key source.Key) []memo.Pair[source.Name, source.Name] {
	var out []memo.Pair[source.Name, source.Name]
	v := d.virtual.Get(c, key.Name)
	if v == nil || len(v.problems) > 0 || len(v.spec.TLS)+len(v.spec.TCP) == 0 {
		return nil
	}
	for _, b := range d.bindings(c, v) {
		out = append(out, memo.Pair[source.Name, source.Name]{Bucket: b.gateway.name, Member: key.Name})
	}
	return out
}

// carriers returns the VirtualServices of a server that have rules of connections, the
// older first.
func (d *Dialect) carriers(c *memo.Ctx, s *server) []*virtual {
	var all []*istiov1.VirtualService
	for _, n := range d.bytes.Members(c, s.id.gateway) {
		all = append(all, d.virtual.Get(c, n).object)
	}
	slices.SortFunc(all, attach.Older)
	var out []*virtual
	for _, o := range all {
		out = append(out, d.virtual.Get(c, source.NameOf(o)))
	}
	return out
}

// passthrough adds a chain for each server name that VirtualServices route, the more
// specific first.
func (d *Dialect) passthrough(c *memo.Ctx, fleet string, s *server, add func(*graph.Chain)) {
	var chains []*graph.Chain
	for _, v := range d.carriers(c, s) {
		for i := range v.spec.TLS {
			r := &v.spec.TLS[i]
			for _, m := range r.Match {
				p := place{listen: s.port, secure: true, fleet: fleet, gateways: []source.Name{s.id.gateway}, from: s.id.gateway.Namespace}
				if !p.serves(&istiov1.HTTPMatchRequest{Port: m.Port, Gateways: m.Gateways, SourceLabels: m.SourceLabels, SourceNamespace: m.SourceNamespace}) {
					continue
				}
				for _, sni := range m.SNIHosts {
					for _, h := range s.hosts {
						both, ok := attach.Meet(h.name, strings.ToLower(sni))
						if !ok || !h.admits(v.name.Namespace) || slices.ContainsFunc(chains, func(ch *graph.Chain) bool { return ch.Hostname == both }) {
							continue
						}
						ch := &graph.Chain{Name: "tls/" + both, Hostname: both, Inspect: true}
						d.carry(c, ch, v, p, r.Route)
						chains = append(chains, ch)
					}
				}
			}
		}
	}
	slices.SortFunc(chains, func(a, b *graph.Chain) int { return attach.CompareHosts(a.Hostname, b.Hostname) })
	for _, ch := range chains {
		add(ch)
	}
}

// plain adds the chains of a server of bytes: the first rule that is for its port has
// them. TLS is terminated, if the server does.
func (d *Dialect) plain(c *memo.Ctx, fleet string, s *server, add func(*graph.Chain)) {
	for _, h := range s.hosts {
		ch := &graph.Chain{Name: "tcp/" + h.name, Hostname: h.name, Inspect: s.secure, TLS: s.tls}
		if !s.secure {
			ch.Hostname = attach.AnyHost
		}
		for _, v := range d.carriers(c, s) {
			meets := slices.ContainsFunc(v.hosts, func(own string) bool { _, ok := attach.Meet(h.name, own); return ok })
			if !meets || !h.admits(v.name.Namespace) || len(ch.Backends) > 0 {
				continue
			}
			p := place{listen: s.port, secure: s.secure, fleet: fleet, gateways: []source.Name{s.id.gateway}, from: s.id.gateway.Namespace}
			for i := range v.spec.TCP {
				if r := &v.spec.TCP[i]; p.carries(r) {
					d.carry(c, ch, v, p, r.Route)
					break
				}
			}
		}
		if len(ch.Backends) > 0 {
			add(ch)
		}
	}
}

// carries reports whether a rule of TCP is for a place.
func (p place) carries(r *istiov1.TCPRoute) bool {
	return len(r.Match) == 0 || slices.ContainsFunc(r.Match, func(m istiov1.L4MatchAttributes) bool {
		return p.serves(&istiov1.HTTPMatchRequest{Port: m.Port, Gateways: m.Gateways, SourceLabels: m.SourceLabels, SourceNamespace: m.SourceNamespace})
	})
}

// carry gives a chain its backends.
func (d *Dialect) carry(c *memo.Ctx, ch *graph.Chain, v *virtual, p place, route []istiov1.RouteDestination) {
	b := &builder{d: d, c: c, place: p}
	key := source.Key{Kind: source.IstioVirtualService, Name: v.name}
	m := &tcpproxyv3.TcpProxy{}
	for _, r := range route {
		id := b.target(key, r.Destination)
		id.bytes = true
		t := d.target.Get(c, id)
		w := uint32(max(r.Weight, 0))
		if len(route) == 1 {
			w = 1
		}
		ch.Backends = append(ch.Backends, graph.Backend{Cluster: t.cluster, Valid: t.problem == nil, Weight: w})
		if idle := duration(t.idle); idle > 0 {
			m.IdleTimeout = durationpb.New(idle)
		}
		ch.BySource = ch.BySource || t.hash != nil && t.hash.UseSourceIP
	}
	slices.SortStableFunc(ch.Backends, func(a, b graph.Backend) int { return cmp.Compare(number(!a.Valid), number(!b.Valid)) })
	if proto.Size(m) > 0 {
		ch.Manager.Message = m
	}
}
