// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
)

func (t *ruler) grpc(o *gwapiv1.GRPCRoute) {
	for i, spec := range o.Spec.Rules {
		r := rule{path: rulePath(i), index: i, filters: fromGRPC(spec.Filters), session: spec.SessionPersistence, broken: invalidGRPC, name: sectionOf(spec.Name)}
		t.govern(&r)
		for j, b := range spec.BackendRefs {
			r.aims = append(r.aims, aim{fmt.Sprintf("%s.backendRefs[%d]", r.path, j), fromGRPC(b.Filters)})
		}
		matches := spec.Matches
		if len(matches) == 0 {
			matches = []gwapiv1.GRPCRouteMatch{{}}
		}
		for j, m := range matches {
			match, rank, problem := grpcMatch(m)
			if problem != nil {
				continue
			}
			t.add(&r, j, match, rank, "/")
		}
	}
}

// fromGRPC returns filters of a GRPCRoute as those of an HTTPRoute, which have the
// same types and more.
func fromGRPC(filters []gwapiv1.GRPCRouteFilter) []gwapiv1.HTTPRouteFilter {
	var out []gwapiv1.HTTPRouteFilter
	for _, f := range filters {
		out = append(out, gwapiv1.HTTPRouteFilter{
			Type: gwapiv1.HTTPRouteFilterType(f.Type), RequestHeaderModifier: f.RequestHeaderModifier,
			ResponseHeaderModifier: f.ResponseHeaderModifier, RequestMirror: f.RequestMirror, ExtensionRef: f.ExtensionRef,
		})
	}
	return out
}

// methodLength is more than a service's name can be long.
const methodLength = 1 << 16

// grpcMatch translates a match. The problem's path is within it.
func grpcMatch(m gwapiv1.GRPCRouteMatch) (*routev3.RouteMatch, graph.Rank, *graph.Problem) {
	out, rank := &routev3.RouteMatch{Grpc: &routev3.RouteMatch_GrpcRouteMatchOptions{}}, graph.Rank{}
	if problem := grpcPath(m.Method, out, &rank); problem != nil {
		return nil, rank, problem
	}
	seen := map[string]bool{}
	for i, h := range m.Headers {
		name := strings.ToLower(string(h.Name))
		if seen[name] {
			continue
		}
		seen[name] = true
		regex := h.Type != nil && *h.Type == gwapiv1.GRPCHeaderMatchRegularExpression
		if problem := checkRegex(regex, h.Value, fmt.Sprintf(".headers[%d].value", i)); problem != nil {
			return nil, rank, problem
		}
		out.Headers = append(out.Headers, build.Header(name, h.Value, regex))
		rank.Headers++
	}
	return out, rank, nil
}

// grpcPath matches a method. The API ranks by the characters of the service, then by
// those of the method.
func grpcPath(m *gwapiv1.GRPCMethodMatch, out *routev3.RouteMatch, rank *graph.Rank) *graph.Problem {
	if m == nil || m.Service == nil && m.Method == nil {
		build.PathPrefix(out, "/")
		rank.Path = 2
		return nil
	}
	service, method := deref(m.Service), deref(m.Method)
	rank.Length = len(service)*methodLength + len(method)
	if m.Type == nil || *m.Type == gwapiv1.GRPCMethodMatchExact {
		switch {
		case m.Method == nil:
			build.PathPrefix(out, "/"+service)
			return nil
		case m.Service != nil:
			build.PathExact(out, "/"+service+"/"+method)
			return nil
		}
		build.PathRegex(out, "/[^/]+/"+method) // A method's name has nothing that means something in a pattern.
		return nil
	}
	rank.Path = 1
	for _, part := range []*string{&service, &method} {
		if *part == "" {
			*part = "[^/]+"
		}
		if problem := checkRegex(true, *part, ".method"); problem != nil {
			return problem
		}
	}
	build.PathRegex(out, "/(?:"+service+")/(?:"+method+")")
	return nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
