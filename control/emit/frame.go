// SPDX-License-Identifier: Apache-2.0

package emit

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
	"weir.dev/weir/xds"
)

// A frame is what a Gateway's proxies need but for what the routes of HTTP lead to.
type frame struct {
	origin    xds.Origin
	listeners []Named[*listenerv3.Listener]
	limits    []*rlsconfv3.RateLimitConfig
	sized     bool
	tables    []tableRef
	// clusters that connections and datagrams go to, and secrets of listeners.
	clusters map[graph.ClusterID]bool
	secrets  map[string]bool
	// own are clusters and endpoints of no backend: what is refused, and what several
	// backends share.
	own       []Named[*clusterv3.Cluster]
	endpoints []Named[*endpointv3.ClusterLoadAssignment]
}

// tableRef is a table of a Gateway and what its route configuration was made from.
type tableRef struct {
	id     graph.TableID
	origin xds.Origin
}

// makeFrame gathers what a Gateway needs.
func (e *Emitter) makeFrame(c *memo.Ctx, name source.Name) *frame {
	f := &frame{clusters: map[graph.ClusterID]bool{}, secrets: map[string]bool{}}
	g := e.graph.Gateway(c, name)
	if g == nil {
		return f
	}
	f.origin, f.limits, f.sized = g.Origin, g.Limits, g.Sized
	refused := false
	for _, s := range g.Sockets {
		refused = e.socket(c, f, s) || refused
	}
	if e.deliver && len(g.Limits) > 0 {
		f.own = append(f.own, Named[*clusterv3.Cluster]{xds.LimiterCluster, build.Limiter(g.Limits), f.origin})
	}
	if refused {
		f.own = append(f.own, Named[*clusterv3.Cluster]{build.Refused, e.refused, f.origin})
	}
	return f
}

// socket adds a socket, and reports whether it refuses something.
func (e *Emitter) socket(c *memo.Ctx, f *frame, s *graph.Socket) (refused bool) {
	l := e.listener.Get(c, s.ID)
	if l == nil {
		return false
	}
	f.listeners = append(f.listeners, Named[*listenerv3.Listener]{l.GetName(), l, f.origin})
	for _, ch := range s.Chains {
		if ch.TLS != nil {
			for _, name := range ch.TLS.Certificates {
				f.secrets[name] = true
			}
		}
		for _, id := range ch.Clusters {
			f.clusters[id] = true
		}
		for _, name := range ch.Secrets {
			f.secrets[name] = true
		}
		if ch.Table != nil {
			f.tables = append(f.tables, tableRef{*ch.Table, ch.Origin})
			continue
		}
		refused = refused || graph.Total(ch.Backends) == 0
		for _, b := range ch.Backends {
			switch {
			case b.Weight == 0:
			case b.Valid:
				f.clusters[b.Cluster] = true
			default:
				refused = true
			}
		}
		if s.ID.UDP {
			e.shared(c, f, s, ch)
		}
	}
	return refused
}

// shared adds the cluster of a UDP socket whose datagrams go to several backends,
// which Envoy cannot spread over clusters. The share of backends that are not valid is
// lost, and not for the others.
func (e *Emitter) shared(c *memo.Ctx, f *frame, s *graph.Socket, ch *graph.Chain) {
	valid, lost := validOf(ch.Backends), lostOf(ch.Backends)
	if !shares(valid, lost) {
		return
	}
	name := sharedName(s.ID)
	var loads []*endpointv3.ClusterLoadAssignment
	var weights []uint32
	for _, b := range valid {
		if _, m := e.backends.Endpoints(c, b.Cluster); m != nil {
			loads, weights = append(loads, m), append(weights, b.Weight)
		}
	}
	if lost > 0 {
		loads, weights = append(loads, build.Discard()), append(weights, lost)
	}
	cluster := build.Cluster(name, name)
	build.ByWeight(cluster)
	if v := variantOf(valid); v != nil {
		attach.Apply(cluster, v.Overlay(c, cluster))
	}
	if cluster.LoadBalancingPolicy != nil { // Which says itself that weights count.
		cluster.CommonLbConfig.LocalityConfigSpecifier = nil
	}
	f.own = append(f.own, Named[*clusterv3.Cluster]{name, cluster, ch.Origin})
	f.endpoints = append(f.endpoints, Named[*endpointv3.ClusterLoadAssignment]{name, build.Weighted(name, loads, weights), ch.Origin})
}

func sharedName(s graph.SocketID) string { return s.Name() + "/backends" }

// validOf is the backends that get something, each once.
func validOf(backends []graph.Backend) []graph.Backend {
	var out []graph.Backend
	for _, b := range backends {
		if !b.Valid || b.Weight == 0 {
			continue
		}
		if i := slices.IndexFunc(out, func(o graph.Backend) bool { return o.Cluster == b.Cluster }); i >= 0 {
			out[i].Weight += b.Weight
			continue
		}
		out = append(out, b)
	}
	return out
}

// variantOf is how all of some backends are spoken to, as they are those of one rule; nil is as any other.
func variantOf(backends []graph.Backend) graph.Variant {
	out := backends[0].Cluster.Variant
	for _, b := range backends[1:] {
		if b.Cluster.Variant != out {
			return nil
		}
	}
	return out
}

// lostOf is the weight of the backends that are not valid.
func lostOf(backends []graph.Backend) uint32 {
	lost := uint32(0)
	for _, b := range backends {
		if !b.Valid {
			lost += b.Weight
		}
	}
	return lost
}

// shares reports whether datagrams go to a cluster that is shared.
func shares(valid []graph.Backend, lost uint32) bool {
	return len(valid) > 1 || len(valid) == 1 && lost > 0
}
