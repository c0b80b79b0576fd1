// SPDX-License-Identifier: Apache-2.0

// Package bandwidthlimit is Envoy's bandwidth limit filter (envoy.filters.http.bandwidth_limit):
// the bodies of requests, of responses or of both pass no faster than so many bytes a
// second, which all streams of one configuration share.
package bandwidthlimit

import (
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/tokenbucket"
)

// A Limit is that of the filter, or of a route.
type Limit struct {
	request, response bool
	bucket            *tokenbucket.Bucket // of bytes; nil: no limit
	fill              time.Duration       // how often a body that waits looks again
	enabled           match.RuntimeFlag
	tell              *trailers // nil: nothing is told
	sent, received    *direction
}

// trailers are the names of those that tell of delays.
type trailers struct{ request, requestFilter, response, responseFilter header.Name }

// direction is the statistics of requests or of responses.
type direction struct {
	enabled, enforced, incomingTotal, allowedTotal *stats.Counter
	pending, incoming, allowed                     *stats.Gauge
	duration                                       *stats.Histogram
}

func newDirection(s *stats.Scope, name string) *direction {
	return &direction{
		enabled: s.Counter(name + "_enabled"), enforced: s.Counter(name + "_enforced"),
		incomingTotal: s.Counter(name + "_incoming_total_size"), allowedTotal: s.Counter(name + "_allowed_total_size"),
		pending: s.Gauge(name + "_pending"), incoming: s.Gauge(name + "_incoming_size"), allowed: s.Gauge(name + "_allowed_size"),
		duration: s.Histogram(name+"_transfer_duration", stats.Milliseconds),
	}
}

// Filter is the filter in one chain.
type Filter struct {
	name    string
	slot    stream.Slot
	own     *Limit
	runtime match.Runtime
}

// state is what the filter keeps for one stream.
type state struct {
	limit             *Limit
	request, response paced
	trailer           header.Map
}

// Request limits the request's body.
func (f *Filter) Request(s *stream.Stream) error {
	l := f.own
	if o, ok := stream.RouteConfig[*Limit](s, f.name); ok {
		l = o
	}
	if l.bucket == nil || !l.enabled.Enabled(f.runtime) {
		return nil
	}
	st := stream.State[state](s, f.slot)
	st.limit = l
	if !l.request {
		return nil
	}
	l.sent.enabled.Inc()
	if s.Request.Body != nil {
		st.request = paced{body: s.Request.Body, s: s, limit: l, count: l.sent}
		s.Request.Body = &st.request
	}
	return nil
}

// Response limits the response's body.
func (f *Filter) Response(s *stream.Stream) error {
	st := stream.State[state](s, f.slot)
	l := st.limit
	if l == nil || !l.response {
		return nil
	}
	l.received.enabled.Inc()
	if s.Response.Body == nil {
		return nil
	}
	st.response = paced{body: s.Response.Body, s: s, limit: l, count: l.received}
	s.Response.Body = &st.response
	if l.tell == nil {
		return nil
	}
	if s.Response.Trailer == nil {
		st.trailer.Reset()
		s.Response.Trailer = &st.trailer
		s.Info.ResponseTrailer = &st.trailer
	}
	st.response.ended = func() { l.tell.write(s.Response.Trailer, st) }
	return nil
}

// write tells of the delays that there were.
func (t *trailers) write(h *header.Map, st *state) {
	for _, x := range [...]struct {
		name header.Name
		took time.Duration
	}{{t.request, st.request.took}, {t.requestFilter, st.request.waited}, {t.response, st.response.took}, {t.responseFilter, st.response.waited}} {
		if ms := x.took.Milliseconds(); ms > 0 {
			h.Del(x.name)
			h.AddInt(x.name, ms)
		}
	}
}

// End settles bodies that were broken off.
func (f *Filter) End(s *stream.Stream) {
	st := stream.State[state](s, f.slot)
	st.response.ended = nil // Nobody hears it any more.
	st.request.end()
	st.response.end()
}
