// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"sync"
	"sync/atomic"

	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream/breaker"
)

// resources are the circuit breakers of a cluster, by priority, made when they are first
// asked for: of thousands of clusters few are used, and hardly any with high priority.
// Those that are not there yet show what they would, that nothing is in use.
type resources struct {
	sets [2]atomic.Pointer[breaker.Set]

	mu      sync.Mutex // guards what follows, and that a set is made once
	runtime breaker.Runtime
	idle    [2]func() // takes away what a set shows that is not there
	closed  bool
}

// Resources returns the circuit breakers of a routing priority. It takes a lock once for
// each priority, and none after.
func (c *Cluster) Resources(p breaker.Priority) *breaker.Set {
	if s := c.resources.sets[p].Load(); s != nil {
		return s
	}
	return c.resources.make(c, p)
}

func breakersOf(c *Cluster, p breaker.Priority) *stats.Scope {
	return c.scope.Scope("circuit_breakers." + p.String())
}

// begin shows the breakers, and makes those that have something to show before they are
// used.
func (r *resources) begin(c *Cluster, rt breaker.Runtime) {
	r.runtime = rt
	for p := range r.sets {
		if t := &c.Thresholds[p]; t.Shows() {
			r.make(c, breaker.Priority(p))
		} else {
			r.idle[p] = breaker.ShowIdle(breakersOf(c, breaker.Priority(p)))
		}
	}
}

//go:noinline
func (r *resources) make(c *Cluster, p breaker.Priority) *breaker.Set {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sets[p].Load(); s != nil {
		return s
	}
	s := breaker.New(&breaker.Options{
		Thresholds: c.Thresholds[p], Scope: breakersOf(c, p),
		Runtime: r.runtime, Prefix: "circuit_breakers." + c.Name + "." + p.String() + ".",
	})
	if r.closed {
		s.Close() // A request still holds the cluster: it counts, and shows nothing.
	} else if hide := r.idle[p]; hide != nil {
		hide()
		r.idle[p] = nil
	}
	r.sets[p].Store(s)
	return s
}

// close takes away what is shown. What is counted goes on.
func (r *resources) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for p := range r.sets {
		if s := r.sets[p].Load(); s != nil {
			s.Close()
		}
		if hide := r.idle[p]; hide != nil {
			hide()
			r.idle[p] = nil
		}
	}
}
