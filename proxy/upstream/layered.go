// SPDX-License-Identifier: Apache-2.0

package upstream

import "math/rand/v2"

// LayerOptions are how Layered goes about it.
type LayerOptions struct {
	// Hashed draws the priority by the request's hash.
	Hashed bool
	// FailTrafficOnPanic gives no host in panic instead of any host.
	FailTrafficOnPanic bool
}

// Layered returns a Policy that draws a priority by load, decides between its healthy,
// its degraded and, in panic, all of its hosts, and lets a ListPolicy pick among those,
// as Envoy's LoadBalancerBase does.
func Layered(list ListPolicy, o LayerOptions) Policy { return layered{list, o} }

type layered struct {
	list ListPolicy
	LayerOptions
}

type layeredTable struct {
	layered
	set    *PrioritySet
	levels []levelOf[Table]
}

// levelOf holds what is made of the lists of one priority; nil for an empty list. In
// panic only all is used, otherwise only the others.
type levelOf[T any] struct {
	panic             bool
	all               T
	healthy, degraded T
}

// Build implements Policy.
func (l layered) Build(set *PrioritySet) Table {
	t := &layeredTable{layered: l, set: set}
	build := func(hosts []*Host) Table {
		if len(hosts) == 0 {
			return nil
		}
		return l.list.BuildList(hosts)
	}
	for i, s := range set.Levels {
		lv := levelOf[Table]{panic: set.Panic[i]}
		if lv.panic {
			if !l.FailTrafficOnPanic {
				lv.all = build(s.Hosts)
			}
		} else {
			lv.healthy, lv.degraded = build(s.Healthy), build(s.Degraded)
		}
		t.levels = append(t.levels, lv)
	}
	return t
}

// Balancer implements Table.
func (t *layeredTable) Balancer(env *Env) Balancer {
	b := &layeredBalancer{set: t.set, stats: env.Stats, hashed: t.Hashed, rand: env.Rand(), sole: -1}
	balancer := func(t Table) Balancer {
		if t == nil {
			return nil
		}
		return t.Balancer(env)
	}
	for _, l := range t.levels {
		b.levels = append(b.levels, levelOf[Balancer]{
			panic: l.panic, all: balancer(l.all), healthy: balancer(l.healthy), degraded: balancer(l.degraded),
		})
	}
	for i, v := range t.set.Load.Healthy {
		if v == 100 {
			b.sole = i
		}
	}
	return b
}

type layeredBalancer struct {
	set    *PrioritySet
	levels []levelOf[Balancer]
	stats  *Stats
	rand   *rand.Rand
	hashed bool
	sole   int // the priority whose healthy hosts take all load, or -1
}

// Pick implements Balancer.
func (b *layeredBalancer) Pick(c *PickContext) *Host {
	priority, degraded := b.sole, false
	if priority < 0 || c.Priorities != nil {
		load := &b.set.Load
		if c.Priorities != nil {
			load = c.Priorities.Load(b.set, load)
		}
		hash := c.Hash
		if !b.hashed || !c.HasHash {
			hash = b.rand.Uint64()
		}
		priority, degraded = load.choose(hash)
	}
	if priority >= len(b.levels) {
		return nil
	}
	l := &b.levels[priority]
	from := l.healthy
	switch {
	case l.panic:
		b.stats.LBHealthyPanic.Inc()
		from = l.all
	case degraded:
		from = l.degraded
	}
	if from == nil {
		return nil
	}
	return from.Pick(c)
}
