// SPDX-License-Identifier: Apache-2.0

// Package xtraffic reads XBackendTrafficPolicy of the Gateway API's experimental channel:
// how many requests to a backend may be retries, and whether clients stay at one of its
// endpoints. Of two policies for a backend, the older counts and the other is Conflicted.
package xtraffic

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// Policies reads the policies of a View.
type Policies struct {
	byTarget *source.Index
	policy   *memo.Func[source.Name, *Policy]
	winner   *memo.Func[source.Key, source.Name]
}

// A Policy is what one object says.
type Policy struct {
	// Percent of the requests of Interval, and Least, may be retries; nothing is no limit.
	Budget *Budget
	// Session keeps clients at an endpoint; nil does not.
	Session *gwapiv1.SessionPersistence
	Refused []graph.Problem
}

// A Budget is how many retries there may be at a time: Percent of the requests of the last Interval,
// and no fewer than are Least of Per: see atOnce.
type Budget struct {
	Percent  int
	Interval time.Duration
	Least    int
	Per      time.Duration
}

// On limits the retries of a cluster.
func (b *Budget) On(c *clusterv3.Cluster) {
	for _, t := range c.GetCircuitBreakers().GetThresholds() {
		t.RetryBudget = &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
			BudgetPercent: &typev3.Percent{Value: float64(b.Percent)}, BudgetInterval: durationpb.New(b.Interval),
			MinRetryConcurrency: wrapperspb.UInt32(b.atOnce()),
		}
	}
}

// atOnce is the least rate as Envoy has it (min_retry_concurrency), which counts retries that are under way and
// knows no rate: as many as begin in a second, rounded up. A retry that takes a second or less
// has that rate be reached.
func (b *Budget) atOnce() uint32 {
	return uint32(min(math.MaxUint32, math.Ceil(float64(b.Least)/b.Per.Seconds())))
}

// New returns Policies. Views that are read must have its Index.
func New() *Policies {
	p := &Policies{byTarget: &source.Index{Kind: source.XBackendTrafficPolicy, Keys: targetsOf}}
	p.policy = memo.NewFunc(read, func(a, b *Policy) bool { return reflect.DeepEqual(a, b) })
	p.winner = memo.NewFunc(p.choose, memo.Equal[source.Name])
	return p
}

// Index finds the policies of a backend.
func (p *Policies) Index() *source.Index { return p.byTarget }

// For returns the policy of a backend, or nil.
func (p *Policies) For(c *memo.Ctx, of source.Key) *Policy {
	name := p.winner.Get(c, of)
	if name == (source.Name{}) {
		return nil
	}
	if found := p.policy.Get(c, name); found != nil && len(found.Refused) == 0 {
		return found
	}
	return nil
}

// Judge returns what is wrong with a policy.
func (p *Policies) Judge(c *memo.Ctx, o *gwxv1alpha1.XBackendTrafficPolicy) []graph.Problem {
	var out []graph.Problem
	for i, t := range Targets(o) {
		path := fmt.Sprintf("spec.targetRefs[%d]", i)
		refuse := func(reason gwapiv1.PolicyConditionReason, format string, args ...any) {
			out = append(out, graph.Problemf(path, string(reason), format, args...))
		}
		winner := p.winner.Get(c, t)
		_, there := source.Get[source.Object](c, t.Kind, t.Name)
		switch {
		case !slices.Contains([]source.Kind{source.Service, source.ServiceImport, source.Backend, source.EnvoyBackend, source.XBackend}, t.Kind):
			refuse(gwapiv1.PolicyReasonInvalid, "%s is no backend that it can be attached to: name a Service, a ServiceImport or a Backend", source.A(t.Kind.String()))
		case !there:
			refuse(gwapiv1.PolicyReasonTargetNotFound, "there is no %s", t)
		case winner != source.NameOf(o):
			refuse(gwapiv1.PolicyReasonConflicted, "XBackendTrafficPolicy %s, which is older or first by name, has the same target", winner)
		}
	}
	if found := p.policy.Get(c, source.NameOf(o)); found != nil {
		out = append(out, found.Refused...)
	}
	return out
}

// Targets are the backends that a policy is attached to.
func Targets(o *gwxv1alpha1.XBackendTrafficPolicy) []source.Key {
	var out []source.Key
	for _, ref := range o.Spec.TargetRefs {
		out = append(out, source.Key{
			Kind: source.Kind{Group: string(ref.Group), Kind: string(ref.Kind)},
			Name: source.Name{Namespace: o.Namespace, Name: string(ref.Name)},
		})
	}
	return out
}

func targetsOf(o source.Object) []source.Name {
	var out []source.Name
	for _, k := range Targets(o.(*gwxv1alpha1.XBackendTrafficPolicy)) {
		if !slices.Contains(out, k.Name) {
			out = append(out, k.Name)
		}
	}
	return out
}

func (p *Policies) choose(c *memo.Ctx, of source.Key) source.Name {
	var best *gwxv1alpha1.XBackendTrafficPolicy
	for _, o := range source.Find[*gwxv1alpha1.XBackendTrafficPolicy](c, p.byTarget, of.Name) {
		if slices.Contains(Targets(o), of) && (best == nil || attach.Older(o, best) < 0) {
			best = o
		}
	}
	if best == nil {
		return source.Name{}
	}
	return source.NameOf(best)
}

// What a constraint is that leaves fields out, as the API has it.
const (
	defaultPercent  = 20
	defaultInterval = 10 * time.Second
	defaultLeast    = 10
	defaultPer      = time.Second
)

func read(c *memo.Ctx, name source.Name) *Policy {
	o, ok := source.Get[*gwxv1alpha1.XBackendTrafficPolicy](c, source.XBackendTrafficPolicy, name)
	if !ok {
		return nil
	}
	p := &Policy{Session: o.Spec.SessionPersistence}
	if r := o.Spec.RetryConstraint; r != nil {
		p.Budget = &Budget{Percent: defaultPercent, Interval: defaultInterval, Least: defaultLeast, Per: defaultPer}
		if b := r.Budget; b != nil {
			if b.Percent != nil {
				p.Budget.Percent = *b.Percent
			}
			if b.Interval != nil {
				p.Budget.Interval = p.interval("spec.retryConstraint.budget.interval", *b.Interval, time.Second)
			}
		}
		if m := r.MinRetryRate; m != nil {
			if m.Count != nil {
				p.Budget.Least = *m.Count
			}
			if m.Interval != nil {
				p.Budget.Per = p.interval("spec.retryConstraint.minRetryRate.interval", *m.Interval, time.Millisecond)
			}
		}
		if p.Budget.Percent < 0 || p.Budget.Percent > 100 {
			p.bad("spec.retryConstraint.budget.percent", "%d is not a percentage from 0 to 100", p.Budget.Percent)
		}
		if p.Budget.Least < 1 || p.Budget.Least > 1_000_000 {
			p.bad("spec.retryConstraint.minRetryRate.count", "%d is not a number from 1 to 1000000", p.Budget.Least)
		}
	}
	return p
}

func (p *Policy) bad(path, format string, args ...any) {
	p.Refused = append(p.Refused, graph.Problem{Path: path, Reason: string(gwapiv1.PolicyReasonInvalid), Message: fmt.Sprintf(format, args...)})
}

func (p *Policy) interval(path string, text gwapiv1.Duration, least time.Duration) time.Duration {
	d, err := time.ParseDuration(string(text))
	if err != nil || d < least || d > time.Hour {
		p.bad(path, "%q is not a duration from %v to 1h", text, least)
	}
	return d
}
