// SPDX-License-Identifier: Apache-2.0

// Package emit writes the graph in Envoy's messages: listeners, route
// configurations, clusters, endpoints and secrets, each as a unit that is made anew
// only if something of its own has changed.
package emit

import (
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
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
	Host(c *memo.Ctx, id graph.HostID) *graph.Host
	// FollowHosts has the DB's Settle report which hosts come into a table and leave it, and
	// UnfollowHosts no more. HostsOf returns what one of its changes says of that, if it does.
	FollowHosts(db *memo.DB, table graph.TableID)
	UnfollowHosts(db *memo.DB, table graph.TableID)
	HostsOf(ch memo.Change) (table graph.TableID, came, left []graph.HostID, ok bool)
}

// An Emitter makes messages of a Graph. It serves one memo.DB.
//
// What a Gateway's proxies need is not made by one function of all of it, whose every
// run would cost as much as there is: each resource is watched by itself, and what
// changed is put into what there was.
type Emitter struct {
	graph    Graph
	backends *backend.Backends
	refused  *clusterv3.Cluster
	deliver  bool // proxies are told their limits

	frame     *memo.Func[source.Name, *frame]
	listener  *memo.Func[graph.SocketID, *listenerv3.Listener]
	host      *memo.Func[graph.HostID, *hostMessage]
	variant   *memo.Func[graph.ClusterID, *clusterv3.Cluster]
	clusters  *uses[graph.ClusterID, *clusterv3.Cluster]
	endpoints *uses[graph.ClusterID, load]
	secrets   *uses[string, *tlsv3.Secret]

	gateways map[source.Name]*gateway
	tables   map[graph.TableID]*table
	at       map[graph.HostID]*host
}

// A Named is a resource, its name and what it was made from.
type Named[M proto.Message] struct {
	Name    string
	Message M
	Origin  xds.Origin
}

// Resources are all that the proxies of one Gateway need.
type Resources struct {
	Listeners []Named[*listenerv3.Listener]
	// Limits are what the limiter of the proxies is told, by domain.
	Limits []*rlsconfv3.RateLimitConfig
	// rest is everything else.
	rest *xds.Snapshot
}

type hostMessage struct {
	message  *routev3.VirtualHost
	origin   xds.Origin
	clusters []graph.ClusterID
}

// load is the endpoints of a backend's port and the name that they are discovered by.
type load struct {
	name    string
	message *endpointv3.ClusterLoadAssignment
}

// New returns an Emitter. With deliver, what the proxies' limiters are to know is among their
// resources, too.
func New(g Graph, b *backend.Backends, deliver bool) *Emitter {
	e := &Emitter{
		graph: g, backends: b, deliver: deliver, refused: build.RefusedCluster(),
		gateways: map[source.Name]*gateway{}, tables: map[graph.TableID]*table{}, at: map[graph.HostID]*host{},
	}
	e.frame = memo.NewFunc(e.makeFrame, nil)
	e.listener = memo.NewFunc(e.makeListener, sameMessage[*listenerv3.Listener])
	e.host = memo.NewFunc(e.makeHost, nil)
	e.variant = memo.NewFunc(e.makeVariant, sameMessage[*clusterv3.Cluster])
	e.clusters = newUses(e.cluster, nil)
	e.endpoints = newUses(func(c *memo.Ctx, id graph.ClusterID) load {
		name, m := b.Endpoints(c, id)
		return load{name, m}
	}, nil)
	e.secrets = newUses(makeSecret, sameMessage[*tlsv3.Secret])
	return e
}

func sameMessage[M proto.Message](a, b M) bool { return proto.Equal(a, b) }

func (e *Emitter) makeHost(c *memo.Ctx, id graph.HostID) *hostMessage {
	h := e.graph.Host(c, id)
	out := &hostMessage{message: &routev3.VirtualHost{Name: h.Domain, Domains: []string{h.Domain}}, origin: h.Origin}
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

// cluster returns the cluster called id, or nil.
func (e *Emitter) cluster(c *memo.Ctx, id graph.ClusterID) *clusterv3.Cluster {
	if id.Variant == nil {
		return e.backends.Cluster(c, id)
	}
	return e.variant.Get(c, id)
}

func (e *Emitter) makeVariant(c *memo.Ctx, id graph.ClusterID) *clusterv3.Cluster {
	base := e.backends.Cluster(c, id)
	if base == nil {
		return nil
	}
	m := proto.CloneOf(base)
	attach.Apply(m, id.Variant.Overlay(c, base))
	return m
}

// makeSecret makes a secret of a Secret; nil if there is none.
func makeSecret(c *memo.Ctx, id string) *tlsv3.Secret {
	if name, key, cookies, ok := graph.ParseSecret(id); ok {
		s, _ := source.Get[*corev1.Secret](c, source.Secret, name)
		switch {
		case s == nil || len(s.Data[key]) == 0:
			return nil
		case cookies:
			return build.CookieKey(id, s.Data[key])
		}
		return build.SecretText(id, s.Data[key])
	}
	namespace, own, _ := strings.Cut(id, "/")
	name := source.Name{Namespace: namespace, Name: own}
	s, ok := source.Get[*corev1.Secret](c, source.Secret, name)
	if !ok {
		return nil
	}
	cert, key := attach.KeyPair(s)
	return build.Certificate(name.String(), string(cert), string(key))
}
