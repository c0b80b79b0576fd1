// SPDX-License-Identifier: Apache-2.0

package leastrequest

import (
	"math"
	"testing"

	"weir.dev/weir/proxy/upstream/balancertest"
)

func TestConformance(t *testing.T) {
	balancertest.Run(t, New(Config{Bias: 1}), balancertest.Options{Weighted: true})
}

func TestConformanceOfFullScan(t *testing.T) {
	balancertest.Run(t, New(Config{Bias: 1, FullScan: true}), balancertest.Options{Weighted: true})
}

func TestPowerOfChoices(t *testing.T) {
	// One of n hosts is busy: it is picked only when all draws hit it.
	for _, choices := range []int{2, 3} {
		hosts := balancertest.Hosts(1, 1, 1, 1)
		hosts[0].AddRequests(10)
		const n = 100_000
		got := balancertest.Count(balancertest.Balancer(New(Config{Choices: choices}), 1, hosts...), n)
		want := math.Pow(0.25, float64(choices))
		if share := float64(got[hosts[0]]) / n; math.Abs(share-want) > 0.005 {
			t.Errorf("%d choices: the busy host took %.4f, want %.4f", choices, share, want)
		}
	}
}

func TestFullScanTakesTheLeast(t *testing.T) {
	hosts := balancertest.Hosts(1, 1, 1, 1)
	for i, n := range []int64{3, 1, 1, 2} {
		hosts[i].AddRequests(n)
	}
	got := balancertest.Count(balancertest.Balancer(New(Config{FullScan: true}), 1, hosts...), 10_000)
	if got[hosts[0]]+got[hosts[3]] > 0 || got[hosts[1]] < 4500 || got[hosts[2]] < 4500 {
		t.Errorf("picks are %d %d %d %d", got[hosts[0]], got[hosts[1]], got[hosts[2]], got[hosts[3]])
	}
}

func TestBias(t *testing.T) {
	for _, c := range []struct{ bias, want float64 }{
		{0, 1.0 / 3}, {1, 1.0 / 9}, {2, 1.0 / 33},
	} {
		// Weights 1 and 2; the first has three requests under way: it weighs 1/4^bias.
		hosts := balancertest.Hosts(1, 2)
		hosts[0].AddRequests(3)
		const n = 100_000
		got := balancertest.Count(balancertest.Balancer(New(Config{Bias: c.bias}), 1, hosts...), n)
		if share := float64(got[hosts[0]]) / n; math.Abs(share-c.want) > 0.005 {
			t.Errorf("bias %v: share %.4f, want %.4f", c.bias, share, c.want)
		}
	}
}

func TestNegativeActiveCountsAsNone(t *testing.T) {
	hosts := balancertest.Hosts(1, 2)
	hosts[0].AddRequests(-5)
	b := balancertest.Balancer(New(Config{Bias: 1}), 1, hosts...)
	if got := balancertest.Count(b, 300); got[hosts[0]] < 99 || got[hosts[0]] > 101 {
		t.Errorf("picked %d of 300, want 100", got[hosts[0]])
	}
}
