// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"cmp"
	"fmt"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

func sectionOf(name *gwapiv1.SectionName) string {
	if name == nil {
		return ""
	}
	return string(*name)
}

// place is where a rule is, as policies have it.
func (t *ruler) place(r *rule) attach.Place {
	return attach.Place{Gateway: t.gateway, Listener: t.id.listener.target(), Route: t.id.route, Rule: r.name, Index: r.index, Quiet: t.quiet}
}

// govern finds what policies do to a rule.
func (t *ruler) govern(r *rule) { r.effects = t.d.policies.At(t.c, t.place(r)) }

// extension returns what an object does that a filter of a route refers to.
func (d *Dialect) extension(c *memo.Ctx, route source.Key, ref *gwapiv1.LocalObjectReference, at attach.Place) (*attach.Effect, []graph.Problem) {
	key := extensionKey(route, ref)
	f := d.policies.Filter(key.Kind)
	if f == nil {
		return nil, nil // checkFilter tells.
	}
	return f.At(c, key, at)
}

func extensionKey(route source.Key, ref *gwapiv1.LocalObjectReference) source.Key {
	return source.Key{Kind: source.Kind{Group: string(ref.Group), Kind: string(ref.Kind)}, Name: source.Name{Namespace: route.Namespace, Name: string(ref.Name)}}
}

// filtersOf says which filters a route refers to, at which Gateways.
func (d *Dialect) filtersOf(c *memo.Ctx, key source.Key) []memo.Pair[source.Name, source.Key] {
	o, ok := source.Get[source.Object](c, key.Kind, key.Name)
	if !ok {
		return nil
	}
	var out []memo.Pair[source.Name, source.Key]
	eachExtension(o, func(_ string, ref *gwapiv1.LocalObjectReference) {
		for _, p := range d.attachment.Get(c, key).parents {
			pair := memo.Pair[source.Name, source.Key]{Bucket: p.gateway, Member: extensionKey(key, ref)}
			if !slices.Contains(out, pair) {
				out = append(out, pair)
			}
		}
	})
	return out
}

// eachList yields a route's lists of filters, with the paths of what has them.
func eachList(o source.Object, yield func(path string, filters []gwapiv1.HTTPRouteFilter)) {
	switch o := o.(type) {
	case *gwapiv1.HTTPRoute:
		for i, r := range o.Spec.Rules {
			yield(rulePath(i), r.Filters)
			for j, b := range r.BackendRefs {
				yield(fmt.Sprintf("%s.backendRefs[%d]", rulePath(i), j), b.Filters)
			}
		}
	case *gwapiv1.GRPCRoute:
		for i, r := range o.Spec.Rules {
			yield(rulePath(i), fromGRPC(r.Filters))
			for j, b := range r.BackendRefs {
				yield(fmt.Sprintf("%s.backendRefs[%d]", rulePath(i), j), fromGRPC(b.Filters))
			}
		}
	}
}

// eachExtension yields the references of a route's filters, with their paths.
func eachExtension(o source.Object, yield func(path string, ref *gwapiv1.LocalObjectReference)) {
	eachList(o, func(path string, filters []gwapiv1.HTTPRouteFilter) {
		for i, f := range filters {
			if f.ExtensionRef != nil {
				yield(fmt.Sprintf("%s.filters[%d].extensionRef", path, i), f.ExtensionRef)
			}
		}
	})
}

// extensionProblems tells what is wrong with the objects that a route's filters refer to,
// and which filters do not go together.
func (d *Dialect) extensionProblems(c *memo.Ctx, key source.Key, o source.Object) []graph.Problem {
	var out []graph.Problem
	eachExtension(o, func(path string, ref *gwapiv1.LocalObjectReference) {
		effect, problems := d.extension(c, key, ref, attach.Place{Route: key})
		for _, p := range problems {
			out = append(out, graph.Problem{
				Path: path, Reason: string(gwapiv1.RouteReasonInvalidKind),
				Message: fmt.Sprintf("%s %s: %s; requests are answered 500", ref.Kind, ref.Name, p),
			})
		}
		if effect == nil || key.Kind != source.GRPCRoute {
			return
		}
		if n := effect.Answer.GetStatus(); n >= 200 && n <= 299 {
			out = append(out, graph.Problem{
				Path: path, Reason: string(gwapiv1.RouteReasonUnsupportedValue),
				Message: fmt.Sprintf("%s %s answers %d, which clients of gRPC take for a call without its message: have it answer another status", ref.Kind, ref.Name, n),
			})
		}
	})
	eachList(o, func(path string, filters []gwapiv1.HTTPRouteFilter) {
		problems, _ := d.incompatible(c, key, filters)
		for _, p := range problems {
			p.Path = path + p.Path
			out = append(out, p)
		}
	})
	return out
}

func refused(effects []*attach.Effect) bool {
	return slices.ContainsFunc(effects, func(e *attach.Effect) bool { return e.Refuse })
}

// tuned returns a cluster as policies have it spoken to. routing is where requests go that no
// policy says it of.
func tuned(effects []*attach.Effect, id graph.ClusterID, routing string) graph.ClusterID {
	for _, e := range effects {
		if e.Variant != nil {
			id.Variant, id.Spread = e.Variant, e.Spread
		}
		routing = cmp.Or(e.Routing, routing)
	}
	if routing == attach.RoutingService && id.Backend.Kind == source.Service {
		id.Spread = (&build.Spread{Address: true}).Text()
	}
	return id
}

// applyPolicies does to a route of a rule what policies say. Time-outs and retries of the
// route itself win over theirs.
func (r *rule) applyPolicies(out *graph.Route) {
	for _, e := range r.effects {
		own := *e
		if a, ok := e.Forward.Message.(*routev3.RouteAction); ok && (r.limits.request != nil || r.retry != nil) {
			a = proto.CloneOf(a)
			if r.limits.request != nil {
				a.Timeout = nil
			}
			if r.retry != nil {
				a.RetryPolicy = nil
			}
			own.Forward.Message = a
		}
		if out.Message.GetTypedPerFilterConfig()[build.CORS] != nil {
			own.Route = withoutCORS(own.Route)
		}
		own.On(out)
	}
}

// tunnel has a route that forwards take CONNECT in place of what its path was, if a policy
// asks for that. Those of GRPCRoutes go on taking calls.
func (t *ruler) tunnel(r *rule, out *graph.Route) {
	if t.id.route.Kind != source.HTTPRoute || out.Message.GetRoute() == nil {
		return
	}
	for _, e := range r.effects {
		if e.Connect == nil {
			continue
		}
		match := proto.CloneOf(out.Message.Match) // Other shares of the rule have it, too.
		build.Connect(match)
		out.Message.Match = match
		a := &routev3.RouteAction{UpgradeConfigs: []*routev3.RouteAction_UpgradeConfig{e.Connect}}
		out.Overlay = attach.Merge(out.Overlay, graph.Overlay{Message: &routev3.Route{Action: &routev3.Route_Route{Route: a}}})
	}
}

// withoutCORS leaves CORS to the route itself.
func withoutCORS(o graph.Overlay) graph.Overlay {
	if r, ok := o.Message.(*routev3.Route); ok && r.TypedPerFilterConfig[build.CORS] != nil {
		r = proto.CloneOf(r)
		delete(r.TypedPerFilterConfig, build.CORS)
		o.Message = r
	}
	return o
}

// gatewaysOfPolicy says at which Gateways a policy is attached to something.
func (d *Dialect) gatewaysOfPolicy(c *memo.Ctx, key source.Key) []memo.Pair[source.Name, source.Key] {
	o, ok := source.Get[source.Object](c, key.Kind, key.Name)
	if !ok {
		return nil
	}
	var out []memo.Pair[source.Name, source.Key]
	for _, t := range d.policies.Targets(c, key.Kind, o) {
		for _, a := range d.ancestors(c, t.Target) {
			if p := (memo.Pair[source.Name, source.Key]{Bucket: a.gateway, Member: key}); !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// ancestor is a Gateway or ListenerSet of ours, or a listener of it, that something is
// attached to.
type ancestor struct {
	gateway  source.Name
	listener attach.Target
}

func (a ancestor) ref() gwapiv1.ParentReference {
	out := gatewayRef(a.listener.Name)
	kind := gwapiv1.Kind(a.listener.Kind.Kind)
	out.Kind = &kind
	if a.listener.Section != "" {
		section := gwapiv1.SectionName(a.listener.Section)
		out.SectionName = &section
	}
	return out
}

// ancestors returns where a target is, or is attached to; none if it is not ours.
func (d *Dialect) ancestors(c *memo.Ctx, t attach.Target) []ancestor {
	switch {
	case t.Kind == source.Gateway || t.Kind == source.ListenerSet:
		if p := d.parent.Get(c, t.Key); p != nil {
			return []ancestor{{p.gateway, t}}
		}
	case isRoute(t.Kind):
		var out []ancestor
		for _, p := range d.attachment.Get(c, t.Key).parents {
			a := ancestor{p.gateway, attach.Target{Key: p.key, Section: sectionOf(p.ref.SectionName)}}
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
		return out
	}
	return nil
}

// hasSection reports whether a target has the section that it names.
func (d *Dialect) hasSection(c *memo.Ctx, t attach.Target) bool {
	if t.Section == "" {
		return true
	}
	switch o, _ := source.Get[source.Object](c, t.Kind, t.Name); o := o.(type) {
	case *gwapiv1.Gateway:
		return slices.ContainsFunc(o.Spec.Listeners, func(l gwapiv1.Listener) bool { return string(l.Name) == t.Section })
	case *gwapiv1.ListenerSet:
		return slices.ContainsFunc(o.Spec.Listeners, func(l gwapiv1.ListenerEntry) bool { return string(l.Name) == t.Section })
	case *gwapiv1.HTTPRoute:
		return slices.ContainsFunc(o.Spec.Rules, func(r gwapiv1.HTTPRouteRule) bool { return sectionOf(r.Name) == t.Section })
	case *gwapiv1.GRPCRoute:
		return slices.ContainsFunc(o.Spec.Rules, func(r gwapiv1.GRPCRouteRule) bool { return sectionOf(r.Name) == t.Section })
	}
	return false
}
