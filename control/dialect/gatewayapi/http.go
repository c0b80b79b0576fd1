// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"fmt"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// ruler translates the rules of one route at one socket.
type ruler struct {
	c           *memo.Ctx
	d           *Dialect
	id          ruleID
	gateway     source.Name
	object      source.Object
	backing     *backing
	certificate string
	// listed has routes looked for in the order that they are listed in.
	listed bool
	// routing is where requests for Services go.
	routing string
	// quiet has responses not tell what is left of limits.
	quiet bool
	out   []*graph.Route
}

// share is a part of a rule's requests and what is done with it.
type share struct {
	weight   uint32
	effects  *effects
	cluster  *graph.ClusterID // nil answers broken
	mirrored []graph.ClusterID
	// dynamic tells that the hosts of the cluster are those that requests name.
	dynamic bool
	// session keeps clients at an endpoint of the backend, where the rule says nothing.
	session *anypb.Any
	// members are clusters that the cluster stands for.
	members []graph.ClusterID
}

// The status with which the share of a backend that is not valid is answered. What
// is answered to gRPC, clients see as UNAVAILABLE.
const (
	invalidHTTP = 500
	invalidGRPC = 503
)

// aim is a backend of a rule with its own filters.
type aim struct {
	path    string
	filters []gwapiv1.HTTPRouteFilter
}

// rule is a rule of either kind.
type rule struct {
	path    string
	index   int
	filters []gwapiv1.HTTPRouteFilter
	aims    []aim
	retry   *gwapiv1.HTTPRouteRetry
	session *gwapiv1.SessionPersistence
	limits  limits
	name    string
	// effects are of the policies there.
	effects []*attach.Effect
	broken  uint32 // status for what is broken
}

// limits are a rule's timeouts.
type limits struct{ request, backend *time.Duration }

func (t *ruler) http(o *gwapiv1.HTTPRoute) {
	for i, spec := range o.Spec.Rules {
		r := rule{path: rulePath(i), index: i, filters: spec.Filters, retry: spec.Retry, session: spec.SessionPersistence, broken: invalidHTTP, name: sectionOf(spec.Name)}
		t.govern(&r)
		if spec.Timeouts != nil {
			r.limits = limits{interval(spec.Timeouts.Request), interval(spec.Timeouts.BackendRequest)}
		}
		for j, b := range spec.BackendRefs {
			r.aims = append(r.aims, aim{fmt.Sprintf("%s.backendRefs[%d]", r.path, j), b.Filters})
		}
		matches := spec.Matches
		if len(matches) == 0 {
			matches = []gwapiv1.HTTPRouteMatch{{}}
		}
		for j, m := range matches {
			match, rank, problem := httpMatch(m)
			if problem != nil {
				continue // It is told in the status; half a match would take what was never meant.
			}
			t.add(&r, j, match, rank, prefixOf(m))
		}
	}
}

// interval reads a duration; what is not one was told in the status.
func interval(d *gwapiv1.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	out, err := time.ParseDuration(string(*d))
	if err != nil {
		return nil
	}
	return &out
}

// prefixOf is the prefix that a match asks for, which rewrites replace.
func prefixOf(m gwapiv1.HTTPRouteMatch) string {
	if m.Path == nil || m.Path.Type != nil && *m.Path.Type != gwapiv1.PathMatchPathPrefix || m.Path.Value == nil {
		return "/"
	}
	return *m.Path.Value
}

// httpMatch translates a match. The problem's path is within it.
func httpMatch(m gwapiv1.HTTPRouteMatch) (*routev3.RouteMatch, graph.Rank, *graph.Problem) {
	out, rank := &routev3.RouteMatch{}, graph.Rank{}
	if problem := pathMatch(m.Path, out, &rank); problem != nil {
		return nil, rank, problem
	}
	if m.Method != nil {
		out.Headers = append(out.Headers, build.Header(":method", string(*m.Method), false))
		rank.Method = 1
	}
	seen := map[string]bool{}
	for i, h := range m.Headers {
		name := strings.ToLower(string(h.Name))
		if seen[name] {
			continue // The API: of headers of one name, the first counts.
		}
		seen[name] = true
		regex := h.Type != nil && *h.Type == gwapiv1.HeaderMatchRegularExpression
		if problem := checkRegex(regex, h.Value, fmt.Sprintf(".headers[%d].value", i)); problem != nil {
			return nil, rank, problem
		}
		out.Headers = append(out.Headers, build.Header(name, h.Value, regex))
		rank.Headers++
	}
	seen = map[string]bool{}
	for i, q := range m.QueryParams {
		if seen[string(q.Name)] {
			continue
		}
		seen[string(q.Name)] = true
		regex := q.Type != nil && *q.Type == gwapiv1.QueryParamMatchRegularExpression
		if problem := checkRegex(regex, q.Value, fmt.Sprintf(".queryParams[%d].value", i)); problem != nil {
			return nil, rank, problem
		}
		out.QueryParameters = append(out.QueryParameters, build.Query(string(q.Name), q.Value, regex))
		rank.Query++
	}
	return out, rank, nil
}

func pathMatch(p *gwapiv1.HTTPPathMatch, out *routev3.RouteMatch, rank *graph.Rank) *graph.Problem {
	kind, value := gwapiv1.PathMatchPathPrefix, "/"
	if p != nil && p.Type != nil {
		kind = *p.Type
	}
	if p != nil && p.Value != nil {
		value = *p.Value
	}
	switch kind {
	case gwapiv1.PathMatchExact:
		build.PathExact(out, value)
	case gwapiv1.PathMatchRegularExpression:
		if problem := checkRegex(true, value, ".path.value"); problem != nil {
			return problem
		}
		build.PathRegex(out, value)
		rank.Path = 1
	default:
		build.PathPrefix(out, value)
		value = strings.TrimRight(value, "/")
		rank.Path = 2
	}
	rank.Length = len(value)
	return nil
}

func checkRegex(regex bool, pattern, path string) *graph.Problem {
	if !regex {
		return nil
	}
	if why := build.BadRegex(pattern); why != "" {
		return &graph.Problem{
			Path: path, Reason: string(gwapiv1.RouteReasonUnsupportedValue),
			Message: fmt.Sprintf("%q is not a regular expression of RE2: %s", pattern, strings.TrimPrefix(why, "error parsing regexp: ")),
		}
	}
	return nil
}

// add adds the routes of one match of a rule: one, or one for each share that the
// same route of Envoy's cannot express.
func (t *ruler) add(r *rule, match int, m *routev3.RouteMatch, rank graph.Rank, prefix string) {
	if t.listed {
		rank = graph.Rank{}
	}
	rank.Born, rank.Name = t.object.GetCreationTimestamp().Unix(), t.id.route.Name.String()
	rank.Rule, rank.Match = r.index, match
	whole := t.effects(r.path, r.filters, prefix, t.place(r))
	whole.broken = whole.broken || refused(r.effects)
	name := fmt.Sprintf("%s/%s/rule/%d/match/%d", strings.ToLower(t.id.route.Kind.Kind), t.id.route.Name, r.index, match)
	add := func(out *graph.Route, own *effects, dynamic bool) {
		r.applyPolicies(out)
		var extensions []*attach.Effect
		for _, e := range []*effects{whole, own} {
			if e != nil && !whole.broken && !e.broken {
				extensions = append(extensions, e.extensions...)
			}
		}
		for _, x := range extensions {
			x.On(out)
		}
		if dynamic {
			lookUp(out)
		}
		t.tunnel(r, out)
		t.out = append(t.out, among(extensions, out)...)
	}
	emit := func(m *routev3.RouteMatch, suffix string, s *share) {
		add(t.route(r, name+suffix, rank, m, whole, s), s.effects, s.dynamic)
	}
	shares := t.shares(r, prefix)
	switch {
	case whole.broken || whole.redirect != nil:
		emit(m, "", &share{})
		return
	case len(shares) == 0:
		emit(m, "", &share{weight: 1})
		return
	case simple(shares):
		add(t.weighted(r, name, rank, m, whole, shares), shareEffects(shares), false)
		return
	}
	total, sum := uint64(0), uint64(0)
	for _, s := range shares {
		total += uint64(s.weight)
	}
	for i, s := range shares {
		part := m
		if sum += uint64(s.weight); sum < total {
			part = proto.CloneOf(m)
			part.RuntimeFraction = build.Fraction(sum, total)
		}
		emit(part, fmt.Sprintf("/backend/%d", i), s)
	}
}

// among returns a route as those that together take what has the cookies of all effects.
func among(effects []*attach.Effect, r *graph.Route) []*graph.Route {
	out := []*graph.Route{r}
	for _, e := range effects {
		var next []*graph.Route
		for _, r := range out {
			next = append(next, e.Among(r)...)
		}
		out = next
	}
	return out
}

// shares returns the parts of a rule's requests by its backends, without those of
// no weight.
func (t *ruler) shares(r *rule, prefix string) []*share {
	var out []*share
	aims, backends, members := t.failOver(r)
	for i, a := range aims {
		b := backends[i]
		if b.Weight == 0 {
			continue
		}
		s := &share{weight: b.Weight, effects: t.effects(a.path, a.filters, prefix, t.place(r))}
		if b.Valid {
			s.cluster, s.members = &b.Cluster, members
			s.session = sessionOf(t.d.backends.Session(t.c, t.backing.at[a.path].Cluster))
			s.dynamic = t.d.backends.Dynamic(t.c, b.Cluster)
		}
		out = append(out, s)
	}
	return out
}

// failOver returns the aims of a rule that have a share of its requests, their backends,
// and the clusters that those stand for.
func (t *ruler) failOver(r *rule) (aims []aim, backends []graph.Backend, members []graph.ClusterID) {
	all := make([]graph.Backend, len(r.aims))
	fallback := map[graph.ClusterID]bool{}
	for i, a := range r.aims {
		b := t.backing.at[a.path]
		if b.Valid {
			b.Cluster = t.shown(b.Cluster)
			b.Cluster = tuned(r.effects, b.Cluster, t.routing)
			fallback[b.Cluster] = t.d.backends.Fallback(t.c, b.Cluster)
		}
		all[i] = b
	}
	backends, members = backend.FailOver(all, func(id graph.ClusterID) bool { return fallback[id] })
	kept := 0
	for i, a := range r.aims {
		if len(members) == 0 || !all[i].Valid || all[i].Weight == 0 || !fallback[all[i].Cluster] {
			if all[i].Valid && t.d.backends.Dynamic(t.c, all[i].Cluster) {
				backends[kept] = all[i] // It has no hosts before a request names one: others cannot stand in for them.
			}
			aims = append(aims, a)
			kept++
		}
	}
	return aims, backends, members
}

// shown returns a cluster as the gateway calls it: with its certificate, if the
// backend is spoken to in TLS.
func (t *ruler) shown(id graph.ClusterID) graph.ClusterID {
	if t.certificate != "" && id.Certificate == "" && t.d.backends.TLS(t.c, id) {
		id.Certificate = t.certificate
	}
	return id
}

// shareEffects are those of the only share.
func shareEffects(shares []*share) *effects {
	if len(shares) == 1 {
		return shares[0].effects
	}
	return nil
}

// simple reports whether one route can have all shares, as clusters with weights.
func simple(shares []*share) bool {
	for _, s := range shares {
		if s.cluster == nil || s.dynamic || !s.effects.headersOnly() {
			return false
		}
	}
	return true
}

// route makes the route of one share.
func (t *ruler) route(r *rule, name string, rank graph.Rank, m *routev3.RouteMatch, whole *effects, s *share) *graph.Route {
	out := &graph.Route{Name: name, Rank: rank, Message: &routev3.Route{Match: m}}
	own := s.effects
	if own == nil {
		own = &effects{}
	}
	whole.headers(out.Message)
	own.headers(out.Message)
	redirect := whole.redirect
	if redirect == nil {
		redirect = own.redirect
	}
	switch {
	case whole.broken || own.broken:
		out.Message.Action = build.Answer(r.broken)
	case redirect != nil:
		out.Message.Action = redirect
		ask(out, whole, own)
	case s.cluster == nil:
		out.Message.Action = build.Answer(r.broken)
	default:
		a := t.forward(r, out, whole, own)
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: s.cluster.Name()}
		out.Clusters = append(append(out.Clusters, *s.cluster), s.members...)
		t.perFilter(r, out, whole, own)
		if a := s.session; a != nil && r.session == nil {
			setFilter(out.Message, build.StatefulSession, a)
		}
	}
	return out
}

// weighted makes the route of several shares.
func (t *ruler) weighted(r *rule, name string, rank graph.Rank, m *routev3.RouteMatch, whole *effects, shares []*share) *graph.Route {
	if len(shares) == 1 {
		return t.route(r, name, rank, m, whole, shares[0])
	}
	out := &graph.Route{Name: name, Rank: rank, Message: &routev3.Route{Match: m}}
	whole.headers(out.Message)
	a := t.forward(r, out, whole, &effects{})
	clusters := &routev3.WeightedCluster{}
	for _, s := range shares {
		w := &routev3.WeightedCluster_ClusterWeight{Name: s.cluster.Name(), Weight: wrapperspb.UInt32(s.weight)}
		w.RequestHeadersToAdd, w.RequestHeadersToRemove = s.effects.request.add, s.effects.request.remove
		w.ResponseHeadersToAdd, w.ResponseHeadersToRemove = s.effects.response.add, s.effects.response.remove
		if s.session != nil && r.session == nil {
			w.TypedPerFilterConfig = map[string]*anypb.Any{build.StatefulSession: s.session}
		}
		clusters.Clusters = append(clusters.Clusters, w)
		out.Clusters = append(append(out.Clusters, *s.cluster), s.members...)
	}
	a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: clusters}
	t.perFilter(r, out, whole, &effects{})
	return out
}

// forward makes a route forward, all but where to.
func (t *ruler) forward(r *rule, out *graph.Route, whole, own *effects) *routev3.RouteAction {
	a := &routev3.RouteAction{}
	out.Message.Action = &routev3.Route_Route{Route: a}
	for _, e := range []*effects{whole, own} {
		e.rewrite(a)
		a.RequestMirrorPolicies = append(a.RequestMirrorPolicies, e.mirrors...)
		out.Clusters = append(out.Clusters, e.mirrored...)
	}
	applyLimits(a, r)
	return a
}

// perFilter sets what filters do for a route.
func (t *ruler) perFilter(r *rule, out *graph.Route, whole, own *effects) {
	set := func(name string, m *anypb.Any) { setFilter(out.Message, name, m) }
	for _, e := range []*effects{whole, own} {
		if e.cors != nil {
			set(build.CORS, e.cors)
		}
	}
	ask(out, whole, own)
	if s := sessionOf(r.session); s != nil {
		set(build.StatefulSession, s)
	}
}

// lookUp has the hosts of requests looked up: as they are after what the route does to
// them.
func lookUp(out *graph.Route) {
	host, header := "", ""
	from := func(m proto.Message) {
		if r, ok := m.(*routev3.Route); ok && r.GetRoute().GetHostRewriteSpecifier() != nil {
			host, header = r.GetRoute().GetHostRewriteLiteral(), r.GetRoute().GetHostRewriteHeader()
		}
	}
	from(out.Message)
	from(out.Overlay.Message)
	setFilter(out.Message, build.DynamicForwardProxy, build.Dynamic(host, header))
}

func setFilter(r *routev3.Route, name string, m *anypb.Any) {
	if r.TypedPerFilterConfig == nil {
		r.TypedPerFilterConfig = map[string]*anypb.Any{}
	}
	r.TypedPerFilterConfig[name] = m
}

// retryOn is what is tried again besides the status codes that a rule names: that no
// connection was had, or that it was lost before an answer.
const retryOn = "connect-failure,refused-stream,reset"

// applyLimits sets timeouts and retries. Without any, a request may take as long as
// something moves.
func applyLimits(a *routev3.RouteAction, r *rule) {
	total := time.Duration(0)
	if r.limits.request != nil {
		total = *r.limits.request
	}
	retry := build.Retry{Attempts: 0}
	if r.retry != nil {
		retry.On, retry.Attempts = retryOn, 1
		if r.retry.Attempts != nil {
			retry.Attempts = uint32(max(0, *r.retry.Attempts))
		}
		for _, code := range r.retry.Codes {
			retry.Codes = append(retry.Codes, uint32(code))
		}
		if len(retry.Codes) > 0 {
			retry.On += ",retriable-status-codes"
		}
		if b := interval(r.retry.Backoff); b != nil {
			retry.Backoff = *b
		}
	}
	if r.limits.backend != nil {
		retry.PerTry = *r.limits.backend
	}
	if retry.Attempts == 0 && retry.PerTry > 0 && (total == 0 || retry.PerTry < total) {
		total = retry.PerTry // There is but one attempt.
	}
	build.Timeout(a, total)
	if retry.Attempts > 0 {
		a.RetryPolicy = retry.Policy()
	}
}
