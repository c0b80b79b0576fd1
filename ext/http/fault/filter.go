// SPDX-License-Identifier: Apache-2.0

// Package fault is Envoy's fault injection filter (envoy.filters.http.fault):
// it delays requests, aborts them and slows responses down, for a share of the
// requests that match, so that the services around learn to bear it.
package fault

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// Stats are the filter's statistics (http.STAT_PREFIX.fault.*).
type Stats struct {
	Aborts   stats.Counter `stat:"aborts_injected"`
	Delays   stats.Counter `stat:"delays_injected"`
	Overflow stats.Counter `stat:"faults_overflow"`
	Rates    stats.Counter `stat:"response_rl_injected"`
	Active   stats.Gauge   `stat:"active_faults"`
}

// Filter is the filter in one chain.
type Filter struct {
	name     string
	slot     stream.Slot
	own      *Settings
	runtime  match.Runtime
	stats    *stats.Sharded[Stats]
	clusters *clusterStats
}

// state is one request's faults.
type state struct {
	set    *Settings
	active bool   // counted among the active faults
	kbps   uint64 // of the response; 0 for as fast as it comes
	body   paced
}

// Request delays or aborts the request, and settles whether its response is
// slowed down.
func (f *Filter) Request(s *stream.Stream) error {
	set := f.own
	if o, ok := stream.RouteConfig[*Settings](s, f.name); ok {
		set = o
	}
	if set.delay == nil && set.abort == nil && set.rate == nil || !set.matches(s) {
		return nil
	}
	st := stream.State[state](s, f.slot)
	st.set = set
	f.limit(s, st)
	if ms := f.delayFor(s, set); ms > 0 && f.begin(s, st) {
		if err := f.delay(s, st, ms); err != nil {
			return err
		}
	}
	status, grpc, ok := f.abortWith(s, set)
	if ok && f.begin(s, st) {
		f.abort(s, st, status, grpc)
		return nil
	}
	if set.rate == nil {
		f.end(s, st) // A delay that is over is not active any more.
	}
	return nil
}

// Response slows the response's body down.
func (f *Filter) Response(s *stream.Stream) error {
	st := stream.State[state](s, f.slot)
	if st.kbps > 0 && s.Response.Body != nil {
		st.body.start(s, st.kbps)
		s.Response.Body = &st.body
	}
	return nil
}

// End lets go of the stream's place among the active faults.
func (f *Filter) End(s *stream.Stream) { f.end(s, stream.State[state](s, f.slot)) }

// matches reports whether a request may be made to suffer.
func (set *Settings) matches(s *stream.Stream) bool {
	h := s.Request.Header
	if set.cluster != "" {
		r := s.Route()
		if r == nil || r.Forward == nil || r.Cluster(&route.Request{Header: h, Info: &s.Info, Random: s.Random}).Name != set.cluster {
			return false
		}
	}
	if len(set.nodes) > 0 {
		node := h.Get(header.XEnvoyDownstreamServiceNode)
		if node == nil || !slices.Contains(set.nodes, string(node)) {
			return false
		}
	}
	return set.headers.Match(h)
}

// enabled draws for a share, which runtime may override: by the key of the
// client's cluster if it told one, else by the filter's.
func (f *Filter) enabled(s *stream.Stream, share match.Fraction, key, clusterKey string) bool {
	if c := s.Request.Header.Get(header.XEnvoyDownstreamServiceCluster); clusterKey != "" && len(c) > 0 {
		key = "fault.http." + string(c) + clusterKey
	}
	if v, ok := f.runtime.Fraction(key); ok {
		share = v
	}
	return share.Enabled(rand.Uint64())
}

// value returns a number that runtime may override, likewise.
func (f *Filter) value(s *stream.Stream, def int64, clusterKey string) int64 {
	if c := s.Request.Header.Get(header.XEnvoyDownstreamServiceCluster); len(c) > 0 {
		if v, ok := f.runtime.Int("fault.http." + string(c) + clusterKey); ok {
			return v
		}
	}
	return def
}

// begin counts the stream among the active faults, unless there are too many.
// As in Envoy the limit is not exact.
func (f *Filter) begin(s *stream.Stream, st *state) bool {
	if st.active {
		return true
	}
	max := st.set.maxActive
	if v, ok := f.runtime.Int(st.set.keys.maxActive); ok {
		max = v
	}
	active := int64(0)
	for i := range f.stats.Len() {
		active += f.stats.At(i).Active.Value()
	}
	count := f.count(s)
	if active >= max {
		count.Overflow.Inc()
		return false
	}
	count.Active.Inc()
	st.active = true
	return true
}

func (f *Filter) end(s *stream.Stream, st *state) {
	if st.active {
		st.active = false
		f.count(s).Active.Dec()
	}
}

func (f *Filter) count(s *stream.Stream) *Stats { return f.stats.At(s.Task().Loop().ID()) }

func (f *Filter) limit(s *stream.Stream, st *state) {
	r := st.set.rate
	if r == nil || !f.enabled(s, r.portion(s.Request.Header), st.set.keys.ratePercent, "") {
		return
	}
	if kbps, ok := r.limit(s.Request.Header); ok && f.begin(s, st) {
		st.kbps = kbps
		f.count(s).Rates.Inc()
	}
}

// delayFor returns for how many milliseconds to delay the request.
func (f *Filter) delayFor(s *stream.Stream, set *Settings) int64 {
	d := set.delay
	if d == nil || !f.enabled(s, d.portion(s.Request.Header), set.keys.delayPercent, ".delay.fixed_delay_percent") {
		return 0
	}
	ms, ok := d.millis(s.Request.Header)
	if !ok {
		return 0
	}
	if v, ok := f.runtime.Int(set.keys.delayDuration); ok {
		ms = v
	}
	return min(f.value(s, ms, ".delay.fixed_duration_ms"), maxDelay)
}

// maxDelay keeps a delay of milliseconds within a time.Duration.
const maxDelay = int64(365 * 24 * time.Hour / time.Millisecond)

func (f *Filter) delay(s *stream.Stream, st *state, ms int64) error {
	f.count(s).Delays.Inc()
	f.clusters.inc(s, st.set, "delays_injected")
	s.Info.Flags |= streaminfo.DelayInjected
	st.set.note(s)
	return s.Running().Sleep(time.Duration(ms) * time.Millisecond)
}

// abortWith returns what to abort the request with, if it is to be. A gRPC
// status comes with 200; -1 is none.
func (f *Filter) abortWith(s *stream.Stream, set *Settings) (status int, grpc int64, ok bool) {
	a, h := set.abort, s.Request.Header
	if a == nil || !f.enabled(s, a.portion(h), set.keys.abortPercent, ".abort.abort_percent") {
		return 0, 0, false
	}
	if def, ok := a.status(h); ok {
		v := f.override(s, def, set.keys.abortStatus, ".abort.http_status")
		if v < 200 || v > 599 { // What runtime says is not checked by anyone else.
			v = def
		}
		return int(v), -1, true
	}
	if def, ok := a.grpc(h); ok {
		return http.StatusOK, f.override(s, def, set.keys.abortGRPC, ".abort.grpc_status"), true
	}
	return 0, 0, false
}

func (f *Filter) override(s *stream.Stream, def int64, key, clusterKey string) int64 {
	if len(s.Request.Header.Get(header.XEnvoyDownstreamServiceCluster)) > 0 {
		return f.value(s, def, clusterKey)
	}
	if v, ok := f.runtime.Int(key); ok {
		return v
	}
	return def
}

func (f *Filter) abort(s *stream.Stream, st *state, status int, grpc int64) {
	f.count(s).Aborts.Inc()
	f.clusters.inc(s, st.set, "aborts_injected")
	st.set.note(s)
	r := stream.Reply{Status: status, Body: st.set.abort.body, Details: "fault_filter_abort", Flags: streaminfo.FaultInjected}
	if grpc > 0 {
		r.GRPCStatus = stream.GRPC(int(grpc))
	}
	s.Reply(r)
}

// note puts filter_metadata into the stream's dynamic metadata.
func (set *Settings) note(s *stream.Stream) {
	if set.metadata == nil {
		return
	}
	if s.Info.Metadata == nil {
		s.Info.Metadata = streaminfo.Metadata{}
	}
	if m := s.Info.Metadata[Name]; m != nil {
		maps.Copy(m, set.metadata)
		return
	}
	s.Info.Metadata[Name] = maps.Clone(set.metadata)
}

// clusterStats counts by the cluster that a client says it is of. The names
// come from requests, so their number is bounded.
type clusterStats struct {
	scope *stats.Scope
	mu    sync.Mutex
	seen  map[string]bool
}

// Limits of the statistics by cluster.
const (
	maxClusters    = 1000
	maxClusterName = 128
)

func (c *clusterStats) inc(s *stream.Stream, set *Settings, what string) {
	name := string(s.Request.Header.Get(header.XEnvoyDownstreamServiceCluster))
	if name == "" || set.noStats || len(name) > maxClusterName {
		return
	}
	c.mu.Lock()
	known := c.seen[name]
	if !known && len(c.seen) < maxClusters {
		c.seen[name], known = true, true
	}
	c.mu.Unlock()
	if known {
		c.scope.Counter(name + "." + what).Inc()
	}
}
