// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"maps"
	"reflect"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/envoygateway/cluster"
	"weir.dev/weir/control/policy/envoygateway/sheet"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// traffic is the kind BackendTrafficPolicy.
type traffic struct {
	of       *Policies
	compiled *memo.Func[stack, *compiledTraffic]
}

// compiledTraffic is what a BackendTrafficPolicy does, but for what depends on the
// place: how it limits requests.
type compiledTraffic struct {
	sheet.Sheet

	spec    *api.BackendTrafficPolicySpec
	route   graph.Overlay
	forward graph.Overlay
	// connect is how CONNECT passes; nil is not at all.
	connect *routev3.RouteAction_UpgradeConfig
	// settings tells that clusters are spoken to otherwise, and spread how they are over zones.
	settings bool
	spread   string
	routing  string
	limits   *limits
	filters  map[string]proto.Message
}

func newTraffic(p *Policies) *traffic {
	t := &traffic{of: p}
	t.compiled = memo.NewFunc(t.compile, func(a, b *compiledTraffic) bool { return reflect.DeepEqual(a, b) })
	return t
}

// Kind of the policies.
func (t *traffic) Kind() source.Kind { return source.BackendTrafficPolicy }

// Targets are what they can be attached to.
func (t *traffic) Targets() []source.Kind {
	return []source.Kind{
		source.Gateway, source.ListenerSet, source.HTTPRoute, source.GRPCRoute, source.TCPRoute, source.UDPRoute, source.TLSRoute,
	}
}

// Refs are what one is attached to.
func (t *traffic) Refs(o source.Object) attach.Refs {
	p := o.(*api.BackendTrafficPolicy)
	return refsOf(p.Namespace, &p.Spec.Targets, p.Spec.MergeType)
}

// Judge tells what is wrong with one.
func (t *traffic) Judge(c *memo.Ctx, name source.Name) attach.Verdict {
	x := t.compiled.Get(c, stack{own: name})
	if x == nil {
		return attach.Verdict{}
	}
	return x.Verdict()
}

// At is what one does at a place.
func (t *traffic) At(c *memo.Ctx, own, parent source.Name, at attach.Place) *attach.Effect {
	s := stack{own, parent}
	x := t.compiled.Get(c, s)
	switch {
	case x == nil:
		return nil
	case len(x.Refused) > 0 && x.spec.RateLimit != nil && !carriesBytes(at):
		return &attach.Effect{Refuse: true}
	case len(x.Refused) > 0:
		return nil
	}
	e := &attach.Effect{Route: x.route, Forward: x.forward, Connect: x.connect, Routing: x.routing}
	if l := x.spec.LoadBalancer; l != nil && l.Type == "ConsistentHash" {
		e.BySource = l.ConsistentHash.Type == "SourceIP" // Which is all that is known of bytes.
	}
	if x.settings {
		e.Variant, e.Spread = trafficVariant{t, s}, x.spread
	}
	if x.limits != nil {
		x.limits.at(e, at)
	}
	return e
}

// Chain has the filters that routes configure.
func (t *traffic) Chain(c *memo.Ctx, gateway source.Name, names []source.Name) *attach.Chain {
	out := &attach.Chain{Idle: map[string]proto.Message{}}
	for _, n := range names {
		if x := t.compiled.Get(c, stack{own: n}); x != nil && len(x.Refused) == 0 {
			maps.Copy(out.Idle, x.filters)
			if m := x.limits.config(); m != nil {
				out.Limits = append(out.Limits, m)
			}
		}
	}
	return out
}

// spec returns what a stack says.
func (t *traffic) spec(c *memo.Ctx, s stack) (spec *api.BackendTrafficPolicySpec, limits source.Name) {
	o, ok := source.Get[*api.BackendTrafficPolicy](c, source.BackendTrafficPolicy, s.own)
	if !ok {
		return nil, s.own
	}
	base, ok := source.Get[*api.BackendTrafficPolicy](c, source.BackendTrafficPolicy, s.parent)
	if !ok {
		return &o.Spec, s.own
	}
	limits = s.own
	if o.Spec.RateLimit == nil {
		limits = s.parent
	}
	return attach.MergeSpec(&o.Spec, &base.Spec, *o.Spec.MergeType), limits
}

func (t *traffic) compile(c *memo.Ctx, s stack) *compiledTraffic {
	spec, limiter := t.spec(c, s)
	if spec == nil {
		return nil
	}
	x := &compiledTraffic{spec: spec, filters: map[string]proto.Message{}}
	checkTargets(&x.Sheet, &spec.Targets)
	checkMergeType(&x.Sheet, spec.MergeType)
	noteRequests(&x.Sheet, spec)
	own := cluster.Overlay(&x.Sheet, "", &spec.ClusterSettings, ptr.Deref(spec.UseClientProtocol, false), nil)
	x.routing = x.Routing(spec.RoutingType)
	x.settings, x.spread = !own.None(), cluster.Spread(&spec.ClusterSettings)
	action, route := &routev3.RouteAction{}, &routev3.Route{}
	cluster.Forwarding(&x.Sheet, "", &spec.ClusterSettings, action)
	x.upgrades(action)
	x.features(c, s.own.Namespace, route)
	x.limits = limitsOf(&x.Sheet, spec.RateLimit, source.Key{Kind: source.BackendTrafficPolicy, Name: limiter}, t.of.opts.Limits)
	if x.limits != nil {
		x.limits.filters(x.filters)
	}
	if proto.Size(action) > 0 {
		x.forward.Message = action
	}
	if proto.Size(route) > 0 {
		x.route.Message = route
	}
	return x
}

// trafficVariant is how a stack has clusters spoken to.
type trafficVariant struct {
	of *traffic
	s  stack
}

// Name tells it from others.
func (v trafficVariant) Name() string { return v.s.name() }

// Overlay is on the cluster.
func (v trafficVariant) Overlay(c *memo.Ctx, base *clusterv3.Cluster) graph.Overlay {
	spec, _ := v.of.spec(c, v.s)
	if spec == nil {
		return graph.Overlay{}
	}
	return cluster.Overlay(&sheet.Sheet{}, "", &spec.ClusterSettings, ptr.Deref(spec.UseClientProtocol, false), base)
}

// perFilter configures a filter for a route.
func perFilter(r *routev3.Route, name string, m *anypb.Any) {
	if r.TypedPerFilterConfig == nil {
		r.TypedPerFilterConfig = map[string]*anypb.Any{}
	}
	r.TypedPerFilterConfig[name] = m
}
