// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/xtraffic"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// statusOfRoute returns the status of a route at those of its parents that are ours.
func (d *Dialect) statusOfRoute(c *memo.Ctx, key source.Key) *status.Update {
	s := &gwapiv1.RouteStatus{}
	u := &status.Update{Key: key, Status: s}
	a := d.attachment.Get(c, key)
	r := readRoute(c, key)
	if r == nil || len(a.parents) == 0 {
		return u
	}
	generation := r.object.GetGeneration()
	b := d.backing.Get(c, key)
	refs := slices.Clone(b.problems)
	content, none := d.checkRoute(r.object)
	content = append(content, d.extensionProblems(c, key, r.object)...)
	for _, p := range content {
		if p.Reason == string(gwapiv1.RouteReasonInvalidKind) {
			refs = append(refs, p)
		}
	}
	for _, p := range a.parents {
		ended := d.ended(c, r, b, p)
		refused := slices.Clone(p.refused)
		if len(refused) == 0 && none {
			refused = content
		}
		if len(refused) == 0 {
			refused = d.rivals(c, key, p)
		}
		out := gwapiv1.RouteParentStatus{ParentRef: p.ref, ControllerName: d.controller, Conditions: []metav1.Condition{
			status.Judge(gwapiv1.RouteConditionAccepted, refused, gwapiv1.RouteReasonAccepted, "it is attached", generation),
			status.Judge(gwapiv1.RouteConditionResolvedRefs, slices.Concat(refs, ended), gwapiv1.RouteReasonResolvedRefs, "all references lead somewhere", generation),
		}}
		if len(refused) == 0 && len(content) > 0 {
			out.Conditions = append(out.Conditions, status.Condition(gwapiv1.RouteConditionPartiallyInvalid, true,
				gwapiv1.RouteReasonUnsupportedValue, status.Message(content), generation))
		}
		s.Parents = append(s.Parents, out)
		u.Problems = append(append(u.Problems, p.refused...), ended...)
		if len(p.refused) == 0 && !none {
			u.Problems = append(u.Problems, refused...)
		}
	}
	u.Problems = append(u.Problems, b.problems...)
	u.Problems = append(u.Problems, content...)
	return u
}

// rivals tells if a route gives way to older ones of the other kind for all host
// names that it has at a parent.
func (d *Dialect) rivals(c *memo.Ctx, key source.Key, p attachedParent) []graph.Problem {
	if key.Kind != source.HTTPRoute && key.Kind != source.GRPCRoute {
		return nil
	}
	for _, at := range p.places {
		for _, h := range at.hosts {
			if !d.yields(c, key, at.listener, h) {
				return nil
			}
		}
	}
	return []graph.Problem{{
		Path: p.path, Reason: string(gwapiv1.RouteReasonUnsupportedValue),
		Message: "an older route of the other kind (HTTPRoute, GRPCRoute) has the same host names at these listeners, and the API lets only one of the kinds have them",
	}}
}

// checkRoute finds what is wrong in a route by itself. none tells that nothing of it
// is left.
func (d *Dialect) checkRoute(o source.Object) (problems []graph.Problem, none bool) {
	total, dropped := 0, 0
	match := func(p *graph.Problem, path string) {
		total++
		if p != nil {
			p.Path = path + p.Path
			problems = append(problems, *p)
			dropped++
		}
	}
	filters := func(path string, list []gwapiv1.HTTPRouteFilter) {
		for i, f := range list {
			if p := d.checkFilter(f); p != nil {
				p.Path = fmt.Sprintf("%s.filters[%d]%s", path, i, p.Path)
				problems = append(problems, *p)
			}
		}
	}
	session := func(path string, s *gwapiv1.SessionPersistence) {
		if s == nil {
			return
		}
		if p := checkSession(s); p != nil {
			p.Path = path + ".sessionPersistence" + p.Path
			problems = append(problems, *p)
		}
	}
	switch o := o.(type) {
	case *gwapiv1.HTTPRoute:
		for i, r := range o.Spec.Rules {
			path := rulePath(i)
			for j, m := range r.Matches {
				_, _, p := httpMatch(m)
				match(p, fmt.Sprintf("%s.matches[%d]", path, j))
			}
			if len(r.Matches) == 0 {
				total++
			}
			filters(path, r.Filters)
			for j, b := range r.BackendRefs {
				filters(fmt.Sprintf("%s.backendRefs[%d]", path, j), b.Filters)
			}
			session(path, r.SessionPersistence)
			problems = append(problems, checkTimes(path, r)...)
		}
	case *gwapiv1.GRPCRoute:
		for i, r := range o.Spec.Rules {
			path := rulePath(i)
			for j, m := range r.Matches {
				_, _, p := grpcMatch(m)
				match(p, fmt.Sprintf("%s.matches[%d]", path, j))
			}
			if len(r.Matches) == 0 {
				total++
			}
			filters(path, fromGRPC(r.Filters))
			for j, b := range r.BackendRefs {
				filters(fmt.Sprintf("%s.backendRefs[%d]", path, j), fromGRPC(b.Filters))
			}
			session(path, r.SessionPersistence)
		}
	}
	return problems, total > 0 && dropped == total
}

// checkTimes finds durations that are none.
func checkTimes(path string, r gwapiv1.HTTPRouteRule) []graph.Problem {
	var out []graph.Problem
	check := func(field string, d *gwapiv1.Duration) {
		if d == nil {
			return
		}
		if _, err := time.ParseDuration(string(*d)); err != nil {
			out = append(out, graph.Problem{
				Path: path + field, Reason: string(gwapiv1.RouteReasonUnsupportedValue),
				Message: fmt.Sprintf("%q is not a duration, such as 10s or 500ms; it is left out", *d),
			})
		}
	}
	if t := r.Timeouts; t != nil {
		check(".timeouts.request", t.Request)
		check(".timeouts.backendRequest", t.BackendRequest)
	}
	if r.Retry != nil {
		check(".retry.backoff", r.Retry.Backoff)
	}
	return out
}

// maxAncestors is how many ancestors a policy's status may have.
const maxAncestors = 16

// statusOfPolicy returns the status of a BackendTLSPolicy at the Gateways of ours
// whose routes lead to its targets.
func (d *Dialect) statusOfPolicy(c *memo.Ctx, name source.Name) *status.Update {
	s := &gwapiv1.PolicyStatus{Ancestors: []gwapiv1.PolicyAncestorStatus{}}
	key := source.Key{Kind: source.BackendTLSPolicy, Name: name}
	u := &status.Update{Key: key, Status: s}
	o, ok := source.Get[*gwapiv1.BackendTLSPolicy](c, source.BackendTLSPolicy, name)
	if !ok {
		return u
	}
	p := d.tls.Get(c, name)
	refused := []graph.Problem{}
	winner, path, conflict := d.tls.Conflict(c, o)
	switch {
	case conflict:
		refused = append(refused, graph.Problem{
			Path: path, Reason: string(gwapiv1.PolicyReasonConflicted),
			Message: fmt.Sprintf("BackendTLSPolicy %s, which is older or first by name, has the same target", winner),
		})
	case len(p.Refused) > 0:
		refused = p.Refused
	case !p.Valid:
		refused = append(refused, graph.Problem{
			Path: "spec.validation", Reason: string(gwapiv1.BackendTLSPolicyReasonNoValidCACertificate),
			Message: "nobody can be trusted, so the backends are not spoken to: " + status.Message(p.Refs),
		})
	}
	u.Problems = slices.Concat(refused, p.Refs)
	var targets []source.Key
	for _, ref := range o.Spec.TargetRefs {
		targets = append(targets, source.Key{
			Kind: source.Kind{Group: string(ref.Group), Kind: string(ref.Kind)},
			Name: source.Name{Namespace: name.Namespace, Name: string(ref.Name)},
		})
	}
	gateways := d.gatewaysOf(c, targets)
	s.Ancestors = d.ancestorsAt(gateways,
		status.Judge(gwapiv1.PolicyConditionAccepted, refused, gwapiv1.PolicyReasonAccepted, "the backends are spoken to in TLS", o.Generation),
		status.Judge(gwapiv1.BackendTLSPolicyConditionResolvedRefs, p.Refs, gwapiv1.BackendTLSPolicyReasonResolvedRefs, "all references lead somewhere", o.Generation))
	return u
}

// ancestorsAt returns the same conditions at several Gateways.
func (d *Dialect) ancestorsAt(gateways []source.Name, conditions ...metav1.Condition) []gwapiv1.PolicyAncestorStatus {
	out := []gwapiv1.PolicyAncestorStatus{}
	for _, g := range gateways[:min(len(gateways), maxAncestors)] {
		out = append(out, gwapiv1.PolicyAncestorStatus{AncestorRef: gatewayRef(g), ControllerName: d.controller, Conditions: conditions})
	}
	if n := len(gateways) - maxAncestors; n > 0 {
		aggregate(out, n)
	}
	return out
}

// aggregate tells at the last of a policy's ancestors that there are more.
func aggregate(list []gwapiv1.PolicyAncestorStatus, more int) {
	last := &list[len(list)-1]
	last.Conditions = append(slices.Clone(last.Conditions), status.Condition(aggregated, true, gwapiv1.PolicyConditionReason(aggregated),
		fmt.Sprintf("%d more ancestors are not told, as a status has room for %d", more, maxAncestors), last.Conditions[0].ObservedGeneration))
}

// statusOfTraffic returns the status of an XBackendTrafficPolicy at the Gateways of ours
// whose routes lead to its targets.
func (d *Dialect) statusOfTraffic(c *memo.Ctx, name source.Name) *status.Update {
	s := &gwapiv1.PolicyStatus{Ancestors: []gwapiv1.PolicyAncestorStatus{}}
	u := &status.Update{Key: source.Key{Kind: source.XBackendTrafficPolicy, Name: name}, Status: s}
	o, ok := source.Get[*gwxv1alpha1.XBackendTrafficPolicy](c, source.XBackendTrafficPolicy, name)
	if !ok {
		return u
	}
	u.Problems = d.traffic.Judge(c, o)
	if p := o.Spec.SessionPersistence; p != nil {
		if problem := checkSession(p); problem != nil {
			problem.Path, problem.Reason = "spec.sessionPersistence"+problem.Path, string(gwapiv1.PolicyReasonInvalid)
			u.Problems = append(u.Problems, *problem)
		}
	}
	s.Ancestors = d.ancestorsAt(d.gatewaysOf(c, xtraffic.Targets(o)),
		status.Judge(gwapiv1.PolicyConditionAccepted, u.Problems, gwapiv1.PolicyReasonAccepted, "requests get to the backends so", o.Generation))
	return u
}

func gatewayRef(n source.Name) gwapiv1.ParentReference {
	group, kind, namespace := gwapiv1.Group(gwapiv1.GroupName), gwapiv1.Kind("Gateway"), gwapiv1.Namespace(n.Namespace)
	return gwapiv1.ParentReference{Group: &group, Kind: &kind, Namespace: &namespace, Name: gwapiv1.ObjectName(n.Name)}
}
