// SPDX-License-Identifier: Apache-2.0

// Package jwtauthn lets requests through that carry the JSON Web Tokens which rules ask
// for (envoy.filters.http.jwt_authn), and hands on what the tokens claim: as headers, and
// as dynamic metadata for the filters that follow, such as RBAC.
//
// Keys are fetched ahead, by a goroutine for each provider with remote_jwks: a request
// waits for them only while none have come yet, and no longer than one fetch may take.
// Tokens that were verified are remembered by their hash, for each loop, until the keys
// change.
package jwtauthn

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/internal/jose"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// Filter is the filter in one chain.
type Filter struct {
	name          string
	bypass, strip bool
	// table has a route for each rule, named by its number; nil if there are no rules.
	table *route.Table
	rules []requirement // nil: anything does
	// byName is requirement_map, byState what the filter state called stateName chooses.
	byName, byState map[string]requirement
	stateName       string
	names           string // of byName, for messages
	// sanitized are headers that clients must not send: what is written into them counts
	// as verified.
	sanitized []header.Name
	stats     *stats.Sharded[Stats]
}

// PerRoute is what a route asks for instead of the rules.
type PerRoute struct {
	disabled    bool
	requirement string
}

// Stats are the filter's statistics (http.STAT_PREFIX.jwt_authn.*).
type Stats struct {
	Allowed   stats.Counter `stat:"allowed"`
	Denied    stats.Counter `stat:"denied"`
	Preflight stats.Counter `stat:"cors_preflight_bypassed"`
	Hit       stats.Counter `stat:"jwt_cache_hit"`
	Miss      stats.Counter `stat:"jwt_cache_miss"`
}

// FetchStats count fetches of keys, beside the others.
type FetchStats struct {
	Success stats.Counter `stat:"jwks_fetch_success"`
	Failed  stats.Counter `stat:"jwks_fetch_failed"`
}

// Request lets the request through or refuses it.
func (f *Filter) Request(s *stream.Stream) error {
	h := s.Request.Header
	for _, n := range f.sanitized {
		if h.Has(n) {
			h.Del(n)
		}
	}
	loop := s.Task().Loop().ID()
	count := f.stats.At(loop)
	if f.bypass && preflight(h) {
		count.Preflight.Inc()
		count.Allowed.Inc()
		return nil
	}
	var req requirement
	if r, ok := stream.RouteConfig[*PerRoute](s, f.name); ok {
		if req = f.byName[r.requirement]; req == nil && !r.disabled {
			if _, known := f.byName[r.requirement]; !known {
				count.Denied.Inc()
				f.misnamed(s, r.requirement)
				return nil
			}
		}
	} else {
		req = f.find(s)
	}
	if req == nil {
		count.Allowed.Inc()
		return nil
	}
	v := &verification{s: s, loop: loop, count: count, now: uint64(time.Now().Unix())}
	status := req.verify(v)
	v.finish()
	if v.err != nil {
		return v.err
	}
	if status != jose.OK {
		count.Denied.Inc()
		f.refuse(s, status)
		return nil
	}
	count.Allowed.Inc()
	return nil
}

// Response does nothing.
func (f *Filter) Response(*stream.Stream) error { return nil }

// find returns what the first rule that matches asks for, or else what the filter state
// chooses.
func (f *Filter) find(s *stream.Stream) requirement {
	if f.table != nil {
		if r := f.table.Match(&route.Request{Header: s.Request.Header, Info: &s.Info, Random: s.Random}); r != nil {
			n, err := strconv.Atoi(r.Name)
			if err != nil {
				panic("BUG: a rule called " + r.Name)
			}
			return f.rules[n]
		}
	}
	if f.stateName == "" {
		return nil
	}
	o, ok := s.Info.FilterState[f.stateName]
	if !ok && s.Info.Conn != nil {
		o = s.Info.Conn.FilterState[f.stateName]
	}
	return f.byState[o.Text]
}

// preflight reports whether a request is a preflight of CORS, which carries no
// credentials (Fetch §4.8).
func preflight(h *header.Map) bool {
	return string(h.Get(header.Method)) == http.MethodOptions && len(h.Get(header.Origin)) > 0 && len(h.Get(header.AccessControlRequestMethod)) > 0
}

// detailsOf is %RESPONSE_CODE_DETAILS% of a refused request.
func detailsOf(reason string) string {
	return "jwt_authn_access_denied{" + strings.ReplaceAll(reason, " ", "_") + "}"
}

func (f *Filter) misnamed(s *stream.Stream, name string) {
	reason := "Wrong requirement_name: " + name + ". It should be one of [" + f.names + "]"
	r := stream.Reply{Status: http.StatusForbidden, Details: detailsOf(reason)}
	if !f.strip {
		r.Body = "Failed JWT authentication: " + reason
	}
	s.Reply(r)
}

func (f *Filter) refuse(s *stream.Stream, status jose.Status) {
	r := stream.Reply{Status: http.StatusUnauthorized, Details: detailsOf(status.String())}
	if status == jose.AudienceNotAllowed {
		r.Status = http.StatusForbidden
	}
	if !f.strip {
		realm := stream.Realm(s.Request.Header)
		r.Body = status.String()
		r.Header = func(h *header.Map) {
			value := `Bearer realm="` + realm + `"`
			if status != jose.Missing {
				value += `, error="invalid_token"`
			}
			h.Set(header.WWWAuthenticate, value)
		}
	}
	s.Reply(r)
}

// note adds what was found out to the stream's dynamic metadata.
func note(s *stream.Stream, key string, value map[string]any) {
	if s.Info.Metadata == nil {
		s.Info.Metadata = streaminfo.Metadata{}
	}
	m := s.Info.Metadata[Name]
	if m == nil {
		m = map[string]any{}
		s.Info.Metadata[Name] = m
	}
	m[key] = value
}
