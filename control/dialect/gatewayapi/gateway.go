// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/envoygateway/envoyproxy"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// gateway is a Gateway that is ours.
type gateway struct {
	name source.Name
	// fleet is that of its proxies: its own name or, if all of its class share theirs, that
	// of graph.FleetOfClass.
	fleet      source.Name
	generation int64
	spec       *gwapiv1.GatewaySpec
	// refused are reasons not to accept it, of which so many as held are of how its proxies are
	// run: those that run go on as they are, and serve what it says.
	refused []graph.Problem
	held    int
	// addresses asked for.
	addresses []string
	// certificate is the name of the secret that backends are shown; refs is what is
	// wrong with it.
	certificate string
	refs        []graph.Problem
	// insecure tells that clients without a valid certificate are let in somewhere.
	insecure bool
	// parameters say how the proxies are run.
	parameters v1alpha1.GatewayParametersSpec
	// proxy says what proxies tell; it may be nil.
	proxy *envoyproxy.Proxy
}

// readGateway returns a Gateway, or nil if it is not ours.
func (d *Dialect) readGateway(c *memo.Ctx, name source.Name) *gateway {
	o, ok := source.Get[*gwapiv1.Gateway](c, source.Gateway, name)
	if !ok {
		return nil
	}
	cl := d.class.Get(c, string(o.Spec.GatewayClassName))
	if cl == nil {
		return nil
	}
	g := &gateway{name: name, fleet: name, generation: o.Generation, spec: &o.Spec, parameters: cl.parameters, proxy: d.proxies.Proxy(c, cl.proxy, source.Name{})}
	for _, p := range cl.problems {
		g.hold("spec.gatewayClassName", "the parameters of GatewayClass %s cannot be used: %s", o.Spec.GatewayClassName, p.Message)
	}
	for i, a := range o.Spec.Addresses {
		g.address(fmt.Sprintf("spec.addresses[%d]", i), a)
	}
	if infra := o.Spec.Infrastructure; infra != nil && infra.ParametersRef != nil {
		d.ownParameters(c, g, cl, infra.ParametersRef)
	}
	if o.Spec.DefaultScope != "" && o.Spec.DefaultScope != "None" {
		g.refuse("spec.defaultScope", gwapiv1.GatewayReasonInvalid, "default Gateways are not supported: leave defaultScope out, and name the Gateway in each route's parentRefs")
	}
	if cl.merges && g.served() {
		g.fleet = graph.FleetOfClass(string(o.Spec.GatewayClassName))
	}
	if tls := o.Spec.TLS; tls != nil {
		g.insecure = tls.Frontend != nil && insecure(tls.Frontend)
		if tls.Backend != nil && tls.Backend.ClientCertificateRef != nil {
			d.backendCertificate(c, g, "spec.tls.backend.clientCertificateRef", certificateID{source.Gateway, name.Namespace, secretKey(*tls.Backend.ClientCertificateRef, name.Namespace)})
		}
	}
	if p := g.proxy; p != nil && p.Certificate != nil && g.certificate == "" && len(g.refs) == 0 {
		path := "spec.gatewayClassName"
		if o.Spec.Infrastructure != nil && o.Spec.Infrastructure.ParametersRef != nil {
			path = "spec.infrastructure.parametersRef"
		}
		d.backendCertificate(c, g, path, certificateID{source.EnvoyProxy, p.Owner.Namespace, secretKey(*p.Certificate, p.Owner.Namespace)})
	}
	return g
}

// ownParameters reads how a Gateway has its proxies run otherwise than its class has them.
func (d *Dialect) ownParameters(c *memo.Ctx, g *gateway, cl *class, ref *gwapiv1.LocalParametersReference) {
	const path = "spec.infrastructure.parametersRef"
	if cl.merges {
		g.refuse(path, gwapiv1.GatewayReasonInvalidParameters, "the proxies are those of all Gateways of GatewayClass %s, whose parameters have mergeGateways: leave it out, or use another class", g.spec.GatewayClassName)
		return
	}
	kind, at := source.Kind{Group: string(ref.Group), Kind: string(ref.Kind)}, source.Name{Namespace: g.name.Namespace, Name: ref.Name}
	own, problem := d.parametersOf(c, kind, at, cl.proxy)
	if isProxy(kind) {
		g.proxy = d.proxies.Proxy(c, at, cl.proxy)
	}
	switch {
	case problem != "":
		g.hold(path, "%s", problem)
	case own.MergeGateways != nil && *own.MergeGateways:
		g.refuse(path, gwapiv1.GatewayReasonInvalidParameters, "%s %s has mergeGateways, which only parameters of a GatewayClass can have: set it there", kind.Kind, at)
	}
	g.parameters = own.Over(cl.parameters)
}

func (g *gateway) refuse(path string, reason gwapiv1.GatewayConditionReason, format string, args ...any) {
	g.refused = append(g.refused, graph.Problemf(path, string(reason), format, args...))
}

// hold refuses the Gateway for how its proxies are to be run. It says what becomes of those
// that run already.
func (g *gateway) hold(path, format string, args ...any) {
	g.refuse(path, gwapiv1.GatewayReasonInvalidParameters, format+"; proxies that run go on as they are", args...)
	g.held++
}

// served tells whether what the Gateway says is for its proxies to serve.
func (g *gateway) served() bool { return len(g.refused) == g.held }

func (g *gateway) address(path string, a gwapiv1.GatewaySpecAddress) {
	if a.Type != nil && *a.Type != gwapiv1.IPAddressType {
		g.refuse(path+".type", gwapiv1.GatewayReasonUnsupportedAddress, "addresses of type %s are not supported: give an %s", *a.Type, gwapiv1.IPAddressType)
		return
	}
	if a.Value == "" { // Any will do.
		return
	}
	ip, err := netip.ParseAddr(a.Value)
	if err != nil {
		// Whether an address can be had is not known before it is tried; this one cannot.
		g.addresses = append(g.addresses, a.Value)
		return
	}
	g.addresses = append(g.addresses, ip.String())
}

func insecure(f *gwapiv1.FrontendTLSConfig) bool {
	all := []gwapiv1.TLSConfig{f.Default}
	for _, p := range f.PerPort {
		all = append(all, p.TLS)
	}
	return slices.ContainsFunc(all, func(t gwapiv1.TLSConfig) bool {
		return t.Validation != nil && t.Validation.Mode == gwapiv1.AllowInsecureFallback
	})
}

// backendCertificate finds the certificate that backends are shown; path is that of the
// reference to it, or to the EnvoyProxy that has it.
func (d *Dialect) backendCertificate(c *memo.Ctx, g *gateway, path string, id certificateID) {
	cert := d.certificate.Get(c, id)
	if cert.problem == nil {
		g.certificate = cert.secret
		return
	}
	p := *cert.problem
	p.Path = path
	if id.from == source.EnvoyProxy {
		p.Message = "backendTLS.clientCertificateRef of the EnvoyProxy: " + p.Message
	}
	if p.Reason == string(gwapiv1.ListenerReasonInvalidCertificateRef) {
		p.Reason = string(gwapiv1.GatewayReasonInvalidClientCertificateRef)
	}
	g.refs = append(g.refs, p)
}

// readGraph returns what a fleet serves.
func (d *Dialect) readGraph(c *memo.Ctx, fleet source.Name) *graph.Gateway {
	var out *graph.Gateway
	var proxy *envoyproxy.Proxy
	policies := attach.Chain{Idle: map[string]proto.Message{}}
	sockets := map[graph.SocketID]*graph.Socket{}
	for _, name := range d.sharers.Get(c, fleet) {
		g := d.gateway.Get(c, name)
		if !g.served() {
			continue
		}
		if out == nil {
			key := source.Key{Kind: source.Gateway, Name: name}
			out, proxy = &graph.Gateway{ID: fleet, Origin: source.Input(c).Place(key).Origin(key, "")}, g.proxy
		}
		out.Members = append(out.Members, name)
		out.Held = out.Held || g.held > 0
		for _, a := range g.addresses {
			if !slices.Contains(out.Addresses, a) {
				out.Addresses = append(out.Addresses, a)
			}
		}
		own := d.policies.Chain(c, name, d.governing.Members(c, name), d.referring.Members(c, name))
		policies.Add(&own)
		d.addAskers(c, name, &policies)
		for _, l := range d.listeners.Get(c, name).list {
			if !l.serves() {
				continue
			}
			id := l.socket()
			s := sockets[id]
			if s == nil {
				s = &graph.Socket{ID: id}
				sockets[id] = s
				out.Sockets = append(out.Sockets, s)
			}
			before := len(s.Chains)
			d.addChains(c, s, l)
			d.addClient(c, s, l, s.Chains[before:])
		}
	}
	if out == nil {
		return nil
	}
	out.Limits, out.Sized = policies.Limits, proxy != nil && proxy.Sized
	if d.backends.AnyDynamic(c) {
		policies.Idle[build.DynamicForwardProxy] = d.backends.DynamicFilter()
	}
	for _, s := range out.Sockets {
		govern(s, fleet, &policies, proxy)
	}
	slices.SortFunc(out.Sockets, func(a, b *graph.Socket) int {
		return cmp.Or(cmp.Compare(a.ID.Port, b.ID.Port), cmp.Compare(a.ID.Name(), b.ID.Name()))
	})
	return out
}

// routing is where requests for Services go that no policy says it of, if the Gateway's EnvoyProxy says so.
func (g *gateway) routing() string {
	if g.proxy == nil {
		return ""
	}
	return g.proxy.Routing
}

// govern has a socket of a fleet do what policies ask for, and tell what an EnvoyProxy asks
// for; there may be none.
func govern(s *graph.Socket, fleet source.Name, policies *attach.Chain, proxy *envoyproxy.Proxy) {
	if proxy != nil && len(proxy.Logs) > 0 && !s.ID.UDP {
		s.Overlay = attach.Merge(s.Overlay, graph.Overlay{Message: &listenerv3.Listener{AccessLog: proxy.Logs}})
	}
	for _, ch := range s.Chains {
		if ch.Table != nil {
			ch.Idle, ch.Clusters, ch.Secrets = policies.Idle, policies.Clusters, policies.Secrets
		}
		if proxy == nil {
			continue
		}
		low := proxy.TCP
		if ch.Table != nil {
			low, ch.Moves = proxy.ManagerOf(serviceName(fleet)), proxy.Moves
			ch.Filters = filled(ch.Filters, proxy.Filters)
		}
		ch.Manager = attach.Merge(low, ch.Manager)
		ch.Clusters = append(slices.Clip(ch.Clusters), proxy.Clusters...)
	}
}

// serviceName is what the proxies of a fleet are called in traces, as Envoy Gateway has it.
func serviceName(fleet source.Name) string {
	if class, ok := graph.ClassOfFleet(fleet); ok {
		return class
	}
	return fleet.Name + "." + fleet.Namespace
}

// addChains adds what a listener has its socket do.
func (d *Dialect) addChains(c *memo.Ctx, s *graph.Socket, l *listener) {
	chain := &graph.Chain{Name: l.host, Hostname: l.host, TLS: l.tls, Origin: source.Input(c).Place(l.id.parent).Origin(l.id.parent, l.path)}
	switch l.protocol {
	case gwapiv1.HTTPProtocolType:
		// All of a port share one table: its hosts keep them apart.
		chain.Name, chain.Hostname, chain.Table = "http", attach.AnyHost, &graph.TableID{Socket: s.ID}
		if len(s.Chains) == 0 {
			s.Chains = append(s.Chains, chain)
		}
	case gwapiv1.HTTPSProtocolType:
		chain.Inspect, chain.Table = true, &graph.TableID{Socket: s.ID, Host: l.host}
		s.Chains = append(s.Chains, chain)
	case gwapiv1.TLSProtocolType:
		for _, host := range d.domains.Members(c, l.id) {
			if d.owner(c, s.ID, host) != l.id {
				continue // A listener that is more specific has it.
			}
			own := *chain
			own.Name, own.Hostname, own.Inspect = host, host, true
			d.toFirstRoute(c, l, host, &own)
			s.Chains = append(s.Chains, &own)
		}
	default:
		chain.Name = "bytes"
		d.toFirstRoute(c, l, l.host, chain)
		s.Chains = append(s.Chains, chain)
	}
}
