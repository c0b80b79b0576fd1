// SPDX-License-Identifier: Apache-2.0

// Package ringhash is the load balancing policy that puts hosts on a ring, each at many
// places, and takes the host at or after the place of the request's hash (ketama). When
// a host comes or goes only about its own share of the requests moves. It is Envoy's
// envoy.load_balancing_policies.ring_hash, and its ring is the same.
package ringhash

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strconv"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/hashing"
)

// Config is the policy's configuration.
type Config struct {
	// Murmur uses MurmurHash2 instead of XXH64.
	Murmur bool
	// MinSize and MaxSize bound the places on the ring; 1024 and 8,388,608 by default.
	MinSize, MaxSize uint64
	Hash             hashing.Options
	Layers           upstream.LayerOptions
}

const (
	defaultMin = 1024
	limit      = 8 << 20
)

// New returns the policy.
func New(c Config) upstream.Policy {
	c.MinSize, c.MaxSize = cmp.Or(c.MinSize, defaultMin), cmp.Or(c.MaxSize, limit)
	c.Layers.Hashed = true
	return upstream.LayeredWeighted(list{c}, c.Layers)
}

type list struct{ Config }

// BuildWeighted implements upstream.WeightedPolicy.
func (l list) BuildWeighted(hosts []*upstream.Host, shares []float64) upstream.Table {
	return hashing.New(l.ring(hosts, shares), hosts, shares, &l.Hash)
}

type ring struct {
	// at are the places in order; hosts are at them.
	at    []uint64
	hosts []*upstream.Host
	// first has, for each beginning of a hash, the first place that is not before all such;
	// shift is how many bits of a hash follow. Some four places lie between two.
	first      []uint32
	shift      int
	size       int
	least, top int // the fewest and most places of a host
}

type place struct {
	at   uint64
	host *upstream.Host
}

// ring scales the number of places so that the lightest host gets a whole number, if
// the limit allows. Hosts take theirs from a running sum, so that fractions are not
// lost.
func (l list) ring(hosts []*upstream.Host, shares []float64) *ring {
	least := slices.Min(shares)
	scale := min(math.Ceil(least*float64(l.MinSize))/least, float64(l.MaxSize))
	size := int(math.Ceil(scale))
	places := make([]place, 0, size)
	r := &ring{size: size, least: size}
	var key []byte
	current, target := 0.0, 0.0
	for i, h := range hosts {
		key = append(append(key[:0], hashing.Key(h, l.Hash.UseHostname)...), '_')
		name, n := len(key), 0
		for target += scale * shares[i]; current < target; current++ {
			key = strconv.AppendInt(key[:name], int64(n), 10)
			places = append(places, place{l.hash(key), h})
			n++
		}
		r.least, r.top = min(r.least, n), max(r.top, n)
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.at, b.at) })
	r.at, r.hosts = make([]uint64, len(places)), make([]*upstream.Host, len(places))
	for i, p := range places {
		r.at[i], r.hosts[i] = p.at, p.host
	}
	r.index()
	return r
}

// index divides the ring, so that a hash is looked for among few places.
func (r *ring) index() {
	width := max(bits.Len(uint(len(r.at)))-2, 1)
	r.shift, r.first = 64-width, make([]uint32, 1<<width+1)
	next := 0
	for i, at := range r.at {
		for ; uint64(next) <= at>>r.shift; next++ {
			r.first[next] = uint32(i)
		}
	}
	for ; next < len(r.first); next++ {
		r.first[next] = uint32(len(r.at))
	}
}

func (l list) hash(key []byte) uint64 {
	if l.Murmur {
		return murmur2(key, murmurSeed)
	}
	return match.XXH64(string(key), 0)
}

// Find implements hashing.Finder. Each attempt goes one place further.
func (r *ring) Find(hash uint64, attempt uint32) *upstream.Host {
	part := hash >> r.shift
	low, high := int(r.first[part]), int(r.first[part+1])
	for low < high {
		if mid := int(uint(low+high) / 2); r.at[mid] < hash {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == len(r.at) {
		low = 0
	}
	return r.hosts[(low+int(attempt))%len(r.hosts)]
}

// Measure implements upstream.Measured.
func (r *ring) Measure(_ upstream.Table, m upstream.Meter) {
	m.Gauge("ring_hash_lb.size", int64(r.size))
	m.Gauge("ring_hash_lb.min_hashes_per_host", int64(r.least))
	m.Gauge("ring_hash_lb.max_hashes_per_host", int64(r.top))
}
