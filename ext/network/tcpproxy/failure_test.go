// SPDX-License-Identifier: Apache-2.0

package tcpproxy_test

import (
	"os"
	"strings"
	"sync"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/reserve"
	"weir.dev/weir/proxy/proxytest"
)

// why is the log format of tests about failure.
const why = "%RESPONSE_FLAGS% %DOWNSTREAM_LOCAL_CLOSE_REASON% %UPSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_REQUEST_ATTEMPT_COUNT%"

func TestNoUpstream(t *testing.T) {
	refused := reserve.TCP(t)
	for _, tt := range []struct {
		name  string
		edge  edge
		log   string
		stats map[string]uint64
	}{
		{"refused", edge{}, "UF,URX tcp_initializion_failure:0 delayed connect error: Connection refused 1", map[string]uint64{
			"cluster.up.upstream_cx_connect_fail": 1, "cluster.up.upstream_cx_connect_attempts_exceeded": 1, "cluster.up.upstream_cx_total": 1,
		}},
		{"refused thrice", edge{proxy: "max_connect_attempts: 3"}, "UF,URX tcp_initializion_failure:0 delayed connect error: Connection refused 3", map[string]uint64{
			"cluster.up.upstream_cx_connect_fail": 3, "cluster.up.upstream_cx_total": 3,
		}},
		{"with back-off", edge{proxy: "max_connect_attempts: 3, backoff_options: {base_interval: 0.002s, max_interval: 0.01s}"}, "UF,URX tcp_initializion_failure:0 delayed connect error: Connection refused 3", nil},
		{"no cluster", edge{target: "cluster: nowhere"}, "NC tcp_initializion_failure:3 - 0", map[string]uint64{
			"tcp.test.downstream_cx_no_route": 1,
		}},
		{"no host", edge{target: "cluster: empty", clusters: ", {name: empty, connect_timeout: 1s}"}, "UH tcp_initializion_failure:1 - 0", map[string]uint64{
			"cluster.empty.upstream_cx_none_healthy": 1,
		}},
		{"overflow", edge{cluster: "circuit_breakers: {thresholds: [{max_connections: 0}]}"}, "UO tcp_initializion_failure:2 - 0", map[string]uint64{
			"cluster.up.upstream_cx_overflow": 1, "cluster.up.upstream_cx_total": 0,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.edge.log = why
			p := startAt(t, tt.edge, map[string]string{"up": refused})
			p.Dial().ExpectClosed()
			wantLog(t, p, tt.log)
			for name, want := range tt.stats {
				p.WaitCounter(name, want)
			}
			for _, g := range []string{"cluster.up.upstream_cx_active", "cluster.up.upstream_rq_active"} {
				p.WaitGauge(g, 0)
			}
		})
	}
}

// TestAttempts: of several hosts the one that is there is found.
func TestAttempts(t *testing.T) {
	up := proxytest.NewUpstream(t, echo)
	e := edge{proxy: "max_connect_attempts: 2", target: "cluster: mixed", log: "%RESPONSE_FLAGS% %UPSTREAM_HOST% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_HOSTS_ATTEMPTED%",
		clusters: `, {name: mixed, connect_timeout: 1s, load_assignment: {cluster_name: mixed, endpoints: [{lb_endpoints: [{endpoint: {address: {{gone}}}}, {endpoint: {address: {{up}}}}]}]}}`}
	gone := reserve.TCP(t)
	p := startAt(t, e, map[string]string{"up": up.Addr(), "gone": gone})
	for range 4 {
		c := p.Dial()
		c.Send("x")
		if got := c.ReadN(1); got != "x" {
			t.Errorf("%q", got)
		}
		c.Close()
	}
	second := 0
	for _, l := range p.LogLines(4) {
		switch l {
		case "- " + up.Addr() + " 1 " + up.Addr():
		case "UF " + up.Addr() + " 2 " + gone + "," + up.Addr():
			second++
		default:
			t.Errorf("access log: %s", l)
		}
	}
	if second == 0 {
		t.Error("no connection went to the absent host first")
	}
}

// TestMaxConnections: the breaker counts connections as long as they are open.
func TestMaxConnections(t *testing.T) {
	p, _ := start(t, edge{cluster: "circuit_breakers: {thresholds: [{max_connections: 1}]}"}, echo)
	first := p.Dial()
	first.Send("x")
	first.ReadN(1)
	p.Dial().ExpectClosed()
	first.Send("y")
	first.ReadN(1)
	first.Close()
	p.WaitGauge("cluster.up.upstream_cx_active", 0)
	c := p.Dial()
	c.Send("z")
	c.ReadN(1)
}

// TestAborted: 10,000 connections that clients abort leave nothing behind.
func TestAborted(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	p, _ := start(t, edge{cluster: "circuit_breakers: {thresholds: [{max_connections: 100000}]}"}, echo)
	abort := func(n int) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := range n / 8 {
					c := p.Dial()
					if i%2 == 0 {
						_ = c.TrySend("hello")
					}
					c.Reset()
				}
			})
		}
		wg.Wait()
		p.WaitGauge("cluster.up.upstream_cx_active", 0)
		p.WaitGauge("listener."+strings.ReplaceAll(p.Addr(), ":", "_")+".downstream_cx_active", 0)
	}
	abort(1000)
	var before int
	proxytest.Eventually(t, "descriptors", func() (int, bool) { before = descriptors(t); return before, before < 100 })
	abort(10_000)
	proxytest.Eventually(t, "descriptors", func() (int, bool) { n := descriptors(t); return n, n <= before+8 })
	if n := p.Counter("tcp.test.downstream_cx_total"); n < 10_000 {
		t.Errorf("downstream_cx_total is %d", n)
	}
}

// descriptors is how many files the process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestRefusedConfig(t *testing.T) {
	for _, tt := range []struct{ name, proxy, target, want string }{
		{"no cluster", "", "max_connect_attempts: 1", "weighted_clusters"},
		{"on demand", "on_demand: {}", "", "on_demand"},
		{"connect mode", "upstream_connect_mode: ON_DOWNSTREAM_DATA", "", "max_early_data_bytes"},
		{"back-off", "backoff_options: {base_interval: 2s, max_interval: 1s}", "", "max_interval"},
		{"attempts", "max_connect_attempts: 0", "", "at least 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := edge{proxy: tt.proxy, target: tt.target}
			_, err := proxytest.TryStart(t, e.yaml(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
}
