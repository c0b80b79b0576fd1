// SPDX-License-Identifier: Apache-2.0

// Package aggregate is the cluster that stands for several others, in order of
// preference: their priorities, one after the other, are its own, and load spills over
// them as it does within a cluster. A cluster among them then chooses the host by its
// own policy, and its settings hold for the connection. It is Envoy's
// envoy.clusters.aggregate.
package aggregate

import (
	"math/rand/v2"

	"weir.dev/weir/proxy/upstream"
)

// discovery has nothing to find.
type discovery struct{}

// Start implements upstream.Discovery.
func (discovery) Start(update func([]upstream.Endpoint, error)) error {
	update([]upstream.Endpoint{}, nil)
	return nil
}

// Close implements upstream.Discovery.
func (discovery) Close() {}

type policy struct{ clusters []string }

// Follows implements upstream.Follower.
func (p policy) Follows() []string { return p.clusters }

// Build implements upstream.Policy.
func (p policy) Build(set *upstream.PrioritySet) upstream.Table { return table{p, set.SetOptions} }

type table struct {
	policy
	options upstream.SetOptions
}

// member is a priority of one of the clusters.
type member struct {
	worker   *upstream.Worker
	priority int
}

// Balancer implements upstream.Table.
func (t table) Balancer(env *upstream.Env) upstream.Balancer {
	b := &balancer{rand: env.Rand()}
	var levels []*upstream.HostSet
	for _, c := range env.Cluster.Manager().Leaves(t.clusters) {
		for i, l := range c.Newest().Levels {
			if len(l.Hosts) > 0 {
				levels = append(levels, l)
				b.members = append(b.members, member{c.Worker(env.Loop), i})
			}
		}
	}
	b.set = upstream.JoinLevels(levels, t.options)
	return b
}

type balancer struct {
	set     *upstream.PrioritySet
	members []member
	rand    *rand.Rand
	// What the member is told, for the time of a pick.
	only upstream.PriorityLoad
	none [256]uint32
	load [256]uint32
}

// Pick implements upstream.Balancer.
func (b *balancer) Pick(c *upstream.PickContext) *upstream.Host {
	load := &b.set.Load
	if c.Priorities != nil {
		load = c.Priorities.Load(b.set, load, c.Attempted)
	}
	i, degraded := load.Choose(b.rand.Uint64())
	if i >= len(b.members) {
		return nil
	}
	m := b.members[i]
	b.only.Healthy, b.only.Degraded = b.load[:m.priority+1], b.none[:m.priority+1]
	if degraded {
		b.only.Healthy, b.only.Degraded = b.only.Degraded, b.only.Healthy
	}
	b.load[m.priority] = 100
	outer := c.Priorities
	c.Priorities = b
	h := m.worker.Choose(c)
	c.Priorities = outer
	b.load[m.priority] = 0
	return h
}

// Load implements upstream.PriorityOverride: all of it goes to the chosen priority.
func (b *balancer) Load(*upstream.PrioritySet, *upstream.PriorityLoad, []*upstream.Host) *upstream.PriorityLoad {
	return &b.only
}
