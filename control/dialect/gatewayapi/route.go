// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"fmt"
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// route is what the kinds of routes have in common.
type route struct {
	key     source.Key
	object  source.Object
	parents []gwapiv1.ParentReference
	hosts   []string
}

func isRoute(k source.Kind) bool {
	switch k {
	case source.HTTPRoute, source.GRPCRoute, source.TLSRoute, source.TCPRoute, source.UDPRoute:
		return true
	}
	return false
}

// readRoute returns a route, or nil if there is none.
func readRoute(c *memo.Ctx, key source.Key) *route {
	o, ok := source.Get[source.Object](c, key.Kind, key.Name)
	if !ok {
		return nil
	}
	r := &route{key: key, object: o}
	var hosts []gwapiv1.Hostname
	switch o := o.(type) {
	case *gwapiv1.HTTPRoute:
		r.parents, hosts = o.Spec.ParentRefs, o.Spec.Hostnames
	case *gwapiv1.GRPCRoute:
		r.parents, hosts = o.Spec.ParentRefs, o.Spec.Hostnames
	case *gwapiv1.TLSRoute:
		r.parents, hosts = o.Spec.ParentRefs, o.Spec.Hostnames
	case *gwapiv1.TCPRoute:
		r.parents = o.Spec.ParentRefs
	case *gwapiv1.UDPRoute:
		r.parents = o.Spec.ParentRefs
	}
	for _, h := range hosts {
		r.hosts = append(r.hosts, strings.ToLower(string(h)))
	}
	return r
}

// reference is a reference to a backend within a route.
type reference struct {
	path   string
	to     gwapiv1.BackendObjectReference
	weight uint32
	mode   graph.Mode // in which the reference itself asks to be spoken to
	// forwards tells that it is where a rule forwards to that may leave the host to who
	// asks, and not what a filter asks.
	forwards bool
}

// references yields all of a route's, those of filters too.
func references(o source.Object, yield func(reference)) {
	each := func(rule string, refs []gwapiv1.BackendRef, forwards bool) {
		for i, b := range refs {
			yield(reference{path: fmt.Sprintf("%s.backendRefs[%d]", rule, i), to: b.BackendObjectReference, weight: weightOf(b.Weight), forwards: forwards})
		}
	}
	switch o := o.(type) {
	case *gwapiv1.HTTPRoute:
		for i, rule := range o.Spec.Rules {
			path := rulePath(i)
			mirrorsOf(path, rule.Filters, yield)
			authsOf(path, rule.Filters, yield)
			for j, b := range rule.BackendRefs {
				at := fmt.Sprintf("%s.backendRefs[%d]", path, j)
				yield(reference{path: at, to: b.BackendObjectReference, weight: weightOf(b.Weight), forwards: true})
				mirrorsOf(at, b.Filters, yield)
				authsOf(at, b.Filters, yield)
			}
		}
	case *gwapiv1.GRPCRoute:
		for i, rule := range o.Spec.Rules {
			path := rulePath(i)
			mirrorsOf(path, fromGRPC(rule.Filters), yield)
			for j, b := range rule.BackendRefs {
				at := fmt.Sprintf("%s.backendRefs[%d]", path, j)
				yield(reference{path: at, to: b.BackendObjectReference, weight: weightOf(b.Weight), forwards: true})
				mirrorsOf(at, fromGRPC(b.Filters), yield)
			}
		}
	case *gwapiv1.TLSRoute:
		for i, rule := range o.Spec.Rules {
			each(rulePath(i), rule.BackendRefs, true)
		}
	case *gwapiv1.TCPRoute:
		for i, rule := range o.Spec.Rules {
			each(rulePath(i), rule.BackendRefs, false)
		}
	case *gwapiv1.UDPRoute:
		for i, rule := range o.Spec.Rules {
			each(rulePath(i), rule.BackendRefs, false)
		}
	}
}

func rulePath(i int) string { return fmt.Sprintf("spec.rules[%d]", i) }

func mirrorsOf(path string, filters []gwapiv1.HTTPRouteFilter, yield func(reference)) {
	for i, f := range filters {
		if f.RequestMirror != nil {
			yield(reference{path: mirrorPath(path, i), to: f.RequestMirror.BackendRef, weight: 1})
		}
	}
}

func mirrorPath(path string, filter int) string {
	return fmt.Sprintf("%s.filters[%d].requestMirror.backendRef", path, filter)
}

func weightOf(w *int32) uint32 {
	switch {
	case w == nil:
		return 1
	case *w < 0:
		return 0
	}
	return uint32(*w)
}

// backing is where a route's references lead, by their paths.
type backing struct {
	at       map[string]graph.Backend
	problems []graph.Problem
}

// resolve follows all references of a route.
func (d *Dialect) resolve(c *memo.Ctx, key source.Key) *backing {
	out := &backing{at: map[string]graph.Backend{}}
	r := readRoute(c, key)
	if r == nil {
		return out
	}
	n := countReferences(r.object)
	references(r.object, func(ref reference) {
		to := d.ref(key, ref.to)
		if ref.mode == graph.GRPC {
			to.Mode = ref.mode
		}
		to.Resolves = ref.forwards
		id, problem := d.follow(c, to, n)
		if problem != nil {
			problem.Path = ref.path
			out.problems = append(out.problems, *problem)
		}
		out.at[ref.path] = graph.Backend{Cluster: id, Valid: problem == nil, Weight: ref.weight}
	})
	return out
}

// ref is a reference as backends are resolved by.
func (d *Dialect) ref(from source.Key, to gwapiv1.BackendObjectReference) backend.Ref {
	r := backend.Ref{From: from.Kind, Namespace: from.Namespace, To: to, UDP: from.Kind == source.UDPRoute}
	switch from.Kind {
	case source.GRPCRoute:
		r.Mode = graph.GRPC
	case source.TLSRoute:
		r.Mode = graph.Bytes
	}
	return r
}

// backendsOf says which backends a route refers to.
func (d *Dialect) backendsOf(c *memo.Ctx, key source.Key) []memo.Pair[source.Key, source.Key] {
	var out []memo.Pair[source.Key, source.Key]
	r := readRoute(c, key)
	if r == nil {
		return nil
	}
	references(r.object, func(ref reference) {
		out = append(out, memo.Pair[source.Key, source.Key]{Bucket: d.ref(key, ref.to).Key(), Member: key})
	})
	return out
}
