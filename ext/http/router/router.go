// SPDX-License-Identifier: Apache-2.0

// Package router is the terminal HTTP filter (envoy.filters.http.router): it
// sends the request where its route says and brings back the response. Time
// limits, retries, mirrors and what Envoy's headers ask of them live here; which
// host is picked and how connections are kept is the cluster's (proxy/upstream).
//
// It is the only place where downstream and upstream meet.
package router

import (
	"net/http"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/overload"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.router"

// Filter is a compiled Router message.
type Filter struct {
	slot     stream.Slot
	clusters *upstream.Manager
	runtime  match.Runtime
	// suppress keeps x-envoy headers of the router's own from requests and
	// responses.
	suppress bool
	// respectTimeout takes the expected time-out that a proxy in front has
	// written.
	respectTimeout bool
	// spawns has every try have a span of its own.
	spawns bool
	// shed is how many requests are answered 503 instead of being sent on
	// (http_downstream_filter_check).
	shed    *overload.Level
	stats   *stats.Sharded[Stats]
	workers []worker
	// filters are upstream_http_filters, for clusters without any of their own; nil is
	// none.
	filters *stream.Chain
}

// worker is what the requests of one loop share.
type worker struct {
	f     *Filter
	stats *Stats
	free  []*request
	tries []*try // beyond the first of each request
	// shadowed are the bytes of the copies under way.
	shadowed int
}

// Stats are the router's own, in the scope of its connection manager.
type Stats struct {
	NoRoute        stats.Counter `stat:"no_route"`
	NoCluster      stats.Counter `stat:"no_cluster"`
	Redirect       stats.Counter `stat:"rq_redirect"`
	DirectResponse stats.Counter `stat:"rq_direct_response"`
	Total          stats.Counter `stat:"rq_total"`
	ResetAfter     stats.Counter `stat:"rq_reset_after_downstream_response_started"`
	RetrySkipped   stats.Counter `stat:"rq_retry_skipped_request_not_complete"`
	Overloaded     stats.Counter `stat:"rq_overload_local_reply"`
	Passed         PassedRedirects
}

// Request answers the request, from upstream or as the route says.
func (f *Filter) Request(s *stream.Stream) error {
	w := &f.workers[s.Task().Loop().ID()]
	r := s.Route()
	switch {
	case r == nil:
		w.stats.NoRoute.Inc()
		s.Reply(stream.Reply{Status: http.StatusNotFound, Details: "route_not_found", Flags: streaminfo.NoRouteFound})
		return nil
	case r.Direct != nil:
		w.stats.DirectResponse.Inc()
		f.direct(s, r)
		return nil
	case r.Redirect != nil:
		w.stats.Redirect.Inc()
		f.redirect(s, r)
		return nil
	case r.Forward == nil:
		w.stats.NoRoute.Inc()
		s.Reply(stream.Reply{Status: http.StatusNotFound, Details: "route_not_found", Flags: streaminfo.NoRouteFound})
		return nil
	}
	return w.forward(s, r)
}

func (f *Filter) direct(s *stream.Stream, r *route.Route) {
	d := r.Direct
	body := string(d.Body)
	if d.Format != nil {
		s.Info.LocalReplyBody = d.Body
		body = string(d.Format.AppendTo(nil, &s.Info))
	}
	s.Reply(stream.Reply{
		Status: d.Status, Body: body, ContentType: d.ContentType, Details: "direct_response",
	})
}

func (f *Filter) redirect(s *stream.Stream, r *route.Route) {
	s.Reply(stream.Reply{
		Status: r.Redirect.Status, Details: "direct_response",
		Header: func(h *header.Map) {
			h.SetBytes(header.Location, r.AppendLocation(nil, s.Request.Header, &s.Info, !f.suppress))
		},
	})
}

// forward finds the cluster and sends the request there.
func (w *worker) forward(s *stream.Stream, r *route.Route) error {
	w.stats.Total.Inc()
	ref := r.Cluster(&route.Request{Header: s.Request.Header, Info: &s.Info, Random: s.Random})
	c := w.f.clusters.Get(ref.Name)
	if c == nil {
		w.stats.NoCluster.Inc()
		s.Reply(stream.Reply{Status: ref.NotFoundStatus, Details: "cluster_not_found", Flags: streaminfo.NoClusterFound})
		return nil
	}
	if f, ok := w.f.runtime.Fraction(c.MaintenanceKey); ok && f.Enabled(s.Random) {
		w.maintain(s, c)
		return nil
	}
	if w.f.shed.Hits() {
		w.stats.Overloaded.Inc()
		s.Reply(stream.Reply{
			Status: http.StatusServiceUnavailable, Body: "envoy overloaded", Details: "overload", Flags: streaminfo.OverloadManager,
		})
		return nil
	}
	q := w.take(s, r, c)
	*stream.State[*request](s, w.f.slot) = q
	q.pick.Metadata = q.criteria(ref.MetadataMatch)
	return q.run()
}

// maintain answers for a cluster that is out of service (maintenance mode).
func (w *worker) maintain(s *stream.Stream, c *upstream.Cluster) {
	st := c.Worker(s.Task().Loop().ID()).Stats
	st.RqMaintenanceMode.Inc()
	st.Response(http.StatusServiceUnavailable)
	s.Info.ClusterName = c.Name
	s.Reply(stream.Reply{
		Status: http.StatusServiceUnavailable, Body: "maintenance mode", Details: "maintenance_mode", Flags: streaminfo.UpstreamOverflow,
		Header: func(h *header.Map) {
			if !w.f.suppress {
				h.Set(header.XEnvoyOverloaded, "true")
			}
		},
	})
}

// Held is how much memory a stream takes: what has come of its request and not gone to the
// host, or is kept for another try, and what has come of the response and not gone on.
func (f *Filter) Held(s *stream.Stream, received uint64) uint64 {
	q := *stream.State[*request](s, f.slot)
	if q == nil || q.client == nil {
		return received
	}
	_, sent, _ := q.client.Sent()
	held := max(received-min(sent, received), uint64(len(q.replay.kept)))
	if c, ok := q.client.(interface{ Queued() int }); ok {
		held += uint64(c.Queued())
	}
	return held
}

// Response does nothing: the response began here.
func (f *Filter) Response(*stream.Stream) error { return nil }

// End gives the upstream connection back, or closes it if the exchange was not
// finished.
func (f *Filter) End(s *stream.Stream) {
	if q := *stream.State[*request](s, f.slot); q != nil {
		q.end()
		*stream.State[*request](s, f.slot) = nil
	}
}

// take returns the memory of a request.
func (w *worker) take(s *stream.Stream, r *route.Route, c *upstream.Cluster) *request {
	var q *request
	if n := len(w.free); n > 0 {
		q = w.free[n-1]
		w.free = w.free[:n-1]
	} else {
		q = newRequest(w, s.Task().Loop())
	}
	q.s, q.route, q.cluster = s, r, c
	q.up = c.Worker(s.Task().Loop().ID())
	q.up.Hold()
	q.start = q.loop.Now()
	return q
}

// maxFree bounds the requests that a loop keeps for use again.
const maxFree = 1024
