// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"google.golang.org/protobuf/proto"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/envoygateway/install"
	"weir.dev/weir/control/policy/envoygateway/sheet"
	"weir.dev/weir/control/source"
)

// limits are how a policy limits requests.
type limits struct {
	owner         source.Key
	service       *install.LimitService
	global, local []limitRule
	// fallback is the local limit of requests that no rule chooses.
	fallback *limitRule
}

// limitRule is a rule of limits. Requests that it chooses have a descriptor of entries; of
// several methods, each has its own, and all count together.
type limitRule struct {
	name     string
	requests uint32
	unit     string
	entries  []entry
	methods  []entry
	shared   bool
	shadow   bool
	headers  routev3.RateLimit_XRateLimitOption
	// cost of requests, and of responses, which count when they end.
	cost, after *routev3.RateLimit_HitsAddend
	limit       *routev3.RateLimit_Override
}

// entry is a part of a descriptor. Its value is empty if each value counts by itself.
type entry struct {
	key, value string
	action     *build.Action
}

// units are the lengths of limits' units.
func units() map[string]time.Duration {
	const day = 24 * time.Hour
	return map[string]time.Duration{
		"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour, "Day": day, "Week": 7 * day, "Month": 30 * day, "Year": 365 * day,
	}
}

// limitsOf reads limits; nil for none.
func limitsOf(s *sheet.Sheet, spec *api.RateLimit, owner source.Key, service *install.LimitService) *limits {
	if spec == nil {
		return nil
	}
	out := &limits{owner: owner}
	kind := ptr.Deref(spec.Type, "")
	switch {
	case kind == "Global" && spec.Global == nil, kind == "Local" && spec.Local == nil:
		s.Bad("rateLimit", "has the type %s, and no rules of it: give %s.rules", kind, strings.ToLower(kind))
	case kind == "" && spec.Global == nil && spec.Local == nil:
		s.Bad("rateLimit", "gives neither global nor local")
	case kind != "" && kind != "Global" && kind != "Local":
		s.Bad("rateLimit.type", "is %q: there are Global and Local", kind)
	}
	if spec.Global != nil && kind != "Local" {
		if service == nil {
			s.Bad("rateLimit.global", "needs a limiter that proxies share, and there is none here: give weir control a Redis, by --ratelimit-redis or in the file of --envoy-gateway-config, or limit each proxy by itself, with local")
		}
		var global []limitRule
		for i, r := range spec.Global.Rules {
			global = append(global, readRule(s, fmt.Sprintf("rateLimit.global.rules[%d]", i), i, r))
		}
		if service != nil {
			out.service, out.global = service, global
		}
	}
	if spec.Local != nil && kind != "Global" {
		out.readLocal(s, spec.Local.Rules)
	}
	return out
}

// readLocal reads the rules of a limit that each proxy has by itself.
func (l *limits) readLocal(s *sheet.Sheet, rules []api.RateLimitRule) {
	for i, r := range rules {
		at := fmt.Sprintf("rateLimit.local.rules[%d]", i)
		x := readRule(s, at, i, r)
		s.Unsupported(at+".cost", r.Cost, "each request counts once; use a global limit")
		s.Unsupported(at+".shared", r.Shared, "each route has its own bucket; use a global limit")
		s.Unsupported(at+".limit.fromMetadata", r.Limit.FromMetadata, "buckets have one size; use a global limit")
		switch {
		case r.Limit.Requests == 0:
			s.Bad(at+".limit.requests", "is 0: let at least 1 request through, or refuse them with a SecurityPolicy")
		case len(r.ClientSelectors) > 0:
			l.local = append(l.local, x)
		case l.fallback != nil:
			s.Bad(at, "is the second rule without clientSelectors: there may be one")
		default:
			l.fallback = &x
		}
	}
	if l.fallback == nil {
		return
	}
	base := units()[l.fallback.unit]
	for _, x := range l.local {
		if base > 0 && units()[x.unit]%base != 0 {
			s.Bad("rateLimit.local.rules", "a rule's unit, %s, must be a multiple of that of the rule without clientSelectors, %s", x.unit, l.fallback.unit)
		}
	}
}

func readRule(s *sheet.Sheet, at string, i int, r api.RateLimitRule) limitRule {
	out := limitRule{name: fmt.Sprintf("rule-%d", i), requests: r.Limit.Requests, unit: r.Limit.Unit, shared: ptr.Deref(r.Shared, false), shadow: ptr.Deref(r.ShadowMode, false)}
	if units()[r.Limit.Unit] == 0 {
		s.Bad(at+".limit.unit", "is %q: there are Second, Minute, Hour, Day, Week, Month and Year", r.Limit.Unit)
	}
	for j, c := range r.ClientSelectors {
		out.selector(s, fmt.Sprintf("%s.clientSelectors[%d]", at, j), c)
	}
	switch ptr.Deref(r.XRateLimitHeaders, "") {
	case "":
	case "Off":
		out.headers = routev3.RateLimit_OFF
	case "DraftVersion03":
		out.headers = routev3.RateLimit_DRAFT_VERSION_03
	default:
		s.Bad(at+".xRateLimitHeaders", "is %q: there are Off and DraftVersion03", *r.XRateLimitHeaders)
	}
	if c := r.Cost; c != nil {
		out.cost, out.after = costOf(s, at+".cost.request", c.Request), costOf(s, at+".cost.response", c.Response)
	}
	if m := r.Limit.FromMetadata; m != nil {
		if m.Namespace == "" || m.Key == "" {
			s.Bad(at+".limit.fromMetadata", "give namespace and key of the metadata")
		}
		out.limit = build.LimitFromMetadata(m.Namespace, m.Key)
	}
	return out
}

func costOf(s *sheet.Sheet, at string, c *api.RateLimitCostOf) *routev3.RateLimit_HitsAddend {
	switch {
	case c == nil:
		return nil
	case c.From == "Number" && c.Number != nil:
		return build.Hits(*c.Number)
	case c.From == "Metadata" && c.Metadata != nil:
		return build.HitsFromMetadata(c.Metadata.Namespace, c.Metadata.Key)
	}
	s.Bad(at, "give from: Number with number, or from: Metadata with metadata")
	return nil
}

// add adds an entry whose key is its place.
func (r *limitRule) add(action func(key string) *build.Action, distinct bool) {
	e := entry{key: fmt.Sprintf("%s-match-%d", r.name, len(r.entries))}
	if !distinct {
		e.value = e.key
	}
	e.action = action(e.key)
	r.entries = append(r.entries, e)
}

func (r *limitRule) selector(s *sheet.Sheet, at string, c api.RateLimitSelector) {
	for i, h := range c.Headers {
		r.header(s, fmt.Sprintf("%s.headers[%d]", at, i), h)
	}
	for i, q := range c.QueryParams {
		r.query(s, fmt.Sprintf("%s.queryParams[%d]", at, i), q)
	}
	if p := c.Path; p != nil {
		m := &routev3.HeaderMatcher{Name: ":path", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: pathText(s, at+".path", p)}}
		r.add(func(key string) *build.Action { return build.HeaderMatchEntry(key, key, m, ptr.Deref(p.Invert, false)) }, false)
	}
	key := r.name + "-method"
	for _, m := range c.Methods {
		r.methods = append(r.methods, entry{key, key, build.HeaderMatchEntry(key, key, build.Header(":method", m.Value, false), ptr.Deref(m.Invert, false))})
	}
	source := c.SourceCIDR
	if c.SourceIP != nil && source == nil {
		source = &api.SourceMatch{Value: *c.SourceIP}
	}
	if source != nil {
		r.source(s, at+".sourceCIDR", source)
	}
	if len(c.Headers)+len(c.QueryParams)+len(c.Methods) == 0 && c.Path == nil && source == nil {
		s.Bad(at, "chooses nothing: give headers, methods, path, sourceCIDR or queryParams")
	}
}

func (r *limitRule) header(s *sheet.Sheet, at string, h api.HeaderMatch) {
	kind := ptr.Deref(h.Type, "Exact")
	switch {
	case !build.FieldName(strings.TrimPrefix(h.Name, ":")):
		s.Bad(at+".name", "%q is not the name of a header", h.Name)
	case kind == "Distinct" && (h.Value != nil || ptr.Deref(h.Invert, false)):
		s.Bad(at, "each value counts by itself with the type Distinct: leave value and invert out")
	case kind == "Distinct":
		r.add(func(key string) *build.Action { return build.HeaderEntry(key, h.Name) }, true)
	case h.Value == nil:
		s.Bad(at+".value", "is required for the type %s", kind)
	case checkMatch(s, at, kind, *h.Value):
		m := build.Header(h.Name, *h.Value, kind == "RegularExpression")
		r.add(func(key string) *build.Action { return build.HeaderMatchEntry(key, key, m, ptr.Deref(h.Invert, false)) }, false)
	}
}

func (r *limitRule) query(s *sheet.Sheet, at string, q api.QueryParamMatch) {
	kind := ptr.Deref(q.Type, "Exact")
	switch {
	case kind == "Distinct" && (q.Value != nil || ptr.Deref(q.Invert, false)):
		s.Bad(at, "each value counts by itself with the type Distinct: leave value and invert out")
	case kind == "Distinct":
		r.add(func(key string) *build.Action { return build.QueryEntry(key, q.Name) }, true)
	case q.Value == nil:
		s.Bad(at+".value", "is required for the type %s", kind)
	case checkMatch(s, at, kind, *q.Value):
		m := build.Query(q.Name, *q.Value, kind == "RegularExpression")
		r.add(func(key string) *build.Action { return build.QueryMatchEntry(key, key, m, ptr.Deref(q.Invert, false)) }, false)
	}
}

func checkMatch(s *sheet.Sheet, at, kind, value string) bool {
	if kind != "Exact" && kind != "RegularExpression" {
		s.Bad(at+".type", "is %q: there are Exact, RegularExpression and Distinct", kind)
		return false
	}
	return kind == "Exact" || checkPattern(s, at+".value", value)
}

func checkPattern(s *sheet.Sheet, at, pattern string) bool {
	if pattern == "" {
		s.Bad(at, "is empty: give a regular expression")
		return false
	}
	if _, err := regexp.Compile(pattern); err != nil {
		s.Bad(at, "%q is not a regular expression of RE2: %s", pattern, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return false
	}
	return true
}

// source counts the clients of a range together or, if they are distinct, each by itself.
func (r *limitRule) source(s *sheet.Sheet, at string, m *api.SourceMatch) {
	in, err := netip.ParsePrefix(m.Value)
	if err != nil {
		if one, e := netip.ParseAddr(m.Value); e == nil {
			in, err = netip.PrefixFrom(one, one.BitLen()), nil
		}
	}
	kind := ptr.Deref(m.Type, "Exact")
	switch {
	case err != nil:
		s.Bad(at+".value", "%q is not a range of addresses, such as 192.168.0.0/16", m.Value)
		return
	case kind != "Exact" && kind != "Distinct":
		s.Bad(at+".type", "is %q: there are Exact and Distinct", kind)
		return
	}
	r.add(func(key string) *build.Action {
		return build.AddressMatchEntry(key, key, in, ptr.Deref(m.Invert, false))
	}, false)
	if kind == "Distinct" {
		r.entries = append(r.entries, entry{key: "remote_address", action: build.AddressEntry()})
	}
}

// variants are the entries of a rule's descriptors: one for each method, if it has any.
func (r *limitRule) variants() [][]entry {
	if len(r.methods) == 0 {
		return [][]entry{r.entries}
	}
	var out [][]entry
	for _, m := range r.methods {
		out = append(out, append([]entry{m}, r.entries...))
	}
	return out
}

// told is how responses tell what is left, where they are quiet if the rule does not say.
func (r *limitRule) told(quiet bool) routev3.RateLimit_XRateLimitOption {
	if quiet && r.headers == routev3.RateLimit_UNSPECIFIED {
		return routev3.RateLimit_OFF
	}
	return r.headers
}

// limits make what a request counts under. head is the first entry; nil for none.
func (r *limitRule) limits(head *build.Action, quiet bool) []*routev3.RateLimit {
	var out []*routev3.RateLimit
	for _, entries := range r.variants() {
		l := &routev3.RateLimit{XRatelimitOption: r.told(quiet), HitsAddend: r.cost, Limit: r.limit}
		if head != nil {
			l.Actions = append(l.Actions, head)
		}
		for _, e := range entries {
			l.Actions = append(l.Actions, e.action)
		}
		out = append(out, l)
		if r.after != nil {
			done := proto.CloneOf(l)
			done.HitsAddend, done.ApplyOnStreamDone = r.after, true
			out = append(out, done)
		}
	}
	return out
}

// filters are those that a chain needs for the limits.
func (l *limits) filters(to map[string]proto.Message) {
	if len(l.local) > 0 || l.fallback != nil {
		to[build.LocalRateLimit] = build.NoLocalLimit()
	}
	if len(l.global) > 0 {
		to[build.RateLimit] = build.GlobalLimit(l.service.Timeout, l.service.FailClosed)
	}
}

// domain is under which the rules of a policy are known to the limiter.
func (l *limits) domain() string { return l.owner.Kind.Kind + "/" + l.owner.Name.String() }

// config is what the limiter is told of a policy's rules; nil if there are none. The
// first entry of a descriptor is the rule, and its value the place: each value counts by
// itself.
func (l *limits) config() *rlsconfv3.RateLimitConfig {
	if l == nil || len(l.global) == 0 {
		return nil
	}
	out := &rlsconfv3.RateLimitConfig{Name: l.domain(), Domain: l.domain()}
	for _, r := range l.global {
		d := build.Descriptor(r.name, "")
		out.Descriptors = append(out.Descriptors, d)
		for _, e := range r.variants()[0] {
			below := build.Descriptor(e.key, e.value)
			d.Descriptors = append(d.Descriptors, below)
			d = below
		}
		d.RateLimit, d.ShadowMode = build.LimitPolicy(r.requests, r.unit), r.shadow
	}
	return out
}

// at limits requests at a place.
func (l *limits) at(e *attach.Effect, at attach.Place) {
	r := &routev3.Route{}
	if len(l.local) > 0 || l.fallback != nil {
		perFilter(r, build.LocalRateLimit, build.Any(l.localLimit(at.Quiet)))
	}
	if len(l.global) > 0 {
		place := fmt.Sprintf("%s/%s/%s/%d", at.Gateway, at.Listener.Section, at.Route, at.Index)
		m := build.RouteLimit(l.domain())
		for _, rule := range l.global {
			value := place
			if rule.shared {
				value = "shared"
			}
			m.RateLimits = append(m.RateLimits, rule.limits(build.GenericKey(rule.name, value), at.Quiet)...)
		}
		perFilter(r, build.RateLimit, build.Any(m))
	}
	e.Route = attach.Merge(e.Route, graph.Overlay{Message: r})
}

// unlimited is more than a bucket can lose in its time.
const unlimited = math.MaxUint32

// localLimit is the filter of a route: a request counts under the rules that choose it,
// or else under the rule that has no selectors.
func (l *limits) localLimit(quiet bool) proto.Message {
	out := build.LocalLimit(unlimited, time.Second)
	if f := l.fallback; f != nil {
		out = build.LocalLimit(f.requests, units()[f.unit])
		if f.told(quiet) == routev3.RateLimit_OFF {
			build.WithoutHeaders(out)
		}
		if f.shadow {
			build.Shadow(out)
		}
	}
	for _, r := range l.local {
		out.RateLimits = append(out.RateLimits, r.limits(nil, quiet)...)
		var pairs [][2]string
		for _, e := range r.variants()[0] {
			pairs = append(pairs, [2]string{e.key, e.value})
		}
		build.AddLocal(out, pairs, build.TokenBucket(r.requests, units()[r.unit]), r.shadow)
	}
	return out
}

// pathText matches the header :path, which has the query, too.
func pathText(s *sheet.Sheet, at string, p *api.PathMatch) *build.StringMatcher {
	const query = `(\?.*)?`
	switch kind := ptr.Deref(p.Type, "PathPrefix"); kind {
	case "Exact":
		return build.Text(regexp.QuoteMeta(p.Value)+query, true)
	case "PathPrefix":
		return build.Prefix(p.Value)
	case "RegularExpression":
		if checkPattern(s, at+".value", p.Value) {
			return build.Text("(?:"+p.Value+")"+query, true)
		}
	default:
		s.Bad(at+".type", "is %q: there are Exact, PathPrefix and RegularExpression", kind)
	}
	return build.Text("", false)
}
