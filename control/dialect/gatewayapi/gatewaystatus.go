// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// fleet returns what is known of a Gateway's proxies.
func fleet(c *memo.Ctx, g *gateway) *source.Fleet {
	f, ok := source.Get[*source.Fleet](c, source.Fleets, g.fleet)
	if !ok {
		return source.NewFleet(g.fleet)
	}
	if g.fleet == g.name {
		return f
	}
	// Of what those who share it have asked for, the Gateway has its own; one that has asked
	// for none has all.
	own := f.DeepCopyObject().(*source.Fleet)
	others := func(a string) bool { return !slices.Contains(g.addresses, a) }
	own.Unusable = slices.DeleteFunc(own.Unusable, others)
	if len(g.addresses) > 0 {
		own.Addresses = slices.DeleteFunc(own.Addresses, others)
	}
	return own
}

// waiting says what proxies that are not ready are waited for.
func waiting(f *source.Fleet) string {
	return cmp.Or(f.Waiting, "the proxies have not acknowledged yet what they serve")
}

// statusOfGateway returns the status of a Gateway, or nil if it is not ours.
func (d *Dialect) statusOfGateway(c *memo.Ctx, name source.Name) *status.Update {
	g := d.gateway.Get(c, name)
	if g == nil {
		return nil
	}
	f := fleet(c, g)
	key := source.Key{Kind: source.Gateway, Name: name}
	all := d.listeners.Get(c, name)
	own := all.of(key)
	u := &status.Update{Key: key, Problems: slices.Concat(g.refused, g.refs)}
	s := &gwapiv1.GatewayStatus{}
	u.Status = s
	for _, a := range f.Addresses {
		kind := gwapiv1.IPAddressType
		if _, err := netip.ParseAddr(a); err != nil {
			kind = gwapiv1.HostnameAddressType
		}
		s.Addresses = append(s.Addresses, gwapiv1.GatewayStatusAddress{Type: &kind, Value: a})
	}
	for _, l := range own {
		s.Listeners = append(s.Listeners, gwapiv1.ListenerStatus{
			Name: gwapiv1.SectionName(l.id.name), SupportedKinds: kindsOf(l), AttachedRoutes: int32(d.attached.Count(c, l.id)),
			Conditions: append(l.conditions(g.generation, g, f), d.overlapping(c, g, l, g.generation)...),
		})
		u.Problems = append(u.Problems, l.problems()...)
		if why := f.Wanted[l.port]; why != "" && l.serves() {
			u.Problems = append(u.Problems, graph.Problem{Path: l.path + ".port", Reason: string(gwapiv1.ListenerReasonPortUnavailable), Message: why})
		}
		if len(l.wanted) > 0 {
			u.Problems = append(u.Problems, graph.Problem{
				Path: l.path, Reason: string(gwapiv1.ListenerReasonHostnameConflict),
				Message: fmt.Sprintf("%s cannot be served beside it and, being younger, is not: give one of them another port, protocol or host name", strings.Join(l.wanted, ", ")),
			})
		}
	}
	u.Problems = append(u.Problems, unprogrammed(own, f)...)
	s.Conditions = []metav1.Condition{accepted(g, own), programmed(g, own, all.list, f), resolved(g, own)}
	if g.insecure {
		s.Conditions = append(s.Conditions, status.Condition(gwapiv1.GatewayConditionInsecureFrontendValidationMode, true,
			gwapiv1.GatewayReasonConfigurationChanged, "clients without a valid certificate are let in: mode is AllowInsecureFallback", g.generation))
	}
	sets := int32(0)
	for _, set := range all.sets {
		if slices.ContainsFunc(all.of(source.Key{Kind: source.ListenerSet, Name: set}), (*listener).serves) {
			sets++
		}
	}
	s.AttachedListenerSets = &sets
	return u
}

func kindsOf(l *listener) []gwapiv1.RouteGroupKind {
	if l.kinds == nil {
		return []gwapiv1.RouteGroupKind{} // The API asks for an empty list, not for none.
	}
	return l.kinds
}

// accepted judges the Gateway as a whole.
func accepted(g *gateway, own []*listener) metav1.Condition {
	const kind = gwapiv1.GatewayConditionAccepted
	if len(g.refused) > 0 {
		return status.Judge(kind, g.refused, gwapiv1.GatewayReasonAccepted, "", g.generation)
	}
	var bad []string
	for _, l := range own {
		if !l.accepted() {
			bad = append(bad, l.id.name)
		}
	}
	if len(bad) == 0 {
		return status.Condition(kind, true, gwapiv1.GatewayReasonAccepted, "it is served", g.generation)
	}
	message := fmt.Sprintf("these listeners are not accepted, see their own conditions: %s", strings.Join(bad, ", "))
	return status.Condition(kind, len(bad) < len(own), gwapiv1.GatewayReasonListenersNotValid, message, g.generation)
}

// programmed tells whether proxies serve the Gateway.
func programmed(g *gateway, own, all []*listener, f *source.Fleet) metav1.Condition {
	not := func(reason gwapiv1.GatewayConditionReason, format string, args ...any) metav1.Condition {
		return status.Condition(gwapiv1.GatewayConditionProgrammed, false, reason, fmt.Sprintf(format, args...), g.generation)
	}
	switch {
	case len(g.refused) > 0:
		return not(gwapiv1.GatewayReasonInvalid, "the Gateway is not accepted")
	case len(f.Unusable) > 0:
		return not(gwapiv1.GatewayReasonAddressNotUsable, "these addresses cannot be had here: %s", strings.Join(f.Unusable, ", "))
	case len(all) > 0 && !slices.ContainsFunc(all, (*listener).serves):
		return not(gwapiv1.GatewayReasonInvalid, "no listener can be served, see their own conditions")
	case f.Problem != "":
		return not(gwapiv1.GatewayReasonInvalid, "%s", f.Problem)
	case len(f.Addresses) == 0:
		return not(gwapiv1.GatewayReasonAddressNotAssigned, "the proxies have no address yet")
	case f.Absent:
		return not(gwapiv1.GatewayReasonNoResources, "%s", waiting(f))
	case !f.Ready:
		return not(gwapiv1.GatewayReasonPending, "%s", waiting(f))
	}
	return status.Condition(gwapiv1.GatewayConditionProgrammed, true, gwapiv1.GatewayReasonProgrammed, "the proxies serve it", g.generation)
}

// unprogrammed is what the proxies cannot do of what is right by itself.
func unprogrammed(own []*listener, f *source.Fleet) []graph.Problem {
	var out []graph.Problem
	if len(f.Unusable) > 0 {
		out = append(out, graph.Problem{
			Path: "spec.addresses", Reason: string(gwapiv1.GatewayReasonAddressNotUsable),
			Message: "these addresses cannot be had here: " + strings.Join(f.Unusable, ", "),
		})
	}
	told := map[int32]bool{}
	for _, l := range own {
		if message := f.Ports[l.port]; message != "" && !told[l.port] {
			told[l.port] = true
			out = append(out, graph.Problem{Path: "spec.listeners", Reason: string(gwapiv1.ListenerReasonPortUnavailable), Message: message})
		}
	}
	if f.Problem != "" {
		out = append(out, graph.Problem{Path: "spec.listeners", Reason: string(gwapiv1.GatewayReasonInvalid), Message: f.Problem})
	}
	return out
}

// resolved tells whether all that the Gateway refers to is there.
func resolved(g *gateway, own []*listener) metav1.Condition {
	const kind = gwapiv1.GatewayConditionResolvedRefs
	var bad []string
	for _, l := range own {
		if len(l.refs) > 0 {
			bad = append(bad, l.id.name)
		}
	}
	if len(g.refs) == 0 && len(bad) > 0 {
		return status.Condition(kind, false, gwapiv1.GatewayReasonListenersNotResolved,
			"these listeners refer to what is not there, see their own conditions: "+strings.Join(bad, ", "), g.generation)
	}
	return status.Judge(kind, g.refs, gwapiv1.GatewayReasonResolvedRefs, "all references lead somewhere", g.generation)
}

// problems are all of a listener.
func (l *listener) problems() []graph.Problem {
	out := slices.Concat(l.refused, l.refs)
	if l.conflict != nil {
		out = append(out, *l.conflict)
	}
	return out
}

// conditions are those of a listener.
func (l *listener) conditions(generation int64, g *gateway, f *source.Fleet) []metav1.Condition {
	refused := l.refused
	conflicted := status.Condition(gwapiv1.ListenerConditionConflicted, false, gwapiv1.ListenerReasonNoConflicts, "no other listener is in the way", generation)
	if l.conflict != nil {
		conflicted = status.Condition(gwapiv1.ListenerConditionConflicted, true, gwapiv1.ListenerConditionReason(l.conflict.Reason), l.conflict.Message, generation)
		refused = append(slices.Clone(refused), *l.conflict)
	}
	return []metav1.Condition{
		status.Judge(gwapiv1.ListenerConditionAccepted, refused, gwapiv1.ListenerReasonAccepted, "it is served", generation),
		l.programmed(generation, g, f),
		status.Judge(gwapiv1.ListenerConditionResolvedRefs, l.refs, gwapiv1.ListenerReasonResolvedRefs, "all references lead somewhere", generation),
		conflicted,
	}
}

func (l *listener) programmed(generation int64, g *gateway, f *source.Fleet) metav1.Condition {
	not := func(reason gwapiv1.ListenerConditionReason, message string) metav1.Condition {
		return status.Condition(gwapiv1.ListenerConditionProgrammed, false, reason, message, generation)
	}
	switch {
	case l.conflict != nil:
		return not(gwapiv1.ListenerConditionReason(l.conflict.Reason), l.conflict.Message)
	case !l.serves() || len(g.refused) > 0:
		return not(gwapiv1.ListenerReasonInvalid, "it cannot be served: see the other conditions")
	case f.Ports[l.port] != "":
		return not(gwapiv1.ListenerReasonPortUnavailable, f.Ports[l.port])
	case f.Problem != "":
		return not(gwapiv1.ListenerReasonInvalid, f.Problem)
	case !f.Ready || len(f.Unusable) > 0:
		return not(gwapiv1.ListenerReasonPending, waiting(f))
	}
	message := "the proxies serve it"
	if why := f.Wanted[l.port]; why != "" {
		message += "; " + why
	}
	return status.Condition(gwapiv1.ListenerConditionProgrammed, true, gwapiv1.ListenerReasonProgrammed, message, generation)
}

// statusOfSet returns the status of a ListenerSet, or nil if its Gateway is not ours.
func (d *Dialect) statusOfSet(c *memo.Ctx, name source.Name) *status.Update {
	o, ok := source.Get[*gwapiv1.ListenerSet](c, source.ListenerSet, name)
	if !ok {
		return nil
	}
	gatewayName := gatewayOfSet(o)
	g := d.gateway.Get(c, gatewayName)
	if g == nil {
		return nil
	}
	key := source.Key{Kind: source.ListenerSet, Name: name}
	f := fleet(c, g)
	all := d.listeners.Get(c, gatewayName)
	own := all.of(key)
	u := &status.Update{Key: key}
	s := &gwapiv1.ListenerSetStatus{}
	u.Status = s
	for _, l := range own {
		s.Listeners = append(s.Listeners, gwapiv1.ListenerEntryStatus{
			Name: gwapiv1.SectionName(l.id.name), SupportedKinds: kindsOf(l), AttachedRoutes: int32(d.attached.Count(c, l.id)),
			Conditions: append(l.conditions(o.Generation, g, f), d.overlapping(c, g, l, o.Generation)...),
		})
		u.Problems = append(u.Problems, l.problems()...)
	}
	both := func(ok bool, reason gwapiv1.ListenerSetConditionReason, message string) {
		s.Conditions = []metav1.Condition{
			status.Condition(gwapiv1.ListenerSetConditionAccepted, ok, reason, message, o.Generation),
			status.Condition(gwapiv1.ListenerSetConditionProgrammed, ok, reason, message, o.Generation),
		}
	}
	bad := slices.DeleteFunc(slices.Clone(own), (*listener).serves)
	switch {
	case slices.Contains(all.refused, name):
		message := fmt.Sprintf("Gateway %s does not allow ListenerSets of namespace %s: see its spec.allowedListeners", gatewayName, name.Namespace)
		both(false, gwapiv1.ListenerSetReasonNotAllowed, message)
		u.Problems = append(u.Problems, graph.Problem{Path: "spec.parentRef", Reason: string(gwapiv1.ListenerSetReasonNotAllowed), Message: message})
	case len(g.refused) > 0:
		both(false, gwapiv1.ListenerSetReasonParentNotAccepted, fmt.Sprintf("Gateway %s is not accepted", gatewayName))
	case len(bad) > 0 && len(bad) == len(own):
		both(false, gwapiv1.ListenerSetReasonListenersNotValid, "no listener can be served, see their own conditions")
	default:
		reason, message := gwapiv1.ListenerSetReasonAccepted, "it is served"
		if len(bad) > 0 {
			reason, message = gwapiv1.ListenerSetReasonListenersNotValid, "some listeners cannot be served, see their own conditions"
		}
		programmed := status.Condition(gwapiv1.ListenerSetConditionProgrammed, true, gwapiv1.ListenerSetReasonProgrammed, "the proxies serve it", o.Generation)
		if !f.Ready || f.Problem != "" {
			programmed = status.Condition(gwapiv1.ListenerSetConditionProgrammed, false, gwapiv1.ListenerSetReasonPending, waiting(f), o.Generation)
		}
		s.Conditions = []metav1.Condition{status.Condition(gwapiv1.ListenerSetConditionAccepted, true, reason, message, o.Generation), programmed}
	}
	return u
}
