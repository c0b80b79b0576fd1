// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"fmt"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
	"weir.dev/weir/xds"
)

// place is where routes are for.
type place struct {
	listen int32
	secure bool
	// fleet has the proxies, and gateways are the Gateways that a VirtualService has there;
	// from is the namespace of the first.
	fleet    string
	gateways []source.Name
	from     string
	// within is the paths of an Ingress.
	within Path
}

// builder makes the routes of one object.
type builder struct {
	d     *Dialect
	c     *memo.Ctx
	place place
	// object whose routes they are; its namespace completes short names.
	object source.Key
	out    []*graph.Route
}

// absent answers requests for a destination that is not there.
const absent = 503

// share is a part of the requests of a rule.
type share struct {
	id      targetID
	weight  uint32
	headers headers
}

// rule is a rule of any object, with all that it says but its matches and shares in the
// form of a VirtualService's.
type rule struct {
	name   string
	path   string
	from   source.Key
	spec   *istiov1.HTTPRoute
	shares []share
	// mirrors are destinations that get copies.
	mirrors []mirror
}

type mirror struct {
	id      targetID
	percent *float64
}

// target returns the destination that an object names.
func (b *builder) target(of source.Key, to *istiov1.Destination) targetID {
	id := targetID{namespace: of.Namespace, from: b.place.from, host: to.Host, subset: to.Subset, listen: b.place.listen}
	if to.Port != nil {
		id.port = int32(to.Port.Number)
	}
	return id
}

// ruleOf reads a rule of a VirtualService, which is one of from.
func (b *builder) ruleOf(from source.Key, path, name string, in *istiov1.HTTPRoute) *rule {
	r := &rule{name: name, path: path, from: from, spec: in}
	for _, s := range in.Route {
		w := uint32(max(s.Weight, 0))
		if len(in.Route) == 1 {
			w = 1
		}
		r.shares = append(r.shares, share{b.target(from, s.Destination), w, headersOf(s.Headers)})
	}
	if in.Mirror != nil {
		m := mirror{id: b.target(from, in.Mirror)}
		for _, p := range []*uint32{in.MirrorPercent, in.OldMirrorPercent} {
			if p != nil {
				n := float64(*p)
				m.percent = &n
			}
		}
		if in.MirrorPercentage != nil {
			m.percent = &in.MirrorPercentage.Value
		}
		r.mirrors = append(r.mirrors, m)
	}
	for _, m := range in.Mirrors {
		own := mirror{id: b.target(from, m.Destination)}
		if m.Percentage != nil {
			own.percent = &m.Percentage.Value
		}
		r.mirrors = append(r.mirrors, own)
	}
	return r
}

// serves reports whether a match may hold at the place of the routes.
func (p place) serves(m *istiov1.HTTPMatchRequest) bool {
	switch {
	case m == nil:
		return true
	case m.Port != 0 && int32(m.Port) != p.listen:
		return false
	case len(m.Gateways) > 0:
		return p.named(m.Gateways)
	}
	return selects(m.SourceLabels, p.fleet) && (m.SourceNamespace == "" || m.SourceNamespace == p.from)
}

// named reports whether names of Gateways have one of the place's.
func (p place) named(names []string) bool {
	return slices.ContainsFunc(names, func(g string) bool {
		n, ok := gatewayName(g, p.from)
		return ok && slices.ContainsFunc(p.gateways, func(own source.Name) bool { return own == n || g == own.Name })
	})
}

// add adds a route of a rule for each of its matches, and reports whether one of them
// takes all requests that are left.
func (b *builder) add(r *rule, matches []*istiov1.HTTPMatchRequest) (all bool) {
	if len(matches) == 0 {
		matches = []*istiov1.HTTPMatchRequest{nil}
	}
	for i, m := range matches {
		if !b.place.serves(m) {
			continue
		}
		match := matchOf(m)
		all = catchAll(match)
		if !b.place.within.within(match) {
			continue
		}
		prefix := ""
		if m != nil {
			prefix = m.StatPrefix
		}
		b.emit(r, fmt.Sprintf("%s/match/%d", r.name, i), match, prefix)
		if all {
			return true
		}
	}
	return false
}

// emit adds the routes of one match: one, or one for each share that Envoy cannot have
// beside others in one route.
func (b *builder) emit(r *rule, name string, m *routev3.RouteMatch, statPrefix string) {
	put := func(suffix string, m *routev3.RouteMatch, action func(*graph.Route)) {
		out := &graph.Route{Name: name + suffix, Message: &routev3.Route{Match: m, StatPrefix: statPrefix}, Origin: b.origin(r)}
		headersOf(r.spec.Headers).edit(out.Message)
		b.filters(r, out.Message)
		action(out)
		b.out = append(b.out, out)
	}
	switch in := r.spec; {
	case in.Redirect != nil:
		put("", m, func(out *graph.Route) { out.Message.Action = redirectOf(in.Redirect, b.place.listen, b.place.secure) })
		return
	case in.DirectResponse != nil:
		put("", m, func(out *graph.Route) { out.Message.Action = answerOf(in.DirectResponse) })
		return
	}
	var live []share
	total, broken := uint64(0), false
	for _, s := range r.shares {
		if s.weight > 0 {
			live = append(live, s)
			total += uint64(s.weight)
			broken = broken || b.d.target.Get(b.c, s.id).problem != nil
		}
	}
	switch {
	case len(live) == 0:
		put("", m, func(out *graph.Route) { out.Message.Action = build.Answer(absent) })
	case !broken || len(live) == 1:
		put("", m, func(out *graph.Route) { b.forward(r, out, live) })
	default:
		sum := uint64(0)
		for i, s := range live {
			part := m
			if sum += uint64(s.weight); sum < total {
				part = proto.CloneOf(m)
				part.RuntimeFraction = build.Fraction(sum, total)
			}
			put(fmt.Sprintf("/route/%d", i), part, func(out *graph.Route) { b.forward(r, out, live[i:i+1]) })
		}
	}
}

func (b *builder) origin(r *rule) xds.Origin {
	return source.Input(b.c).Place(r.from).Origin(r.from, r.path)
}

// filters sets what filters do for a route.
func (b *builder) filters(r *rule, out *routev3.Route) {
	set := map[string]*anypb.Any{}
	if r.spec.Fault != nil {
		set[build.Fault] = faultOf(r.spec.Fault)
	}
	if r.spec.CorsPolicy != nil {
		set[build.CORS] = corsOf(r.spec.CorsPolicy)
	}
	if len(set) > 0 {
		out.TypedPerFilterConfig = set
	}
}

// forward has a route lead to destinations: to one, or to several that are all there.
func (b *builder) forward(r *rule, out *graph.Route, shares []share) {
	a := &routev3.RouteAction{}
	var weighted []*routev3.WeightedCluster_ClusterWeight
	hashed := false
	for _, s := range shares {
		t := b.d.target.Get(b.c, s.id)
		if t.problem != nil {
			out.Message.Action = build.Answer(absent)
			return
		}
		out.Clusters = append(out.Clusters, t.cluster)
		if h := hashOf(t.hash); h != nil {
			hashed = true
			a.HashPolicy = append(a.HashPolicy, h)
		}
		w := &routev3.WeightedCluster_ClusterWeight{
			Name: t.cluster.Name(), Weight: wrapperspb.UInt32(s.weight),
			RequestHeadersToAdd: s.headers.requestAdd, RequestHeadersToRemove: s.headers.requestRemove,
			ResponseHeadersToAdd: s.headers.responseAdd, ResponseHeadersToRemove: s.headers.responseRemove,
		}
		if s.headers.authority != "" {
			w.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: s.headers.authority}
		}
		weighted = append(weighted, w)
	}
	authority := headersOf(r.spec.Headers).authority
	if len(shares) == 1 {
		shares[0].headers.edit(out.Message)
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: weighted[0].GetName()}
		authority = first(authority, shares[0].headers.authority)
	} else {
		a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: weighted}}
	}
	rewrite(r.spec.Rewrite, authority, a)
	a.Timeout = durationpb.New(duration(r.spec.Timeout)) // Without one, as long as something moves.
	a.RetryPolicy = retryOf(r.spec.Retries, hashed)
	b.mirror(r, out, a)
	out.Message.Action = &routev3.Route_Route{Route: a}
}

// mirror has copies sent.
func (b *builder) mirror(r *rule, out *graph.Route, a *routev3.RouteAction) {
	for _, m := range r.mirrors {
		t := b.d.target.Get(b.c, m.id)
		if t.problem != nil || m.percent != nil && *m.percent == 0 {
			continue
		}
		var part *corev3.RuntimeFractionalPercent
		if m.percent != nil && *m.percent < 100 {
			part = &corev3.RuntimeFractionalPercent{DefaultValue: fraction(*m.percent)}
		}
		policy := build.Mirror(t.cluster.Name(), part)
		policy.DisableShadowHostSuffixAppend = false
		a.RequestMirrorPolicies = append(a.RequestMirrorPolicies, policy)
		out.Clusters = append(out.Clusters, t.cluster)
	}
}
