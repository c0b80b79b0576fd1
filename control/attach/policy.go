// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// A Target is what policies are attached to: an object, or a section of it, which is a
// listener of a Gateway or ListenerSet, or a rule of a route.
type Target struct {
	source.Key
	Section string
}

// A Place is where requests are that policies are about: a rule of a route, at a
// listener.
type Place struct {
	Gateway source.Name
	// Listener is of the Gateway, or of a ListenerSet.
	Listener Target
	Route    source.Key
	// Rule is its name; those without cannot be a Target. Index tells it from others.
	Rule  string
	Index int
	// Quiet tells that the listener's responses do not tell what is left of limits, unless a
	// limit says so.
	Quiet bool
}

// parents are the targets that the place has by its listener, the most specific first.
// A ListenerSet's listeners are not the Gateway's.
func (p Place) parents() []Target {
	out := []Target{p.Listener, {Key: p.Listener.Key}}
	if gateway := (source.Key{Kind: source.Gateway, Name: p.Gateway}); p.Listener.Key != gateway {
		out = append(out, Target{Key: gateway})
	}
	return out
}

// own are the targets that the place has by its route, the most specific first.
func (p Place) own() []Target {
	if p.Rule == "" {
		return []Target{{Key: p.Route}}
	}
	return []Target{{p.Route, p.Rule}, {Key: p.Route}}
}

// Refs are what a policy says it is attached to.
type Refs struct {
	Targets []Ref
	// Selectors find objects by their labels.
	Selectors []Selector
	// Merges has the policy, at a route, merged over the one of the route's parent, which
	// it otherwise takes the place of.
	Merges bool
}

// A Ref is a target, and the path of the field that names it.
type Ref struct {
	Target
	Path string
}

// A Selector finds targets of a kind by their labels, in namespaces.
type Selector struct {
	Kind source.Kind
	Path string
	// Labels of the target.
	Labels labels.Selector
	// Namespaces are those that In takes, given its name and its labels; nil is the
	// policy's own.
	In func(namespace string, has labels.Labels) bool
}

// A Policy is a kind of policies: object in, what it does out.
type Policy interface {
	Kind() source.Kind
	// Targets are the kinds that it can be attached to.
	Targets() []source.Kind
	Refs(o source.Object) Refs
	// Judge tells what is wrong with an object whatever it is attached to.
	Judge(c *memo.Ctx, name source.Name) Verdict
	// At is what the policy called own does at a place, merged over the one called parent
	// if that is not the zero Name. The nil Effect is nothing.
	At(c *memo.Ctx, own, parent source.Name, at Place) *Effect
	// Chain is what policies do at all chains of HTTP of a Gateway that they are attached
	// to anywhere. The nil Chain is nothing.
	Chain(c *memo.Ctx, gateway source.Name, policies []source.Name) *Chain
}

// A Verdict is what is wrong with a policy.
type Verdict struct {
	// Refused are reasons not to take it.
	Refused []graph.Problem
	// Notes are of what is not done though the policy is taken.
	Notes []graph.Problem
	// Disabled policies are not meant to do anything here.
	Disabled bool
}

// An Effect is what policies do to requests.
type Effect struct {
	// Route is on each routev3.Route.
	Route graph.Overlay
	// Forward is on the routev3.RouteAction of those that forward. What the route says
	// itself wins: Own tells what that is.
	Forward graph.Overlay
	// Variant is of the clusters that requests go to, and Spread how these are spread over places, as
	// graph.ClusterID has it. Spread counts with a Variant only.
	Variant graph.Variant
	Spread  string
	// Routing is RoutingService, if requests go to a Service's own address, or RoutingEndpoint; "" leaves that
	// to who runs the proxies.
	Routing string
	// Clusters are those that filters call for these requests.
	Clusters []graph.ClusterID
	// Cookies are those that requests must have besides what the route asks for: all of one of
	// the lists, if there are any.
	Cookies [][]*routev3.CookieMatcher
	// Answer, if not nil, is what they are answered by the proxy itself.
	Answer *routev3.DirectResponseAction
	// Connect, if not nil, has rules of HTTPRoutes that forward take CONNECT in place of paths,
	// and let it pass so.
	Connect *routev3.RouteAction_UpgradeConfig
	// BySource has connections and datagrams that carry no HTTP go to hosts by a hash of the
	// client's address.
	BySource bool
	// Network are the network filters of connections that carry no HTTP.
	Network map[string]proto.Message
	// Refuse answers them all: the policy restricts, and cannot be done.
	Refuse bool
}

// Where requests for a Service go, as Envoy Gateway calls it.
const (
	RoutingService  = "Service"
	RoutingEndpoint = "Endpoint"
)

// A Chain is what policies do to the chains of a Gateway.
type Chain struct {
	// Idle are filters of HTTP, as of a graph.Chain.
	Idle map[string]proto.Message
	// Clusters are those that the filters call.
	Clusters []graph.ClusterID
	// Secrets are names of secrets that the filters have.
	Secrets []string
	// Limits are what the limiter is told.
	Limits []*rlsconfv3.RateLimitConfig
}

// A Filter is kinds of objects that rules refer to by filters of type ExtensionRef.
type Filter interface {
	Kinds() []source.Kind
	// At is what one does at a place, or what is wrong with it, with paths in the object.
	At(c *memo.Ctx, key source.Key, at Place) (*Effect, []graph.Problem)
	// Chain is what those do at all chains of HTTP of a Gateway whose routes refer to them.
	Chain(c *memo.Ctx, gateway source.Name, filters []source.Key) *Chain
}

// Policies are all kinds of policies that are attached. They serve one memo.DB.
type Policies struct {
	list    []*policies
	filters []Filter
}

// With adds kinds of filters.
func (p *Policies) With(filters ...Filter) *Policies {
	p.filters = append(p.filters, filters...)
	return p
}

// Filter returns who reads filters of a kind, or nil.
func (p *Policies) Filter(k source.Kind) Filter {
	for _, f := range p.filters {
		if slices.Contains(f.Kinds(), k) {
			return f
		}
	}
	return nil
}

// policies is one kind, and who is attached where.
type policies struct {
	Policy
	byTarget  *source.Index
	selecting *source.Index
	winner    *memo.Func[Target, source.Name]
}

// NewPolicies returns Policies. Views that are read must have its Indexes.
func NewPolicies(list ...Policy) *Policies {
	out := &Policies{}
	for _, p := range list {
		x := &policies{Policy: p, byTarget: &source.Index{Kind: p.Kind(), Keys: func(o source.Object) []source.Name {
			var names []source.Name
			for _, r := range p.Refs(o).Targets {
				names = append(names, r.Name)
			}
			slices.SortFunc(names, source.Compare)
			return slices.Compact(names)
		}}, selecting: &source.Index{Kind: p.Kind(), Keys: func(o source.Object) []source.Name {
			if len(p.Refs(o).Selectors) == 0 {
				return nil
			}
			return []source.Name{{}}
		}}}
		x.winner = memo.NewFunc(x.choose, memo.Equal[source.Name])
		out.list = append(out.list, x)
	}
	return out
}

// Indexes are those that Views need to have.
func (p *Policies) Indexes() []*source.Index {
	var out []*source.Index
	for _, x := range p.list {
		out = append(out, x.byTarget, x.selecting)
	}
	return out
}

// Of returns the policies of a kind, or nil.
func (p *Policies) Of(k source.Kind) Policy {
	if x := p.of(k); x != nil {
		return x.Policy
	}
	return nil
}

func (p *Policies) of(k source.Kind) *policies {
	for _, x := range p.list {
		if x.Kind() == k {
			return x
		}
	}
	return nil
}

// At returns what policies do at a place, those of each kind together.
func (p *Policies) At(c *memo.Ctx, at Place) []*Effect {
	var out []*Effect
	for _, x := range p.list {
		own, parent := x.chosen(c, at)
		if own == (source.Name{}) {
			continue
		}
		if e := x.At(c, own, parent, at); e != nil {
			out = append(out, e)
		}
	}
	return out
}

// Chain returns what policies do at the chains of a Gateway; attached are all that are,
// and filters all that routes refer to.
func (p *Policies) Chain(c *memo.Ctx, gateway source.Name, attached, filters []source.Key) Chain {
	out := Chain{Idle: map[string]proto.Message{}}
	for _, f := range p.filters {
		own := slices.DeleteFunc(slices.Clone(filters), func(k source.Key) bool { return !slices.Contains(f.Kinds(), k.Kind) })
		if len(own) > 0 {
			out.Add(f.Chain(c, gateway, own))
		}
	}
	for _, x := range p.list {
		var names []source.Name
		for _, k := range attached {
			if k.Kind == x.Kind() {
				names = append(names, k.Name)
			}
		}
		if len(names) == 0 {
			continue
		}
		out.Add(x.Chain(c, gateway, names))
	}
	return out
}

// Add adds what others do. Of a filter that both have, each has what routes ask for.
func (ch *Chain) Add(o *Chain) {
	if o == nil {
		return
	}
	for name, m := range o.Idle {
		if was := ch.Idle[name]; was != nil {
			both := proto.Clone(was)
			proto.Merge(both, m)
			m = both
		}
		ch.Idle[name] = m
	}
	ch.Clusters = append(ch.Clusters, o.Clusters...)
	ch.Secrets = append(ch.Secrets, o.Secrets...)
	ch.Limits = append(ch.Limits, o.Limits...)
}

// Winner returns the policy of a kind that a target has: the oldest that names it.
func (p *Policies) Winner(c *memo.Ctx, kind source.Kind, t Target) source.Name {
	return p.of(kind).winner.Get(c, t)
}

// Parent returns the policy that one at a route of a place is merged over, or the zero
// Name.
func (p *Policies) Parent(c *memo.Ctx, kind source.Kind, at Place) source.Name {
	return p.of(kind).first(c, at.parents())
}

// chosen returns the policy of a place, and the one that it is merged over.
func (x *policies) chosen(c *memo.Ctx, at Place) (own, parent source.Name) {
	own = x.first(c, at.own())
	if own == (source.Name{}) {
		return x.first(c, at.parents()), source.Name{}
	}
	if o, ok := source.Get[source.Object](c, x.Kind(), own); ok && x.Refs(o).Merges {
		parent = x.first(c, at.parents())
	}
	return own, parent
}

func (x *policies) first(c *memo.Ctx, targets []Target) source.Name {
	for _, t := range targets {
		if name := x.winner.Get(c, t); name != (source.Name{}) {
			return name
		}
	}
	return source.Name{}
}

// choose returns the oldest policy that names a target, or finds it by its labels. One
// that names it wins over one that finds it.
func (x *policies) choose(c *memo.Ctx, t Target) source.Name {
	var best source.Object
	for _, o := range source.Find[source.Object](c, x.byTarget, t.Name) {
		names := slices.ContainsFunc(x.Refs(o).Targets, func(r Ref) bool { return r.Target == t })
		if names && (best == nil || Older(o, best) < 0) {
			best = o
		}
	}
	if best == nil && t.Section == "" {
		for _, o := range source.Find[source.Object](c, x.selecting, source.Name{}) {
			found := slices.ContainsFunc(x.Refs(o).Selectors, func(s Selector) bool { return s.finds(c, x.Kind(), o.GetNamespace(), t.Key) })
			if found && (best == nil || Older(o, best) < 0) {
				best = o
			}
		}
	}
	if best == nil {
		return source.Name{}
	}
	return source.NameOf(best)
}

// finds reports whether a selector of a policy in a namespace finds an object.
func (s Selector) finds(c *memo.Ctx, of source.Kind, namespace string, key source.Key) bool {
	if s.Kind != key.Kind {
		return false
	}
	if s.In == nil && key.Namespace != namespace {
		return false
	}
	o, ok := source.Get[source.Object](c, key.Kind, key.Name)
	if !ok || !s.Labels.Matches(labels.Set(o.GetLabels())) {
		return false
	}
	if s.In == nil {
		return true
	}
	var has labels.Set
	if ns, ok := source.Get[*corev1.Namespace](c, source.Namespace, source.Name{Name: key.Namespace}); ok {
		has = ns.Labels
	}
	return s.In(key.Namespace, has) && Granted(c, of, namespace, key)
}

// Targets returns all that a policy is attached to, by its name or by its labels.
func (p *Policies) Targets(c *memo.Ctx, kind source.Kind, o source.Object) []Ref {
	x := p.of(kind)
	refs := x.Refs(o)
	out := slices.Clone(refs.Targets)
	for _, s := range refs.Selectors {
		for _, name := range source.Names(c, s.Kind) {
			key := source.Key{Kind: s.Kind, Name: name}
			if s.finds(c, kind, o.GetNamespace(), key) {
				out = append(out, Ref{Target{Key: key}, s.Path})
			}
		}
	}
	return out
}

// On does to a route what an effect is.
func (e *Effect) On(r *graph.Route) {
	if e.Answer != nil {
		r.Message.Action, r.Clusters = &routev3.Route_DirectResponse{DirectResponse: e.Answer}, nil
	}
	r.Overlay = Merge(r.Overlay, e.Route)
	if a := r.Message.GetRoute(); a != nil && !e.Forward.None() {
		r.Overlay = Merge(r.Overlay, forwarded(e.Forward))
	}
	r.Clusters = append(r.Clusters, e.Clusters...)
}

// Among returns a route as those that together take what has the cookies of the effect.
func (e *Effect) Among(r *graph.Route) []*graph.Route {
	if len(e.Cookies) == 0 {
		return []*graph.Route{r}
	}
	out := make([]*graph.Route, len(e.Cookies))
	for i, cookies := range e.Cookies {
		one := *r
		one.Message = proto.CloneOf(r.Message)
		one.Message.Match.Cookies = append(one.Message.Match.Cookies, cookies...)
		one.Rank.Cookies += len(cookies)
		if len(e.Cookies) > 1 {
			one.Name += fmt.Sprintf("/cookies/%d", i)
		}
		out[i] = &one
	}
	return out
}

// forwarded returns an overlay of a RouteAction as one of its Route.
func forwarded(o graph.Overlay) graph.Overlay {
	out := graph.Overlay{}
	if o.Message != nil {
		out.Message = &routev3.Route{Action: &routev3.Route_Route{Route: o.Message.(*routev3.RouteAction)}}
	}
	for _, path := range o.Also {
		out.Also = append(out.Also, "route."+path)
	}
	return out
}

// String returns "HTTPRoute default/shop", and the section if there is one.
func (t Target) String() string {
	if t.Section == "" {
		return t.Key.String()
	}
	return t.Key.String() + " " + t.Section
}
