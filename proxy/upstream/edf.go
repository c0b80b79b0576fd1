// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"math"
	"slices"
)

// A Scheduler picks hosts in proportion to their weights, smoothly: earliest deadline
// first, as Envoy's. Each pick costs O(log n) and nothing is allocated. It belongs to
// one loop.
type Scheduler struct {
	heap   []deadline
	hosts  []*Host
	weight func(*Host) float64
	steps  []float64 // 1/weight by host, if weights are fixed
	now    float64
	order  uint32
}

// deadline is kept small: a pick walks a path through the heap.
type deadline struct {
	at    float64
	order uint32 // breaks ties first come, first served, but for once in 2^32
	host  uint32
}

// Weights below the least are lifted to it, so that no deadline is infinite.
const minWeight = 1e-6

// NewScheduler schedules hosts by weight, which is asked anew at each pick; nil is the
// hosts' own, fixed weight. skip picks
// (at most one round of them) are made beforehand, so that loops do not all begin with
// the same host.
func NewScheduler(hosts []*Host, weight func(*Host) float64, skip uint64) *Scheduler {
	s := &Scheduler{hosts: hosts, weight: weight, heap: make([]deadline, len(hosts))}
	if weight == nil {
		s.steps = make([]float64, len(hosts))
		for i, h := range hosts {
			s.steps[i] = 1 / float64(max(1, h.Weight))
		}
	}
	for i := range hosts {
		s.heap[i] = deadline{at: s.step(i), order: s.order, host: uint32(i)}
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
func (s *Scheduler) Next() *Host {
	if len(s.heap) == 0 {
		return nil
	}
	top := s.heap[0]
	s.now = top.at
	s.heap[0] = deadline{at: s.now + s.step(int(top.host)), order: s.order, host: top.host}
	s.order++
	s.down()
	// Keep the clock small enough for the finest steps to be told apart.
	if s.now > 1<<20 {
		for i := range s.heap {
			s.heap[i].at -= s.now
		}
		s.now = 0
	}
	return s.hosts[top.host]
}

// step is how long a host waits for its next turn.
func (s *Scheduler) step(host int) float64 {
	if s.steps != nil {
		return s.steps[host]
	}
	w := s.weight(s.hosts[host])
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
func SameWeights(hosts []*Host) bool {
	for _, h := range hosts {
		if h.Weight != hosts[0].Weight {
			return false
		}
	}
	return true
}
