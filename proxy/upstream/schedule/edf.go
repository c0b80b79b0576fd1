// SPDX-License-Identifier: Apache-2.0

// Package schedule picks hosts in proportion to weights that may change from pick to
// pick, for balancers of one loop, and raises the weights of hosts that are new.
package schedule

import (
	"math"
	"math/bits"
	"slices"

	"weir.dev/weir/proxy/upstream"
)

// A Scheduler picks hosts in proportion to their weights, smoothly: earliest deadline
// first, as Envoy's. Nothing is allocated by a pick, which costs O(log n) for n hosts
// whose weights change. If they are fixed, hosts that weigh about alike take turns within
// one entry, of which there are few. A Scheduler belongs to one loop.
type Scheduler struct {
	// heap has four children to a node and its root at [root], so that those of one node
	// share a cache line; what is left of the last line is never.
	heap   []deadline
	turns  []turn           // of fixed weights, or
	hosts  []*upstream.Host // each with
	weight Weight
	now    float64
	order  uint32
}

// A Weight is what the host at an index of the list weighs now.
type Weight func(i int, h *upstream.Host) float64

// turn is the hosts of one entry.
type turn struct {
	hosts []*upstream.Host
	next  int
	step  float64 // time between two picks of the entry
	// Of hosts that do not weigh wholly alike, each one's weight as a part of the
	// greatest, and how much of that it has not been picked for. Nil if they do.
	part, credit []float64
}

// maxEntries is how many different weights have entries of their own. Beyond, hosts share
// one that weigh at least half as much as each other.
const maxEntries = 64

// deadline is kept small, and compared without branches: a pick walks a path through the
// heap, which no processor foresees.
type deadline struct {
	at  uint64 // the bits of a float64, which sort as it does: it is never negative
	tie uint64 // first come, first served, but for once in 2^32; below that the entry
}

var never = deadline{math.MaxUint64, math.MaxUint64}

const root = 3

// Weights below the least are lifted to it, so that no deadline is infinite.
const minWeight = 1e-6

// New schedules hosts by weight, which is asked anew at each pick; nil is the
// hosts' own, fixed weight. skip picks
// (at most one round of them) are made beforehand, so that loops do not all begin with
// the same host.
func New(hosts []*upstream.Host, weight Weight, skip uint64) *Scheduler {
	s := &Scheduler{weight: weight, hosts: hosts}
	entries := len(hosts)
	if weight == nil {
		s.groupByWeight(hosts)
		entries = len(s.turns)
	}
	s.heap = make([]deadline, (root+entries+3)/4*4)
	for i := range entries {
		s.heap[root+i] = s.due(s.step(uint32(i)), uint32(i))
	}
	for i := root + entries; i < len(s.heap); i++ {
		s.heap[i] = never
	}
	if entries == 0 {
		s.heap = nil
	} else {
		slices.SortFunc(s.heap[root:], func(a, b deadline) int { return 1 - 2*a.before(&b) })
	}
	if n := uint64(len(hosts)); n > 0 {
		for range skip % n {
			s.Next()
		}
	}
	return s
}

// Next picks a host, or returns nil if there is none.
func (s *Scheduler) Next() *upstream.Host {
	if len(s.heap) == 0 {
		return nil
	}
	top := s.heap[root]
	i := uint32(top.tie)
	s.now = math.Float64frombits(top.at)
	h := s.host(i)
	s.replace(s.due(s.now+s.step(i), i))
	// Keep the clock small enough for the finest steps to be told apart.
	if s.now > 1<<20 {
		s.turnBack()
	}
	return h
}

// host is whose turn it is within an entry.
func (s *Scheduler) host(i uint32) *upstream.Host {
	if s.weight != nil {
		return s.hosts[i]
	}
	return s.turns[i].take()
}

// take returns the next host of an entry: of those with less weight than others not at each
// of their turns, but at least at every other.
func (t *turn) take() *upstream.Host {
	for {
		i := t.next
		if t.next++; t.next == len(t.hosts) {
			t.next = 0
		}
		if t.part == nil {
			return t.hosts[i]
		}
		if t.credit[i] += t.part[i]; t.credit[i] >= 1 {
			t.credit[i]--
			return t.hosts[i]
		}
	}
}

// due is the deadline of an entry.
func (s *Scheduler) due(at float64, i uint32) deadline {
	s.order++
	return deadline{math.Float64bits(at), uint64(s.order)<<32 | uint64(i)}
}

// turnBack sets the clock to 0.
func (s *Scheduler) turnBack() {
	for i := root; i < len(s.heap) && s.heap[i] != never; i++ {
		d := &s.heap[i]
		d.at = math.Float64bits(math.Float64frombits(d.at) - s.now)
	}
	s.now = 0
}

// groupByWeight makes one entry per weight, or about so; its share is that of all its
// hosts.
func (s *Scheduler) groupByWeight(hosts []*upstream.Host) {
	kind := func(w uint32) uint32 { return w }
	if differ(hosts) {
		kind = func(w uint32) uint32 { return uint32(bits.Len32(w)) }
	}
	at := map[uint32]int{}
	for _, h := range hosts {
		k := kind(h.Weight)
		i, ok := at[k]
		if !ok {
			i = len(s.turns)
			at[k] = i
			s.turns = append(s.turns, turn{})
		}
		s.turns[i].hosts = append(s.turns[i].hosts, h)
	}
	for i := range s.turns {
		s.turns[i].weigh()
	}
}

// differ tells whether hosts have more different weights than there are entries.
func differ(hosts []*upstream.Host) bool {
	seen := map[uint32]bool{}
	for _, h := range hosts {
		if seen[h.Weight] = true; len(seen) > maxEntries {
			return true
		}
	}
	return false
}

// weigh computes an entry's step and the parts of its hosts.
func (t *turn) weigh() {
	sum, most := 0.0, 0.0
	for _, h := range t.hosts {
		sum += float64(max(1, h.Weight))
		most = max(most, float64(h.Weight))
	}
	t.step = 1 / sum
	if SameWeights(t.hosts) {
		return
	}
	t.part, t.credit = make([]float64, len(t.hosts)), make([]float64, len(t.hosts))
	for i, h := range t.hosts {
		t.part[i] = float64(h.Weight) / most
		// Spread, so that turns that are passed over do not come all at once.
		_, t.credit[i] = math.Modf(float64(i) * math.Phi)
	}
}

// step is how long an entry waits for its next turn.
func (s *Scheduler) step(i uint32) float64 {
	if s.weight == nil {
		return s.turns[i].step
	}
	w := s.weight(int(i), s.hosts[i])
	if math.IsNaN(w) || w < minWeight {
		w = minWeight
	}
	return 1 / w
}

// before is 1 if a is due before b, and else 0.
func (a *deadline) before(b *deadline) int {
	_, borrow := bits.Sub64(a.tie, b.tie, 0)
	_, borrow = bits.Sub64(a.at, b.at, borrow)
	return int(borrow)
}

// replace puts a deadline in the place of the root's. It is mostly among the last: the
// hole goes all the way down, and the deadline from there up to its place.
func (s *Scheduler) replace(d deadline) {
	q, at := s.heap, root
	for {
		first := 4 * (at - 2)
		if first >= len(q) {
			break
		}
		c := (*[4]deadline)(q[first:])
		i := c[1].before(&c[0])
		j := 2 + c[3].before(&c[2])
		i += (j - i) * c[j&3].before(&c[i&3])
		q[at] = c[i&3]
		at = first + i
	}
	for at > root {
		up := at/4 + 2
		if d.before(&q[up]) == 0 {
			break
		}
		q[at] = q[up]
		at = up
	}
	q[at] = d
}

// SameWeights tells whether all hosts weigh alike.
func SameWeights(hosts []*upstream.Host) bool {
	for _, h := range hosts {
		if h.Weight != hosts[0].Weight {
			return false
		}
	}
	return true
}
