// SPDX-License-Identifier: Apache-2.0

package emit

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// makeListener returns the listener of a socket, or nil if nothing can be served.
func (e *Emitter) makeListener(c *memo.Ctx, id graph.SocketID) *listenerv3.Listener {
	g := e.graph.Gateway(c, id.Gateway)
	if g == nil {
		return nil
	}
	i := slices.IndexFunc(g.Sockets, func(s *graph.Socket) bool { return s.ID == id })
	if i < 0 {
		return nil
	}
	s := g.Sockets[i]
	out := &listenerv3.Listener{Name: id.Name(), StatPrefix: id.Name(), TrafficDirection: corev3.TrafficDirection_INBOUND}
	bind(c, g, id, out)
	if id.UDP {
		return datagrams(out, s)
	}
	for _, ch := range s.Chains {
		out.FilterChains = append(out.FilterChains, chain(id, ch))
	}
	if len(out.FilterChains) == 0 {
		return nil // TLS for which no route is there: an unbound port refuses it.
	}
	attach.Apply(out, s.Overlay)
	out.ListenerFilters = listenerOf(s)
	return out
}

// bind gives a listener the addresses that the fleet binds.
func bind(c *memo.Ctx, g *graph.Gateway, id graph.SocketID, l *listenerv3.Listener) {
	addresses, port := []string{"0.0.0.0"}, id.Port
	if f, ok := source.Get[*source.Fleet](c, source.Fleets, id.Gateway); ok {
		if len(f.Bind) > 0 {
			addresses = f.Bind
		}
		if f.Unprivileged {
			port = g.Bound(id)
		}
	}
	l.Address = build.Address(addresses[0], port, id.UDP)
	for _, a := range addresses[1:] {
		l.AdditionalAddresses = append(l.AdditionalAddresses, &listenerv3.AdditionalAddress{Address: build.Address(a, port, id.UDP)})
	}
}

func datagrams(out *listenerv3.Listener, s *graph.Socket) *listenerv3.Listener {
	valid := validOf(s.Chains[0].Backends)
	if len(valid) == 0 {
		return nil // An unbound port refuses datagrams, as it should.
	}
	cluster := valid[0].Cluster.Name()
	if shares(valid, lostOf(s.Chains[0].Backends)) {
		cluster = sharedName(s.ID)
	}
	out.UdpListenerConfig = &listenerv3.UdpListenerConfig{}
	out.ListenerFilters = []*listenerv3.ListenerFilter{build.UDPFilter(s.ID.Name(), cluster, s.Chains[0].BySource)}
	return out
}

func chain(id graph.SocketID, ch *graph.Chain) *listenerv3.FilterChain {
	out := &listenerv3.FilterChain{Name: ch.Name}
	if ch.Inspect {
		out.FilterChainMatch = &listenerv3.FilterChainMatch{TransportProtocol: "tls"}
		if ch.Hostname != attach.AnyHost {
			out.FilterChainMatch.ServerNames = []string{ch.Hostname}
		}
	}
	if t := ch.TLS; t != nil {
		context := build.DownstreamTLS{Certificates: t.Certificates, CA: t.CA, Optional: t.Optional, Protocols: t.Protocols}.Context()
		attach.Apply(context, t.Overlay)
		out.TransportSocket = build.TLSSocket(context)
	}
	attach.Apply(out, ch.Overlay)
	out.Filters = networkOf(ch)
	if ch.Table != nil {
		m := build.Manager(id.Name(), ch.Table.Name())
		attach.Apply(m, ch.Manager)
		m.HttpFilters = filtersOf(ch)
		out.Filters = append(out.Filters, build.NetworkFilter(build.HTTPManager, m))
		return out
	}
	m := build.TCPProxy(id.Name(), sharesOf(ch), ch.BySource)
	attach.Apply(m, ch.Manager)
	out.Filters = append(out.Filters, build.NetworkFilter(build.TCPProxying, m))
	return out
}

// sharesOf returns who gets the connections of a chain without a table.
func sharesOf(ch *graph.Chain) []build.Share {
	var shares []build.Share
	for _, b := range ch.Backends {
		if b.Weight == 0 {
			continue
		}
		s := build.Share{Cluster: build.Refused, Weight: b.Weight}
		if b.Valid {
			s.Cluster = b.Cluster.Name()
		}
		shares = append(shares, s)
	}
	if len(shares) == 0 {
		shares = []build.Share{{Cluster: build.Refused, Weight: 1}}
	}
	return shares
}
