// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// authorization is what an ExternalAuth filter asks for.
type authorization struct {
	config  *anypb.Any
	cluster graph.ClusterID
}

func authPath(path string, filter int) string {
	return fmt.Sprintf("%s.filters[%d].externalAuth.backendRef", path, filter)
}

func authsOf(path string, filters []gwapiv1.HTTPRouteFilter, yield func(reference)) {
	for i, f := range filters {
		if a := f.ExternalAuth; a != nil {
			yield(reference{path: authPath(path, i), to: a.BackendRef, weight: 1, mode: authMode(a)})
		}
	}
}

func authMode(a *gwapiv1.HTTPExternalAuthFilter) graph.Mode {
	if a.ExternalAuthProtocol == gwapiv1.HTTPRouteExternalAuthGRPCProtocol {
		return graph.GRPC
	}
	return graph.HTTP
}

// checkAuth says why requests cannot be authorized as a filter asks.
func checkAuth(a *gwapiv1.HTTPExternalAuthFilter) (path, message string) {
	switch {
	case a == nil:
		return ".externalAuth", "is missing"
	case a.ExternalAuthProtocol == gwapiv1.HTTPRouteExternalAuthGRPCProtocol:
		if g := a.GRPCAuthConfig; g != nil && len(g.AllowedRequestHeaders) > 0 {
			return ".externalAuth.grpc.allowedHeaders", "a service of gRPC is told all headers: leave it out, or use protocol HTTP; requests are answered 500"
		}
	case a.ExternalAuthProtocol != gwapiv1.HTTPRouteExternalAuthHTTPProtocol:
		return ".externalAuth.protocol", fmt.Sprintf("%q is not a protocol: use GRPC or HTTP; requests are answered 500", a.ExternalAuthProtocol)
	}
	return "", ""
}

// serviceOf is the service that a filter names.
func serviceOf(a *gwapiv1.HTTPExternalAuthFilter, cluster graph.ClusterID) build.Authorizer {
	out := build.Authorizer{Cluster: cluster.Name()}
	if a.ForwardBody != nil {
		out.Body = uint32(a.ForwardBody.MaxSize)
	}
	if authMode(a) == graph.GRPC {
		out.GRPC = true
		return out
	}
	h := a.HTTPAuthConfig
	if h == nil {
		h = &gwapiv1.HTTPAuthConfig{}
	}
	if h.Path != "" {
		out.Prefix = "/" + strings.Trim(h.Path, "/")
	}
	out.Request, out.Upstream, out.AllUpstream = h.AllowedRequestHeaders, h.AllowedResponseHeaders, len(h.AllowedResponseHeaders) == 0
	return out
}

// authorize has requests of a rule, or of one of its backends, authorized.
func (t *ruler) authorize(e *effects, path string, a *gwapiv1.HTTPExternalAuthFilter) {
	b := t.backing.at[path]
	if !b.Valid {
		e.broken = true // Nobody may pass unasked.
		return
	}
	id := t.shown(b.Cluster)
	e.auth = &authorization{build.Any(serviceOf(a, id).Route()), id}
}

// authorized indexes the HTTPRoutes that have ExternalAuth filters by their parents.
func authorized(o source.Object) []source.Name {
	r, ok := o.(*gwapiv1.HTTPRoute)
	if !ok {
		return nil
	}
	any := false
	eachAuth(r, func(string, *gwapiv1.HTTPExternalAuthFilter) bool { any = true; return false })
	if !any {
		return nil
	}
	var out []source.Name
	for _, p := range r.Spec.ParentRefs {
		kind, ns := source.Gateway.Kind, r.Namespace
		if p.Kind != nil {
			kind = string(*p.Kind)
		}
		if p.Namespace != nil {
			ns = string(*p.Namespace)
		}
		out = append(out, authParent(kind, source.Name{Namespace: ns, Name: string(p.Name)}))
	}
	return out
}

// authParent is the name of a parent in the index.
func authParent(kind string, n source.Name) source.Name {
	return source.Name{Namespace: n.Namespace, Name: kind + "/" + n.Name}
}

// eachAuth yields the ExternalAuth filters of a route until yield returns false.
func eachAuth(r *gwapiv1.HTTPRoute, yield func(path string, a *gwapiv1.HTTPExternalAuthFilter) bool) {
	list := func(path string, filters []gwapiv1.HTTPRouteFilter) bool {
		for i, f := range filters {
			if f.ExternalAuth != nil && !yield(authPath(path, i), f.ExternalAuth) {
				return false
			}
		}
		return true
	}
	for i, rule := range r.Spec.Rules {
		if !list(rulePath(i), rule.Filters) {
			return
		}
		for j, b := range rule.BackendRefs {
			if !list(fmt.Sprintf("%s.backendRefs[%d]", rulePath(i), j), b.Filters) {
				return
			}
		}
	}
}

// authFilter returns the filter that the chains of a gateway have if routes of its parents
// ask services whether requests may pass: it runs for those routes only, with the
// services that they name. Its own is the first of them.
func (d *Dialect) authFilter(c *memo.Ctx, parents []source.Key) (proto.Message, graph.ClusterID) {
	var out proto.Message
	var cluster graph.ClusterID
	for _, p := range parents {
		for _, r := range source.Find[*gwapiv1.HTTPRoute](c, d.authorized, authParent(p.Kind.Kind, p.Name)) {
			b := d.backing.Get(c, source.Key{Kind: source.HTTPRoute, Name: source.Name{Namespace: r.Namespace, Name: r.Name}})
			eachAuth(r, func(path string, a *gwapiv1.HTTPExternalAuthFilter) bool {
				if at := b.at[path]; at.Valid && checkFilterAuth(a) {
					out, cluster = serviceOf(a, at.Cluster).Filter(), at.Cluster
				}
				return out == nil
			})
			if out != nil {
				return out, cluster
			}
		}
	}
	return nil, graph.ClusterID{}
}

func checkFilterAuth(a *gwapiv1.HTTPExternalAuthFilter) bool {
	path, _ := checkAuth(a)
	return path == ""
}
