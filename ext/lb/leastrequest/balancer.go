// SPDX-License-Identifier: Apache-2.0

// Package leastrequest is the load balancing policy that prefers hosts with few
// requests under way. Among hosts that weigh alike it draws a few and takes the least
// busy (the power of two choices); otherwise it schedules them by earliest deadline
// first, each with weight / (active + 1)^bias. It is Envoy's
// envoy.load_balancing_policies.least_request.
package leastrequest

import (
	"math"
	"math/rand/v2"
	"time"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/schedule"
)

// Config is the policy's configuration.
type Config struct {
	// Choices is the number of hosts drawn, at least 2.
	Choices int
	// Bias is the exponent on the active requests for hosts of different weights; 1 by
	// default in Envoy's configuration, 0 is plain weighted round robin.
	Bias float64
	// FullScan looks at all hosts of equal weight instead of drawing a few.
	FullScan  bool
	SlowStart schedule.SlowStart
	Layers    upstream.LayerOptions
}

// New returns the policy.
func New(c Config) upstream.Policy {
	c.Choices = max(2, c.Choices)
	return upstream.Layered(list{c}, c.Layers)
}

type list struct{ Config }

// BuildList implements upstream.ListPolicy.
func (l list) BuildList(hosts []*upstream.Host) upstream.Table {
	return table{
		Config: l.Config, hosts: hosts,
		weighted: !schedule.SameWeights(hosts) || l.SlowStart.Any(hosts, time.Now()),
	}
}

type table struct {
	Config
	hosts    []*upstream.Host
	weighted bool
}

// Balancer implements upstream.Table.
func (t table) Balancer(env *upstream.Env) upstream.Balancer {
	r := env.Rand()
	switch {
	case t.weighted:
		return scheduled{schedule.New(t.hosts, t.weight, r.Uint64())}
	case t.FullScan:
		return &scan{hosts: t.hosts, rand: r}
	}
	return &choices{hosts: t.hosts, n: t.Choices, rand: r}
}

func (t table) weight(_ int, h *upstream.Host) float64 {
	w := float64(h.Weight)
	if t.SlowStart.Window > 0 {
		w *= t.SlowStart.Factor(h, time.Now())
	}
	busy := float64(max(0, h.ActiveRequests()) + 1)
	switch t.Bias {
	case 0:
		return w
	case 1:
		return w / busy
	}
	return w / math.Pow(busy, t.Bias)
}

type scheduled struct{ *schedule.Scheduler }

// Pick implements upstream.Balancer.
func (b scheduled) Pick(*upstream.PickContext) *upstream.Host { return b.Next() }

type choices struct {
	hosts []*upstream.Host
	n     int
	rand  *rand.Rand
}

// Pick implements upstream.Balancer. The same host may be drawn twice, as in Envoy.
func (b *choices) Pick(*upstream.PickContext) *upstream.Host {
	best := b.hosts[b.rand.IntN(len(b.hosts))]
	busy := best.ActiveRequests()
	for range b.n - 1 {
		h := b.hosts[b.rand.IntN(len(b.hosts))]
		if n := h.ActiveRequests(); n < busy {
			best, busy = h, n
		}
	}
	return best
}

type scan struct {
	hosts []*upstream.Host
	rand  *rand.Rand
}

// Pick implements upstream.Balancer. Ties are broken by chance, so that loops do not
// all flood the first idle host.
func (b *scan) Pick(*upstream.PickContext) *upstream.Host {
	var best *upstream.Host
	var busy int64
	ties := 0
	for _, h := range b.hosts {
		switch n := h.ActiveRequests(); {
		case best == nil || n < busy:
			best, busy, ties = h, n, 1
		case n == busy:
			// Reservoir sampling: each of k tied hosts is kept with chance 1/k.
			if ties++; b.rand.IntN(ties) == 0 {
				best = h
			}
		}
	}
	return best
}
