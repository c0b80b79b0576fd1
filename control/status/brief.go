// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/graph"
)

// Brief tells a status on few lines: what holds by its name, what does not with its
// reason and message. An empty status is an empty text.
//
//	HTTPRoute default/shop
//	  at Gateway edge: Accepted
//	    not ResolvedRefs (BackendNotFound): spec.rules[0].backendRefs[0]: there is no Service default/cart
func Brief(u *Update) string {
	b := &strings.Builder{}
	switch s := u.Status.(type) {
	case *gwapiv1.GatewayClassStatus:
		conditions(b, 1, "", s.Conditions)
	case *gwapiv1.GatewayStatus:
		gatewayBrief(b, s)
	case *gwapiv1.ListenerSetStatus:
		conditions(b, 1, "", s.Conditions)
		for _, l := range s.Listeners {
			conditions(b, 1, fmt.Sprintf("listener %s (%s) routes=%d: ", l.Name, kinds(l.SupportedKinds), l.AttachedRoutes), l.Conditions)
		}
	case *gwapiv1.RouteStatus:
		for _, p := range s.Parents {
			conditions(b, 1, "at "+parent(p.ParentRef)+": ", p.Conditions)
		}
	case *gwapiv1.PolicyStatus:
		for _, a := range s.Ancestors {
			conditions(b, 1, "at "+parent(a.AncestorRef)+": ", a.Conditions)
		}
	case *gwxv1alpha1.BackendStatus:
		for _, a := range s.Ancestors {
			conditions(b, 1, "at "+parent(a.AncestorRef)+": ", a.Conditions)
		}
	case *v1alpha1.BackendStatus:
		conditions(b, 1, "", s.Conditions)
	case *emissaryv3.MappingStatus:
		state(b, s.State, s.Reason)
	case *emissaryv3.HostStatus:
		state(b, s.State, s.ErrorReason)
	case *istiov1.Status:
		conditions(b, 1, "", s.Conditions)
		notes(b, u.Problems, s.Conditions)
	case *networkingv1.IngressStatus:
		ingressBrief(b, s)
		notes(b, u.Problems, nil)
	case nil:
		for _, p := range u.Problems {
			fmt.Fprintf(b, "  %s\n", p)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return u.Key.String() + "\n" + b.String()
}

func state(b *strings.Builder, state, reason string) {
	if reason != "" {
		reason = ": " + reason
	}
	fmt.Fprintf(b, "  %s%s\n", state, reason)
}

// notes tells problems that conditions do not.
func notes(b *strings.Builder, problems []graph.Problem, told []metav1.Condition) {
	for _, p := range problems {
		if !slices.ContainsFunc(told, func(c metav1.Condition) bool { return strings.Contains(c.Message, p.String()) }) {
			fmt.Fprintf(b, "  %s\n", p)
		}
	}
}

func ingressBrief(b *strings.Builder, s *networkingv1.IngressStatus) {
	var at []string
	for _, i := range s.LoadBalancer.Ingress {
		at = append(at, i.IP+i.Hostname)
	}
	text := "nowhere yet"
	if len(at) > 0 {
		text = "at " + strings.Join(at, ", ")
	}
	fmt.Fprintf(b, "  %s\n", text)
}

func gatewayBrief(b *strings.Builder, s *gwapiv1.GatewayStatus) {
	var at []string
	for _, a := range s.Addresses {
		at = append(at, a.Value)
	}
	text := ""
	if len(at) > 0 {
		text = "at " + strings.Join(at, ", ") + ": "
	}
	conditions(b, 1, text, s.Conditions)
	if s.AttachedListenerSets != nil && *s.AttachedListenerSets > 0 {
		fmt.Fprintf(b, "  listener sets=%d\n", *s.AttachedListenerSets)
	}
	for _, l := range s.Listeners {
		conditions(b, 1, fmt.Sprintf("listener %s (%s) routes=%d: ", l.Name, kinds(l.SupportedKinds), l.AttachedRoutes), l.Conditions)
	}
}

// bad reports whether a condition is not as one wishes it.
func bad(c metav1.Condition) bool {
	unwanted := []string{
		string(gwapiv1.ListenerConditionConflicted), string(gwapiv1.RouteConditionPartiallyInvalid),
		string(gwapiv1.ListenerConditionOverlappingTLSConfig), string(gwapiv1.GatewayConditionInsecureFrontendValidationMode), "Overridden", "Warning",
	}
	return (c.Status != metav1.ConditionTrue) != slices.Contains(unwanted, c.Type)
}

func conditions(b *strings.Builder, depth int, head string, list []metav1.Condition) {
	var good []string
	var rest []metav1.Condition
	for _, c := range list {
		switch {
		case bad(c):
			rest = append(rest, c)
		case c.Status == metav1.ConditionTrue && c.Reason != c.Type:
			good = append(good, fmt.Sprintf("%s (%s)", c.Type, c.Reason))
		case c.Status == metav1.ConditionTrue:
			good = append(good, c.Type)
		}
	}
	indent := strings.Repeat("  ", depth)
	if len(good) == 0 {
		good = []string{"nothing holds"}
	}
	fmt.Fprintf(b, "%s%s%s\n", indent, head, strings.Join(good, ", "))
	for _, c := range rest {
		not := ""
		if c.Status != metav1.ConditionTrue {
			not = "not "
		}
		fmt.Fprintf(b, "%s  %s%s (%s): %s\n", indent, not, c.Type, c.Reason, c.Message)
	}
}

func kinds(list []gwapiv1.RouteGroupKind) string {
	out := make([]string, len(list))
	for i, k := range list {
		out[i] = string(k.Kind)
	}
	return strings.Join(out, ", ")
}

func parent(p gwapiv1.ParentReference) string {
	kind := "Gateway"
	if p.Kind != nil {
		kind = string(*p.Kind)
	}
	out := kind + " " + string(p.Name)
	if p.Namespace != nil {
		out = kind + " " + string(*p.Namespace) + "/" + string(p.Name)
	}
	if p.SectionName != nil {
		out += " " + string(*p.SectionName)
	}
	if p.Port != nil {
		out += fmt.Sprintf(" port %d", *p.Port)
	}
	return out
}
