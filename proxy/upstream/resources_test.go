// SPDX-License-Identifier: Apache-2.0

package upstream_test

import (
	"sync"
	"testing"

	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
)

func breakerCluster(t *testing.T, thresholds string) (*rig, *upstream.Cluster) {
	t.Helper()
	r := newRig(t, 2)
	<-update(t, r, compile(t, `{"name":"c","circuit_breakers":{"thresholds":[`+thresholds+`]},`+endpoint("10.0.0.1")+`}`))
	return r, r.Get("c")
}

// shown reads a statistic of cluster c.
func (r *rig) shown(name string) (v float64, ok bool) {
	r.store.Visit(func(m stats.Metric) {
		if m.Name == "cluster.c."+name {
			v, ok = float64(m.Level)+float64(m.Count), true
		}
	})
	return v, ok
}

func TestBreaker(t *testing.T) {
	r, c := breakerCluster(t, `{"max_requests":2,"track_remaining":true}`)
	q := &c.Resources(upstream.DefaultPriority).Requests
	want := func(open, remaining float64) {
		t.Helper()
		o, _ := r.shown("circuit_breakers.default.rq_open")
		left, _ := r.shown("circuit_breakers.default.remaining_rq")
		if o != open || left != remaining {
			t.Errorf("open %v remaining %v, want %v %v", o, left, open, remaining)
		}
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
	if _, ok := r.shown("circuit_breakers.high.remaining_rq"); ok {
		t.Error("remaining is shown though not tracked")
	}
}

func TestLimitOfNothing(t *testing.T) {
	r, c := breakerCluster(t, `{"max_pending_requests":0}`)
	if c.Resources(upstream.DefaultPriority).Pending.TryAcquire() {
		t.Error("taken of nothing")
	}
	if v, _ := r.shown("circuit_breakers.default.rq_pending_open"); v != 1 {
		t.Errorf("open is %v", v)
	}
}

func TestRetryBudget(t *testing.T) {
	_, c := breakerCluster(t, `{"retry_budget":{"budget_percent":{"value":10},"min_retry_concurrency":2},"max_requests":1000}`)
	res := c.Resources(upstream.DefaultPriority)
	if got := res.Retries.Limit(); got != 2 {
		t.Errorf("idle, %d retries are allowed, want 2", got)
	}
	for range 40 {
		res.Requests.TryAcquire()
		res.Pending.TryAcquire()
	}
	if got := res.Retries.Limit(); got != 8 {
		t.Errorf("with 80 requests %d retries are allowed, want 8", got)
	}
}

func TestBreakerIsShared(t *testing.T) {
	r, c := breakerCluster(t, `{"max_connections":10}`)
	q := &c.Resources(upstream.DefaultPriority).Connections
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				if q.TryAcquire() {
					if n := q.Count(); n > 14 { // each loop may be one ahead for a moment
						t.Errorf("%d taken of 10", n)
					}
					q.Release()
				}
			}
		})
	}
	wg.Wait()
	if v, _ := r.shown("circuit_breakers.default.cx_open"); q.Count() != 0 || v != 0 {
		t.Errorf("in the end %d are taken and open is %v", q.Count(), v)
	}
}

func TestMembershipStats(t *testing.T) {
	r, hd := newRig(t, 1), &hand{}
	done := update(t, r, dnsCluster(t, hd, ""))
	bad := at(2)
	bad.Status = upstream.StatusUnhealthy
	hd.tell(0, at(1), bad)
	<-done
	for name, want := range map[string]float64{
		"membership_total": 2, "membership_healthy": 1, "membership_change": 1, "update_success": 1, "version": 1,
	} {
		if v, _ := r.shown(name); v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := newRig(t, 1)
	<-update(t, r, compile(t, `{"name":"c",`+endpoint("10.0.0.1")+`}`))
	c := &upstream.PickContext{}
	w := r.Get("c").Worker(0)
	if n := testing.AllocsPerRun(1000, func() {
		h, _ := r.Get("c").Worker(0).Pick(c)
		h.AddRequests(1)
		h.AddRequests(-1)
		h.Local(0).Stats.RqTotal.Inc()
		res := &w.Cluster().Resources(upstream.DefaultPriority).Requests
		res.TryAcquire()
		res.Release()
	}); n != 0 {
		t.Errorf("a pick allocates %v times", n)
	}
}
