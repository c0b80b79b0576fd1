// SPDX-License-Identifier: Apache-2.0

// Package localratelimit limits how many requests pass in a time, by buckets of tokens
// in this process (envoy.filters.http.local_ratelimit): one for all requests, and one
// for each descriptor that rate_limits give a request.
package localratelimit

import (
	"math"
	"net/http"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/ratelimit"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// Filter is the filter in one chain.
type Filter struct {
	name    string
	slot    stream.Slot
	own     *Settings
	runtime match.Runtime
}

// Settings are one configuration: the filter's own, or that of a route.
type Settings struct {
	status            int
	grpc              stream.GRPCStatus
	enabled, enforced match.RuntimeFraction
	limits            *Limits
	perConnection     bool
	// peers counts the proxies that share the tokens; nil if they are this one's alone.
	peers                 func() int
	describer             ratelimit.Describer
	layers                ratelimit.Layers
	headers, retryAfter   bool
	onRequest, onResponse *route.Headers
	stats                 *Stats
}

// Stats are the statistics of all configurations of one stat_prefix
// (STAT_PREFIX.http_local_rate_limit.*).
type Stats struct{ enabled, enforced, limited, ok *stats.Counter }

// state is what a stream keeps.
type state struct {
	set         *Settings
	descriptors ratelimit.Descriptors
	by          *Bucket // that the response tells of
	tell        bool
}

// Request takes the request's tokens, or refuses it.
func (f *Filter) Request(s *stream.Stream) error {
	set := f.own
	if o, ok := stream.RouteConfig[*Settings](s, f.name); ok {
		set = o
	}
	if !set.enabled.Enabled(f.runtime, s.Random) {
		return nil
	}
	set.stats.enabled.Inc()
	st := stream.State[state](s, f.slot)
	st.set = set
	st.descriptors.Reset()
	limits := set.limits
	if set.perConnection {
		limits = f.ofConnection(s, set)
	}
	if len(limits.rules) > 0 {
		set.describer.Describe(&st.descriptors, s, set.layers, false)
	}
	share := 1
	if set.peers != nil {
		share = max(1, set.peers())
	}
	now := engine.Nano()
	v := limits.take(now, st.descriptors.List, share)
	st.by, st.tell = v.by, v.tell == route.Enabled || v.tell == route.Unset && set.headers
	if v.allowed {
		set.stats.ok.Inc()
		return nil
	}
	set.stats.limited.Inc()
	if v.shadow || !set.enforced.Enabled(f.runtime, s.Random) {
		set.onRequest.Apply(s.Request.Header, &s.Info)
		return nil
	}
	set.stats.enforced.Inc()
	s.Reply(stream.Reply{
		Status: set.status, GRPCStatus: set.grpc, Body: refused, Details: refused, Flags: streaminfo.RateLimited,
		Header: func(h *header.Map) {
			set.onResponse.Apply(h, &s.Info)
			if set.retryAfter && set.status == http.StatusTooManyRequests && v.by != nil && h.Get(header.RetryAfter) == nil {
				h.AddInt(header.RetryAfter, max(1, v.by.reset(now)))
			}
		},
	})
	return nil
}

// refused is the body and the details of the reply.
const refused = "local_rate_limited"

// ofConnection returns the buckets of the stream's connection.
func (f *Filter) ofConnection(s *stream.Stream, set *Settings) *Limits {
	c := s.Info.Conn
	all, _ := c.FilterState[Name].Value.(map[*Settings]*Limits)
	if all == nil {
		if c.FilterState == nil {
			c.FilterState = streaminfo.FilterState{}
		}
		all = map[*Settings]*Limits{}
		c.FilterState[Name] = streaminfo.StateObject{Value: all}
	}
	l := all[set]
	if l == nil {
		l = set.limits.fresh(engine.Nano())
		all[set] = l
	}
	return l
}

var (
	limitName     = header.NewName("x-ratelimit-limit")
	remainingName = header.NewName("x-ratelimit-remaining")
	resetName     = header.NewName("x-ratelimit-reset")
)

// Response tells of the limit.
func (f *Filter) Response(s *stream.Stream) error {
	st := stream.State[state](s, f.slot)
	if !st.tell || st.by == nil {
		return nil
	}
	now, h := engine.Nano(), s.Response.Header
	h.AddInt(limitName, int64(st.by.bucket.Rate().Most))
	h.AddInt(remainingName, int64(math.Floor(st.by.bucket.Tokens(now))))
	h.AddInt(resetName, st.by.reset(now))
	return nil
}
