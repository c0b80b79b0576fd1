// SPDX-License-Identifier: Apache-2.0

// Package csrf is Envoy's CSRF filter (envoy.filters.http.csrf): it refuses requests
// that change something and that a page of another site has made a browser send
// (cross-site request forgery). Where a request comes from stands in its Origin, or else
// its Referer, which pages cannot forge; the package keeps no tokens.
package csrf

import (
	"bytes"
	"math/rand/v2"
	"net/http"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Stats are the filter's statistics (http.STAT_PREFIX.csrf.*).
type Stats struct {
	Missing stats.Counter `stat:"missing_source_origin"`
	Invalid stats.Counter `stat:"request_invalid"`
	Valid   stats.Counter `stat:"request_valid"`
}

// Policy is a compiled CsrfPolicy.
type Policy struct {
	origins         match.Strings
	enabled, shadow match.RuntimeFraction
}

// Filter is the filter in one chain.
type Filter struct {
	name    string
	own     *Policy
	runtime match.Runtime
	stats   *stats.Sharded[Stats]
}

// Request refuses what comes from elsewhere. A shadow counts alone.
func (f *Filter) Request(s *stream.Stream) error {
	h := s.Request.Header
	if !changes(h.Get(header.Method)) {
		return nil
	}
	p := f.own
	if r, ok := stream.RouteConfig[*Policy](s, f.name); ok {
		p = r
	}
	enabled := p.enabled.Enabled(f.runtime, rand.Uint64())
	if !enabled && !p.shadow.Enabled(f.runtime, rand.Uint64()) {
		return nil
	}
	source := authority(h.Get(header.Origin))
	if len(source) == 0 {
		source = authority(h.Get(header.Referer))
	}
	count := f.stats.At(s.Task().Loop().ID())
	if len(source) == 0 {
		count.Missing.Inc()
	}
	if len(source) > 0 && (bytes.EqualFold(source, authority(h.Get(header.Authority))) || p.origins.MatchBytes(source)) {
		count.Valid.Inc()
		return nil
	}
	count.Invalid.Inc()
	if enabled {
		s.Reply(stream.Reply{Status: http.StatusForbidden, Body: "Invalid origin", Details: "csrf_origin_mismatch"})
	}
	return nil
}

// Response does nothing.
func (f *Filter) Response(*stream.Stream) error { return nil }

// changes reports whether a method may change something.
func changes(method []byte) bool {
	switch string(method) {
	case http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch:
		return true
	}
	return false
}

// authority is the host and port of a URL, or the whole of what is none, such as the
// "null" that a browser sends for a page without an origin.
func authority(url []byte) []byte {
	i := bytes.Index(url, []byte("://"))
	if i <= 0 {
		return url
	}
	rest := url[i+len("://"):]
	if end := bytes.IndexAny(rest, "/?#\\"); end >= 0 {
		rest = rest[:end]
	}
	return rest[bytes.LastIndexByte(rest, '@')+1:]
}
