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
	"reflect"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// Options of Policies.
type Options struct {
	Backends *backend.Backends
	// Limits are how global limits are had; nil refuses them.
	Limits *LimitService
	// Proxy is what an EnvoyProxy leaves out; it may be nil.
	Proxy *api.EnvoyProxySpec
}

// LimitService is how proxies ask the limiter of their own process.
type LimitService struct {
	// Timeout is how long a request waits for its answer; 0 is 20 ms.
	Timeout time.Duration
	// FailClosed refuses requests for which there is none.
	FailClosed bool
	// Redis is where requests are counted, host:port, for who runs the limiter; empty is in
	// the process. RedisRef, if not nil, is the key of a Secret that has it instead.
	Redis    string
	RedisRef *corev1.SecretKeySelector
	// TLS has Redis spoken to in TLS. Certificate is the Secret with the certificate that it
	// is shown, and with who is trusted as ca.crt; without a namespace it is in that of the
	// install, and without a name there is none.
	TLS         bool
	Certificate source.Name
}

// Policies reads the policies of a View. They serve one memo.DB.
type Policies struct {
	opts      Options
	traffic   *traffic
	security  *security
	client    *client
	filters   *filters
	extension *extension
	proxy     *memo.Func[proxyStack, *Proxy]
}

// New returns Policies.
func New(o Options) *Policies {
	p := &Policies{opts: o}
	p.traffic, p.security, p.client, p.filters = newTraffic(p), newSecurity(p), newClient(p), newFilters(p)
	p.extension = newExtension(p)
	p.proxy = memo.NewFunc(p.readProxy, sameProxy)
	return p
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
func checkTargets(s *sheet, t *api.Targets) {
	for i, x := range t.TargetSelectors {
		if _, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchLabels: x.MatchLabels, MatchExpressions: x.MatchExpressions}); err != nil {
			s.bad(fmt.Sprintf("targetSelectors[%d]", i), "is not a selector of labels: %v", err)
		}
		if n := x.Namespaces; n != nil && n.From == "Selector" {
			if _, err := metav1.LabelSelectorAsSelector(n.Selector); err != nil {
				s.bad(fmt.Sprintf("targetSelectors[%d].namespaces.selector", i), "is not a selector of labels: %v", err)
			}
		}
	}
}

func checkMergeType(s *sheet, mergeType *string) {
	if m := deref(mergeType, "StrategicMerge"); m != "StrategicMerge" && m != "JSONMerge" && m != "Replace" {
		s.bad("mergeType", "is %q: there are StrategicMerge, JSONMerge and Replace", m)
	}
}

// sheet collects what is wrong with an object.
type sheet struct{ refused, notes []graph.Problem }

func (s *sheet) verdict() attach.Verdict {
	return attach.Verdict{Refused: s.refused, Notes: s.notes}
}

// statusOnError reads the status of requests that could not be asked about; 0 is none.
func (s *sheet) statusOnError(path string, status *int32) uint32 {
	n := deref(status, 0)
	if status != nil && (n < 400 || n > 599) {
		s.bad(path, "%d is not a status from 400 to 599", n)
	}
	return uint32(max(0, n))
}

func (s *sheet) bad(path, format string, args ...any) {
	s.refused = append(s.refused, graph.Problem{Path: "spec." + path, Reason: string(gwapiv1.PolicyReasonInvalid), Message: fmt.Sprintf(format, args...)})
}

// note tells of what is not honoured.
func (s *sheet) note(path, format string, args ...any) {
	s.notes = append(s.notes, graph.Problem{Path: "spec." + path, Reason: graph.Unsupported, Message: fmt.Sprintf(format, args...)})
}

// unsupported notes a field, if it is given.
func (s *sheet) unsupported(path string, value any, why string) {
	if v := reflect.ValueOf(value); v.IsValid() && !v.IsZero() {
		s.note(path, "is not supported: %s", why)
	}
}

// duration reads a duration; nil for none.
func (s *sheet) duration(path string, d *gwapiv1.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	out, err := time.ParseDuration(string(*d))
	if err != nil || out < 0 {
		s.bad(path, "%q is not a duration, such as 10s or 500ms", *d)
		return nil
	}
	return durationpb.New(out)
}

// positive is a duration that is at least some: less is refused by proxies.
func (s *sheet) positive(path string, d *gwapiv1.Duration, least time.Duration) *durationpb.Duration {
	out := s.duration(path, d)
	if out != nil && out.AsDuration() < least {
		s.bad(path, "%s is less than %s", *d, least)
		return nil
	}
	return out
}

func is(b *bool) bool { return b != nil && *b }

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// empty reports whether a message says nothing.
func empty(m proto.Message) bool { return proto.Size(m) == 0 }
