// SPDX-License-Identifier: Apache-2.0

// Package backend turns references to Services, ServiceImports and Backends into
// clusters and their endpoints, alike for all dialects. There is one cluster for each
// backend and port, however many routes lead to it, and endpoints are apart from it:
// a Pod that comes or goes changes nothing else.
package backend

import (
	"fmt"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/backendtls"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// Options of Backends.
type Options struct {
	// ExternalName has Services of that type taken, which can lead anywhere. Without it
	// they are refused.
	ExternalName bool
	// TLS has the policies by which backends are spoken to in TLS.
	TLS *backendtls.Policies
}

// Backends resolves references in a View.
type Backends struct {
	opts      Options
	slices    *source.Index
	port      *memo.Func[portID, port]
	cluster   *memo.Func[graph.ClusterID, *clusterv3.Cluster]
	endpoints *memo.Func[endpointsID, *endpointv3.ClusterLoadAssignment]
}

// portID is a port of a backend.
type portID struct {
	of   source.Key
	port int32
}

// endpointsID names the endpoints of a port, or those of its Pods that have the labels
// of subset.
type endpointsID struct {
	portID
	subset string
}

func endpointsOf(id graph.ClusterID) endpointsID {
	return endpointsID{portID{id.Backend, id.Port}, id.Subset}
}

// Name is under which name the endpoints are discovered.
func (p endpointsID) Name() string {
	return graph.ClusterID{Backend: p.of, Port: p.port, Subset: p.subset}.Name()
}

// port is what is known of a port.
type port struct {
	found    bool // there is the backend
	has      bool // it has the port
	name     string
	protocol corev1.Protocol
	app      string // what is spoken, as appProtocol says
	external string // host name of an ExternalName Service
	fqdn     bool   // the endpoints are host names
	refused  string // why the backend as a whole cannot be used
}

// New returns Backends. Views that are read must have its Index.
func New(o Options) *Backends {
	b := &Backends{opts: o, slices: &source.Index{Kind: source.EndpointSlice, Keys: servicesOf}}
	b.port = memo.NewFunc(b.readPort, memo.Equal[port])
	b.cluster = memo.NewFunc(b.makeCluster, sameMessage[*clusterv3.Cluster])
	b.endpoints = memo.NewFunc(b.readEndpoints, sameMessage[*endpointv3.ClusterLoadAssignment])
	return b
}

func sameMessage[M proto.Message](a, b M) bool { return proto.Equal(a, b) }

// Index finds the EndpointSlices of a Service.
func (b *Backends) Index() *source.Index { return b.slices }

// multicluster labels the EndpointSlices of a ServiceImport.
const multicluster = "multicluster.kubernetes.io/service-name"

func servicesOf(o source.Object) []source.Name {
	var out []source.Name
	for _, label := range []string{discoveryv1.LabelServiceName, multicluster} {
		if name := o.GetLabels()[label]; name != "" {
			out = append(out, source.Name{Namespace: o.GetNamespace(), Name: name})
		}
	}
	return slices.Compact(out)
}

// A Ref is a reference to a backend, from an object of kind From in a namespace.
type Ref struct {
	From      source.Kind
	Namespace string
	To        gwapiv1.BackendObjectReference
	Mode      graph.Mode
	// UDP asks for a port of UDP, otherwise for one of TCP.
	UDP bool
	// OwnTLS tells that the reference says itself whether TLS is spoken.
	OwnTLS bool
}

// Named returns the cluster of a host that is looked up by its name, or is an address.
func Named(host string, port int32, mode graph.Mode) graph.ClusterID {
	return graph.ClusterID{Backend: source.Key{Kind: source.Hostname, Name: source.Name{Name: host}}, Port: port, Mode: mode}
}

// Key returns what a reference leads to.
func (r Ref) Key() source.Key {
	k := source.Key{Kind: source.Service, Name: source.Name{Namespace: r.Namespace, Name: string(r.To.Name)}}
	if r.To.Group != nil {
		k.Group = string(*r.To.Group)
	}
	if r.To.Kind != nil {
		k.Kind.Kind = string(*r.To.Kind)
	}
	if r.To.Namespace != nil {
		k.Namespace = string(*r.To.Namespace)
	}
	return k
}

// Resolve returns the cluster that a reference leads to, or what is wrong with it.
// The problem's path is left to the caller.
func (b *Backends) Resolve(c *memo.Ctx, r Ref) (graph.ClusterID, *graph.Problem) {
	key := r.Key()
	bad := func(reason gwapiv1.RouteConditionReason, format string, args ...any) (graph.ClusterID, *graph.Problem) {
		return graph.ClusterID{}, &graph.Problem{Reason: string(reason), Message: fmt.Sprintf(format, args...)}
	}
	switch key.Kind {
	case source.Service, source.ServiceImport, source.Backend, source.EnvoyBackend, source.Function:
	default:
		return bad(gwapiv1.RouteReasonInvalidKind, "a %s cannot be a backend: refer to a Service, a %s, a %s or a %s", key.Kind, source.ServiceImport, source.Backend, source.Function)
	}
	if !attach.Granted(c, r.From, r.Namespace, key) {
		return bad(gwapiv1.RouteReasonRefNotPermitted,
			"%s is in another namespace, and no ReferenceGrant in %s allows a %s of %s to refer to it", key, key.Namespace, r.From.Kind, r.Namespace)
	}
	if key.Kind == source.Function {
		return b.resolveFunction(c, r, key)
	}
	id := portID{of: key}
	if r.To.Port != nil && !isBackend(key.Kind) { // A Backend's endpoints have their own.
		id.port = int32(*r.To.Port)
	}
	p := b.port.Get(c, id)
	switch {
	case !p.found:
		return bad(gwapiv1.RouteReasonBackendNotFound, "there is no %s", key)
	case p.refused != "":
		return bad(gwapiv1.RouteReasonUnsupportedValue, "%s %s", key, p.refused)
	case id.port == 0 && !isBackend(key.Kind):
		return bad(gwapiv1.RouteReasonUnsupportedValue, "port is missing: say which port of %s", key)
	case !p.has:
		return bad(gwapiv1.RouteReasonBackendNotFound, "%s has no port %d", key, id.port)
	case r.UDP != (p.protocol == corev1.ProtocolUDP) && p.protocol != "":
		return bad(gwapiv1.RouteReasonUnsupportedProtocol, "port %d of %s is of protocol %s, which a %s cannot forward to", id.port, key, p.protocol, r.From.Kind)
	}
	if r.Mode != graph.Bytes && !r.UDP && !r.OwnTLS {
		if problem := b.checkTLS(c, key, p); problem != nil {
			return graph.ClusterID{}, problem
		}
	}
	return graph.ClusterID{Backend: key, Port: id.port, Mode: b.mode(c, key, p, r.Mode)}, nil
}

// checkTLS finds backends that speak TLS with nobody to say whom to trust, and those
// whose policy is not valid.
func (b *Backends) checkTLS(c *memo.Ctx, key source.Key, p port) *graph.Problem {
	policy := b.opts.TLS.For(c, key, p.name)
	if policy == nil {
		if app := strings.ToLower(p.app); app == "https" || app == "kubernetes.io/wss" || app == "tls" {
			return &graph.Problem{
				Reason:  string(gwapiv1.RouteReasonUnsupportedProtocol),
				Message: fmt.Sprintf("the port of %s speaks TLS (appProtocol %s), but no BackendTLSPolicy says whom to trust: make one for it", key, p.app),
			}
		}
		return nil
	}
	if policy.Valid {
		return nil
	}
	return &graph.Problem{
		Reason:  string(gwapiv1.RouteReasonUnsupportedValue),
		Message: fmt.Sprintf("BackendTLSPolicy %s of %s trusts nobody that can be found, so it is not spoken to: see its status", policy.Name, key),
	}
}

// mode returns asked, or HTTP if the port is spoken to the same way then.
func (b *Backends) mode(c *memo.Ctx, key source.Key, p port, asked graph.Mode) graph.Mode {
	switch {
	case asked == graph.GRPC && http2(p.app), asked == graph.Bytes && b.opts.TLS.For(c, key, p.name) == nil && !http2(p.app):
		return graph.HTTP
	}
	return asked
}

func http2(app string) bool { return app == "kubernetes.io/h2c" || strings.EqualFold(app, "grpc") }

// TLS reports whether a cluster is spoken to in TLS, so that a certificate of the
// gateway's own makes a difference.
func (b *Backends) TLS(c *memo.Ctx, id graph.ClusterID) bool {
	if id.Backend.Kind == source.Function {
		return b.functionTLS(c, id)
	}
	return id.Mode != graph.Bytes && b.opts.TLS.For(c, id.Backend, b.port.Get(c, portID{id.Backend, id.Port}).name) != nil
}

// Cluster returns the cluster called id, or nil if there is nothing for it any more.
func (b *Backends) Cluster(c *memo.Ctx, id graph.ClusterID) *clusterv3.Cluster {
	return b.cluster.Get(c, id)
}

// Endpoints returns the endpoints of a cluster and the name that they are discovered
// by; nil if the cluster has them itself.
func (b *Backends) Endpoints(c *memo.Ctx, id graph.ClusterID) (string, *endpointv3.ClusterLoadAssignment) {
	own := endpointsOf(id)
	return own.Name(), b.endpoints.Get(c, own)
}

func (b *Backends) makeCluster(c *memo.Ctx, id graph.ClusterID) *clusterv3.Cluster {
	if id.Backend.Kind == source.Function {
		return b.makeFunction(c, id)
	}
	pid := portID{id.Backend, id.Port}
	p := b.port.Get(c, pid)
	if !p.has {
		return nil
	}
	var out *clusterv3.Cluster
	switch {
	case p.external != "":
		hosts := build.Endpoints(id.Name(), []build.Endpoint{{Address: build.Address(p.external, id.Port, false)}})
		out = build.NamedHosts(id.Name(), hosts)
	case p.fqdn:
		o, _ := own(c, id.Backend)
		out = build.NamedHosts(id.Name(), build.Endpoints(id.Name(), ownEndpoints(o)))
	default:
		out = build.Cluster(id.Name(), endpointsOf(id).Name())
	}
	two := http2(p.app) || id.Mode == graph.GRPC
	if two && id.Mode != graph.Bytes {
		build.HTTP2(out)
	}
	if policy := b.opts.TLS.For(c, id.Backend, p.name); policy != nil && id.Mode != graph.Bytes {
		tls := policy.TLS
		tls.Certificate = id.Certificate
		if two {
			tls.Protocols = []string{"h2"}
		}
		out.TransportSocket = tls.TransportSocket()
	}
	return out
}
