// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"fmt"
	"testing"

	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/stats"
)

// requests reads what an exporter would send.
func requests(t *testing.T, x *Metrics, points, size int) (out [][]*metricsv1.Metric, held []int) {
	t.Helper()
	x.Batches(points, size, func(batch []byte, n int) bool {
		m := &metricsv1.MetricsData{}
		if err := proto.Unmarshal(Export(nil, "", nil, "", "").Request(nil, batch), m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m.GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics())
		held = append(held, n)
		return true
	})
	return out, held
}

func TestMetrics(t *testing.T) {
	counter := stats.Metric{Kind: stats.KindCounter, Count: 10, Delta: 3}
	gauge := stats.Metric{Kind: stats.KindGauge, Level: -2}
	histogram := stats.Metric{Kind: stats.KindHistogram, Bounds: []float64{1, 50}, Cumulative: stats.Buckets{
		{Lower: 0, Count: 1}, {Lower: 42, Width: 1, Count: 2}, {Lower: 90, Width: 1, Count: 3},
	}, Interval: stats.Buckets{{Lower: 42, Width: 1, Count: 1}}}
	for _, deltas := range []bool{false, true} {
		x := &Metrics{Time: 30, Began: 10, Since: 20, CounterDeltas: deltas, HistogramDeltas: deltas}
		x.Add("c", &counter, []stats.Tag{{Name: "k", Value: "v\xff"}})
		x.Add("g", &gauge, nil)
		x.Add("c", &counter, nil)
		x.Add("h", &histogram, []stats.Tag{{Name: "k", Value: "v"}})
		x.Add("t", &stats.Metric{Kind: stats.KindText}, nil)
		all, _ := requests(t, x, 0, 1<<20)
		if len(all) != 1 || len(all[0]) != 3 {
			t.Fatalf("%v", all)
		}
		temporality, start, count := metricsv1.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE, uint64(10), int64(10)
		buckets := "[1 2 3] 6"
		if deltas {
			temporality, start, count, buckets = metricsv1.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA, 20, 3, "[0 1 0] 1"
		}
		c, g, h := all[0][0], all[0][1], all[0][2]
		p := c.GetSum().GetDataPoints()
		if c.GetName() != "c" || !c.GetSum().GetIsMonotonic() || c.GetSum().GetAggregationTemporality() != temporality || len(p) != 2 ||
			p[0].GetAsInt() != count || p[0].GetStartTimeUnixNano() != start || p[0].GetTimeUnixNano() != 30 || p[0].GetAttributes()[0].GetValue().GetStringValue() != "v!" || len(p[1].GetAttributes()) != 0 {
			t.Error(c)
		}
		if q := g.GetGauge().GetDataPoints(); g.GetName() != "g" || q[0].GetAsInt() != -2 || q[0].GetTimeUnixNano() != 30 {
			t.Error(g)
		}
		q := h.GetHistogram().GetDataPoints()[0]
		if got := fmt.Sprint(q.GetBucketCounts(), q.GetCount()); got != buckets || fmt.Sprint(q.GetExplicitBounds()) != "[1 50]" ||
			q.GetStartTimeUnixNano() != start || h.GetHistogram().GetAggregationTemporality() != temporality || q.GetAttributes()[0].GetKey() != "k" {
			t.Errorf("%s: %v", got, h)
		}
		if deltas && q.GetSum() != 42.5 {
			t.Errorf("sum %v", q.GetSum())
		}
	}
}

// TestBatches: no request has more than it may, and none is empty; all points are in one.
func TestBatches(t *testing.T) {
	const metrics, each = 3, 50
	for _, tt := range []struct{ points, size, most int }{
		{0, 1 << 20, metrics * each}, {7, 1 << 20, 7}, {1, 1 << 20, 1}, {50, 1 << 20, 50}, {0, 300, 9}, {0, 1, 1}, {1 << 30, 1 << 20, metrics * each},
	} {
		x := &Metrics{}
		for i := range metrics {
			for j := range each {
				x.Add(fmt.Sprint("m", i), &stats.Metric{Kind: stats.KindCounter, Count: uint64(i*each + j)}, nil)
			}
		}
		all, held := requests(t, x, tt.points, tt.size)
		seen := map[int64]bool{}
		for i, r := range all {
			n := 0
			for _, m := range r {
				n += len(m.GetSum().GetDataPoints())
				for _, p := range m.GetSum().GetDataPoints() {
					seen[p.GetAsInt()] = true
				}
			}
			if n == 0 || n > tt.most || n != held[i] {
				t.Errorf("%+v: %d points, told %d", tt, n, held[i])
			}
		}
		if len(seen) != metrics*each {
			t.Errorf("%+v: %d points in all", tt, len(seen))
		}
	}
}

func TestBatchesEnd(t *testing.T) {
	x := &Metrics{}
	for i := range 5 {
		x.Add(fmt.Sprint(i), &stats.Metric{Kind: stats.KindGauge}, nil)
	}
	n := 0
	x.Batches(1, 1, func([]byte, int) bool { n++; return n < 2 })
	if n != 2 {
		t.Errorf("%d batches", n)
	}
	(&Metrics{}).Batches(1, 1, func([]byte, int) bool { t.Error("a batch of nothing"); return true })
}
