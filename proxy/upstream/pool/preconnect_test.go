// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// held answers once it is let.
func held(let <-chan struct{}) func(*proxytest.Session) {
	return func(s *proxytest.Session) {
		for {
			if _, err := s.Request(); err != nil {
				return
			}
			s.Hold(let)
			if s.Send(proxytest.OK("ok")) != nil {
				return
			}
		}
	}
}

// TestPreconnectPerHost: connections are opened ahead, as many as the ratio says, within
// the breakers, and none without it.
func TestPreconnectPerHost(t *testing.T) {
	for _, tt := range []struct {
		name, cluster         string
		requests, connections int
	}{
		{"none", "", 2, 2},
		{"half as many more", "preconnect_policy: {per_upstream_preconnect_ratio: 1.5}", 2, 3},
		{"twice as many", "preconnect_policy: {per_upstream_preconnect_ratio: 2}", 2, 4},
		{"breaker", "preconnect_policy: {per_upstream_preconnect_ratio: 3}\ncircuit_breakers: {thresholds: [{max_connections: 3}]}", 2, 3},
		{"per host", "preconnect_policy: {per_upstream_preconnect_ratio: 3}\ncircuit_breakers: {per_host_thresholds: [{max_connections: 2}]}", 1, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			let := make(chan struct{})
			u := proxytest.NewUpstream(t, held(let))
			p := start(t, proxytest.Edge{Cluster: tt.cluster}, map[string]string{"up": u.Addr()})
			var clients []*proxytest.Client
			for i := range tt.requests {
				clients = append(clients, p.Dial())
				clients[i].Send(get)
				u.WaitRequests(i + 1)
			}
			p.WaitGauge("cluster.up.upstream_cx_active", int64(tt.connections))
			close(let)
			for _, c := range clients {
				if res := c.Response("GET"); res.Content != "ok" {
					t.Error(res)
				}
			}
			p.WaitCounter("cluster.up.upstream_cx_total", uint64(tt.connections))
			p.WaitCounter("cluster.up.upstream_cx_overflow", 0)
		})
	}
}

// TestPreconnectPredictive: the hosts that the policy chooses next are connected to
// before there is a request for them, and it then chooses those.
func TestPreconnectPredictive(t *testing.T) {
	hosts := map[string]string{"up": "127.0.0.1:1"}
	lb := ""
	for i := range 4 {
		name := fmt.Sprintf("h%d", i)
		ok := proxytest.OK(name)
		hosts[name] = proxytest.NewUpstream(t, proxytest.Answer(ok, ok, ok, ok)).Addr()
		lb += "{endpoint: {address: {{" + name + "}}}}, "
	}
	e := proxytest.Edge{
		Routes: "- {match: {prefix: /}, route: {cluster: four}}",
		Clusters: "- name: four\n  preconnect_policy: {predictive_preconnect_ratio: 2}\n" +
			"  load_assignment: {cluster_name: four, endpoints: [{lb_endpoints: [" + lb + "]}]}",
	}
	p := start(t, e, hosts)
	c := p.Dial()
	c.Do(get)
	p.WaitCounter("cluster.four.upstream_cx_total", 3) // Its own, and those of the next two.
	p.WaitGauge("cluster.four.upstream_rq_active", 0)
	seen := map[string]int{}
	for range 8 {
		seen[c.Do(get).Content]++
		p.WaitGauge("cluster.four.upstream_rq_active", 0)
	}
	for name, n := range seen {
		if n != 2 {
			t.Errorf("%s was chosen %d times of 8, want 2", name, n)
		}
	}
	p.WaitCounter("cluster.four.upstream_cx_total", 4)
}

// TestPreconnectPredictiveInVain: nothing is opened ahead where a policy chooses by the
// request, or requests do not share connections.
func TestPreconnectPredictiveInVain(t *testing.T) {
	for _, cluster := range []string{"lb_policy: RING_HASH", "connection_pool_per_downstream_connection: true"} {
		u := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("ok")))
		p := start(t, proxytest.Edge{Cluster: cluster + "\npreconnect_policy: {predictive_preconnect_ratio: 3}"}, map[string]string{"up": u.Addr()})
		if res := p.Do(get); res.Content != "ok" {
			t.Error(res)
		}
		p.WaitCounter("cluster.up.upstream_cx_total", 1)
	}
}

// TestPoolPerDownstream: each downstream connection has upstream connections of its own.
func TestPoolPerDownstream(t *testing.T) {
	for shared, want := range map[bool]int{true: 1, false: 2} {
		ok := proxytest.OK("ok")
		u := proxytest.NewUpstream(t, proxytest.Answer(ok, ok, ok, ok))
		cluster := ""
		if !shared {
			cluster = "connection_pool_per_downstream_connection: true"
		}
		p := start(t, proxytest.Edge{Cluster: cluster}, map[string]string{"up": u.Addr()})
		a, b := p.Dial(), p.Dial()
		for _, c := range []*proxytest.Client{a, b, a, b} {
			if res := c.Do(get); res.Content != "ok" {
				t.Fatal(res)
			}
			p.WaitGauge("cluster.up.upstream_rq_active", 0)
		}
		if n := u.Connections(); n != want {
			t.Errorf("shared %v: %d connections, want %d", shared, n, want)
		}
	}
}
