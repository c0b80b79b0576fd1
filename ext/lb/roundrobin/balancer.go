// SPDX-License-Identifier: Apache-2.0

// Package roundrobin is the load balancing policy that takes hosts in turn: plainly if
// they weigh alike, otherwise in proportion to their weights by earliest deadline
// first. It is Envoy's envoy.load_balancing_policies.round_robin.
package roundrobin

import (
	"time"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/schedule"
)

// Config is the policy's configuration.
type Config struct {
	SlowStart schedule.SlowStart
	Layers    upstream.LayerOptions
}

// New returns the policy.
func New(c Config) upstream.Policy { return upstream.Layered(list{c.SlowStart}, c.Layers) }

type list struct{ slow schedule.SlowStart }

// BuildList implements upstream.ListPolicy.
func (l list) BuildList(hosts []*upstream.Host) upstream.Table {
	return table{
		hosts: hosts, slow: l.slow,
		weighted: !schedule.SameWeights(hosts) || l.slow.Any(hosts, time.Now()),
	}
}

type table struct {
	hosts    []*upstream.Host
	slow     schedule.SlowStart
	weighted bool
}

// Balancer implements upstream.Table.
func (t table) Balancer(env *upstream.Env) upstream.Balancer {
	start := env.Rand().Uint64()
	if !t.weighted {
		return &plain{hosts: t.hosts, next: int(start % uint64(len(t.hosts)))}
	}
	var weight schedule.Weight
	if slow := t.slow; slow.Window > 0 {
		weight = func(_ int, h *upstream.Host) float64 { return float64(h.Weight) * slow.Factor(h, time.Now()) }
	}
	return scheduled{schedule.New(t.hosts, weight, start)}
}

type plain struct {
	hosts []*upstream.Host
	next  int
}

// Pick implements upstream.Balancer.
func (b *plain) Pick(*upstream.PickContext) *upstream.Host {
	h := b.hosts[b.next]
	if b.next++; b.next == len(b.hosts) {
		b.next = 0
	}
	return h
}

type scheduled struct{ *schedule.Scheduler }

// Pick implements upstream.Balancer.
func (b scheduled) Pick(*upstream.PickContext) *upstream.Host { return b.Next() }
