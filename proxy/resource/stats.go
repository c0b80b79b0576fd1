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
	counts *stats.Sharded[counts]
	text   *stats.Text
	scope  *stats.Scope
}

// NewStats puts the statistics of a subscription into a scope, which is for them alone.
func NewStats(s *stats.Scope) *Stats {
	return &Stats{counts: stats.Register[counts](s, 1), text: s.Text("version_text"), scope: s}
}

// Close takes the names away.
func (s *Stats) Close() {
	if s != nil {
		s.counts.Close()
		s.scope.Close()
	}
}

// Accepted counts an update that was taken, which took so long.
func (s *Stats) Accepted(version string, took time.Duration) {
	if s == nil {
		return
	}
	c := s.counts.At(0)
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
		s.counts.At(0).Attempt.Inc()
		s.counts.At(0).Rejected.Inc()
	}
}

// Failed counts that nobody could be asked.
func (s *Stats) Failed() {
	if s != nil {
		s.counts.At(0).Attempt.Inc()
		s.counts.At(0).Failure.Inc()
	}
}

// Late counts that the first update has not come in time.
func (s *Stats) Late() {
	if s != nil {
		s.counts.At(0).InitTimeout.Inc()
	}
}

// versionNumber is a version in the version gauge.
func versionNumber(version string) int64 {
	h := fnv.New64a()
	h.Write([]byte(version)) //nolint:errcheck // A hash takes all.
	return int64(h.Sum64() >> 1)
}
