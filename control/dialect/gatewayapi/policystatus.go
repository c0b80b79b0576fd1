// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// The conditions of policies that the Gateway API has no names for; they are those of
// Envoy Gateway.
const (
	overridden = gwapiv1.PolicyConditionType("Overridden")
	merged     = gwapiv1.PolicyConditionType("Merged")
	aggregated = gwapiv1.PolicyConditionType("Aggregated")
	warning    = gwapiv1.PolicyConditionType("Warning")
	disabled   = gwapiv1.PolicyConditionReason("Disabled")
	unhonoured = gwapiv1.PolicyConditionReason(graph.Unsupported)
)

// attached is what becomes of a policy at one of its targets.
type attached struct {
	ref      attach.Ref
	refused  []graph.Problem
	above    []string // who overrides it, and where
	parents  []string // policies that it is merged over
	parentOf []ancestor
}

// statusOfAttached returns the status of a policy at the Gateways of ours that its
// targets are, or are attached to.
func (d *Dialect) statusOfAttached(c *memo.Ctx, key source.Key) *status.Update {
	s := &gwapiv1.PolicyStatus{Ancestors: []gwapiv1.PolicyAncestorStatus{}}
	u := &status.Update{Key: key, Status: s}
	o, ok := source.Get[source.Object](c, key.Kind, key.Name)
	if !ok {
		return u
	}
	verdict := d.policies.Of(key.Kind).Judge(c, key.Name)
	more := map[ancestor]bool{}
	targets := d.policies.Targets(c, key.Kind, o)
	for _, ref := range targets {
		at := d.attachedAt(c, key, o, ref)
		u.Problems = append(u.Problems, at.refused...)
		for _, a := range at.parentOf {
			conditions := judge(at, verdict, o.GetGeneration())
			if i := slices.IndexFunc(s.Ancestors, func(x gwapiv1.PolicyAncestorStatus) bool { return status.SameParent(x.AncestorRef, a.ref()) }); i >= 0 {
				// Of two targets at one ancestor, what is wrong with one is told.
				if conditions[0].Status == metav1.ConditionFalse {
					s.Ancestors[i].Conditions = conditions
				}
			} else if len(s.Ancestors) < maxAncestors {
				s.Ancestors = append(s.Ancestors, gwapiv1.PolicyAncestorStatus{AncestorRef: a.ref(), ControllerName: d.controller, Conditions: conditions})
			} else {
				more[a] = true
			}
		}
	}
	if len(more) > 0 {
		aggregate(s.Ancestors, len(more))
	}
	if len(targets) == 0 {
		u.Problems = append(u.Problems, graph.Problem{
			Path: "spec", Reason: string(gwapiv1.PolicyReasonTargetNotFound), Message: "it is attached to nothing: name its target in targetRefs",
		})
	}
	u.Problems = append(u.Problems, verdict.Refused...)
	u.Problems = append(u.Problems, verdict.Notes...)
	return u
}

// attachedAt finds what becomes of a policy at a target.
func (d *Dialect) attachedAt(c *memo.Ctx, key source.Key, o source.Object, ref attach.Ref) attached {
	out := attached{ref: ref, parentOf: d.ancestors(c, ref.Target)}
	refuse := func(reason gwapiv1.PolicyConditionReason, format string, args ...any) {
		out.refused = append(out.refused, graph.Problem{Path: ref.Path, Reason: string(reason), Message: fmt.Sprintf(format, args...)})
	}
	policy := d.policies.Of(key.Kind)
	_, there := source.Get[source.Object](c, ref.Kind, ref.Name)
	winner := d.policies.Winner(c, key.Kind, ref.Target)
	switch {
	case !slices.Contains(policy.Targets(), ref.Kind):
		var kinds []string
		for _, k := range policy.Targets() {
			kinds = append(kinds, k.Kind)
		}
		refuse(gwapiv1.PolicyReasonInvalid, "%s cannot be attached to %s: there are %s", source.A(key.Kind.Kind), source.A(ref.Kind.String()), strings.Join(kinds, ", "))
	case ref.Namespace != key.Namespace && !attach.Granted(c, key.Kind, key.Namespace, ref.Key):
		refuse(gwapiv1.PolicyReasonInvalid, "%s is in another namespace, and targetRef can name objects of the policy's own only: leave namespace out, or make the policy there", ref.Key)
	case !there:
		refuse(gwapiv1.PolicyReasonTargetNotFound, "there is no %s", ref.Key)
	case !d.hasSection(c, ref.Target):
		refuse(gwapiv1.PolicyReasonTargetNotFound, "%s has no section called %s", ref.Key, ref.Section)
	case winner != key.Name:
		refuse(gwapiv1.PolicyReasonConflicted, "%s %s, which is older or first by name, has the same target", key.Kind.Kind, winner)
	case key.Kind == source.ClientTrafficPolicy && d.clash(c, ref.Target) != "":
		refuse(gwapiv1.PolicyReasonConflicted, "%s", d.clash(c, ref.Target))
	default:
		d.relate(c, key, o, &out)
	}
	return out
}

// relate finds the policies above and below one at a target.
func (d *Dialect) relate(c *memo.Ctx, key source.Key, o source.Object, out *attached) {
	policy := d.policies.Of(key.Kind)
	if isRoute(out.ref.Kind) && policy.Refs(o).Merges {
		for _, p := range d.places(c, out.ref.Key) {
			parent := d.policies.Parent(c, key.Kind, attach.Place{Gateway: p.gateway, Listener: p.listener.target(), Route: out.ref.Key})
			if name := parent.String(); parent != (source.Name{}) && !slices.Contains(out.parents, name) {
				out.parents = append(out.parents, name)
			}
		}
	}
	if out.ref.Section != "" && isRoute(out.ref.Kind) {
		return // Nothing is more specific than a rule.
	}
	for _, a := range out.parentOf {
		for _, other := range d.governing.Members(c, a.gateway) {
			if other.Kind != key.Kind || other == key {
				continue
			}
			rival, ok := source.Get[source.Object](c, other.Kind, other.Name)
			if !ok || policy.Refs(rival).Merges {
				continue
			}
			for _, t := range d.policies.Targets(c, other.Kind, rival) {
				wins := d.hasSection(c, t.Target) && d.policies.Winner(c, key.Kind, t.Target) == other.Name &&
					(key.Kind != source.ClientTrafficPolicy || d.clash(c, t.Target) == "")
				if text := t.Target.String(); wins && d.within(c, t.Target, out.ref.Target) && !slices.Contains(out.above, text) {
					out.above = append(out.above, text)
				}
			}
		}
	}
	slices.Sort(out.above)
}

// within reports whether a target is a part of another, or attached to it.
func (d *Dialect) within(c *memo.Ctx, t, of attach.Target) bool {
	switch {
	case t == of:
		return false
	case t.Key == of.Key:
		return of.Section == ""
	case isRoute(of.Kind):
		return false
	case !isRoute(t.Kind):
		return of.Kind == source.Gateway && of.Section == "" && slices.ContainsFunc(d.ancestors(c, t), func(a ancestor) bool { return a.gateway == of.Name })
	}
	return slices.ContainsFunc(d.places(c, t.Key), func(p place) bool {
		at := p.listener.target()
		return at == of || of.Section == "" && (at.Key == of.Key || of.Kind == source.Gateway && p.gateway == of.Name)
	})
}

// judge returns the conditions of a policy at a target.
func judge(at attached, v attach.Verdict, generation int64) []metav1.Condition {
	refused := slices.Concat(at.refused, v.Refused)
	if v.Disabled {
		return []metav1.Condition{status.Condition(gwapiv1.PolicyConditionAccepted, false, disabled, status.Message(v.Refused), generation)}
	}
	out := []metav1.Condition{status.Judge(gwapiv1.PolicyConditionAccepted, refused, gwapiv1.PolicyReasonAccepted, "Policy has been accepted.", generation)}
	if len(refused) > 0 {
		return out
	}
	if len(at.parents) > 0 {
		out = append(out, status.Condition(merged, true, gwapiv1.PolicyConditionReason(merged), "Merged with policy "+strings.Join(at.parents, ", "), generation))
	}
	if len(at.above) > 0 {
		out = append(out, status.Condition(overridden, true, gwapiv1.PolicyConditionReason(overridden),
			"This policy is being overridden by others of its kind for these targets: ["+strings.Join(at.above, ", ")+"]", generation))
	}
	if len(v.Notes) > 0 {
		out = append(out, status.Condition(warning, true, unhonoured, status.Message(v.Notes), generation))
	}
	return out
}
