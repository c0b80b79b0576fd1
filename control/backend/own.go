// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// Kinds are those whose objects have endpoints of their own, whatever their group.
func Kinds() []source.Kind {
	return []source.Kind{source.Backend, source.EnvoyBackend, source.XBackend}
}

func isBackend(k source.Kind) bool { return slices.Contains(Kinds(), k) }

// own is what a Backend says, of whichever kind.
type own struct {
	endpoints []build.Endpoint
	// names tells that the endpoints are host names, dynamic that there are none, and
	// requests name their hosts.
	names, dynamic bool
	fallback       bool
	app            string
	tls            *ownTLS
	// bytes cannot be spoken to in HTTP.
	bytes    bool
	problems []graph.Problem
}

func (o *own) bad(path, format string, args ...any) {
	o.problems = append(o.problems, graph.Problem{Path: path, Reason: v1alpha1.BackendInvalid, Message: fmt.Sprintf(format, args...)})
}

// Judge returns whether there is a Backend, and what is wrong with it.
func (b *Backends) Judge(c *memo.Ctx, key source.Key) (problems []graph.Problem, ok bool) {
	if o := b.own.Get(c, key); o != nil {
		return o.problems, true
	}
	return nil, false
}

// Fallback reports whether a cluster's backend is only for when others have no healthy
// endpoint.
func (b *Backends) Fallback(c *memo.Ctx, id graph.ClusterID) bool {
	o := b.ownOf(c, id.Backend)
	return o != nil && o.fallback
}

// Dynamic reports whether a cluster's hosts are those that requests, or TLS clients, name.
func (b *Backends) Dynamic(c *memo.Ctx, id graph.ClusterID) bool {
	o := b.ownOf(c, id.Backend)
	return o != nil && o.dynamic
}

// AnyDynamic reports whether there is any backend whose hosts requests name.
func (b *Backends) AnyDynamic(c *memo.Ctx) bool { return b.dynamic.Get(c, struct{}{}) }

// DynamicFilter returns what finds the hosts of such backends for requests.
func (b *Backends) DynamicFilter() proto.Message { return build.DynamicFilter(b.opts.InPods) }

// DynamicSNI returns what finds the hosts of such backends for connections of TLS that
// are passed through.
func (b *Backends) DynamicSNI() proto.Message { return build.DynamicSNI(b.opts.InPods) }

func (b *Backends) readDynamic(c *memo.Ctx, _ struct{}) bool {
	for _, kind := range Kinds() {
		for _, name := range source.Names(c, kind) {
			if o := b.own.Get(c, source.Key{Kind: kind, Name: name}); o != nil && o.dynamic {
				return true
			}
		}
	}
	return false
}

// ownOf returns what a Backend says; nil if key is none, or there is none.
func (b *Backends) ownOf(c *memo.Ctx, key source.Key) *own {
	if !isBackend(key.Kind) {
		return nil
	}
	return b.own.Get(c, key)
}

// readOwn reads a Backend, or returns nil if there is none.
func (b *Backends) readOwn(c *memo.Ctx, key source.Key) *own {
	o := readAny(c, key)
	if o != nil && b.opts.InPods {
		o.refuseLocal()
	}
	return o
}

// refuseLocal refuses endpoints that are the machine of who asks them.
func (o *own) refuseLocal() {
	for i, e := range o.endpoints {
		if host := e.Address.GetSocketAddress().GetAddress(); build.IsLocal(host) {
			o.bad(fmt.Sprintf("spec.endpoints[%d]", i), "%s is the proxy's own machine, where its admin is, or reached from there alone: name a host that others reach, too", host)
		}
	}
}

func readAny(c *memo.Ctx, key source.Key) *own {
	switch key.Kind {
	case source.Backend:
		if o, ok := source.Get[*v1alpha1.Backend](c, key.Kind, key.Name); ok {
			return readBackend(c, key, &o.Spec)
		}
	case source.EnvoyBackend:
		if o, ok := source.Get[*envoygateway.Backend](c, key.Kind, key.Name); ok {
			return readEnvoy(c, key, &o.Spec)
		}
	case source.XBackend:
		return readX(c, key)
	}
	return nil
}

// readEnvoy reads a Backend of Envoy Gateway's as if it were ours.
func readEnvoy(c *memo.Ctx, key source.Key, s *envoygateway.BackendSpec) *own {
	spec := v1alpha1.BackendSpec{Type: s.Type, Endpoints: s.Endpoints, Fallback: s.Fallback}
	for _, p := range s.AppProtocols {
		if name, ok := strings.CutPrefix(p, "gateway.envoyproxy.io/"); ok && (name == "h2c" || spec.AppProtocol == nil) {
			app := "kubernetes.io/" + name
			spec.AppProtocol = &app
		}
	}
	if s.TLS != nil {
		spec.TLS = &s.TLS.BackendTLS
	}
	out := readBackend(c, key, &spec)
	if s.TLS != nil && len(s.TLS.SignatureAlgorithms) > 0 {
		out.bad("spec.tls.signatureAlgorithms", "cannot be chosen: all that are known are offered; leave it out")
	}
	if s.TLS != nil && len(s.TLS.Fingerprints) > 0 {
		out.bad("spec.tls.fingerprints", "are taken of clients, and not of backends: leave it out")
	}
	return out
}

func readBackend(c *memo.Ctx, key source.Key, s *v1alpha1.BackendSpec) *own {
	out := &own{app: text(s.AppProtocol), fallback: s.Fallback != nil && *s.Fallback}
	switch t := text(s.Type); t {
	case "", v1alpha1.BackendEndpoints:
		out.readEndpoints(s.Endpoints)
	case v1alpha1.BackendDynamicResolver:
		out.dynamic = true
		if len(s.Endpoints) > 0 {
			out.bad("spec.endpoints", "cannot be for the type %s, whose hosts are those that requests name: leave it out", t)
		}
		if out.fallback {
			out.bad("spec.fallback", "cannot be for the type %s, which has no healthy and no other hosts: leave it out", t)
		}
	default:
		out.bad("spec.type", "is %q: there are %s and %s", t, v1alpha1.BackendEndpoints, v1alpha1.BackendDynamicResolver)
	}
	if s.TLS != nil {
		out.readTLS(c, key, s.TLS)
	}
	return out
}

func (o *own) readEndpoints(list []v1alpha1.BackendEndpoint) {
	names := 0
	for i, e := range list {
		path, n := fmt.Sprintf("spec.endpoints[%d]", i), 0
		at := build.Endpoint{Zone: text(e.Zone), Hostname: text(e.Hostname)}
		if e.FQDN != nil {
			at.Address = build.Address(e.FQDN.Hostname, e.FQDN.Port, false)
			n++
			names++
		}
		if e.IP != nil {
			at.Address = build.Address(e.IP.Address, e.IP.Port, false)
			if _, err := netip.ParseAddr(e.IP.Address); err != nil {
				o.bad(path+".ip.address", "%q is not an IP address", e.IP.Address)
			}
			n++
		}
		if e.Unix != nil {
			at.Address = build.Pipe(e.Unix.Path)
			n++
		}
		if n != 1 {
			o.bad(path, "has not exactly one of fqdn, ip and unix")
			continue
		}
		o.endpoints = append(o.endpoints, at)
	}
	switch {
	case len(list) == 0:
		o.bad("spec.endpoints", "is empty: list at least one")
	case names > 0 && names < len(list):
		o.bad("spec.endpoints", "has both host names and addresses: make two Backends of it")
	}
	o.names = names > 0
}

// whyNot returns what keeps a Backend from being used by a reference, or nil.
func (o *own) whyNot(r Ref, key source.Key) *graph.Problem {
	refuse := func(reason gwapiv1.RouteConditionReason, format string, args ...any) *graph.Problem {
		return &graph.Problem{Reason: string(reason), Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(o.problems) > 0:
		return refuse(gwapiv1.RouteReasonUnsupportedValue, "%s is not valid: %s", key, o.problems[0])
	case o.dynamic && !r.Resolves:
		return refuse(gwapiv1.RouteReasonUnsupportedValue, "%s is of type %s, which only rules of HTTPRoutes, GRPCRoutes and TLSRoutes can forward to", key, v1alpha1.BackendDynamicResolver)
	case o.bytes && r.HTTP():
		return refuse(gwapiv1.RouteReasonUnsupportedProtocol, "%s has spec.protocol TCP, which %s cannot forward to", key, source.A(r.From.Kind))
	case o.fallback && r.UDP:
		return refuse(gwapiv1.RouteReasonUnsupportedValue, "%s has spec.fallback, which datagrams cannot do: leave it out", key)
	}
	return nil
}
