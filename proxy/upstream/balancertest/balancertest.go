// SPDX-License-Identifier: Apache-2.0

// Package balancertest is the conformance suite of load balancing policies. Every
// policy's test runs it; what is particular to a policy it tests itself.
package balancertest

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/upstream"
)

// Options tell the suite what to expect of a policy.
type Options struct {
	// Weighted policies spread picks by weight. The others spread them evenly.
	Weighted bool
	// Spread is how far counts may be from what is expected, in units of what random
	// choice gives (1 if zero): a chi-square statistic is compared with the 99.9th
	// percentile times Spread.
	Spread float64
	// Hashed policies need a hash to spread picks at all.
	Hashed bool
}

// Host makes a host 10.0.x.y:80 for tests.
func Host(i int, weight uint32) *upstream.Host {
	ip := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	return upstream.NewHost(upstream.Endpoint{
		Address: address.IP(netip.AddrPortFrom(ip, 80)), Weight: weight,
	}, nil, 1)
}

// Hosts makes one host per weight.
func Hosts(weights ...uint32) []*upstream.Host {
	hosts := make([]*upstream.Host, len(weights))
	for i, w := range weights {
		hosts[i] = Host(i, w)
	}
	return hosts
}

// Balancer builds a policy's balancer over hosts, with Envoy's default settings.
func Balancer(p upstream.Policy, seed uint64, hosts ...*upstream.Host) upstream.Balancer {
	set := upstream.NewPrioritySet(hosts, upstream.SetOptions{PanicThreshold: 50})
	return p.Build(set).Balancer(Env(seed))
}

// Env is an environment with statistics of its own.
func Env(seed uint64) *upstream.Env { return &upstream.Env{Seed: seed, Stats: new(upstream.Stats)} }

// Count picks n times and counts by host; key nil is a pick without a host.
func Count(b upstream.Balancer, n int) map[*upstream.Host]int {
	counts := map[*upstream.Host]int{}
	c := &upstream.PickContext{HasHash: true}
	for i := range n {
		c.Hash = mix(uint64(i))
		counts[b.Pick(c)]++
	}
	return counts
}

// mix is splitmix64's finaliser: hashes that look random and are the same every time.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// ChiSquare is the statistic of counts against expected shares, which add up to 1.
func ChiSquare(counts []int, shares []float64) float64 {
	total := 0
	for _, n := range counts {
		total += n
	}
	x := 0.0
	for i, n := range counts {
		e := shares[i] * float64(total)
		x += (float64(n) - e) * (float64(n) - e) / e
	}
	return x
}

// Limit999 approximates the 99.9th percentile of the chi-square distribution
// (Wilson and Hilferty, 1931).
func Limit999(degrees int) float64 {
	k, z := float64(degrees), 3.0902
	return k * math.Pow(1-2/(9*k)+z*math.Sqrt(2/(9*k)), 3)
}

// Run runs the suite.
func Run(t *testing.T, p upstream.Policy, o Options) {
	t.Helper()
	t.Run("weights", func(t *testing.T) { testWeights(t, p, o) })
	t.Run("unhealthy hosts are skipped", func(t *testing.T) { testHealth(t, p) })
	t.Run("degraded hosts serve when healthy ones are too few", func(t *testing.T) { testDegraded(t, p) })
	t.Run("panic uses every host", func(t *testing.T) { testPanic(t, p) })
	t.Run("load spills to the next priority", func(t *testing.T) { testPriorities(t, p) })
	t.Run("no hosts", func(t *testing.T) { testEmpty(t, p) })
	t.Run("host sets change while loops pick", func(t *testing.T) { testConcurrent(t, p) })
	t.Run("picks allocate nothing", func(t *testing.T) { testAllocations(t, p) })
}

func testWeights(t *testing.T, p upstream.Policy, o Options) {
	for _, weights := range [][]uint32{
		{1}, {1, 1, 1, 1}, {1, 2, 3, 4}, {100, 1, 1}, {7, 7, 7, 1, 128},
	} {
		hosts := Hosts(weights...)
		const n = 100_000
		got := Count(Balancer(p, 1, hosts...), n)
		sum, counts, shares := 0.0, make([]int, len(hosts)), make([]float64, len(hosts))
		for i, h := range hosts {
			counts[i], shares[i] = got[h], 1
			if o.Weighted {
				shares[i] = float64(h.Weight)
			}
			sum += shares[i]
			delete(got, h)
		}
		if len(got) > 0 {
			t.Fatalf("weights %v: picked what is not a host: %v", weights, got)
		}
		if len(hosts) == 1 {
			continue
		}
		for i := range shares {
			shares[i] /= sum
		}
		limit := Limit999(len(hosts)-1) * max(1, o.Spread)
		if x := ChiSquare(counts, shares); x > limit {
			t.Errorf("weights %v: chi-square of %v is %.1f, above %.1f", weights, counts, x, limit)
		}
	}
}

func testHealth(t *testing.T, p upstream.Policy) {
	hosts := Hosts(1, 1, 1, 1, 1)
	for i, f := range []upstream.HealthFlags{upstream.FailedActiveHC, upstream.FailedOutlierCheck} {
		hosts[i].SetFlags(f, 0)
	}
	got := Count(Balancer(p, 1, hosts...), 3000)
	for i, h := range hosts {
		if picked := got[h] > 0; picked != (i >= 2) {
			t.Errorf("host %d (%v) was picked %d times", i, h.Flags(), got[h])
		}
	}
	if got[nil] > 0 {
		t.Errorf("%d picks gave no host", got[nil])
	}
}

func testDegraded(t *testing.T, p upstream.Policy) {
	// One of four is healthy, two are degraded: 140 % of a quarter is 35 % healthy and
	// 70 % degraded availability, so 35 and 65 percent of load.
	hosts := Hosts(1, 1, 1, 1)
	hosts[1].SetFlags(upstream.DegradedActiveHC, 0)
	hosts[2].SetFlags(upstream.DegradedEDSHealth, 0)
	hosts[3].SetFlags(upstream.FailedActiveHC, 0)
	const n = 20_000
	got := Count(Balancer(p, 1, hosts...), n)
	if share := float64(got[hosts[0]]) / n; math.Abs(share-0.35) > 0.02 {
		t.Errorf("the healthy host took %.3f of the load, want 0.35", share)
	}
	if got[hosts[3]] > 0 || got[nil] > 0 {
		t.Errorf("the failed host was picked %d times, none %d times", got[hosts[3]], got[nil])
	}
}

func testPanic(t *testing.T, p upstream.Policy) {
	hosts := Hosts(1, 1, 1, 1, 1)
	for _, h := range hosts[1:] {
		h.SetFlags(upstream.FailedActiveHC, 0)
	}
	set := upstream.NewPrioritySet(hosts, upstream.SetOptions{PanicThreshold: 50})
	env := Env(1)
	got := Count(p.Build(set).Balancer(env), 3000)
	for i, h := range hosts {
		if got[h] == 0 {
			t.Errorf("host %d was not picked in panic", i)
		}
	}
	if n := env.Stats.LBHealthyPanic.Value(); n != 3000 {
		t.Errorf("lb_healthy_panic is %d after 3000 picks in panic", n)
	}
	set = upstream.NewPrioritySet(hosts, upstream.SetOptions{PanicThreshold: 0})
	got = Count(p.Build(set).Balancer(Env(1)), 300)
	if got[hosts[0]] != 300 {
		t.Errorf("without panic the healthy host took %d of 300", got[hosts[0]])
	}
}

func testPriorities(t *testing.T, p upstream.Policy) {
	hosts := Hosts(1, 1, 1, 1, 1, 1)
	for i, h := range hosts {
		if i >= 4 {
			e := h.Endpoint
			e.Priority = 1
			hosts[i] = upstream.NewHost(e, nil, 1)
		}
	}
	// Two of four: 70 % stay.
	hosts[0].SetFlags(upstream.FailedActiveHC, 0)
	hosts[1].SetFlags(upstream.FailedActiveHC, 0)
	const n = 20_000
	got := Count(Balancer(p, 1, hosts...), n)
	if share := float64(got[hosts[2]]+got[hosts[3]]) / n; math.Abs(share-0.70) > 0.02 {
		t.Errorf("priority 0 took %.3f of the load, want 0.70", share)
	}
	if got[hosts[0]]+got[hosts[1]]+got[nil] > 0 {
		t.Errorf("unhealthy hosts were picked: %v", got)
	}
}

func testEmpty(t *testing.T, p upstream.Policy) {
	if h := Balancer(p, 1).Pick(&upstream.PickContext{}); h != nil {
		t.Errorf("picked %v of no hosts", h.Address)
	}
	hosts := Hosts(1, 1)
	for _, h := range hosts {
		h.SetFlags(upstream.FailedActiveHC, 0)
	}
	set := upstream.NewPrioritySet(hosts, upstream.SetOptions{PanicThreshold: 0})
	if h := p.Build(set).Balancer(Env(1)).Pick(&upstream.PickContext{}); h != nil {
		t.Errorf("picked the unhealthy %v without panic", h.Address)
	}
}

// testConcurrent lets loops pick and count requests while sets are replaced and health
// changes, as a cluster does it: for the race detector, and for picks of hosts that no
// set has.
func testConcurrent(t *testing.T, p upstream.Policy) {
	const loops, sets = 4, 50
	var tables [sets]upstream.Table
	all := Hosts(1, 2, 3, 4, 5, 6, 7, 8)
	var newest atomic.Int64
	newest.Store(-1)
	build := func(i int) {
		all[i%8].SetFlags(upstream.FailedOutlierCheck, 0)
		all[(i+5)%8].SetFlags(0, upstream.FailedOutlierCheck)
		tables[i] = p.Build(upstream.NewPrioritySet(all[i%4:i%4+5], upstream.SetOptions{PanicThreshold: 50}))
		newest.Store(int64(i))
	}
	build(0)
	var wg sync.WaitGroup
	errs := make(chan error, loops)
	for loop := range loops {
		wg.Go(func() {
			at, b := int64(-1), upstream.Balancer(nil)
			c := &upstream.PickContext{HasHash: true}
			for i := 0; i < 2000 || at < sets-1; i++ {
				if n := newest.Load(); n != at {
					at, b = n, tables[n].Balancer(Env(uint64(loop)))
				}
				c.Hash = mix(uint64(i))
				h := b.Pick(c)
				if h == nil {
					errs <- fmt.Errorf("loop %d: set %d gave no host", loop, at)
					return
				}
				h.AddRequests(1)
				h.AddRequests(-1)
			}
		})
	}
	for i := 1; i < sets; i++ {
		build(i)
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

func testAllocations(t *testing.T, p upstream.Policy) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, hosts := range [][]*upstream.Host{Hosts(1, 1, 1, 1), Hosts(1, 2, 3, 4)} {
		b := Balancer(p, 1, hosts...)
		c := &upstream.PickContext{HasHash: true}
		if n := testing.AllocsPerRun(1000, func() { c.Hash++; b.Pick(c) }); n != 0 {
			t.Errorf("a pick allocates %v times", n)
		}
	}
}

// Moves checks that, when one of many hosts of equal weight leaves, all its keys and at
// most a share of the others move to another host, and that they return with it. The
// share of keys that moved is logged.
func Moves(t *testing.T, p upstream.Policy, hosts []*upstream.Host, keys int, limit float64) {
	t.Helper()
	where := func(list []*upstream.Host) []*upstream.Host {
		b, c := Balancer(p, 1, list...), &upstream.PickContext{HasHash: true}
		at := make([]*upstream.Host, keys)
		for i := range at {
			c.Hash = mix(uint64(i))
			at[i] = b.Pick(c)
		}
		return at
	}
	before, after := where(hosts), where(hosts[1:])
	moved, own := 0, 0
	for i, h := range before {
		switch {
		case h == hosts[0]:
			own++
			if after[i] == h {
				t.Fatalf("key %d is still at the host that left", i)
			}
		case after[i] != h:
			moved++
		}
	}
	share := float64(moved) / float64(keys)
	t.Logf("%d hosts: %d of %d keys were at the host that left, %d others moved (%.2f %%)", len(hosts), own, keys, moved, 100*share)
	if share > limit {
		t.Errorf("%.4f of the keys moved without need, above %.4f", share, limit)
	}
	for i, h := range where(hosts) {
		if h != before[i] {
			t.Fatalf("key %d does not return", i)
		}
	}
}
