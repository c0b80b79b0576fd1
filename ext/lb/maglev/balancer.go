// SPDX-License-Identifier: Apache-2.0

// Package maglev is the load balancing policy that looks a request's hash up in a table
// of hosts, filled as in "Maglev: A Fast and Reliable Software Network Load Balancer"
// (NSDI 2016), section 3.4. A pick is one look; hosts get equal parts of the table, and
// when one comes or goes few of the others' parts move. It is Envoy's
// envoy.load_balancing_policies.maglev, and its table is the same.
package maglev

import (
	"cmp"
	"slices"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/hashing"
)

// DefaultSize is the table's size if none is configured.
const DefaultSize = 65537

// Config is the policy's configuration.
type Config struct {
	// Size of the table, a prime; 0 is DefaultSize.
	Size   uint64
	Hash   hashing.Options
	Layers upstream.LayerOptions
}

// New returns the policy.
func New(c Config) upstream.Policy {
	c.Size = cmp.Or(c.Size, DefaultSize)
	c.Layers.Hashed = true
	return upstream.LayeredWeighted(list{c}, c.Layers)
}

type list struct{ Config }

// BuildWeighted implements upstream.WeightedPolicy.
func (l list) BuildWeighted(hosts []*upstream.Host, shares []float64) upstream.Table {
	return hashing.New(l.table(hosts, shares), hosts, shares, &l.Hash)
}

type table struct {
	hosts      []*upstream.Host
	at         []int32 // of hosts
	least, top int     // the fewest and most entries of a host
}

// entry is one host while the table is filled: next is the place that it would like
// next, target the weight that it must have gathered before it gets another.
type entry struct {
	key          string
	host         *upstream.Host
	share        float64
	next, skip   uint64
	target       float64
	count, index int
}

// table has the hosts choose places in turns, each in an order of its own; a host of
// less weight than the heaviest sits out turns.
func (l list) table(hosts []*upstream.Host, shares []float64) *table {
	entries := make([]entry, len(hosts))
	for i, h := range hosts {
		entries[i] = entry{key: hashing.Key(h, l.Hash.UseHostname), host: h, share: shares[i], index: i}
	}
	// The order of turns must not depend on the order of hosts.
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
	for i := range entries {
		e := &entries[i]
		e.next = match.XXH64(e.key, 0) % l.Size
		e.skip = match.XXH64(e.key, 1)%(l.Size-1) + 1
	}
	t := &table{hosts: hosts, at: make([]int32, l.Size)}
	for i := range t.at {
		t.at[i] = -1
	}
	heaviest := slices.Max(shares)
	for turn, filled := 1.0, uint64(0); filled < l.Size; turn++ {
		for i := 0; i < len(entries) && filled < l.Size; i++ {
			e := &entries[i]
			if turn*e.share < e.target {
				continue
			}
			e.target += heaviest
			for t.at[e.next] >= 0 {
				e.advance(l.Size)
			}
			t.at[e.next] = int32(e.index)
			e.advance(l.Size)
			e.count++
			filled++
		}
	}
	t.least = int(l.Size)
	for i := range entries {
		t.least, t.top = min(t.least, entries[i].count), max(t.top, entries[i].count)
	}
	return t
}

func (e *entry) advance(size uint64) {
	if e.next += e.skip; e.next >= size {
		e.next -= size
	}
}

// Find implements hashing.Finder. An attempt changes the high bits of the hash, as
// Envoy does, so that requests of one host scatter over others.
func (t *table) Find(hash uint64, attempt uint32) *upstream.Host {
	if attempt > 0 {
		hash ^= -uint64(attempt)
	}
	return t.hosts[t.at[hash%uint64(len(t.at))]]
}

// Measure implements upstream.Measured.
func (t *table) Measure(_ upstream.Table, m upstream.Meter) {
	m.Gauge("maglev_lb.min_entries_per_host", int64(t.least))
	m.Gauge("maglev_lb.max_entries_per_host", int64(t.top))
}
