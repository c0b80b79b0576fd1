// SPDX-License-Identifier: Apache-2.0

// Package random is the load balancing policy that draws hosts, all with the same
// chance whatever their weights. It is Envoy's envoy.load_balancing_policies.random.
package random

import (
	"math/rand/v2"

	"weir.dev/weir/proxy/upstream"
)

// Config is the policy's configuration.
type Config struct{ Layers upstream.LayerOptions }

// New returns the policy.
func New(c Config) upstream.Policy { return upstream.Layered(list{}, c.Layers) }

type list struct{}

// BuildList implements upstream.ListPolicy.
func (list) BuildList(hosts []*upstream.Host) upstream.Table { return table(hosts) }

type table []*upstream.Host

// Balancer implements upstream.Table.
func (t table) Balancer(env *upstream.Env) upstream.Balancer {
	return &balancer{hosts: t, rand: env.Rand()}
}

type balancer struct {
	hosts []*upstream.Host
	rand  *rand.Rand
}

// Pick implements upstream.Balancer.
func (b *balancer) Pick(*upstream.PickContext) *upstream.Host {
	return b.hosts[b.rand.IntN(len(b.hosts))]
}
