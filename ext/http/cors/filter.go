// SPDX-License-Identifier: Apache-2.0

// Package cors is Envoy's CORS filter (envoy.filters.http.cors): it answers
// preflight requests and tells browsers which origins may read a response
// (https://fetch.spec.whatwg.org/#http-cors-protocol). What is allowed stands
// in the routes: in the filter's per-route configuration at the route, its
// virtual host and its table, or in their deprecated cors fields.
package cors

import (
	"math/rand/v2"
	"net/http"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Stats are the filter's statistics (http.STAT_PREFIX.cors.*).
type Stats struct {
	Valid   stats.Counter `stat:"origin_valid"`
	Invalid stats.Counter `stat:"origin_invalid"`
}

// Policy is a compiled CorsPolicy. A field it does not set is taken from the
// next less specific policy.
type Policy struct {
	origins match.Strings
	any     bool // origins match every origin
	methods string
	headers string
	expose  string
	maxAge  string

	credentials, private, forward toggle
	enabled, shadow               match.RuntimeFraction
}

// toggle is a bool that may not be set.
type toggle uint8

const (
	unset toggle = iota
	no
	yes
)

// setOrigins notes whether a matcher takes "*", which allows every origin.
func (p *Policy) setOrigins(l match.Strings) {
	p.origins = l
	p.any = l.Match("*")
}

// Filter is the filter in one chain.
type Filter struct {
	name    string
	slot    stream.Slot
	runtime match.Runtime
	stats   *stats.Sharded[Stats]
}

// state is what one stream's request settled for its response.
type state struct {
	origin   []byte // allowed; nil if the response is left alone
	policies policies
}

// maxLevels is how many levels of configuration there are: route table,
// virtual host, route and weighted cluster.
const maxLevels = 4

// policies are those of a route, the most specific first.
type policies struct {
	list   [maxLevels]*Policy
	n      int
	legacy [2]Policy // what list points to for deprecated fields
}

// Request judges the origin and answers a preflight.
func (f *Filter) Request(s *stream.Stream) error {
	origin := s.Request.Header.Get(header.Origin)
	if len(origin) == 0 {
		return nil
	}
	r := s.Route()
	if r == nil || r.Forward == nil {
		return nil
	}
	st := stream.State[state](s, f.slot)
	ps := &st.policies
	ps.collect(r, f.name)
	if ps.n == 0 {
		return nil
	}
	enabled := ps.list[0].enabled.Enabled(f.runtime, rand.Uint64())
	if !enabled && !ps.list[0].shadow.Enabled(f.runtime, rand.Uint64()) {
		return nil
	}
	allowed := ps.allows(origin)
	count := f.stats.At(s.Task().Loop().ID())
	if allowed {
		count.Valid.Inc()
	} else {
		count.Invalid.Inc()
	}
	if !enabled {
		return nil
	}
	if allowed {
		st.origin = origin
	}
	method := s.Request.Header.Get(header.AccessControlRequestMethod)
	if len(method) == 0 || string(s.Request.Header.Get(header.Method)) != http.MethodOptions {
		return nil
	}
	if !allowed && ps.toggle(func(p *Policy) toggle { return p.forward }) != no {
		return nil
	}
	f.preflight(s, st, method)
	return nil
}

// preflight answers with what is allowed. The origin is added as for any other
// response, by Response.
func (f *Filter) preflight(s *stream.Stream, st *state, method []byte) {
	ps, req := &st.policies, s.Request.Header
	s.Reply(stream.Reply{Status: http.StatusOK, Details: "cors_response", Header: func(h *header.Map) {
		ps.grant(h, st.origin)
		echo(h, header.AccessControlAllowMethods, ps.text(func(p *Policy) string { return p.methods }), method)
		echo(h, header.AccessControlAllowHeaders, ps.text(func(p *Policy) string { return p.headers }), req.Get(header.AccessControlRequestHeaders))
		if v := ps.text(func(p *Policy) string { return p.maxAge }); v != "" {
			h.Set(header.AccessControlMaxAge, v)
		}
		if string(req.Get(header.AccessControlRequestPrivateNetwork)) == "true" && ps.toggle(func(p *Policy) toggle { return p.private }) == yes {
			h.Set(header.AccessControlAllowPrivateNetwork, "true")
		}
	}})
}

// echo sets a list of what is allowed; "*" is what was asked for.
func echo(h *header.Map, n header.Name, allowed string, asked []byte) {
	switch allowed {
	case "":
	case "*":
		h.SetBytes(n, asked)
	default:
		h.Set(n, allowed)
	}
}

// Response tells the browser that the origin may read the response.
func (f *Filter) Response(s *stream.Stream) error {
	st := stream.State[state](s, f.slot)
	if st.origin == nil {
		return nil
	}
	h := s.Response.Header
	st.policies.grant(h, st.origin)
	if v := st.policies.text(func(p *Policy) string { return p.expose }); v != "" {
		h.Set(header.AccessControlExposeHeaders, v)
	}
	return nil
}

// grant sets the allowed origin, if there is one, and whether credentials are
// allowed.
func (ps *policies) grant(h *header.Map, origin []byte) {
	if origin != nil {
		h.SetBytes(header.AccessControlAllowOrigin, origin)
	}
	if ps.toggle(func(p *Policy) toggle { return p.credentials }) == yes {
		h.Set(header.AccessControlAllowCredentials, "true")
	}
}

// collect finds the policies of a route: those of the filter's per-route
// configuration or, if there is none at any level, the deprecated ones.
func (ps *policies) collect(r *route.Route, name string) {
	ps.n = 0
	for c := range r.FilterConfigs(name) {
		if p, ok := c.(*Policy); ok && ps.n < maxLevels {
			copy(ps.list[1:], ps.list[:ps.n])
			ps.list[0] = p
			ps.n++
		}
	}
	if ps.n > 0 {
		return
	}
	ps.deprecated(r.Forward.CORS)
	if c := r.VirtualHost.CORS; c != r.Forward.CORS {
		ps.deprecated(c)
	}
}

func (ps *policies) deprecated(c *route.CORS) {
	if c == nil {
		return
	}
	p := &ps.legacy[ps.n]
	*p = Policy{
		methods: c.AllowMethods, headers: c.AllowHeaders, expose: c.ExposeHeaders, maxAge: c.MaxAge,
		credentials: toggled(c.AllowCredentials), private: toggled(c.AllowPrivateNetworkAccess), forward: toggled(c.ForwardNotMatchingPreflights),
		enabled: c.Enabled, shadow: c.Shadow,
	}
	p.setOrigins(c.AllowOrigins)
	ps.list[ps.n] = p
	ps.n++
}

// toggled keeps a deprecated policy from taking a permission from a less
// specific one: whether it set the field itself is not known.
func toggled(on bool) toggle {
	if on {
		return yes
	}
	return no
}

// allows reports whether the most specific policy with origins allows one.
func (ps *policies) allows(origin []byte) bool {
	for _, p := range ps.list[:ps.n] {
		if len(p.origins) > 0 {
			return p.any || p.origins.MatchBytes(origin)
		}
	}
	return false
}

// text returns the first of the policies' texts that is set.
func (ps *policies) text(of func(*Policy) string) string {
	for _, p := range ps.list[:ps.n] {
		if v := of(p); v != "" {
			return v
		}
	}
	return ""
}

// toggle returns the first of the policies' toggles that is set.
func (ps *policies) toggle(of func(*Policy) toggle) toggle {
	for _, p := range ps.list[:ps.n] {
		if v := of(p); v != unset {
			return v
		}
	}
	return unset
}
