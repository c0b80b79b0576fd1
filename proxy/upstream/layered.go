// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"math/rand/v2"

	"weir.dev/weir/proxy/route"
)

// LayerOptions are how Layered goes about it. The zero value knows of no localities.
type LayerOptions struct {
	// Hashed draws the priority by the request's hash.
	Hashed bool
	// HashPolicies, if not nil, make the request's hash in place of the route's.
	HashPolicies route.HashPolicies
	// FailTrafficOnPanic gives no host in panic instead of any host.
	FailTrafficOnPanic bool
	// ByLocality chooses a locality by its weight first
	// (locality_weighted_lb_config). Without weights it changes nothing.
	ByLocality bool
	// Zones prefers hosts of the proxy's own locality (zone_aware_lb_config).
	Zones ZoneOptions
}

// Layered returns a Policy that draws a priority by load, decides between its healthy,
// its degraded and, in panic, all of its hosts, perhaps for a locality, and lets a
// ListPolicy pick among those, as Envoy's LoadBalancerBase does.
func Layered(list ListPolicy, o LayerOptions) Policy { return layered{list: list, LayerOptions: o} }

// LayeredWeighted is Layered for a WeightedPolicy, which gets the hosts of all localities
// at once: the weights of localities are in the shares.
func LayeredWeighted(w WeightedPolicy, o LayerOptions) Policy {
	return layered{weighted: w, LayerOptions: o}
}

type layered struct {
	list     ListPolicy // or
	weighted WeightedPolicy
	LayerOptions
}

// ByLocality implements LocalityPolicy.
func (l layered) ByLocality() Policy {
	l.LayerOptions.ByLocality, l.Zones = true, ZoneOptions{}
	return l
}

// Slow implements SlowPolicy: tables of hashes are large.
func (l layered) Slow() bool { return l.weighted != nil }

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
	// Nil unless localities are weighed or preferred.
	healthyBy, degradedBy *localitiesOf[T]
	zone                  *zonePlan // priority 0 only
}

// Build implements Policy.
func (l layered) Build(set *PrioritySet) Table {
	t := &layeredTable{layered: l, set: set}
	for i, s := range set.Levels {
		t.levels = append(t.levels, l.level(set, i, s))
	}
	return t
}

func (l layered) level(set *PrioritySet, i int, s *HostSet) levelOf[Table] {
	lv := levelOf[Table]{panic: set.Panic[i]}
	if lv.panic {
		if !l.FailTrafficOnPanic {
			lv.all = l.build(s, everyHost)
		}
		return lv
	}
	lv.healthy, lv.degraded = l.build(s, healthyHosts), l.build(s, degradedHosts)
	if l.weighted != nil {
		return lv // The weights of localities are in its shares.
	}
	if l.LayerOptions.ByLocality {
		lv.healthyBy, lv.degradedBy = l.weighed(s, healthyHosts), l.weighed(s, degradedHosts)
		return lv
	}
	if i == 0 && set.Peers != nil && l.Zones.Enabled > 0 {
		lv.zone = planZones(&l.Zones, set, s)
		lv.zone.failOnPanic = l.FailTrafficOnPanic
		if lv.zone.route {
			lv.healthyBy, lv.degradedBy = l.apart(s, healthyHosts), l.apart(s, degradedHosts)
		}
	}
	return lv
}

// build makes a table of the hosts of one kind, nil if there are none.
func (l layered) build(s *HostSet, kind hostKind) Table {
	hosts := kind.of(s)
	if len(hosts) == 0 {
		return nil
	}
	if l.weighted == nil {
		return l.list.BuildList(hosts)
	}
	hosts, shares := l.shares(s, kind)
	if len(hosts) == 0 {
		return nil
	}
	return l.weighted.BuildWeighted(hosts, shares)
}

// Measure implements Measured: the table that is used for most requests counts.
func (t *layeredTable) Measure(prev Table, m Meter) {
	for _, lv := range t.levels {
		for _, x := range []Table{lv.degraded, lv.all, lv.healthy} {
			if x, ok := x.(Measured); ok {
				x.Measure(nil, m)
			}
		}
	}
}

// Balancer implements Table.
func (t *layeredTable) Balancer(env *Env) Balancer {
	b := &layeredBalancer{set: t.set, stats: env.Stats, hashed: t.Hashed, policies: t.HashPolicies, rand: env.Rand(), sole: -1}
	balancer := func(t Table) Balancer {
		if t == nil {
			return nil
		}
		return t.Balancer(env)
	}
	for _, l := range t.levels {
		lv := levelOf[Balancer]{
			panic: l.panic, all: balancer(l.all), healthy: balancer(l.healthy), degraded: balancer(l.degraded), zone: l.zone,
			healthyBy: l.healthyBy.balancers(balancer, b.rand), degradedBy: l.degradedBy.balancers(balancer, b.rand),
		}
		if l.zone != nil {
			l.zone.count(env.Stats)
		}
		b.levels = append(b.levels, lv)
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
	// policies replace those of the route if not nil.
	policies route.HashPolicies
	sole     int // the priority whose healthy hosts take all load, or -1
}

// Pick implements Balancer.
func (b *layeredBalancer) Pick(c *PickContext) *Host {
	if b.policies != nil && c.Attempt == 0 {
		c.Hash, c.HasHash = 0, false
		if c.Headers != nil {
			c.Hash, c.HasHash = b.policies.Hash(c.Headers, c.Stream, c.Cookie)
		}
	}
	priority, degraded := b.sole, false
	if priority < 0 || c.Priorities != nil {
		load := &b.set.Load
		if c.Priorities != nil {
			load = c.Priorities.Load(b.set, load, c.Attempted)
		}
		hash := c.Hash
		if !b.hashed || !c.HasHash {
			hash = b.rand.Uint64()
		}
		priority, degraded = load.Choose(hash)
	}
	if priority >= len(b.levels) {
		return nil
	}
	l := &b.levels[priority]
	from, by := l.healthy, l.healthyBy
	switch {
	case l.panic:
		b.stats.LBHealthyPanic.Inc()
		from, by = l.all, nil
	case degraded:
		from, by = l.degraded, l.degradedBy
	}
	if from == nil {
		return nil
	}
	switch {
	case l.zone != nil && l.zone.route:
		i, fail := l.zone.choose(b.rand, b.stats)
		if fail {
			return nil
		}
		if i >= 0 && by != nil && by.lists[i] != nil {
			from = by.lists[i]
		}
	case by != nil:
		from = by.lists[by.wheel.next()]
	}
	return from.Pick(c)
}
