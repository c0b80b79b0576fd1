// SPDX-License-Identifier: Apache-2.0

package xtraffic

import (
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

// The least rate of retries is, for Envoy, as many at a time as begin in a second.
func TestLeastRate(t *testing.T) {
	for _, tt := range []struct {
		count int
		per   time.Duration
		want  uint32
	}{
		{10, time.Second, 10},
		{10, 10 * time.Second, 1},
		{11, 10 * time.Second, 2},
		{1, time.Hour, 1},
		{3, 100 * time.Millisecond, 30},
		{1_000_000, time.Millisecond, 1_000_000_000},
	} {
		c := &clusterv3.Cluster{CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{}}}}
		b := Budget{Percent: 25, Interval: 30 * time.Second, Least: tt.count, Per: tt.per}
		b.On(c)
		got := c.GetCircuitBreakers().GetThresholds()[0].GetRetryBudget()
		if got.GetMinRetryConcurrency().GetValue() != tt.want || got.GetBudgetPercent().GetValue() != 25 || got.GetBudgetInterval().AsDuration() != 30*time.Second {
			t.Errorf("%d in %v: %v, want %d at a time", tt.count, tt.per, got, tt.want)
		}
	}
}
