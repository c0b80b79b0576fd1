// SPDX-License-Identifier: Apache-2.0

// Package adaptiveconcurrency is Envoy's adaptive concurrency filter
// (envoy.filters.http.adaptive_concurrency): it lets in as many requests at a time as
// their latency shows to be good for whoever answers them, and refuses the rest.
package adaptiveconcurrency

import (
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// Stats are the filter's statistics
// (http.STAT_PREFIX.adaptive_concurrency.gradient_controller.*). Gradient is in
// thousandths.
type Stats struct {
	Blocked   stats.Counter `stat:"rq_blocked"`
	Burst     stats.Gauge   `stat:"burst_queue_size"`
	Limit     stats.Gauge   `stat:"concurrency_limit"`
	Gradient  stats.Gauge   `stat:"gradient"`
	Measuring stats.Gauge   `stat:"min_rtt_calculation_active"`
	Minimal   stats.Gauge   `stat:"min_rtt_msecs"`
	Sample    stats.Gauge   `stat:"sample_rtt_msecs"`
}

// Filter is the filter in one chain.
type Filter struct {
	slot       stream.Slot
	runtime    match.Runtime
	enabled    match.RuntimeFlag
	status     int
	controller *controller
	stats      *stats.Sharded[Stats]
}

// state is one request's.
type state struct {
	begun    int64 // when it was let in; 0 if it was not counted
	answered bool
}

// Request lets the request in, or refuses it.
func (f *Filter) Request(s *stream.Stream) error {
	if s.Info.HealthCheck || !f.enabled.Enabled(f.runtime) {
		return nil
	}
	loop := s.Task().Loop()
	if !f.controller.begin() {
		f.stats.At(loop.ID()).Blocked.Inc()
		s.Reply(stream.Reply{Status: f.status, Body: "reached concurrency limit", Details: "reached_concurrency_limit"})
		return nil
	}
	stream.State[state](s, f.slot).begun = max(loop.Now(), 1)
	return nil
}

// Response notes that there is one.
func (f *Filter) Response(s *stream.Stream) error {
	stream.State[state](s, f.slot).answered = true
	return nil
}

// broken are the flags of responses that did not come to their end, or were not sent to
// it.
const broken = streaminfo.UpstreamConnectionTermination | streaminfo.UpstreamRemoteReset | streaminfo.LocalReset

// End counts the request out, and its latency if it was answered to the end.
func (f *Filter) End(s *stream.Stream) {
	st := stream.State[state](s, f.slot)
	if st.begun == 0 {
		return
	}
	gone := s.Info.Flags&streaminfo.DownstreamConnectionTermination != 0
	if !st.answered || gone || s.Info.Flags&broken != 0 && !s.Replied() {
		f.controller.cancel()
		return
	}
	loop := s.Task().Loop()
	f.controller.done(loop.ID(), st.begun, loop.Now())
}
