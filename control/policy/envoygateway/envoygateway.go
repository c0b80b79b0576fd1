// SPDX-License-Identifier: Apache-2.0

// Package envoygateway reads the policies of Envoy Gateway: BackendTrafficPolicy,
// which says how requests get to backends, and others beside it. Each is an attach.Policy:
// where it is attached, and who wins, is attach's to know.
//
// A policy that only tunes and cannot be done is left out whole; one that restricts
// answers what it is attached to with 500 (docs/design/0008). Fields that proxies do
// not honour are told in the condition Warning, each by its name; fields.txt lists them.
package envoygateway

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/policy/envoygateway/cluster"
	"weir.dev/weir/control/policy/envoygateway/envoyproxy"
	"weir.dev/weir/control/policy/envoygateway/install"
	"weir.dev/weir/control/policy/envoygateway/sheet"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// Options of Policies.
type Options struct {
	Backends *backend.Backends
	// Limits are how global limits are had; nil refuses them.
	Limits *install.LimitService
	// Proxy is what an EnvoyProxy leaves out; it may be nil.
	Proxy *api.EnvoyProxySpec
}

// Policies reads the policies of a View. They serve one memo.DB.
type Policies struct {
	opts      Options
	traffic   *traffic
	security  *security
	client    *client
	filters   *filters
	extension *extension
	proxies   *envoyproxy.Proxies
	callees   *cluster.Callees
}

// New returns Policies.
func New(o Options) *Policies {
	p := &Policies{opts: o}
	p.traffic, p.security, p.client, p.filters = newTraffic(p), newSecurity(p), newClient(p), newFilters(p)
	p.extension = newExtension(p)
	p.callees = &cluster.Callees{Backends: o.Backends, Default: o.Proxy}
	p.proxies = envoyproxy.New(p.callees)
	return p
}

// Proxy returns what an EnvoyProxy says, merged over another if it asks for it; nil if
// there is none called name. The zero Name is the default of all.
func (p *Policies) Proxy(c *memo.Ctx, name, base source.Name) *envoyproxy.Proxy {
	return p.proxies.Get(c, name, base)
}

// Traffic are the BackendTrafficPolicies.
func (p *Policies) Traffic() attach.Policy { return p.traffic }

// Security are the SecurityPolicies.
func (p *Policies) Security() attach.Policy { return p.security }

// Filters are what rules refer to: HTTPRouteFilter and, of old, RateLimitFilter and
// AuthenticationFilter.
func (p *Policies) Filters() attach.Filter { return p.filters }

// stack is a policy and the one that it is merged over, if there is one.
type stack struct{ own, parent source.Name }

// name tells a stack in the names of clusters. Namespaces have no dots.
func (s stack) name() string {
	text := func(n source.Name) string { return n.Namespace + "." + n.Name }
	if s.parent == (source.Name{}) {
		return text(s.own)
	}
	return text(s.own) + "+" + text(s.parent)
}

// refsOf returns what a policy is attached to.
func refsOf(namespace string, t *api.Targets, mergeType *string) attach.Refs {
	out := attach.Refs{Merges: mergeType != nil && *mergeType != "Replace"}
	add := func(path string, r api.TargetRef) {
		target := attach.Target{Key: source.Key{Kind: source.Kind{Group: r.Group, Kind: r.Kind}, Name: source.Name{Namespace: namespace, Name: r.Name}}}
		if r.Namespace != nil {
			target.Namespace = *r.Namespace
		}
		if r.SectionName != nil {
			target.Section = *r.SectionName
		}
		out.Targets = append(out.Targets, attach.Ref{Target: target, Path: path})
	}
	if t.TargetRef != nil {
		add("spec.targetRef", *t.TargetRef)
	}
	for i, r := range t.TargetRefs {
		add(fmt.Sprintf("spec.targetRefs[%d]", i), r)
	}
	for i, s := range t.TargetSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchLabels: s.MatchLabels, MatchExpressions: s.MatchExpressions})
		if err != nil {
			continue // checkTargets tells.
		}
		group := gwapiv1.GroupName
		if s.Group != nil {
			group = *s.Group
		}
		out.Selectors = append(out.Selectors, attach.Selector{
			Kind: source.Kind{Group: group, Kind: s.Kind}, Path: fmt.Sprintf("spec.targetSelectors[%d]", i), Labels: selector, In: namespacesOf(s.Namespaces),
		})
	}
	return out
}

// namespacesOf says in which namespaces a selector looks; nil is its own.
func namespacesOf(n *api.TargetNamespaces) func(string, labels.Labels) bool {
	switch {
	case n == nil || n.From == "Same" || n.From == "":
		return nil
	case n.From == "All":
		return func(string, labels.Labels) bool { return true }
	}
	selector, err := metav1.LabelSelectorAsSelector(n.Selector)
	if err != nil {
		selector = labels.Nothing()
	}
	return func(_ string, has labels.Labels) bool {
		if has == nil {
			has = labels.Set{}
		}
		return selector.Matches(has)
	}
}

// checkTargets finds selectors that are none.
func checkTargets(s *sheet.Sheet, t *api.Targets) {
	for i, x := range t.TargetSelectors {
		if _, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchLabels: x.MatchLabels, MatchExpressions: x.MatchExpressions}); err != nil {
			s.Bad(fmt.Sprintf("targetSelectors[%d]", i), "is not a selector of labels: %v", err)
		}
		if n := x.Namespaces; n != nil && n.From == "Selector" {
			if _, err := metav1.LabelSelectorAsSelector(n.Selector); err != nil {
				s.Bad(fmt.Sprintf("targetSelectors[%d].namespaces.selector", i), "is not a selector of labels: %v", err)
			}
		}
	}
}

func checkMergeType(s *sheet.Sheet, mergeType *string) {
	if m := ptr.Deref(mergeType, "StrategicMerge"); m != "StrategicMerge" && m != "JSONMerge" && m != "Replace" {
		s.Bad("mergeType", "is %q: there are StrategicMerge, JSONMerge and Replace", m)
	}
}
