// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// TestTrackedStats: sizes and budgets are kept of each attempt if the cluster asks.
func TestTrackedStats(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(failure, ok))
	p := start(t, proxytest.Edge{
		Routes:  policy("retry_on: 5xx, per_try_timeout: 5s"),
		Cluster: "track_cluster_stats: {timeout_budgets: true, request_response_sizes: true}",
	}, up(u))
	if res := p.Do("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody"); res.Content != "ok" {
		t.Fatal(res)
	}
	p.WaitGauge("cluster.up.upstream_rq_active", 0)
	for name, want := range map[string]uint64{
		"upstream_rq_headers_size": 2, "upstream_rq_headers_count": 2, "upstream_rq_body_size": 2,
		"upstream_rs_headers_size": 2, "upstream_rs_headers_count": 2, "upstream_rs_body_size": 2,
		"upstream_rq_timeout_budget_percent_used": 1, "upstream_rq_timeout_budget_per_try_percent_used": 2,
	} {
		proxytest.Eventually(t, name, func() (uint64, bool) {
			m, ok := p.Metric("cluster.up." + name)
			return m.Cumulative.Count(), ok && m.Cumulative.Count() == want
		})
	}
	plain := start(t, proxytest.Edge{}, up(u))
	if _, ok := plain.Metric("cluster.up.upstream_rq_headers_size"); ok {
		t.Error("kept without being asked for")
	}
}
