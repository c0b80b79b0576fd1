// SPDX-License-Identifier: Apache-2.0

// Package schedule picks hosts in proportion to weights that may change from pick to
// pick, for balancers of one loop, and raises the weights of hosts that are new.
package schedule

import (
	"math"
	"slices"

	"weir.dev/weir/proxy/upstream"
)

// A Scheduler picks hosts in proportion to their weights, smoothly: earliest deadline
// first, as Envoy's. Nothing is allocated by a pick, which costs O(log n), where n is
// the number of hosts, or of different weights if those are fixed: hosts that always
// weigh alike take turns within one entry. A Scheduler belongs to one loop.
type Scheduler struct {
	heap   []deadline
	turns  []turn
	weight func(*upstream.Host) float64 // nil if weights are fixed
	now    float64
	order  uint32
}

// turn is the hosts of one entry.
type turn struct {
	hosts []*upstream.Host
	next  int
	step  float64 // time between two picks of the entry, if weights are fixed
}

// deadline is kept small: a pick walks a path through the heap.
type deadline struct {
	at    float64
	order uint32 // breaks ties first come, first served, but for once in 2^32
	turn  uint32
}

// Weights below the least are lifted to it, so that no deadline is infinite.
const minWeight = 1e-6

// New schedules hosts by weight, which is asked anew at each pick; nil is the
// hosts' own, fixed weight. skip picks
// (at most one round of them) are made beforehand, so that loops do not all begin with
// the same host.
func New(hosts []*upstream.Host, weight func(*upstream.Host) float64, skip uint64) *Scheduler {
	s := &Scheduler{weight: weight}
	if weight == nil {
		s.groupByWeight(hosts)
	} else {
		s.turns = make([]turn, len(hosts))
		for i := range hosts {
			s.turns[i].hosts = hosts[i : i+1]
		}
	}
	s.heap = make([]deadline, len(s.turns))
	for i := range s.turns {
		s.heap[i] = deadline{at: s.step(&s.turns[i]), order: s.order, turn: uint32(i)}
		s.order++
	}
	slices.SortFunc(s.heap, func(a, b deadline) int {
		if a.before(b) {
			return -1
		}
		return 1
	})
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
	top := s.heap[0]
	t := &s.turns[top.turn]
	h := t.hosts[t.next]
	if t.next++; t.next == len(t.hosts) {
		t.next = 0
	}
	s.now = top.at
	s.heap[0] = deadline{at: s.now + s.step(t), order: s.order, turn: top.turn}
	s.order++
	s.down()
	// Keep the clock small enough for the finest steps to be told apart.
	if s.now > 1<<20 {
		for i := range s.heap {
			s.heap[i].at -= s.now
		}
		s.now = 0
	}
	return h
}

// groupByWeight makes one entry per weight; its share is that of all its hosts.
func (s *Scheduler) groupByWeight(hosts []*upstream.Host) {
	at := map[uint32]int{}
	for _, h := range hosts {
		i, ok := at[h.Weight]
		if !ok {
			i = len(s.turns)
			at[h.Weight] = i
			s.turns = append(s.turns, turn{})
		}
		s.turns[i].hosts = append(s.turns[i].hosts, h)
	}
	for i := range s.turns {
		t := &s.turns[i]
		t.step = 1 / (float64(max(1, t.hosts[0].Weight)) * float64(len(t.hosts)))
	}
}

// step is how long an entry waits for its next turn.
func (s *Scheduler) step(t *turn) float64 {
	if s.weight == nil {
		return t.step
	}
	w := s.weight(t.hosts[0])
	if math.IsNaN(w) || w < minWeight {
		w = minWeight
	}
	return 1 / w
}

func (a deadline) before(b deadline) bool {
	return a.at < b.at || a.at == b.at && a.order < b.order
}

// down moves the root of the 4-ary heap to its place. Four children to a node share
// cache lines and halve the depth.
func (s *Scheduler) down() {
	q, i := s.heap, 0
	e := q[0]
	for {
		first := 4*i + 1
		if first >= len(q) {
			break
		}
		least := first
		for j := first + 1; j < min(first+4, len(q)); j++ {
			if q[j].before(q[least]) {
				least = j
			}
		}
		if !q[least].before(e) {
			break
		}
		q[i] = q[least]
		i = least
	}
	q[i] = e
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
