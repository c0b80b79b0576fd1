// SPDX-License-Identifier: Apache-2.0

// Package hashing is what policies have in common that find a host by the hash of a
// request: how hosts are known, and how loads are bounded.
package hashing

import (
	"math"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
)

// Key is what a host is known by to policies that hash: hash_key of its metadata
// envoy.lb if that is a string, its hostname if asked for, its address otherwise. Both
// fall back to the address if they are empty.
func Key(h *upstream.Host, hostname bool) string {
	if v, ok := h.Metadata.Lookup("envoy.lb", "hash_key"); ok {
		if s, ok := v.(string); ok && s != "" {
			return s
		}
	}
	if hostname && h.Hostname != "" {
		return h.Hostname
	}
	return h.Address.String()
}

// Options are what policies that hash have in common
// (consistent_hashing_lb_config).
type Options struct {
	// UseHostname hashes hosts by their names instead of addresses.
	UseHostname bool
	// Balance bounds a host's load, in percent of the average; 0 is no bound.
	Balance uint32
}

// A Finder finds the host of a hash; attempt counts hosts that were refused before.
type Finder interface {
	Find(hash uint64, attempt uint32) *upstream.Host
}

// New returns a table of one list's hosts, each with its share, by which requests
// find their host by hash. Requests without hash get a host by chance.
func New(t Finder, hosts []*upstream.Host, shares []float64, o *Options) upstream.Table {
	h := &hashed{Finder: t, options: o}
	if o.Balance > 0 {
		h.hosts, h.shares, h.at = hosts, shares, make(map[*upstream.Host]int32, len(hosts))
		for i, x := range hosts {
			h.at[x] = int32(i)
		}
	}
	return h
}

type hashed struct {
	Finder
	options *Options
	// For bounded loads only.
	hosts  []*upstream.Host
	shares []float64
	at     map[*upstream.Host]int32
}

// Measure implements Measured.
func (h *hashed) Measure(_ upstream.Table, m upstream.Meter) {
	if x, ok := h.Finder.(upstream.Measured); ok {
		x.Measure(nil, m)
	}
}

// Balancer implements upstream.Table.
func (h *hashed) Balancer(env *upstream.Env) upstream.Balancer {
	b := &hashedBalancer{hashed: h, draw: env.Rand().Uint64}
	if h.options.Balance > 0 {
		b.cluster, b.order = env.Cluster, make([]int32, len(h.hosts))
	}
	return b
}

type hashedBalancer struct {
	*hashed
	draw    func() uint64
	cluster *upstream.Cluster
	order   []int32 // scratch
	random  mersenne
}

// Pick implements Balancer.
func (b *hashedBalancer) Pick(c *upstream.PickContext) *upstream.Host {
	hash := c.Hash
	if !c.HasHash {
		hash = b.draw()
	}
	h := b.Find(hash, c.Attempt)
	if h == nil || b.options.Balance == 0 {
		return h
	}
	return b.bounded(h, hash)
}

// bounded takes another host if h has more than its share of the requests under way:
// the next that has not, in an order that only the hash decides (consistent hashing
// with bounded loads, arXiv 1608.01350, with the random jumps of arXiv 1908.08762). It
// looks at all hosts if all are busy. The order is that of Envoy.
func (b *hashedBalancer) bounded(h *upstream.Host, hash uint64) *upstream.Host {
	slots := float64((uint64(b.active()+1)*uint64(b.options.Balance) + 99) / 100)
	best, least := h, b.load(h, b.shares[b.at[h]], slots)
	if least <= 1 {
		return h
	}
	for i := range b.order {
		b.order[i] = int32(i)
	}
	b.random.seed(uint32(hash))
	n := uint32(len(b.order))
	for i := range n {
		j := b.random.below(n - i)
		b.order[i], b.order[i+j] = b.order[i+j], b.order[i]
		other := b.hosts[b.order[i]]
		if other == h {
			continue
		}
		load := b.load(other, b.shares[b.order[i]], slots)
		if load <= 1 {
			return other
		}
		if load < least {
			best, least = other, load
		}
	}
	return best
}

// load is a host's requests in relation to what it may have.
func (b *hashedBalancer) load(h *upstream.Host, share, slots float64) float64 {
	return float64(max(0, h.ActiveRequests())) / max(1, math.Ceil(slots*share))
}

// active is the number of requests under way to the cluster.
func (b *hashedBalancer) active() int64 {
	if b.cluster != nil {
		return max(0, b.cluster.Resources(breaker.Default).Requests.Count()+b.cluster.Resources(breaker.High).Requests.Count())
	}
	var sum int64
	for _, h := range b.hosts {
		sum += max(0, h.ActiveRequests())
	}
	return sum
}

// mersenne is MT19937 (Matsumoto and Nishimura, 1998), the generator that Envoy orders
// hosts by.
type mersenne struct {
	state [624]uint32
	next  int
}

func (m *mersenne) seed(s uint32) {
	m.state[0] = s
	for i := 1; i < len(m.state); i++ {
		s = 1812433253*(s^s>>30) + uint32(i)
		m.state[i] = s
	}
	m.next = len(m.state)
}

func (m *mersenne) draw() uint32 {
	const n, shift = 624, 397
	if m.next == n {
		for i := range n {
			y := m.state[i]&0x80000000 | m.state[(i+1)%n]&0x7fffffff
			v := m.state[(i+shift)%n] ^ y>>1
			if y&1 != 0 {
				v ^= 0x9908b0df
			}
			m.state[i] = v
		}
		m.next = 0
	}
	y := m.state[m.next]
	m.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// below draws a number below k, all with the same chance.
func (m *mersenne) below(k uint32) uint32 {
	step := uint32((1 << 32) / uint64(k))
	if k == 1 {
		m.draw()
		return 0
	}
	for {
		if x := m.draw() / step; x < k {
			return x
		}
	}
}
