// SPDX-License-Identifier: Apache-2.0

package upstream_test

import (
	"testing"

	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
)

// shown reads a statistic of cluster c.
func (r *rig) shown(name string) (v float64, ok bool) {
	r.store.Visit(func(m stats.Metric) {
		if m.Name == "cluster.c."+name {
			v, ok = float64(m.Level)+float64(m.Count), true
		}
	})
	return v, ok
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
		res := &w.Cluster().Resources(breaker.Default).Requests
		res.TryAcquire()
		res.Release()
	}); n != 0 {
		t.Errorf("a pick allocates %v times", n)
	}
}

// Breakers that nobody has asked for show that nothing is in use.
func TestIdleBreakers(t *testing.T) {
	r := newRig(t, 1)
	<-update(t, r, compile(t, `{"name":"c","circuit_breakers":{"thresholds":[{"max_requests":1},{"priority":"HIGH","max_retries":0}]},`+endpoint("10.0.0.1")+`}`))
	c := r.Get("c")
	for name, want := range map[string]float64{"default.rq_open": 0, "default.cx_open": 0, "high.rq_open": 0, "high.rq_retry_open": 1} {
		if v, ok := r.shown("circuit_breakers." + name); v != want || !ok {
			t.Errorf("%s is %v, shown: %v; want %v", name, v, ok, want)
		}
	}
	requests := &c.Resources(breaker.Default).Requests
	if !requests.TryAcquire() || requests.TryAcquire() {
		t.Error("the limit of one request does not hold")
	}
	if requests != &c.Resources(breaker.Default).Requests {
		t.Error("asked again, the breakers are others")
	}
	if v, ok := r.shown("circuit_breakers.default.rq_open"); v != 1 || !ok {
		t.Errorf("with the limit reached rq_open is %v, shown: %v", v, ok)
	}
	r.Remove("c")
	r.Close() // It waits for what the cluster still does.
	c.Resources(breaker.High).Requests.Acquire()
	for _, name := range []string{"default.rq_open", "high.rq_open"} {
		if _, ok := r.shown("circuit_breakers." + name); ok {
			t.Errorf("%s is shown of a cluster that is gone", name)
		}
	}
}
