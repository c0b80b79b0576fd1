// SPDX-License-Identifier: Apache-2.0

// Package backend turns references to Services, ServiceImports and Backends into
// clusters and their endpoints, alike for all dialects. There is one cluster for each
// backend and port, however many routes lead to it, and endpoints are apart from it:
// a Pod that comes or goes changes nothing else.
package backend

import (
	"fmt"
	"reflect"
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
	"weir.dev/weir/control/policy/xtraffic"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// Options of Backends.
type Options struct {
	// ExternalName has Services of that type taken, which can lead anywhere. Without it
	// they are refused.
	ExternalName bool
	// InPods tells that proxies run in Pods: what a Backend or a request names is never
	// the proxy's own machine, where its admin is.
	InPods bool
	// TLS has the policies by which backends are spoken to in TLS.
	TLS *backendtls.Policies
	// Traffic has the policies of how many retries backends get; nil is none.
	Traffic *xtraffic.Policies
}

// Backends resolves references in a View.
type Backends struct {
	opts      Options
	slices    *source.Index
	port      *memo.Func[portID, port]
	cluster   *memo.Func[graph.ClusterID, *clusterv3.Cluster]
	endpoints *memo.Func[endpointsID, *endpointv3.ClusterLoadAssignment]
	own       *memo.Func[source.Key, *own]
	dynamic   *memo.Func[struct{}, bool]
}

// portID is a port of a backend.
type portID struct {
	of   source.Key
	port int32
}

// endpointsID names the endpoints of a port, or those of its Pods that have the labels
// of subset, for clusters that are spread alike.
type endpointsID struct {
	portID
	subset, spread string
}

func endpointsOf(id graph.ClusterID) endpointsID {
	return endpointsID{portID{id.Backend, id.Port}, id.Subset, id.Spread}
}

// Name is under which name the endpoints are discovered.
func (p endpointsID) Name() string {
	return graph.ClusterID{Backend: p.of, Port: p.port, Subset: p.subset, Spread: p.spread}.Name()
}

// port is what is known of a port.
type port struct {
	found    bool // there is the backend
	has      bool // it has the port
	name     string
	protocol corev1.Protocol
	app      string // what is spoken, as appProtocol says
	external string // host name of an ExternalName Service
	near     string // what is said of its trafficDistribution
	address  string // a Service's own, if it has one
	refused  string // why the backend as a whole cannot be used
}

// New returns Backends. Views that are read must have its Index.
func New(o Options) *Backends {
	b := &Backends{opts: o, slices: &source.Index{Kind: source.EndpointSlice, Keys: servicesOf}}
	b.port = memo.NewFunc(b.readPort, memo.Equal[port])
	b.cluster = memo.NewFunc(b.makeCluster, sameMessage[*clusterv3.Cluster])
	b.endpoints = memo.NewFunc(b.readEndpoints, sameMessage[*endpointv3.ClusterLoadAssignment])
	b.own = memo.NewFunc(b.readOwn, func(x, y *own) bool { return reflect.DeepEqual(x, y) })
	b.dynamic = memo.NewFunc(b.readDynamic, memo.Equal[bool])
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
	// Anywhere tells that no ReferenceGrant is asked for.
	Anywhere bool
	// OwnTLS tells that the reference says itself whether TLS is spoken.
	OwnTLS bool
	// Resolves tells that the hosts of requests, or of TLS that is passed through, are
	// looked up there: see AnyDynamic and DynamicSNI.
	Resolves bool
}

// HTTP reports whether what is forwarded is HTTP.
func (r Ref) HTTP() bool {
	switch r.From {
	case source.TCPRoute, source.TLSRoute, source.UDPRoute:
		return false
	}
	return r.Mode != graph.Bytes
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
	case source.Service, source.ServiceImport, source.Backend, source.EnvoyBackend, source.XBackend, source.Function:
	default:
		return bad(gwapiv1.RouteReasonInvalidKind, "%s cannot be a backend: refer to a Service, a %s, a %s or a %s", source.A(key.Kind.String()), source.ServiceImport, source.Backend, source.Function)
	}
	if !r.Anywhere && !attach.Granted(c, r.From, r.Namespace, key) {
		return bad(gwapiv1.RouteReasonRefNotPermitted,
			"%s is in another namespace, and no ReferenceGrant in %s allows %s of %s to refer to it", key, key.Namespace, source.A(r.From.Kind), r.Namespace)
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
		return bad(gwapiv1.RouteReasonUnsupportedProtocol, "port %d of %s is of protocol %s, which %s cannot forward to", id.port, key, p.protocol, source.A(r.From.Kind))
	}
	out := graph.ClusterID{Backend: key, Port: id.port, Mode: b.mode(c, key, p, r.Mode)}
	if o := b.ownOf(c, key); o != nil {
		if problem := o.whyNot(r, key); problem != nil {
			return graph.ClusterID{}, problem
		}
	}
	if r.Mode != graph.Bytes && !r.UDP && !r.OwnTLS {
		tls, problem := b.tlsOf(c, key, p)
		if problem != nil {
			return graph.ClusterID{}, problem
		}
		if tls != nil {
			out.Certificate = tls.Certificate
		}
	}
	return out, nil
}

// mode returns asked, or HTTP if the port is spoken to the same way then.
func (b *Backends) mode(c *memo.Ctx, key source.Key, p port, asked graph.Mode) graph.Mode {
	switch {
	case asked == graph.GRPC && http2(p.app), asked == graph.Bytes && !b.secure(c, key, p) && !http2(p.app):
		return graph.HTTP
	}
	return asked
}

// appH2C is the appProtocol of HTTP/2.
const appH2C = "kubernetes.io/h2c"

func http2(app string) bool { return app == appH2C || strings.EqualFold(app, "grpc") }

// TLS reports whether a cluster is spoken to in TLS, so that a certificate of the
// gateway's own makes a difference.
func (b *Backends) TLS(c *memo.Ctx, id graph.ClusterID) bool {
	if id.Backend.Kind == source.Function {
		return b.functionTLS(c, id)
	}
	return id.Mode != graph.Bytes && b.secure(c, id.Backend, b.port.Get(c, portID{id.Backend, id.Port}))
}

// secure reports whether a backend is spoken to in TLS.
func (b *Backends) secure(c *memo.Ctx, key source.Key, p port) bool {
	if o := b.ownOf(c, key); o != nil && o.tls != nil {
		return true
	}
	return b.opts.TLS.For(c, key, p.name) != nil
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
	switch id.Backend.Kind {
	case source.Function:
		return b.makeFunction(c, id)
	case source.Failover:
		return build.Failover(id.Name(), failoverMembers(id))
	}
	pid := portID{id.Backend, id.Port}
	p := b.port.Get(c, pid)
	if !p.has {
		return nil
	}
	out := b.bareCluster(c, id, p)
	if policy := b.traffic(c, id.Backend); policy != nil && policy.Budget != nil {
		policy.Budget.On(out)
	}
	two := http2(p.app) || id.Mode == graph.GRPC
	if id.Mode == graph.Bytes {
		return out
	}
	tls, _ := b.tlsOf(c, id.Backend, p)
	protocol := protocolOf(tls, two)
	protocol.On(out)
	if tls != nil {
		tls.Certificate = id.Certificate
		if protocol.Two {
			tls.Protocols = []string{protocolH2}
		}
		out.TransportSocket = tls.TransportSocket()
	}
	return out
}

func (b *Backends) traffic(c *memo.Ctx, key source.Key) *xtraffic.Policy {
	if b.opts.Traffic == nil {
		return nil
	}
	return b.opts.Traffic.For(c, key)
}

// Session returns how clients of a backend stay at one of its endpoints, or nil.
func (b *Backends) Session(c *memo.Ctx, id graph.ClusterID) *gwapiv1.SessionPersistence {
	if policy := b.traffic(c, id.Backend); policy != nil {
		return policy.Session
	}
	return nil
}

// bareCluster returns a cluster with its hosts, or with where they are found.
func (b *Backends) bareCluster(c *memo.Ctx, id graph.ClusterID, p port) *clusterv3.Cluster {
	o := b.ownOf(c, id.Backend)
	switch {
	case p.external != "":
		hosts := build.Endpoints(id.Name(), []build.Endpoint{{Address: build.Address(p.external, id.Port, false)}})
		return build.NamedHosts(id.Name(), hosts)
	case o != nil && o.dynamic:
		return build.DynamicHosts(id.Name(), b.opts.InPods)
	case o != nil && o.names:
		hosts := build.Endpoints(id.Name(), o.endpoints)
		build.ParseSpread(id.Spread).On(hosts)
		return build.NamedHosts(id.Name(), hosts)
	}
	return build.Cluster(id.Name(), endpointsOf(id).Name())
}
