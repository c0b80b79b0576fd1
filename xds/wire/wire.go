// SPDX-License-Identifier: Apache-2.0

// Package wire is what resources are called between a management server and its
// clients: type URLs, services, methods, and the message around a resource. Client and
// server share it, so that neither can differ from the other.
package wire

import (
	"fmt"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/xds"
)

// Prefix of type URLs.
const Prefix = "type.googleapis.com/"

// DeliversHosts is what a client says in its node's client_features that takes virtual
// hosts by themselves (VHDS) for all route configurations, over the aggregated stream of
// deltas. A server gives others each route configuration with its virtual hosts in it.
const DeliversHosts = "weir.dev/virtual_hosts"

// Methods of the aggregated service.
const (
	AggregatedStream = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
	AggregatedDelta  = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
)

// A Type is one kind of resource on the wire.
type Type struct {
	Kind xds.Kind
	URL  string
	// Stream and Delta are the methods of its own service; Stream is "" if there is
	// none. REST is the path to fetch it by.
	Stream, Delta, REST string
	// Whole tells that a state of the world has all there are: what is not in it is gone.
	Whole bool

	name func(proto.Message) (string, bool)
}

func define[M interface {
	proto.Message
	comparable
}](kind xds.Kind, service, noun, rest string, whole bool, name func(M) string) *Type {
	var m M
	t := &Type{
		Kind: kind, URL: Prefix + string(m.ProtoReflect().Descriptor().FullName()), Whole: whole,
		Stream: "/" + service + "/Stream" + noun, Delta: "/" + service + "/Delta" + noun, REST: "/v3/discovery:" + rest,
		name: func(p proto.Message) (string, bool) {
			m, ok := p.(M)
			if !ok {
				return "", false
			}
			return name(m), true
		},
	}
	if kind == xds.KindVirtualHost {
		t.Stream, t.REST = "", ""
	}
	return t
}

// Types returns all types, in the order in which a client asks for them: what others
// depend on first.
func Types() []*Type {
	return []*Type{
		define(xds.KindRuntime, "envoy.service.runtime.v3.RuntimeDiscoveryService", "Runtime", "runtime", false, (*runtimev3.Runtime).GetName),
		define(xds.KindSecret, "envoy.service.secret.v3.SecretDiscoveryService", "Secrets", "secrets", false, (*tlsv3.Secret).GetName),
		define(xds.KindCluster, "envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters", "clusters", true, (*clusterv3.Cluster).GetName),
		define(xds.KindEndpoints, "envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints", "endpoints", false, (*endpointv3.ClusterLoadAssignment).GetClusterName),
		define(xds.KindListener, "envoy.service.listener.v3.ListenerDiscoveryService", "Listeners", "listeners", true, (*listenerv3.Listener).GetName),
		define(xds.KindScopedRoute, "envoy.service.route.v3.ScopedRoutesDiscoveryService", "ScopedRoutes", "scoped-routes", true, (*routev3.ScopedRouteConfiguration).GetName),
		define(xds.KindRoutes, "envoy.service.route.v3.RouteDiscoveryService", "Routes", "routes", false, (*routev3.RouteConfiguration).GetName),
		define(xds.KindVirtualHost, "envoy.service.route.v3.VirtualHostDiscoveryService", "VirtualHosts", "", false, (*routev3.VirtualHost).GetName),
		define(xds.KindExtension, "envoy.service.extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs", "extension_configs", false, (*corev3.TypedExtensionConfig).GetName),
	}
}

// A Resource is one resource as it came.
type Resource struct {
	Name    string
	Version string
	// Message is nil for a heartbeat, which says that the resource is as it was.
	Message proto.Message
	// Aliases are other names by which a virtual host was asked for.
	Aliases []string
	// TTL is how long the resource holds without another word; 0 is for good.
	TTL time.Duration
}

// FromAny reads a resource of a state of the world, which may be wrapped to have a TTL.
func (t *Type) FromAny(a *anypb.Any, version string) (Resource, error) {
	const wrapper = Prefix + "envoy.service.discovery.v3.Resource"
	if a.GetTypeUrl() != wrapper {
		return t.decode(a, Resource{Version: version})
	}
	r := &discoveryv3.Resource{}
	if err := a.UnmarshalTo(r); err != nil {
		return Resource{}, fmt.Errorf("the wrapper of a resource cannot be read: %w", err)
	}
	if r.GetVersion() == "" {
		r.Version = version
	}
	return t.FromResource(r)
}

// FromResource reads a resource of a delta.
func (t *Type) FromResource(r *discoveryv3.Resource) (Resource, error) {
	out := Resource{Version: r.GetVersion(), Aliases: r.GetAliases(), TTL: r.GetTtl().AsDuration()}
	var err error
	if out.Name, err = Canonical(r.GetName()); err != nil {
		return out, err
	}
	if r.GetResource() == nil {
		return out, nil
	}
	return t.decode(r.GetResource(), out)
}

func (t *Type) decode(a *anypb.Any, r Resource) (Resource, error) {
	if a.GetTypeUrl() != t.URL {
		return r, fmt.Errorf("%q is a %s, and not a %s", r.Name, strings.TrimPrefix(a.GetTypeUrl(), Prefix), strings.TrimPrefix(t.URL, Prefix))
	}
	m, err := a.UnmarshalNew()
	if err != nil {
		return r, fmt.Errorf("%q cannot be read: %w", r.Name, err)
	}
	name, _ := t.name(m)
	if name, err = Canonical(name); err != nil {
		return r, err
	}
	switch {
	case r.Name == "":
		r.Name = name
	case name != "" && name != r.Name && t.Kind != xds.KindVirtualHost:
		return r, fmt.Errorf("%q is called %q inside", r.Name, name)
	}
	if r.Name == "" {
		return r, fmt.Errorf("a %s has no name", t.Kind)
	}
	r.Message = m
	return r, nil
}
