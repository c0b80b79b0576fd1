// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
	"google.golang.org/protobuf/types/known/anypb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// authorization is what an ExternalAuth filter asks for.
type authorization struct {
	config  *anypb.Any
	cluster graph.ClusterID
	told    string
}

// An asker is a filter that the chains of a Gateway need for an ExternalAuth filter: it
// runs for routes that have one alone, and asks the services that those name.
type asker struct {
	name string // of the filter
	told string // as authorization has it
	grpc bool
	// cluster is that of the filter's own service, which is never asked.
	cluster graph.ClusterID
}

func compareAskers(a, b asker) int {
	return cmp.Or(strings.Compare(a.name, b.name), a.cluster.Compare(b.cluster))
}

// askerName is the name of the filter that does what the n-th ExternalAuth filter of a
// route asks for. Routes say which service it asks; which fields the service is told is the
// filter's to know, so there is one for each choice of them.
func askerName(n int, told string) string {
	if n == 0 && told == "" {
		return build.ExtAuthz
	}
	name := fmt.Sprintf("%02d", n)
	if told != "" {
		name += "-" + graph.Digest(6, told)
	}
	return build.Instance(build.ExtAuthz, name)
}

// toldBy are the fields that a service of gRPC is told, in an order of their own; empty is
// all of them.
func toldBy(a *gwapiv1.HTTPExternalAuthFilter) string {
	if authMode(a) != graph.GRPC || a.GRPCAuthConfig == nil {
		return ""
	}
	names := strings.Split(strings.ToLower(strings.Join(a.GRPCAuthConfig.AllowedRequestHeaders, ",")), ",")
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
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
func checkAuth(a *gwapiv1.HTTPExternalAuthFilter) (at, message string) {
	bad := func(at, format string, args ...any) (string, string) {
		return ".externalAuth" + at, fmt.Sprintf(format, args...) + "; requests are answered 500"
	}
	switch {
	case a == nil:
		return ".externalAuth", "is missing"
	case a.ExternalAuthProtocol == gwapiv1.HTTPRouteExternalAuthGRPCProtocol:
		if g := a.GRPCAuthConfig; g != nil {
			if i := slices.IndexFunc(g.AllowedRequestHeaders, notHeader); i >= 0 {
				return bad(fmt.Sprintf(".grpc.allowedHeaders[%d]", i), "%q is not the name of a header", g.AllowedRequestHeaders[i])
			}
		}
	case a.ExternalAuthProtocol == gwapiv1.HTTPRouteExternalAuthHTTPProtocol:
		h := a.HTTPAuthConfig
		if h == nil {
			break
		}
		if p := authPrefix(h.Path); strings.ContainsAny(p, " ?#") || strings.Contains(strings.ToLower(p), "%2f") || p != "" && path.Clean(p) != p {
			return bad(".http.path", "%q is not a path to put before others: it has no empty segments, no . and .., no %%2F and no query", h.Path)
		}
		if i := slices.IndexFunc(h.AllowedRequestHeaders, notHeader); i >= 0 {
			return bad(fmt.Sprintf(".http.allowedHeaders[%d]", i), "%q is not the name of a header", h.AllowedRequestHeaders[i])
		}
		if i := slices.IndexFunc(h.AllowedResponseHeaders, notHeader); i >= 0 {
			return bad(fmt.Sprintf(".http.allowedResponseHeaders[%d]", i), "%q is not the name of a header", h.AllowedResponseHeaders[i])
		}
	default:
		return bad(".protocol", "%q is not a protocol: use GRPC or HTTP", a.ExternalAuthProtocol)
	}
	return "", ""
}

func notHeader(name string) bool { return !httpguts.ValidHeaderFieldName(name) }

// authPrefix is what goes before paths; empty is nothing.
func authPrefix(path string) string {
	if path = strings.Trim(path, "/"); path == "" {
		return ""
	}
	return "/" + path
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
	out.Prefix = authPrefix(h.Path)
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
	e.auths = append(e.auths, &authorization{build.Any(serviceOf(a, id).Route()), id, toldBy(a)})
}

// ask has a route do what the ExternalAuth filters of its rule ask for, and then those of
// the backend.
func ask(out *graph.Route, whole, own *effects) {
	for n, a := range slices.Concat(whole.auths, own.auths) {
		setFilter(out.Message, askerName(n, a.told), a.config)
		out.Clusters = append(out.Clusters, a.cluster)
	}
}

// askersOf says which filters a route needs, at which Gateways.
func (d *Dialect) askersOf(c *memo.Ctx, key source.Key) []memo.Pair[source.Name, asker] {
	r, ok := source.Get[*gwapiv1.HTTPRoute](c, source.HTTPRoute, key.Name)
	if !ok {
		return nil
	}
	var askers []asker
	add := func(path string, filters []gwapiv1.HTTPRouteFilter, n int) int {
		for i, f := range filters {
			a := f.ExternalAuth
			if a == nil {
				continue
			}
			wrong, _ := checkAuth(a)
			if to := d.backing.Get(c, key).at[authPath(path, i)]; to.Valid && wrong == "" {
				askers = append(askers, asker{askerName(n, toldBy(a)), toldBy(a), authMode(a) == graph.GRPC, to.Cluster})
			}
			n++
		}
		return n
	}
	for i, rule := range r.Spec.Rules {
		n := add(rulePath(i), rule.Filters, 0)
		for j, b := range rule.BackendRefs {
			add(fmt.Sprintf("%s.backendRefs[%d]", rulePath(i), j), b.Filters, n)
		}
	}
	if len(askers) == 0 {
		return nil
	}
	var out []memo.Pair[source.Name, asker]
	for _, p := range d.attachment.Get(c, key).parents {
		for _, a := range askers {
			if pair := (memo.Pair[source.Name, asker]{Bucket: p.gateway, Member: a}); !slices.Contains(out, pair) {
				out = append(out, pair)
			}
		}
	}
	return out
}

// addAskers has the chains of a Gateway have the filters that its routes need.
func (d *Dialect) addAskers(c *memo.Ctx, gateway source.Name, chain *attach.Chain) {
	for _, a := range d.asking.Members(c, gateway) {
		if chain.Idle[a.name] != nil {
			continue
		}
		f := build.AuthorizerFilter{Authorizer: build.Authorizer{Cluster: a.cluster.Name(), GRPC: a.grpc}}
		if a.told != "" {
			f.Told = strings.Split(a.told, ",")
		}
		chain.Idle[a.name], chain.Clusters = f.Filter(), append(slices.Clip(chain.Clusters), a.cluster)
	}
}
