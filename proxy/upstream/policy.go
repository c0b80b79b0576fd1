// SPDX-License-Identifier: Apache-2.0

package upstream

import "math/rand/v2"

// A Balancer picks hosts for one loop. Its state is private to the loop: no method is
// called from two goroutines at once.
type Balancer interface {
	// Pick returns a host, or nil if there is none to use. It allocates nothing.
	Pick(c *PickContext) *Host
}

// A Policy is a load balancing policy with its configuration; it is immutable.
type Policy interface {
	// Build prepares for one host set what all loops can share (a ring, a table, the
	// weights). It runs off the loops, once per host set, and may take its time.
	Build(set *PrioritySet) Table
}

// A Table is what a Policy built for one host set.
type Table interface {
	// Balancer returns one loop's balancer. It runs off the loops; the loop takes the
	// balancer over before it picks.
	Balancer(env *Env) Balancer
}

// A ListPolicy balances among the hosts of one list, all alike in priority and health.
// [Layered] makes a Policy of it.
type ListPolicy interface {
	// BuildList is Build for one list. The list is not empty.
	BuildList(list []*Host) Table
}

// A WeightedPolicy balances among the hosts of one list by shares that come from outside:
// with weights by locality they are not the hosts' own. [LayeredWeighted] makes a Policy
// of it.
type WeightedPolicy interface {
	// BuildWeighted is Build for one list that is not empty, with a share for each host;
	// the shares add up to 1.
	BuildWeighted(list []*Host, shares []float64) Table
}

// A Measured Table has figures for the cluster's statistics.
type Measured interface {
	// Measure tells them once, before the table is used. prev is the table that was
	// used so far, nil at first.
	Measure(prev Table, m Meter)
}

// A Meter takes a table's figures. Names are below "cluster.<name>.".
type Meter interface {
	Gauge(name string, v int64)
	Count(name string, n uint64)
}

// A Follower is a Policy whose tables depend on the hosts of other clusters, which it
// names. Its table is built anew when they change.
type Follower interface {
	Policy
	Follows() []string
}

// A LocalityPolicy is a Policy that can weigh localities.
type LocalityPolicy interface {
	Policy
	// ByLocality returns the policy that chooses among localities by their weights.
	ByLocality() Policy
}

// A SlowPolicy takes long to build its tables, so that it is never done on a loop.
type SlowPolicy interface {
	Policy
	Slow() bool
}

// Env is what a Balancer gets from its worker.
type Env struct {
	// Loop is the loop's number, of Loops.
	Loop, Loops int
	// Cluster is the cluster that the hosts are of, for balancers that make hosts.
	Cluster *Cluster
	// Seed seeds whatever the balancer draws; loops get different ones.
	Seed uint64
	// Stats are the loop's statistics of the cluster.
	Stats *Stats
}

// Rand returns a source of random numbers for one balancer.
func (e *Env) Rand() *rand.Rand { return rand.New(rand.NewPCG(e.Seed, 0x9e3779b97f4a7c15)) }
