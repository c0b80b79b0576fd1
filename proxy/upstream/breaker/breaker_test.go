// SPDX-License-Identifier: Apache-2.0

package breaker_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream/breaker"
)

// gauges reads the gauges of a set below "b.".
type gauges struct{ *stats.Store }

func (g gauges) level(name string) (v int64, ok bool) {
	g.Visit(func(m stats.Metric) {
		if m.Name == "b."+name {
			v, ok = m.Level, true
		}
	})
	return v, ok
}

func (g gauges) want(t *testing.T, name string, want int64) {
	t.Helper()
	if v, _ := g.level(name); v != want {
		t.Errorf("%s is %d, want %d", name, v, want)
	}
}

func set(t *testing.T, th breaker.Thresholds, rt breaker.Runtime) (*breaker.Set, gauges) {
	t.Helper()
	g := gauges{stats.NewStore()}
	return breaker.New(&breaker.Options{Thresholds: th, Scope: g.Scope("b."), Runtime: rt, Prefix: "circuit_breakers.c.default."}), g
}

var wide = breaker.Thresholds{MaxConnections: 1000, MaxPendingRequests: 1000, MaxRequests: 1000, MaxRetries: 3, MaxConnectionPools: 1 << 63}

func TestLimit(t *testing.T) {
	th := wide
	th.MaxRequests, th.TrackRemaining = 2, true
	s, g := set(t, th, nil)
	q := &s.Requests
	want := func(open, remaining int64) {
		t.Helper()
		g.want(t, "rq_open", open)
		g.want(t, "remaining_rq", remaining)
	}
	want(0, 2)
	for range 2 {
		if !q.TryAcquire() {
			t.Fatal("refused below the limit")
		}
	}
	want(1, 0)
	if q.TryAcquire() || q.CanAcquire() || q.Count() != 2 {
		t.Errorf("taken above the limit: %d", q.Count())
	}
	q.Release()
	want(0, 1)
	q.Release()
	q.Acquire()
	q.Acquire()
	q.Acquire()
	if q.Count() != 3 {
		t.Errorf("count is %d", q.Count())
	}
	want(1, 0)
	if _, ok := g.level("remaining_nothing"); ok {
		t.Error("a gauge of nothing")
	}
	_, g = set(t, wide, nil)
	if _, ok := g.level("remaining_rq"); ok {
		t.Error("remaining is shown though not tracked")
	}
}

func TestLimitOfNothing(t *testing.T) {
	th := wide
	th.MaxPendingRequests = 0
	s, g := set(t, th, nil)
	if s.Pending.TryAcquire() {
		t.Error("taken of nothing")
	}
	g.want(t, "rq_pending_open", 1)
}

func TestBudget(t *testing.T) {
	th := wide
	th.Budget, th.TrackRemaining = &breaker.Budget{Percent: 10, MinConcurrency: 2}, true
	s, g := set(t, th, nil)
	if got := s.Retries.Limit(); got != 2 {
		t.Errorf("idle, %d retries are allowed, want 2", got)
	}
	for range 40 {
		s.Requests.TryAcquire()
		s.Pending.TryAcquire()
	}
	if got := s.Retries.Limit(); got != 8 {
		t.Errorf("with 80 requests %d retries are allowed, want 8", got)
	}
	for range 8 {
		if !s.Retries.TryAcquire() {
			t.Fatal("refused within the budget")
		}
	}
	if s.Retries.TryAcquire() {
		t.Error("taken beyond the budget")
	}
	g.want(t, "rq_retry_open", 1)
	g.want(t, "remaining_retries", 0) // Not tracked with a budget, as in Envoy.
}

// TestBudgetInterval: with an interval the budget is of what began within it, whether
// it has ended or not.
func TestBudgetInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := wide
		th.Budget = &breaker.Budget{Percent: 50, Interval: 10 * time.Second}
		s, _ := set(t, th, nil)
		for range 20 {
			s.Requests.TryAcquire()
			s.Requests.Release()
		}
		if got := s.Retries.Limit(); got != 10 {
			t.Errorf("after 20 requests %d retries are allowed, want 10", got)
		}
		time.Sleep(5 * time.Second)
		for range 10 {
			s.Requests.TryAcquire()
		}
		if got := s.Retries.Limit(); got != 15 {
			t.Errorf("after 30 requests %d retries are allowed, want 15", got)
		}
		time.Sleep(7 * time.Second)
		if got := s.Retries.Limit(); got != 5 {
			t.Errorf("the first requests are 12 s old, and %d retries are allowed, want 5", got)
		}
		time.Sleep(time.Hour)
		if got := s.Retries.Limit(); got != 0 {
			t.Errorf("an hour later %d retries are allowed, want 0", got)
		}
	})
}

// layer is a runtime.
type layer struct {
	match.NoRuntime
	values     map[string]float64
	generation atomic.Uint64
}

func (l *layer) Int(key string) (int64, bool) { v, ok := l.values[key]; return int64(v), ok }

func (l *layer) Double(key string) (float64, bool) { v, ok := l.values[key]; return v, ok }

func (l *layer) Generation() uint64 { return l.generation.Load() }

func TestRuntime(t *testing.T) {
	rt := &layer{values: map[string]float64{"circuit_breakers.c.default.max_requests": 1, "circuit_breakers.c.high.max_retries": 9}}
	s, _ := set(t, wide, rt)
	limits := func() [5]uint64 {
		return [5]uint64{s.Connections.Limit(), s.Pending.Limit(), s.Requests.Limit(), s.Retries.Limit(), s.ConnectionPools.Limit()}
	}
	if got, want := limits(), [5]uint64{1000, 1000, 1, 3, 1 << 63}; got != want {
		t.Errorf("%v, want %v", got, want)
	}
	rt.values = map[string]float64{
		"circuit_breakers.c.default.max_connections": 5, "circuit_breakers.c.default.max_pending_requests": 6,
		"circuit_breakers.c.default.max_retries": 7, "circuit_breakers.c.default.max_connection_pools": 8,
	}
	rt.generation.Add(1)
	if got, want := limits(), [5]uint64{5, 6, 1000, 7, 8}; got != want {
		t.Errorf("after a change %v, want %v", got, want)
	}
	rt.values = map[string]float64{"circuit_breakers.c.default.retry_budget.budget_percent": 50}
	rt.generation.Add(1)
	for range 20 {
		s.Requests.TryAcquire()
	}
	if got := s.Retries.Limit(); got != 10 {
		t.Errorf("a budget of the runtime allows %d, want 10", got)
	}
	rt.values["circuit_breakers.c.default.retry_budget.min_retry_concurrency"] = 12
	rt.generation.Add(1)
	if got := s.Retries.Limit(); got != 12 {
		t.Errorf("a budget of the runtime allows at least %d, want 12", got)
	}
}

// TestAtRest: whatever many loops take and give back, nothing is left in the end and
// the gauges say so.
func TestAtRest(t *testing.T) {
	th := breaker.Thresholds{MaxConnections: 4, MaxPendingRequests: 3, MaxRequests: 5, MaxRetries: 1, MaxConnectionPools: 2, TrackRemaining: true}
	s, g := set(t, th, nil)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			all := []*breaker.Limit{&s.Connections, &s.Pending, &s.Requests, &s.Retries, &s.ConnectionPools}
			var held []*breaker.Limit
			for range 4000 {
				switch n := r.IntN(len(all) + 2); {
				case n < len(all):
					if all[n].TryAcquire() {
						held = append(held, all[n])
					}
				case n == len(all):
					s.Connections.Acquire()
					held = append(held, &s.Connections)
				case len(held) > 0:
					held[0].Release()
					held = held[1:]
				}
				if len(held) > 8 {
					held[0].Release()
					held = held[1:]
				}
			}
			for _, l := range held {
				l.Release()
			}
		})
	}
	wg.Wait()
	for name, want := range map[string]int64{
		"cx_open": 0, "rq_pending_open": 0, "rq_open": 0, "rq_retry_open": 0, "cx_pool_open": 0,
		"remaining_cx": 4, "remaining_pending": 3, "remaining_rq": 5, "remaining_retries": 1, "remaining_cx_pools": 2,
	} {
		g.want(t, name, want)
	}
	for i, l := range []*breaker.Limit{&s.Connections, &s.Pending, &s.Requests, &s.Retries, &s.ConnectionPools} {
		if l.Count() != 0 {
			t.Errorf("limit %d counts %d", i, l.Count())
		}
	}
}

func TestAllocations(t *testing.T) {
	s, _ := set(t, wide, &layer{})
	if n := testing.AllocsPerRun(1000, func() {
		s.Requests.TryAcquire()
		s.Requests.Release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
