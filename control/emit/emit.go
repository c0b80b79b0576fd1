// SPDX-License-Identifier: Apache-2.0

// Package emit writes the graph in Envoy's messages: listeners, route
// configurations, clusters, endpoints and secrets, each as a unit that is made anew
// only if something of its own has changed.
package emit

import (
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
	"weir.dev/weir/xds"
)

// A Graph is what a dialect makes of a View.
type Graph interface {
	Gateway(c *memo.Ctx, name source.Name) *graph.Gateway
	Hosts(c *memo.Ctx, table graph.TableID) []graph.HostID
	Host(c *memo.Ctx, id graph.HostID) *graph.Host
}

// An Emitter makes messages of a Graph. It serves one memo.DB.
type Emitter struct {
	graph    Graph
	backends *backend.Backends
	refused  *clusterv3.Cluster

	host      *memo.Func[graph.HostID, *hostMessage]
	table     *memo.Func[graph.TableID, *tableMessage]
	listener  *memo.Func[graph.SocketID, *listenerv3.Listener]
	variant   *memo.Func[graph.ClusterID, *clusterv3.Cluster]
	secret    *memo.Func[source.Name, *tlsv3.Secret]
	resources *memo.Func[source.Name, *Resources]
}

// A Named is a resource, its name and what it was made from.
type Named[M proto.Message] struct {
	Name    string
	Message M
	Origin  xds.Origin
}

// Resources are all that the proxies of one Gateway need, each sort by name.
type Resources struct {
	Listeners []Named[*listenerv3.Listener]
	Routes    []Named[*routev3.RouteConfiguration]
	Clusters  []Named[*clusterv3.Cluster]
	Endpoints []Named[*endpointv3.ClusterLoadAssignment]
	Secrets   []Named[*tlsv3.Secret]
}

type hostMessage struct {
	message  *routev3.VirtualHost
	clusters []graph.ClusterID
}

type tableMessage struct {
	message  *routev3.RouteConfiguration
	clusters map[graph.ClusterID]bool
}

// New returns an Emitter.
func New(g Graph, b *backend.Backends) *Emitter {
	e := &Emitter{graph: g, backends: b, refused: build.RefusedCluster()}
	e.host = memo.NewFunc(e.makeHost, nil)
	e.table = memo.NewFunc(e.makeTable, nil)
	e.listener = memo.NewFunc(e.makeListener, sameMessage[*listenerv3.Listener])
	e.variant = memo.NewFunc(e.makeVariant, sameMessage[*clusterv3.Cluster])
	e.secret = memo.NewFunc(makeSecret, sameMessage[*tlsv3.Secret])
	e.resources = memo.NewFunc(e.makeResources, nil)
	return e
}

func sameMessage[M proto.Message](a, b M) bool { return proto.Equal(a, b) }

// Watch has the DB's Settle keep a Gateway's resources up to date.
func (e *Emitter) Watch(db *memo.DB, gateway source.Name) { e.resources.Watch(db, gateway) }

// Unwatch is the opposite of Watch.
func (e *Emitter) Unwatch(db *memo.DB, gateway source.Name) { e.resources.Unwatch(db, gateway) }

// Changed returns the Gateway whose resources a change reported by Settle is of.
func (e *Emitter) Changed(ch memo.Change) (source.Name, *Resources, bool) {
	return e.resources.Watched(ch)
}

func (e *Emitter) makeHost(c *memo.Ctx, id graph.HostID) *hostMessage {
	h := e.graph.Host(c, id)
	out := &hostMessage{message: &routev3.VirtualHost{Name: h.Domain, Domains: []string{h.Domain}}}
	attach.Apply(out.message, h.Overlay)
	seen := map[graph.ClusterID]bool{}
	for _, r := range h.Routes {
		if r.Message.Name == "" {
			r.Message.Name = r.Name
		}
		m := r.Message
		if !r.Overlay.None() {
			m = proto.CloneOf(m)
			attach.Apply(m, r.Overlay)
		}
		out.message.Routes = append(out.message.Routes, m)
		for _, id := range r.Clusters {
			if !seen[id] {
				seen[id] = true
				out.clusters = append(out.clusters, id)
			}
		}
	}
	return out
}

func (e *Emitter) makeTable(c *memo.Ctx, id graph.TableID) *tableMessage {
	ids := e.graph.Hosts(c, id)
	out := &tableMessage{clusters: make(map[graph.ClusterID]bool, len(ids))}
	hosts := make([]*routev3.VirtualHost, 0, len(ids))
	for _, h := range ids {
		m := e.host.Get(c, h)
		hosts = append(hosts, m.message)
		for _, cluster := range m.clusters {
			out.clusters[cluster] = true
		}
	}
	out.message = build.RouteConfiguration(id.Name(), hosts)
	return out
}

// cluster returns the cluster called id, or nil.
func (e *Emitter) cluster(c *memo.Ctx, id graph.ClusterID) *clusterv3.Cluster {
	if id.Variant == nil {
		return e.backends.Cluster(c, id)
	}
	return e.variant.Get(c, id)
}

func (e *Emitter) makeVariant(c *memo.Ctx, id graph.ClusterID) *clusterv3.Cluster {
	m := e.backends.Cluster(c, id)
	if m == nil {
		return nil
	}
	m = proto.CloneOf(m)
	attach.Apply(m, id.Variant.Overlay(c))
	return m
}

// makeSecret makes a secret of a Secret; nil if there is none.
func makeSecret(c *memo.Ctx, name source.Name) *tlsv3.Secret {
	s, ok := source.Get[*corev1.Secret](c, source.Secret, name)
	if !ok {
		return nil
	}
	return build.Certificate(name.String(), string(s.Data[corev1.TLSCertKey]), string(s.Data[corev1.TLSPrivateKeyKey]))
}

// makeResources gathers what a gateway needs.
func (e *Emitter) makeResources(c *memo.Ctx, name source.Name) *Resources {
	g := e.graph.Gateway(c, name)
	out := &Resources{}
	if g == nil {
		return out
	}
	p := &parts{
		c: c, e: e, out: out, origin: g.Origin,
		clusters: map[graph.ClusterID]bool{}, secrets: map[string]bool{},
	}
	for _, s := range g.Sockets {
		p.socket(s)
	}
	p.finish()
	return out
}

// parts collects resources.
type parts struct {
	c        *memo.Ctx
	e        *Emitter
	out      *Resources
	origin   xds.Origin
	clusters map[graph.ClusterID]bool
	secrets  map[string]bool
	refused  bool
}

func (p *parts) socket(s *graph.Socket) {
	l := p.e.listener.Get(p.c, s.ID)
	if l == nil {
		return
	}
	p.out.Listeners = append(p.out.Listeners, Named[*listenerv3.Listener]{l.GetName(), l, p.origin})
	for _, ch := range s.Chains {
		if ch.TLS != nil {
			for _, name := range ch.TLS.Certificates {
				p.secrets[name] = true
			}
		}
		if ch.Table != nil {
			t := p.e.table.Get(p.c, *ch.Table)
			p.out.Routes = append(p.out.Routes, Named[*routev3.RouteConfiguration]{t.message.GetName(), t.message, ch.Origin})
			for id := range t.clusters {
				p.clusters[id] = true
			}
			continue
		}
		p.refused = p.refused || len(ch.Backends) == 0
		for _, b := range ch.Backends {
			switch {
			case b.Weight == 0:
			case b.Valid:
				p.clusters[b.Cluster] = true
			default:
				p.refused = true
			}
		}
		p.refused = p.refused || graph.Total(ch.Backends) == 0
		if s.ID.UDP {
			p.shared(s, ch)
		}
	}
}

// shared adds the cluster of a UDP socket whose datagrams go to several backends,
// which Envoy cannot spread over clusters.
func (p *parts) shared(s *graph.Socket, ch *graph.Chain) {
	valid := validOf(ch.Backends)
	if len(valid) < 2 {
		return
	}
	name := sharedName(s.ID)
	var loads []*endpointv3.ClusterLoadAssignment
	var weights []uint32
	for _, b := range valid {
		if _, m := p.e.backends.Endpoints(p.c, b.Cluster); m != nil {
			loads, weights = append(loads, m), append(weights, b.Weight)
		}
	}
	cluster := build.Cluster(name, name)
	build.ByWeight(cluster)
	p.out.Clusters = append(p.out.Clusters, Named[*clusterv3.Cluster]{name, cluster, ch.Origin})
	p.out.Endpoints = append(p.out.Endpoints, Named[*endpointv3.ClusterLoadAssignment]{name, build.Weighted(name, loads, weights), ch.Origin})
}

func sharedName(s graph.SocketID) string { return s.Name() + "/backends" }

func validOf(backends []graph.Backend) []graph.Backend {
	return slices.DeleteFunc(slices.Clone(backends), func(b graph.Backend) bool { return !b.Valid || b.Weight == 0 })
}

// finish adds clusters, endpoints and secrets.
func (p *parts) finish() {
	seen := map[string]bool{}
	for id := range p.clusters {
		m := p.e.cluster(p.c, id)
		if m == nil {
			continue
		}
		origin := xds.Origin{Object: id.Backend.String()}
		p.out.Clusters = append(p.out.Clusters, Named[*clusterv3.Cluster]{m.GetName(), m, origin})
		if id.Certificate != "" {
			p.secrets[id.Certificate] = true
		}
		if name, load := p.e.backends.Endpoints(p.c, id); load != nil && !seen[name] {
			seen[name] = true
			p.out.Endpoints = append(p.out.Endpoints, Named[*endpointv3.ClusterLoadAssignment]{name, load, origin})
		}
	}
	if p.refused {
		p.out.Clusters = append(p.out.Clusters, Named[*clusterv3.Cluster]{build.Refused, p.e.refused, p.origin})
	}
	for name := range p.secrets {
		namespace, own, _ := strings.Cut(name, "/")
		if m := p.e.secret.Get(p.c, source.Name{Namespace: namespace, Name: own}); m != nil {
			p.out.Secrets = append(p.out.Secrets, Named[*tlsv3.Secret]{name, m, xds.Origin{Object: "Secret " + name}})
		}
	}
}
