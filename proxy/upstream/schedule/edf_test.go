// SPDX-License-Identifier: Apache-2.0

package schedule_test

import (
	"math"
	"testing"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/balancertest"
	"weir.dev/weir/proxy/upstream/schedule"
)

// TestShares: whatever the number of different weights, and whether or not they may change,
// each host gets what it weighs.
func TestShares(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 63, 64, 65, 300} {
		weights, sum := make([]uint32, n), 0.0
		for i := range weights {
			weights[i] = uint32(1 + i*i%997)
			sum += float64(weights[i])
		}
		hosts := balancertest.Hosts(weights...)
		own := func(i int, h *upstream.Host) float64 {
			if h != hosts[i] {
				t.Fatalf("host %d is another", i)
			}
			return float64(h.Weight)
		}
		for name, weigh := range map[string]schedule.Weight{"fixed": nil, "asked for": own} {
			s, got := schedule.New(hosts, weigh, 5), map[*upstream.Host]int{}
			const rounds = 20
			for range rounds * int(sum) {
				got[s.Next()]++
			}
			for i, h := range hosts {
				want := rounds * float64(h.Weight)
				// A pick more or less of its entry, and one of the host.
				if d := math.Abs(float64(got[h]) - want); d > 3+want/100 {
					t.Errorf("%d hosts, %s: host %d of weight %d was picked %d times of %v", n, name, i, h.Weight, got[h], want)
				}
			}
		}
	}
}

// TestTheClockTurnsBack: hosts take turns also after very long times.
func TestTheClockTurnsBack(t *testing.T) {
	hosts := balancertest.Hosts(1, 1, 1)
	s, got := schedule.New(hosts, func(int, *upstream.Host) float64 { return 1e-5 }, 0), map[*upstream.Host]int{}
	for range 3000 {
		got[s.Next()]++
	}
	for _, h := range hosts {
		if got[h] < 999 || got[h] > 1001 {
			t.Errorf("hosts that weigh alike were picked %v times", got)
		}
	}
	if schedule.New(nil, nil, 0).Next() != nil {
		t.Error("of no hosts one was picked")
	}
}
