// SPDX-License-Identifier: Apache-2.0

// Package healthcheck is Envoy's health check filter
// (envoy.filters.http.health_check): it answers the health checks of those who
// send requests here, by itself or with what the upstream said a moment ago,
// and fails them once the proxy is to get no more traffic.
package healthcheck

import (
	"io"
	"net/http"
	"strconv"
	"sync/atomic"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// Filter is the filter in one chain.
type Filter struct {
	slot     stream.Slot
	health   *extension.Health
	headers  match.Headers
	pass     bool
	cacheFor int64 // nanoseconds; 0 for no cache
	clusters []minimum
	node     string // the proxy's own cluster
	members  func(cluster string) (total, available uint64, ok bool)

	cached atomic.Pointer[answer]
}

// minimum is the percentage of a cluster's hosts that must be available.
type minimum struct {
	cluster string
	percent uint64
}

// answer is what the upstream said to a health check.
type answer struct {
	status   int
	degraded bool
	until    int64 // loop time
}

// state is whether a stream is a health check, and answered here.
type state struct{ check, handled bool }

// Request answers a health check, unless it passes through.
func (f *Filter) Request(s *stream.Stream) error {
	if !f.headers.Match(s.Request.Header) {
		return nil
	}
	st := stream.State[state](s, f.slot)
	st.check = true
	s.Info.HealthCheck = true
	failed := f.health.Failed() || f.health.Starting()
	var a *answer
	if f.cacheFor > 0 {
		if a = f.cached.Load(); a != nil && s.Task().Loop().Now() >= a.until {
			a = nil
		}
	}
	if f.pass && !failed && a == nil {
		return nil
	}
	st.handled = true
	if err := skip(s.Request.Body); err != nil {
		return err
	}
	switch {
	case failed:
		f.reply(s, http.StatusServiceUnavailable, "health_check_failed", false)
	case a != nil:
		f.reply(s, a.status, "health_check_cached", a.degraded)
	default:
		status, details := f.judge()
		f.reply(s, status, details, false)
	}
	return nil
}

// skip reads a request that came with a body to its end.
func skip(b stream.Body) error {
	for b != nil {
		switch _, err := b.Next(); err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
	return nil
}

// judge looks whether the clusters have enough hosts.
func (f *Filter) judge() (status int, details string) {
	details = "health_check_ok"
	for _, c := range f.clusters {
		total, available, ok := f.members(c.cluster)
		switch {
		case !ok:
			return http.StatusServiceUnavailable, "health_check_failed_no_cluster_found"
		case total == 0 && c.percent == 0:
		case total == 0:
			return http.StatusServiceUnavailable, "health_check_failed_cluster_empty"
		case 100*available < total*c.percent:
			return http.StatusServiceUnavailable, "health_check_failed_cluster_unhealthy"
		}
		details = "health_check_ok_cluster_healthy"
	}
	return http.StatusOK, details
}

func (f *Filter) reply(s *stream.Stream, status int, details string, degraded bool) {
	r := stream.Reply{Status: status, Details: details}
	if status/100 != 2 {
		r.Flags = streaminfo.FailedLocalHealthCheck
	}
	if degraded {
		r.Header = func(h *header.Map) { h.Set(header.XEnvoyDegraded, "") }
	}
	s.Reply(r)
}

// Response notes what the upstream said, and tells callers who is answering
// and whether to stay away.
func (f *Filter) Response(s *stream.Stream) error {
	st, h := stream.State[state](s, f.slot), s.Response.Header
	if st.check {
		if f.cacheFor > 0 && !st.handled {
			// A status that is no number is not remembered.
			if status, err := strconv.Atoi(string(h.Get(header.Status))); err == nil {
				f.cached.Store(&answer{status, h.Has(header.XEnvoyDegraded), s.Task().Loop().Now() + f.cacheFor})
			}
		}
		h.Set(header.XEnvoyUpstreamHealthcheckedCluster, f.node)
	}
	if f.health.Failed() {
		h.Set(header.XEnvoyImmediateHealthCheckFail, "true")
	}
	return nil
}
