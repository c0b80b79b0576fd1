// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"iter"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// staff are the workers of a cluster, one for each loop that has asked for it: of
// thousands of clusters a loop uses few, and a worker with its statistics takes more
// memory than all else.
type staff struct {
	workers []atomic.Pointer[Worker]

	mu         sync.Mutex // guards what follows, and the order of views
	set        *PrioritySet
	table      Table
	membership uint64
}

// Worker returns the view of one loop. It takes a lock once for each loop, and none
// after.
func (c *Cluster) Worker(loop int) *Worker {
	if w := c.staff.workers[loop].Load(); w != nil {
		return w
	}
	return c.staff.hire(c, loop)
}

func (s *staff) hire(c *Cluster, loop int) *Worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.workers[loop].Load(); w != nil {
		return w
	}
	w := &Worker{cluster: c, loop: loop, Stats: c.stats.At(loop), rand: rand.New(rand.NewPCG(c.seeds(), 0))}
	if c.streams != nil {
		w.HTTP2 = c.streams.At(loop)
	}
	c.tracked.give(w)
	s.view(c, w)
	w.cur = w.next.Load() // The pools that come are of these hosts.
	s.workers[loop].Store(w)
	return w
}

// show gives the cluster's newest set to all workers, and returns them: each is to adopt
// it on its loop. It is called with the cluster's mu held, or before anybody has it.
func (s *staff) show(c *Cluster) []*Worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set, s.table, s.membership = c.set, c.table, c.membership
	var out []*Worker
	for i := range s.workers {
		if w := s.workers[i].Load(); w != nil {
			s.view(c, w)
			out = append(out, w)
		}
	}
	return out
}

// view is called with mu held.
func (s *staff) view(c *Cluster, w *Worker) {
	env := &Env{Loop: w.loop, Loops: len(c.loops), Cluster: c, Seed: c.seeds(), Stats: w.Stats}
	w.next.Store(&view{set: s.set, balancer: s.table.Balancer(env), membership: s.membership})
}

// counted are the statistics of the loops that have used the cluster.
func (c *Cluster) counted() iter.Seq[*Stats] {
	return func(yield func(*Stats) bool) {
		for i := range c.staff.workers {
			if w := c.staff.workers[i].Load(); w != nil && !yield(w.Stats) {
				return
			}
		}
	}
}

// Carried tells whether anything was ever sent to the cluster or came from it. It may be
// called from any goroutine.
func (c *Cluster) Carried() bool {
	for s := range c.counted() {
		// Of datagrams there are no connections.
		if s.CxTotal.Value()+s.CxTxBytesTotal.Value()+s.CxRxBytesTotal.Value() > 0 {
			return true
		}
	}
	return false
}
