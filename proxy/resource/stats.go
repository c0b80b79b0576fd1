// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"hash/fnv"
	"time"

	"weir.dev/weir/proxy/stats"
)

// counts are what Envoy counts of one subscription.
type counts struct {
	Attempt     stats.Counter   `stat:"update_attempt"`
	Success     stats.Counter   `stat:"update_success"`
	Failure     stats.Counter   `stat:"update_failure"`
	Rejected    stats.Counter   `stat:"update_rejected"`
	InitTimeout stats.Counter   `stat:"init_fetch_timeout"`
	Duration    stats.Histogram `stat:"update_duration,ms"`
	Time        stats.Gauge     `stat:"update_time"`
	Version     stats.Gauge     `stat:"version"`
}

// Stats are the statistics of one subscription, by Envoy's names (update_attempt and its
// kin, version, version_text).
type Stats struct {
	counts counts
	detach func() // of counts
	text   *stats.Text
	scope  *stats.Scope
	server *ServerStats // nil if no stream is for the subscription alone
}

// NewStats puts the statistics of a subscription into a scope, which is for them alone.
func NewStats(s *stats.Scope) *Stats {
	out := &Stats{text: s.Text("version_text"), scope: s}
	out.detach = stats.Attach(s, &out.counts)
	return out
}

// Close takes the names away.
func (s *Stats) Close() {
	if s != nil {
		s.server.Close()
		s.detach()
		s.scope.Close()
	}
}

// Serve has the stream counted that the subscription is asked for on.
func (s *Stats) Serve() {
	if s != nil && s.server == nil {
		s.server = NewServerStats(s.scope.Scope("control_plane"))
	}
}

// Server are the statistics of that stream; nil if it is not counted.
func (s *Stats) Server() *ServerStats {
	if s == nil {
		return nil
	}
	return s.server
}

// serverCounts are what Envoy counts of one stream to a management server.
type serverCounts struct {
	Connected stats.Gauge   `stat:"connected_state"`
	Pending   stats.Gauge   `stat:"pending_requests"`
	Limited   stats.Counter `stat:"rate_limit_enforced"`
}

// ServerStats are the statistics of a stream to a management server, by Envoy's names
// (control_plane.connected_state and its kin). Those of nil are not counted.
type ServerStats struct {
	counts serverCounts
	detach func() // of counts
	text   *stats.Text
	scope  *stats.Scope
}

// NewServerStats puts the statistics of a stream into a scope, which is for them alone.
func NewServerStats(s *stats.Scope) *ServerStats {
	out := &ServerStats{text: s.Text("identifier"), scope: s}
	out.detach = stats.Attach(s, &out.counts)
	return out
}

// Close takes the names away.
func (s *ServerStats) Close() {
	if s != nil {
		s.detach()
		s.scope.Close()
	}
}

// Connected tells whether the stream is up, and how the server calls itself.
func (s *ServerStats) Connected(up bool, identifier string) {
	switch {
	case s == nil:
	case !up:
		s.counts.Connected.Set(0)
	default:
		s.counts.Connected.Set(1)
		s.text.Set(identifier)
	}
}

// Throttled tells whether a request waits for rate_limit_settings.
func (s *ServerStats) Throttled(waits bool) {
	switch {
	case s == nil:
	case !waits:
		s.counts.Pending.Set(0)
	default:
		s.counts.Pending.Set(1)
		s.counts.Limited.Inc()
	}
}

// Accepted counts an update that was taken, which took so long.
func (s *Stats) Accepted(version string, took time.Duration) {
	if s == nil {
		return
	}
	c := &s.counts
	c.Attempt.Inc()
	c.Success.Inc()
	c.Duration.Record(uint64(max(0, took.Milliseconds())))
	c.Time.Set(time.Now().UnixMilli())
	c.Version.Set(versionNumber(version))
	s.text.Set(version)
}

// Rejected counts an update that was not taken.
func (s *Stats) Rejected() {
	if s != nil {
		s.counts.Attempt.Inc()
		s.counts.Rejected.Inc()
	}
}

// Failed counts that nobody could be asked.
func (s *Stats) Failed() {
	if s != nil {
		s.counts.Attempt.Inc()
		s.counts.Failure.Inc()
	}
}

// Late counts that the first update has not come in time.
func (s *Stats) Late() {
	if s != nil {
		s.counts.InitTimeout.Inc()
	}
}

// versionNumber is a version in the version gauge.
func versionNumber(version string) int64 {
	h := fnv.New64a()
	h.Write([]byte(version)) //nolint:errcheck // A hash takes all.
	return int64(h.Sum64() >> 1)
}
