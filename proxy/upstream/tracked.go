// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stats"
)

// BudgetStats tell how much of their time requests used
// (track_cluster_stats.timeout_budgets).
type BudgetStats struct {
	Total  stats.Histogram `stat:"upstream_rq_timeout_budget_percent_used,percent"`
	PerTry stats.Histogram `stat:"upstream_rq_timeout_budget_per_try_percent_used,percent"`
}

// Used records into h how much of a time limit was used; a limit of 0 is none, of which
// nothing is used.
func Used(h *stats.Histogram, used, limit time.Duration) {
	share := uint64(0)
	if limit > 0 {
		share = uint64(max(used, 0) * 100 / limit)
	}
	h.Record(share)
}

// SizeStats tell how large messages are, of each attempt
// (track_cluster_stats.request_response_sizes). Heads count as names and values, bodies
// as they crossed the wire.
type SizeStats struct {
	RqHeaders      stats.Histogram `stat:"upstream_rq_headers_size,bytes"`
	RqHeadersCount stats.Histogram `stat:"upstream_rq_headers_count"`
	RqBody         stats.Histogram `stat:"upstream_rq_body_size,bytes"`
	RsHeaders      stats.Histogram `stat:"upstream_rs_headers_size,bytes"`
	RsHeadersCount stats.Histogram `stat:"upstream_rs_headers_count"`
	RsBody         stats.Histogram `stat:"upstream_rs_body_size,bytes"`
}

// Record counts one attempt; a response without fields is none.
func (s *SizeStats) Record(rq, rs *header.Map, rqBody, rsBody uint64) {
	s.RqHeaders.Record(uint64(rq.Size()))
	s.RqHeadersCount.Record(uint64(rq.Len()))
	s.RqBody.Record(rqBody)
	if rs.Len() > 0 {
		s.RsHeaders.Record(uint64(rs.Size()))
		s.RsHeadersCount.Record(uint64(rs.Len()))
	}
	s.RsBody.Record(rsBody)
}

// trackedStats are what a cluster counts only if it is asked to; nil is not.
type trackedStats struct {
	budgets *stats.Sharded[BudgetStats]
	sizes   *stats.Sharded[SizeStats]
}

func newTrackedStats(s *Settings, at *stats.Scope, loops int) (t trackedStats) {
	if s.TrackBudgets {
		t.budgets = stats.Register[BudgetStats](at, loops)
	}
	if s.TrackSizes {
		t.sizes = stats.Register[SizeStats](at, loops)
	}
	return t
}

func (t *trackedStats) give(w *Worker) {
	if t.budgets != nil {
		w.Budgets = t.budgets.At(w.loop)
	}
	if t.sizes != nil {
		w.Sizes = t.sizes.At(w.loop)
	}
}

func (t *trackedStats) close() {
	if t.budgets != nil {
		t.budgets.Close()
	}
	if t.sizes != nil {
		t.sizes.Close()
	}
}
