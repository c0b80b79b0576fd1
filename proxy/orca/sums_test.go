// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"fmt"
	"testing"

	"weir.dev/weir/proxy/header"
)

// A host may call its metrics as it likes: what is kept of them is bounded, and those
// that are known count on.
func TestSumsAreBounded(t *testing.T) {
	m := &Sums{}
	var f header.Map
	field := header.NewName("endpoint-load-metrics")
	for i := range 3 * maxNames {
		f.Reset()
		f.Add(field, fmt.Sprintf("TEXT named_metrics.same=2,named_metrics.n%d=1", i))
		if !m.Take([]string{"named_metrics.*"}, &f) {
			t.Fatal("the report is not taken")
		}
	}
	if n := len(m.sums); n != maxNames {
		t.Errorf("%d metrics are kept, want %d", n, maxNames)
	}
	if got, want := m.sums["named_metrics.same"], (Sum{3 * maxNames, 6 * maxNames}); got != want {
		t.Errorf("the metric that each report has is %v, want %v", got, want)
	}
	f.Reset()
	f.Add(field, "TEXT cpu_utilization=much")
	if m.Take([]string{"cpu_utilization"}, &f) || m.sums["cpu_utilization"].Reports > 0 {
		t.Error("a report that cannot be read counts")
	}
}

// Those who hear add up each for themselves.
func TestAddTo(t *testing.T) {
	if (&Sums{}).AddTo(nil) != nil {
		t.Error("without reports there are metrics")
	}
	var all map[string]Sum
	for _, v := range []float64{1, 2} {
		all = (&Sums{sums: map[string]Sum{"eps": {1, v}}}).AddTo(all)
	}
	if got := all["eps"]; got != (Sum{2, 3}) {
		t.Errorf("eps is %v", got)
	}
}
