// SPDX-License-Identifier: Apache-2.0

package xds

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// A Kind names a sort of resource in the words a person uses.
type Kind string

// The kinds of resource that a configuration is made of. KindBootstrap is never
// in a Snapshot: it is what a process starts with.
const (
	KindBootstrap   Kind = "bootstrap"
	KindListener    Kind = "listener"
	KindRoutes      Kind = "route configuration"
	KindScopedRoute Kind = "scoped route"
	KindVirtualHost Kind = "virtual host"
	KindCluster     Kind = "cluster"
	KindEndpoints   Kind = "endpoints"
	KindSecret      Kind = "secret"
	KindRuntime     Kind = "runtime layer"
	KindExtension   Kind = "extension config"
)

// A Snapshot is everything a proxy serves at one moment, bootstrap aside. It is
// immutable: a change is a new Snapshot, which shares with the old one what did
// not change.
type Snapshot struct {
	version      string
	listeners    Set[*listenerv3.Listener]
	routes       Set[*routev3.RouteConfiguration]
	scopedRoutes Set[*routev3.ScopedRouteConfiguration]
	virtualHosts Set[*routev3.VirtualHost]
	clusters     Set[*clusterv3.Cluster]
	endpoints    Set[*endpointv3.ClusterLoadAssignment]
	secrets      Set[*tlsv3.Secret]
	runtime      Set[*structpb.Struct]
	extensions   Set[*corev3.TypedExtensionConfig]
}

// Version tells snapshots apart for people and in acknowledgements. It carries no
// order.
func (s *Snapshot) Version() string { return s.version }

// Listeners by name.
func (s *Snapshot) Listeners() Set[*listenerv3.Listener] { return s.listeners }

// Routes are the route configurations (RDS) by name; those written inside a
// connection manager stay there.
func (s *Snapshot) Routes() Set[*routev3.RouteConfiguration] { return s.routes }

// ScopedRoutes (SRDS) by name.
func (s *Snapshot) ScopedRoutes() Set[*routev3.ScopedRouteConfiguration] { return s.scopedRoutes }

// VirtualHosts delivered on their own (VHDS), named "route configuration/host".
func (s *Snapshot) VirtualHosts() Set[*routev3.VirtualHost] { return s.virtualHosts }

// Clusters by name.
func (s *Snapshot) Clusters() Set[*clusterv3.Cluster] { return s.clusters }

// Endpoints (EDS) by cluster_name; a load_assignment inside a cluster stays there.
func (s *Snapshot) Endpoints() Set[*endpointv3.ClusterLoadAssignment] { return s.endpoints }

// Secrets (SDS) by name.
func (s *Snapshot) Secrets() Set[*tlsv3.Secret] { return s.secrets }

// Runtime layers (RTDS) by name. The order of layers stands in the bootstrap.
func (s *Snapshot) Runtime() Set[*structpb.Struct] { return s.runtime }

// Extensions are extension configs (ECDS) by name.
func (s *Snapshot) Extensions() Set[*corev3.TypedExtensionConfig] { return s.extensions }

// Edit returns a Builder that starts with all that s holds. Edit of a nil
// Snapshot starts empty.
func (s *Snapshot) Edit() *Builder {
	if s == nil {
		s = &Snapshot{}
	}
	b := &Builder{}
	b.listeners.Set = s.listeners
	b.routes.Set = s.routes
	b.scopedRoutes.Set = s.scopedRoutes
	b.virtualHosts.Set = s.virtualHosts
	b.clusters.Set = s.clusters
	b.endpoints.Set = s.endpoints
	b.secrets.Set = s.secrets
	b.runtime.Set = s.runtime
	b.extensions.Set = s.extensions
	return b
}

// A Builder makes one Snapshot. The zero Builder starts empty. What is put into
// it must not be changed any more. A Builder is for one goroutine.
type Builder struct {
	listeners    draft[*listenerv3.Listener]
	routes       draft[*routev3.RouteConfiguration]
	scopedRoutes draft[*routev3.ScopedRouteConfiguration]
	virtualHosts draft[*routev3.VirtualHost]
	clusters     draft[*clusterv3.Cluster]
	endpoints    draft[*endpointv3.ClusterLoadAssignment]
	secrets      draft[*tlsv3.Secret]
	runtime      draft[*structpb.Struct]
	extensions   draft[*corev3.TypedExtensionConfig]
}

// Listeners to be.
func (b *Builder) Listeners() Draft[*listenerv3.Listener] { return &b.listeners }

// Routes to be.
func (b *Builder) Routes() Draft[*routev3.RouteConfiguration] { return &b.routes }

// ScopedRoutes to be.
func (b *Builder) ScopedRoutes() Draft[*routev3.ScopedRouteConfiguration] { return &b.scopedRoutes }

// VirtualHosts to be.
func (b *Builder) VirtualHosts() Draft[*routev3.VirtualHost] { return &b.virtualHosts }

// Clusters to be.
func (b *Builder) Clusters() Draft[*clusterv3.Cluster] { return &b.clusters }

// Endpoints to be.
func (b *Builder) Endpoints() Draft[*endpointv3.ClusterLoadAssignment] { return &b.endpoints }

// Secrets to be.
func (b *Builder) Secrets() Draft[*tlsv3.Secret] { return &b.secrets }

// Runtime layers to be.
func (b *Builder) Runtime() Draft[*structpb.Struct] { return &b.runtime }

// Extensions to be.
func (b *Builder) Extensions() Draft[*corev3.TypedExtensionConfig] { return &b.extensions }

// Build returns the Snapshot. The Builder may be used on: what it is given later
// does not reach the Snapshot.
func (b *Builder) Build(version string) *Snapshot {
	return &Snapshot{
		version:      version,
		listeners:    b.listeners.Set,
		routes:       b.routes.Set,
		scopedRoutes: b.scopedRoutes.Set,
		virtualHosts: b.virtualHosts.Set,
		clusters:     b.clusters.Set,
		endpoints:    b.endpoints.Set,
		secrets:      b.secrets.Set,
		runtime:      b.runtime.Set,
		extensions:   b.extensions.Set,
	}
}
