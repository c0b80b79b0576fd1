// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"fmt"
	"testing"
	"time"

	"weir.dev/weir/proxy/header"
)

// A host may call its metrics as it likes: what is kept of them is bounded, and those
// that are known count on.
func TestLoadMetricsAreBounded(t *testing.T) {
	m := &loadMetrics{}
	var f header.Map
	field := header.NewName("endpoint-load-metrics")
	for i := range 3 * maxMetricNames {
		f.Reset()
		f.Add(field, fmt.Sprintf("TEXT named_metrics.same=2,named_metrics.n%d=1", i))
		if !m.take([]string{"named_metrics.*"}, &f) {
			t.Fatal("the report is not taken")
		}
	}
	if n := len(m.sums); n != maxMetricNames {
		t.Errorf("%d metrics are kept, want %d", n, maxMetricNames)
	}
	if got, want := m.sums["named_metrics.same"], (MetricSum{3 * maxMetricNames, 6 * maxMetricNames}); got != want {
		t.Errorf("the metric that each report has is %v, want %v", got, want)
	}
	f.Reset()
	f.Add(field, "TEXT cpu_utilization=much")
	if m.take([]string{"cpu_utilization"}, &f) || m.sums["cpu_utilization"].Reports > 0 {
		t.Error("a report that cannot be read counts")
	}
}

// Loops add up what they hear, each for itself.
func TestLoadMetricsOfLoops(t *testing.T) {
	s := newHostState(2, time.Time{})
	if s.LoadMetrics() != nil {
		t.Error("a host that has told nothing has metrics")
	}
	for loop := range 2 {
		m := &loadMetrics{sums: map[string]MetricSum{"eps": {1, float64(loop + 1)}}}
		s.Local(loop).metrics.Store(m)
	}
	if got := s.LoadMetrics()["eps"]; got != (MetricSum{2, 3}) {
		t.Errorf("eps is %v", got)
	}
}
