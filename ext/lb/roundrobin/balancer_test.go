// SPDX-License-Identifier: Apache-2.0

package roundrobin

import (
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/balancertest"
	"weir.dev/weir/proxy/upstream/schedule"
)

func TestConformance(t *testing.T) {
	balancertest.Run(t, New(Config{}), balancertest.Options{Weighted: true})
}

func TestConformanceInSlowStart(t *testing.T) {
	c := Config{SlowStart: schedule.SlowStart{Window: time.Hour, Aggression: 1, MinFactor: 0.1}}
	balancertest.Run(t, New(c), balancertest.Options{Weighted: true})
}

func TestTurnsAreExact(t *testing.T) {
	for _, weights := range [][]uint32{{1, 1, 1}, {1, 2, 5}} {
		hosts := balancertest.Hosts(weights...)
		round := 0
		for _, w := range weights {
			round += int(w)
		}
		b := balancertest.Balancer(New(Config{}), 7, hosts...)
		got := balancertest.Count(b, 100*round)
		for i, h := range hosts {
			if want := 100 * int(weights[i]); got[h] < want-1 || got[h] > want+1 {
				t.Errorf("weights %v: host %d was picked %d times in 100 rounds, want %d", weights, i, got[h], want)
			}
		}
	}
}

func TestLoopsBeginDifferently(t *testing.T) {
	hosts := balancertest.Hosts(make([]uint32, 16)...)
	first := map[*upstream.Host]bool{}
	for seed := range uint64(16) {
		first[balancertest.Balancer(New(Config{}), seed, hosts...).Pick(&upstream.PickContext{})] = true
	}
	if len(first) < 4 {
		t.Errorf("16 loops begin with %d different hosts", len(first))
	}
}

func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := balancertest.Host(0, 1)
		time.Sleep(time.Hour)
		fresh := balancertest.Host(1, 1)
		c := Config{SlowStart: schedule.SlowStart{Window: 100 * time.Second, Aggression: 1, MinFactor: 0.1}}
		b := balancertest.Balancer(New(c), 1, old, fresh)
		for _, step := range []struct {
			wait time.Duration
			want float64 // the fresh host's share
		}{
			{0, 0.1 / 1.1}, {50 * time.Second, 0.5 / 1.5}, {50 * time.Second, 0.5},
		} {
			time.Sleep(step.wait)
			got := balancertest.Count(b, 11_000)
			if share := float64(got[fresh]) / 11_000; share < step.want-0.01 || share > step.want+0.01 {
				t.Errorf("after %v more the new host took %.3f, want %.3f", step.wait, share, step.want)
			}
		}
	})
}
