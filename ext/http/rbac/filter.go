// SPDX-License-Identifier: Apache-2.0

// Package rbac lets requests through that its rules allow (envoy.filters.http.rbac), and
// tells what other rules, the shadow rules, would do. What the rules are is in
// proxy/rbac.
package rbac

import (
	"net/http"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/rbac"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// Filter judges requests.
type Filter struct {
	name string
	own  *Rules
	// rules and shadow are where policies are counted one by one.
	rules, shadow *stats.Scope
	stats         *stats.Sharded[Stats]
	shadowStats   *stats.Sharded[ShadowStats]
}

// Rules are those of the filter, or of a route.
type Rules struct {
	enforced, shadow *rbac.Engine // nil: no rules
	told, shadowTold told
	each             bool // policies are counted one by one
}

// told is under which names a decision stands in the dynamic metadata.
type told struct{ result, policy string }

// Stats are the filter's statistics (http.STAT_PREFIX.rbac.*).
type Stats struct {
	Allowed   stats.Counter `stat:"allowed"`
	Denied    stats.Counter `stat:"denied"`
	Logged    stats.Counter `stat:"logged"`
	NotLogged stats.Counter `stat:"not_logged"`
}

// ShadowStats count what the shadow rules would do.
type ShadowStats struct {
	Allowed stats.Counter `stat:"shadow_allowed"`
	Denied  stats.Counter `stat:"shadow_denied"`
}

// commonNamespace is that of dynamic metadata which several filters write.
const commonNamespace = "envoy.common"

// Request lets the request through or refuses it.
func (f *Filter) Request(s *stream.Stream) error {
	r := f.own
	if o, ok := stream.RouteConfig[*Rules](s, f.name); ok {
		r = o
	}
	if r.enforced == nil && r.shadow == nil {
		return nil
	}
	d := match.Data{Request: s.Request.Header, Stream: &s.Info, Conn: s.Info.Conn}
	loop := s.Task().Loop().ID()
	if r.shadow != nil {
		got, n := r.shadow.Decide(d), f.shadowStats.At(loop)
		if got.Allowed {
			n.Allowed.Inc()
		} else {
			n.Denied.Inc()
		}
		r.shadowTold.note(s, got)
		r.count(f.shadow, "shadow_", got)
	}
	if r.enforced == nil {
		return nil
	}
	got, n := r.enforced.Decide(d), f.stats.At(loop)
	if r.enforced.Logs() || got.Log {
		space(s, commonNamespace)["access_log_hint"] = got.Log
		if got.Log {
			n.Logged.Inc()
		} else {
			n.NotLogged.Inc()
		}
	}
	r.told.note(s, got)
	r.count(f.rules, "", got)
	if got.Allowed {
		n.Allowed.Inc()
		return nil
	}
	n.Denied.Inc()
	s.Reply(stream.Reply{Status: http.StatusForbidden, Body: "RBAC: access denied", Details: got.Details()})
	return nil
}

// Response does nothing.
func (f *Filter) Response(*stream.Stream) error { return nil }

// note tells a decision in the dynamic metadata.
func (t *told) note(s *stream.Stream, d rbac.Decision) {
	m := space(s, Name)
	m[t.result] = result(d)
	if d.Policy != "" {
		m[t.policy] = d.Policy
	}
}

// count counts the policy that decided.
func (r *Rules) count(scope *stats.Scope, prefix string, d rbac.Decision) {
	if r.each && d.Policy != "" {
		scope.Counter("policy." + stats.Sanitize(d.Policy) + "." + prefix + result(d)).Inc()
	}
}

func result(d rbac.Decision) string {
	if d.Allowed {
		return "allowed"
	}
	return "denied"
}

func space(s *stream.Stream, name string) map[string]any {
	if s.Info.Metadata == nil {
		s.Info.Metadata = streaminfo.Metadata{}
	}
	m := s.Info.Metadata[name]
	if m == nil {
		m = map[string]any{}
		s.Info.Metadata[name] = m
	}
	return m
}
