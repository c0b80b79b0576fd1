// SPDX-License-Identifier: Apache-2.0

package upstream_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
)

// dnsCluster is a cluster in the test's hand.
func dnsCluster(t *testing.T, h *hand, fields string) *upstream.Config {
	t.Helper()
	cfg, problems := upstream.Compile(parse(t, `{"name":"c","type":"STRICT_DNS",`+fields+endpoint("name")+`}`), contextOf(h))
	if cfg == nil {
		t.Fatal(problems)
	}
	return cfg
}

func update(t *testing.T, r *rig, cfg *upstream.Config) <-chan struct{} {
	t.Helper()
	done, err := r.Update(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestStaticClusterIsWarmAtOnce(t *testing.T) {
	r := newRig(t, 2)
	<-update(t, r, compile(t, `{"name":"c",`+endpoint("10.0.0.1")+`}`))
	for loop := range r.loops {
		h, f := r.Get("c").Worker(loop).Pick(&upstream.PickContext{})
		if f != upstream.NoFailure || h.Address.String() != "10.0.0.1:80" {
			t.Errorf("loop %d picked %v, %v", loop, h, f)
		}
	}
	if r.Get("d") != nil {
		t.Error("there is a cluster that was never given")
	}
}

func TestHostsKeepTheirState(t *testing.T) {
	r, hd := newRig(t, 1), &hand{}
	done := update(t, r, dnsCluster(t, hd, ""))
	hd.tell(0, at(1), at(2))
	<-done
	c := r.Get("c")
	w := c.Worker(0)
	r.run()
	first := c.Set().ByAddress(at(1).Address)
	pools := map[byte]*fakePool{1: {}, 2: {}}
	for i, p := range pools {
		c.Set().ByAddress(at(i).Address).Local(0).Pool = p
	}
	first.Local(0).Stats.RqTotal.Inc()
	c.SetHealth(first, upstream.FailedOutlierCheck, 0)

	heavier := at(1)
	heavier.Weight, heavier.Status = 7, upstream.StatusDegraded
	hd.tell(0, at(3), heavier)
	again := c.Set().ByAddress(at(1).Address)
	if !again.Same(first) || again == first || again.Weight != 7 || again.Counts().RqTotal != 1 || again.Health() != upstream.Unhealthy {
		t.Errorf("the host became %+v with flags %v", again.Endpoint, again.Flags())
	}
	if f := again.Flags(); f != upstream.FailedOutlierCheck|upstream.DegradedEDSHealth {
		t.Errorf("flags are %v", f)
	}
	if pools[2].drained != 0 {
		t.Error("the pool was drained off its loop")
	}
	r.run()
	if pools[1].drained != 1 || pools[2].drained != 1 {
		t.Errorf("drained pools: %d of the host that became unhealthy, %d of the one that left", pools[1].drained, pools[2].drained)
	}
	for range 10 {
		if h, _ := w.Pick(&upstream.PickContext{}); h.Address != at(3).Address {
			t.Errorf("picked %v", h.Address)
		}
	}
	hd.tell(0)
	if _, f := w.Pick(&upstream.PickContext{}); f != upstream.NoHealthyUpstream {
		t.Errorf("a pick of no hosts failed with %v", f)
	}
	hd.tell(0, at(1))
	if back := c.Set().ByAddress(at(1).Address); back.Same(first) || back.Health() != upstream.Healthy {
		t.Error("a host that left came back with its old state")
	}
}

func TestLogicalHostKeepsItsStateAcrossAddresses(t *testing.T) {
	r, hd := newRig(t, 1), &hand{}
	done := update(t, r, dnsCluster(t, hd, ""))
	e := at(1)
	e.Key = "name"
	hd.tell(0, e)
	<-done
	c := r.Get("c")
	h, _ := c.Worker(0).Pick(&upstream.PickContext{})
	p := &fakePool{}
	h.Local(0).Pool = p
	e = at(2)
	e.Key = "name"
	hd.tell(0, e)
	r.run()
	again, _ := c.Worker(0).Pick(&upstream.PickContext{})
	if !again.Same(h) || again.Address != at(2).Address || p.drained != 0 {
		t.Errorf("the host is now %v, its pool drained %d times", again.Address, p.drained)
	}
}

func TestFailureKeepsHosts(t *testing.T) {
	r, hd := newRig(t, 1), &hand{}
	done := update(t, r, dnsCluster(t, hd, ""))
	hd.tell(0, at(1))
	<-done
	c := r.Get("c")
	hd.updates[0](nil, errors.New("server failure"))
	if h, f := c.Worker(0).Pick(&upstream.PickContext{}); h == nil {
		t.Errorf("after a failure the pick failed with %v", f)
	}
	if _, err := c.LastUpdate(); err == nil {
		t.Error("the failure is forgotten")
	}
}

func TestMakeBeforeBreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hd := newRig(t, 1), &hand{}
		done := update(t, r, dnsCluster(t, hd, ""))
		if r.Get("c") != nil || r.Warming("c") == nil {
			t.Fatal("a cluster without an answer is active")
		}
		hd.tell(0, at(1))
		<-done
		old := r.Get("c")
		if again := update(t, r, dnsCluster(t, hd, "")); again != done || len(hd.updates) != 1 {
			t.Error("an unchanged configuration made a new cluster")
		}
		pool := &fakePool{}
		old.Set().Hosts[0].Local(0).Pool = pool

		done = update(t, r, dnsCluster(t, hd, `"connect_timeout":"1s",`))
		synctest.Wait()
		if r.Get("c") != old {
			t.Error("the old cluster went before the new one was warm")
		}
		hd.tell(1, at(1))
		<-done
		synctest.Wait()
		r.run()
		if r.Get("c") == old || pool.drained == 0 || hd.closed != 1 {
			t.Errorf("after the change: drained %d, closed %d", pool.drained, hd.closed)
		}
		if h, _ := old.Worker(0).Pick(&upstream.PickContext{}); h == nil {
			t.Error("a request that holds the old cluster finds no host")
		}

		// A change of a change: the middle one never becomes active.
		middle := update(t, r, dnsCluster(t, hd, `"connect_timeout":"2s",`))
		last := update(t, r, dnsCluster(t, hd, `"connect_timeout":"3s",`))
		<-middle
		hd.tell(2, at(2))
		hd.tell(3, at(3))
		<-last
		if got := r.Get("c").ConnectTimeout; got != 3*time.Second {
			t.Errorf("active is the one with %v", got)
		}
		if !r.Remove("c") || r.Get("c") != nil || r.Remove("c") {
			t.Error("remove does not remove")
		}
		hd.refuse = true
		if _, err := r.Update(dnsCluster(t, hd, "")); err == nil {
			t.Error("a discovery that does not start is no error")
		}
		r.Close()
		if _, err := r.Update(dnsCluster(t, hd, "")); !errors.Is(err, upstream.ErrClosed) {
			t.Errorf("update after close: %v", err)
		}
	})
}

func TestNotWaitingForWarmth(t *testing.T) {
	r, hd := newRig(t, 1), &hand{}
	<-update(t, r, dnsCluster(t, hd, `"wait_for_warm_on_init":false,`))
	if _, f := r.Get("c").Worker(0).Pick(&upstream.PickContext{}); f != upstream.NoHealthyUpstream {
		t.Errorf("the pick failed with %v", f)
	}
}

func TestHealthFailureClosesPools(t *testing.T) {
	r, hd := newRig(t, 2), &hand{}
	done := update(t, r, dnsCluster(t, hd, `"close_connections_on_host_health_failure":true,`))
	hd.tell(0, at(1), at(2))
	<-done
	c := r.Get("c")
	h := c.Set().Hosts[0]
	p := &fakePool{}
	h.Local(1).Pool = p
	c.SetHealth(h, upstream.FailedActiveHC, 0)
	r.run()
	if p.closed != 1 {
		t.Errorf("closed %d times", p.closed)
	}
}

func TestChangesOfHealthAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hd := newRig(t, 1), &hand{}
		done := update(t, r, dnsCluster(t, hd, ""))
		hd.tell(0, at(1), at(2), at(3), at(4))
		<-done
		c := r.Get("c")
		v := c.Set().Version
		for _, h := range c.Set().Hosts {
			c.SetHealth(h, upstream.FailedOutlierCheck, 0)
		}
		if got := c.Set().Version; got != v+1 {
			t.Errorf("the first change and three more within the window made %d sets", got-v)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if s := c.Set(); s.Version != v+2 || len(s.Levels[0].Healthy) != 0 {
			t.Errorf("after the window there are %d sets, the last with %d healthy hosts", s.Version-v, len(s.Levels[0].Healthy))
		}
		c.SetHealth(c.Set().Hosts[0], 0, upstream.FailedOutlierCheck)
		c.SetHealth(c.Set().Hosts[1], 0, upstream.FailedOutlierCheck)
		r.Close() // with a merge pending
	})
}

func TestPickWishes(t *testing.T) {
	r, hd := newRig(t, 1), &hand{}
	done := update(t, r, dnsCluster(t, hd, ""))
	hd.tell(0, at(1), at(2), at(3))
	<-done
	c := r.Get("c")
	w := c.Worker(0)
	tried, _ := w.Pick(&upstream.PickContext{})
	for range 6 {
		if h, _ := w.Pick(&upstream.PickContext{Skip: tried.Same, MaxAttempts: 3}); h.Same(tried) {
			t.Errorf("picked the host to skip")
		}
	}
	if h, _ := w.Pick(&upstream.PickContext{Skip: func(*upstream.Host) bool { return true }, MaxAttempts: 3}); h == nil {
		t.Error("when all are to be skipped none is picked")
	}
	o := &upstream.PickContext{}
	o.Override = append(o.Override, at(9).Address, at(2).Address)
	for range 3 {
		if h, _ := w.Pick(o); h.Address != at(2).Address {
			t.Errorf("picked %v over the override", h.Address)
		}
	}
	c.SetHealth(c.Set().ByAddress(at(2).Address), upstream.FailedActiveHC, 0)
	if h, _ := w.Pick(o); h == nil || h.Address == at(2).Address {
		t.Errorf("picked %v for a failed override", h)
	}
	o.OverrideStrict = true
	if h, f := w.Pick(o); h != nil || f != upstream.NoHealthyUpstream {
		t.Errorf("picked %v for a strict failed override", h)
	}
}

func TestDrops(t *testing.T) {
	r := newRig(t, 1)
	<-update(t, r, compile(t, `{"name":"c","load_assignment":{"cluster_name":"c","policy":{"drop_overloads":[{"category":"x","drop_percentage":{"numerator":25}}]},
		"endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"10.0.0.1","port_value":80}}}}]}]}}`))
	dropped := 0
	for range 10_000 {
		if _, f := r.Get("c").Worker(0).Pick(&upstream.PickContext{}); f == upstream.DroppedOverload {
			dropped++
		}
	}
	if dropped < 2350 || dropped > 2650 {
		t.Errorf("dropped %d of 10000, want a quarter", dropped)
	}
}

// Loops pick while hosts come and go and clusters are replaced: for the race detector.
func TestPicksDuringChanges(t *testing.T) {
	const loops = 3
	r, hd := newRig(t, loops), &hand{}
	done := update(t, r, dnsCluster(t, hd, ""))
	hd.tell(0, at(0), at(1))
	<-done
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i, l := range r.loops {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				l.run()
				h, f := r.Get("c").Worker(i).Pick(&upstream.PickContext{})
				if f != upstream.NoFailure {
					t.Errorf("loop %d: %v", i, f)
					return
				}
				local := h.Local(i)
				if local.Pool == nil {
					local.Pool = &fakePool{}
				}
				local.Stats.RqTotal.Inc()
				h.AddRequests(1)
				h.AddRequests(-1)
			}
		})
	}
	for i := range 100 {
		hd.tell(len(hd.updates)-1, at(byte(i)), at(byte(i+1)), at(byte(i+2)))
		c := r.Get("c")
		c.SetHealth(c.Set().Hosts[0], upstream.FailedOutlierCheck, 0)
		c.Set().Hosts[0].Counts()
		if i%20 == 19 {
			done := update(t, r, dnsCluster(t, hd, fmt.Sprintf(`"connect_timeout":"%ds",`, i)))
			hd.tell(len(hd.updates)-1, at(byte(i)), at(byte(i+1)), at(byte(i+2)))
			<-done
		}
	}
	close(stop)
	wg.Wait()
	r.run()
}

// named is a transport that only has a name.
type named string

func (named) Wrap(*engine.Task, *upstream.Conn, *upstream.TransportOptions) error { return nil }

func (named) Secure() bool { return false }

func TestTransportByMetadata(t *testing.T) {
	cx := testContext()
	cx.Transport = func(s *corev3.TransportSocket) (upstream.Transport, error) {
		if s.GetName() == "bad" {
			return nil, errors.New("bad configuration")
		}
		return named(s.GetName()), nil
	}
	endpoint := func(md string) string {
		return `{"endpoint":{"address":{"socket_address":{"address":"10.0.0.` + fmt.Sprint(len(md)) + `","port_value":80}}},"metadata":{"filter_metadata":{"envoy.transport_socket_match":{` + md + `}}}}`
	}
	text := `{"name":"c","transport_socket":{"name":"plain"},"transport_socket_matches":[
		{"name":"one","match":{"mtls":true},"transport_socket":{"name":"tls"}},
		{"name":"two","match":{"mtls":false,"n":1},"transport_socket":{"name":"envoy.transport_sockets.raw_buffer"}}],
		"load_assignment":{"cluster_name":"c","endpoints":[{"lb_endpoints":[` +
		endpoint(`"mtls":true`) + "," + endpoint(`"mtls":false`) + "," + endpoint(`"mtls":false,"n":1`) + `]}]}}`
	cfg, problems := upstream.Compile(parse(t, text), cx)
	if cfg == nil {
		t.Fatal(problems)
	}
	r := newRig(t, 1)
	<-update(t, r, cfg)
	for i, want := range []upstream.Transport{named("tls"), named("plain"), nil} {
		if got := r.Get("c").Set().Hosts[i].Transport.Transport; got != want {
			t.Errorf("host %d has %v, want %v", i, got, want)
		}
	}
	if cfg, problems := upstream.Compile(parse(t, `{"name":"c","transport_socket":{"name":"bad"}}`), cx); cfg != nil {
		t.Errorf("a bad transport is compiled: %v", problems)
	}
}

func TestConnectionsPerHost(t *testing.T) {
	r := newRig(t, 1)
	<-update(t, r, compile(t, `{"name":"c","circuit_breakers":{"per_host_thresholds":[{"max_connections":1}]},`+endpoint("10.0.0.1")+`}`))
	c := r.Get("c")
	h := c.Set().Hosts[0]
	if !c.CanConnect(h) {
		t.Error("the first connection is refused")
	}
	h.AddConnections(1)
	if c.CanConnect(h) {
		t.Error("a second connection is allowed")
	}
}

func TestEndClosesPools(t *testing.T) {
	r := newRig(t, 1)
	<-update(t, r, compile(t, `{"name":"c",`+endpoint("10.0.0.1")+`}`))
	p := &fakePool{}
	r.Get("c").Set().Hosts[0].Local(0).Pool = p
	r.Close()
	r.run()
	if p.closed != 1 {
		t.Errorf("closed %d times", p.closed)
	}
}

func TestManyClusters(t *testing.T) {
	r := newRig(t, 1)
	for i := range 600 {
		<-update(t, r, compile(t, fmt.Sprintf(`{"name":"c%d",`, i)+endpoint("10.0.0.1")+`}`))
	}
	for i := 0; i < 600; i += 2 {
		r.Remove(fmt.Sprintf("c%d", i))
	}
	if n := len(r.All()); n != 300 || r.Get("c0") != nil || r.Get("c1") == nil {
		t.Errorf("%d clusters are left", n)
	}
	var active float64
	r.store.Visit(func(m stats.Metric) {
		if m.Name == "cluster_manager.active_clusters" {
			active = float64(m.Level)
		}
	})
	if active != 300 {
		t.Errorf("active_clusters is %v", active)
	}
}

func TestHostSetChangeDrainsAllPools(t *testing.T) {
	r, hd := newRig(t, 1), &hand{}
	done := update(t, r, dnsCluster(t, hd, `"common_lb_config":{"close_connections_on_host_set_change":true},`))
	hd.tell(0, at(1))
	<-done
	r.run()
	c, p := r.Get("c"), &fakePool{}
	c.Worker(0)
	c.Set().Hosts[0].Local(0).Pool = p
	c.SetHealth(c.Set().Hosts[0], upstream.DegradedActiveHC, 0)
	r.run()
	if p.drained != 0 {
		t.Error("a change of health drained a pool")
	}
	hd.tell(0, at(1), at(2))
	r.run()
	if p.drained != 1 {
		t.Errorf("drained %d times", p.drained)
	}
}

// Of many clusters a loop uses few: the others cost it nothing, and what they count is shown all the same.
func TestWorkersComeWhenAsked(t *testing.T) {
	r, hd := newRig(t, 2), &hand{}
	done := update(t, r, dnsCluster(t, hd, ""))
	hd.tell(0, at(1))
	<-done
	c := r.Get("c")
	if c.Carried() {
		t.Error("a cluster that nobody used carried something")
	}
	shown := func(name string) (n uint64, ok bool) {
		r.store.Visit(func(m stats.Metric) {
			if m.Name == name {
				n, ok = m.Count, true
			}
		})
		return n, ok
	}
	if n, ok := shown("cluster.c.upstream_rq_total"); n != 0 || !ok {
		t.Errorf("upstream_rq_total is %d, shown: %v", n, ok)
	}
	hd.tell(0, at(2))
	w := c.Worker(1)
	if w != c.Worker(1) {
		t.Error("a loop has two workers")
	}
	if h, _ := w.Pick(&upstream.PickContext{}); h == nil || h.Address != at(2).Address {
		t.Errorf("a late worker picked %v", h)
	}
	w.Stats.RqTotal.Inc()
	w.Stats.CxTotal.Inc()
	if n, _ := shown("cluster.c.upstream_rq_total"); n != 1 || !c.Carried() {
		t.Errorf("upstream_rq_total is %d, carried: %v", n, c.Carried())
	}
}
