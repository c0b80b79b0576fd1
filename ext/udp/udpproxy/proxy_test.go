// SPDX-License-Identifier: Apache-2.0

package udpproxy_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs the proxy with one loop, or as many as loops.
func start(t *testing.T, e proxytest.UDPEdge, backends map[string]string, loops ...int) *proxytest.Proxy {
	t.Helper()
	o := proxytest.Options{Extensions: all.Extensions(), Backends: backends}
	if len(loops) > 0 {
		o.Concurrency = loops[0]
	}
	return proxytest.Start(t, e.YAML(), o)
}

func TestForwards(t *testing.T) {
	up := proxytest.NewUDPUpstream(t, nil)
	p := start(t, proxytest.UDPEdge{}, map[string]string{"up": up.Addr()})
	c := p.DialUDP()
	for _, n := range []int{1, 0, 512, 1472, 1500} {
		c.Echo(strings.Repeat("x", n))
	}
	if n, sources := up.Got(); n != 5 || sources != 1 {
		t.Errorf("the host got %d datagrams of %d sources, want 5 of 1", n, sources)
	}
	for name, want := range map[string]uint64{
		"udp.test.downstream_sess_total":        1,
		"udp.test.downstream_sess_rx_datagrams": 5,
		"udp.test.downstream_sess_tx_datagrams": 5,
		"udp.test.downstream_sess_rx_bytes":     1 + 512 + 1472 + 1500,
		"udp.test.downstream_sess_tx_bytes":     1 + 512 + 1472 + 1500,
		"udp.test.downstream_sess_no_route":     0,
		"udp.test.idle_timeout":                 0,
		"cluster.up.udp.sess_tx_datagrams":      5,
		"cluster.up.udp.sess_rx_datagrams":      5,
		"cluster.up.udp.sess_tx_errors":         0,
		"cluster.up.udp.sess_rx_errors":         0,
		"cluster.up.upstream_cx_tx_bytes_total": 1 + 512 + 1472 + 1500,
		"cluster.up.upstream_cx_rx_bytes_total": 1 + 512 + 1472 + 1500,
	} {
		p.WaitCounter(name, want)
	}
	if n := p.Gauge("udp.test.downstream_sess_active"); n != 1 {
		t.Errorf("%d sessions are active, want 1", n)
	}
}

func TestManySessions(t *testing.T) {
	up := proxytest.NewUDPUpstream(t, nil)
	p := start(t, proxytest.UDPEdge{Cluster: "circuit_breakers: {thresholds: [{max_connections: 5000}]}"}, map[string]string{"up": up.Addr()}, 2)
	const clients = 500
	var all []*proxytest.UDPClient
	for i := range clients {
		c := p.DialUDP()
		c.Send(fmt.Sprint("first ", i))
		all = append(all, c)
	}
	for i, c := range all {
		if got := c.Receive(); got != fmt.Sprint("first ", i) {
			t.Fatalf("client %d got %q", i, got)
		}
	}
	for i, c := range all {
		c.Echo(fmt.Sprint("second ", i))
	}
	if n, sources := up.Got(); n != 2*clients || sources != clients {
		t.Errorf("the host got %d datagrams of %d sources, want %d of %d", n, sources, 2*clients, clients)
	}
	if n := p.Gauge("udp.test.downstream_sess_active"); n != clients {
		t.Errorf("%d sessions are active, want %d", n, clients)
	}
}

func TestIdleTimeout(t *testing.T) {
	up := proxytest.NewUDPUpstream(t, nil)
	p := start(t, proxytest.UDPEdge{Proxy: "idle_timeout: 0.5s"}, map[string]string{"up": up.Addr()})
	c := p.DialUDP()
	c.Echo("one")
	p.WaitCounter("udp.test.idle_timeout", 1)
	p.WaitGauge("udp.test.downstream_sess_active", 0)
	c.Echo("two")
	if n := p.Counter("udp.test.downstream_sess_total"); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

// TestServerSpeaks: what the host sends by itself goes to the client.
func TestServerSpeaks(t *testing.T) {
	up := proxytest.NewUDPUpstream(t, func(p []byte) [][]byte { return [][]byte{p, []byte("and"), {}, []byte("more")} })
	p := start(t, proxytest.UDPEdge{}, map[string]string{"up": up.Addr()})
	c := p.DialUDP()
	c.Send("one")
	for _, want := range []string{"one", "and", "", "more"} {
		if got := c.Receive(); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	up.Push("later")
	if got := c.Receive(); got != "later" {
		t.Errorf("got %q", got)
	}
}

// TestWildcard: the answer comes from the address that was asked, and the two are
// sessions of their own.
func TestWildcard(t *testing.T) {
	up := proxytest.NewUDPUpstream(t, nil)
	for _, bind := range []string{"0.0.0.0", "::, ipv4_compat: true"} {
		p := start(t, proxytest.UDPEdge{Address: bind}, map[string]string{"up": up.Addr()})
		_, port, err := net.SplitHostPort(p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"127.0.0.1", "127.0.0.2", "127.200.0.1"} {
			proxytest.DialUDP(t, "127.0.0.1", net.JoinHostPort(host, port)).Echo("to " + host)
		}
		if n := p.Counter("udp.test.downstream_sess_total"); n != 3 {
			t.Errorf("%d sessions, want 3", n)
		}
	}
}

func TestIPv6(t *testing.T) {
	up := proxytest.NewUDPUpstreamAt(t, "[::1]:0", nil)
	p := start(t, proxytest.UDPEdge{Address: "::1"}, map[string]string{"up": up.Addr()})
	proxytest.DialUDP(t, "::1", p.Addr()).Echo("six")
}

func TestTooLarge(t *testing.T) {
	up := proxytest.NewUDPUpstream(t, func(p []byte) [][]byte { return [][]byte{make([]byte, 1501), p} })
	p := start(t, proxytest.UDPEdge{}, map[string]string{"up": up.Addr()})
	c := p.DialUDP()
	c.Send(strings.Repeat("x", 1501))
	name := "listener." + strings.ReplaceAll(p.Addr(), ":", "_") + ".udp.downstream_rx_datagram_dropped"
	p.WaitCounter(name, 1)
	c.Echo("small") // What the host sends before is too large.
	p.WaitCounter("cluster.up.udp.sess_rx_errors", 1)

	up = proxytest.NewUDPUpstream(t, nil)
	p = start(t, proxytest.UDPEdge{
		Listener: "udp_listener_config: {downstream_socket_config: {max_rx_datagram_size: 65507, prefer_gro: true}}",
		Proxy:    "upstream_socket_config: {max_rx_datagram_size: 65507, prefer_gro: false}",
	}, map[string]string{"up": up.Addr()})
	p.DialUDP().Echo(strings.Repeat("y", 65507))
}

// TestFlood: sources without end cost no more sessions than the breaker allows, and
// those who were there first are served on.
func TestFlood(t *testing.T) {
	up := proxytest.NewUDPUpstream(t, nil)
	p := start(t, proxytest.UDPEdge{Cluster: "circuit_breakers: {thresholds: [{max_connections: 20}]}"}, map[string]string{"up": up.Addr()}, 2)
	first := p.DialUDP()
	first.Echo("first")
	for i := range 1000 {
		c := proxytest.DialUDP(t, fmt.Sprintf("127.0.%d.%d", i/250+1, i%250+1), p.Addr())
		c.Send("flood")
		_ = c.Close()
		if (i+1)%100 == 0 { // A socket's queue would not hold all of them, nor say that it has lost some.
			p.WaitCounter("cluster.up.upstream_cx_overflow", uint64(i+1+1-20))
		}
	}
	if n := p.Gauge("udp.test.downstream_sess_active"); n != 20 {
		t.Errorf("%d sessions, want 20", n)
	}
	if n := p.Gauge("cluster.up.circuit_breakers.default.cx_open"); n != 1 {
		t.Errorf("cx_open is %d, want 1", n)
	}
	first.Echo("again")
}

// TestNobodyThere: that a host's port is closed is counted, and the session works
// once somebody is there.
func TestNobodyThere(t *testing.T) {
	up := proxytest.NewUDPUpstreamAt(t, "127.0.7.9:0", nil) // Nobody else comes to that address while it is free.
	addr := up.Addr()
	up.Close()
	p := start(t, proxytest.UDPEdge{}, map[string]string{"up": addr})
	c := p.DialUDP()
	c.Send("lost")
	p.WaitCounter("cluster.up.udp.sess_rx_errors", 1)
	proxytest.NewUDPUpstreamAt(t, addr, nil)
	c.Echo("there")
	if n := p.Counter("udp.test.downstream_sess_total"); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
}

func TestNoHost(t *testing.T) {
	p := start(t, proxytest.UDPEdge{Endpoints: "- lb_endpoints: []"}, nil)
	c := p.DialUDP()
	c.Send("x")
	p.WaitCounter("cluster.up.upstream_cx_none_healthy", 1)
	if n := p.Gauge("udp.test.downstream_sess_active"); n != 0 {
		t.Errorf("%d sessions, want none", n)
	}
}

// hosts are the endpoints of several backends.
func hosts(names ...string) string {
	s := "- lb_endpoints:"
	for _, n := range names {
		s += "\n  - endpoint: {address: {{" + n + "}}}"
	}
	return s
}

func TestPerPacket(t *testing.T) {
	a, b := proxytest.NewUDPUpstream(t, proxytest.Named("a")), proxytest.NewUDPUpstream(t, proxytest.Named("b"))
	p := start(t, proxytest.UDPEdge{Endpoints: hosts("a", "b"), Proxy: "use_per_packet_load_balancing: true"},
		map[string]string{"a": a.Addr(), "b": b.Addr()})
	c := p.DialUDP()
	heard := map[string]int{}
	for range 20 {
		c.Send("x")
		heard[c.Receive()]++
	}
	if heard["a x"] != 10 || heard["b x"] != 10 {
		t.Errorf("heard %v, want ten of each", heard)
	}
	if n := p.Counter("udp.test.downstream_sess_total"); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

func TestSticks(t *testing.T) {
	a, b := proxytest.NewUDPUpstream(t, proxytest.Named("a")), proxytest.NewUDPUpstream(t, proxytest.Named("b"))
	p := start(t, proxytest.UDPEdge{Endpoints: hosts("a", "b")}, map[string]string{"a": a.Addr(), "b": b.Addr()})
	seen := map[string]int{}
	for range 10 {
		c := p.DialUDP()
		c.Send("x")
		first := c.Receive()
		seen[first]++
		for range 5 {
			c.Exchange("x", first)
		}
	}
	if seen["a x"] != 5 || seen["b x"] != 5 {
		t.Errorf("sessions went to %v, want five to each", seen)
	}
}

// TestRoutes: the matcher sees both addresses; what it does not match has no route.
func TestRoutes(t *testing.T) {
	a, b := proxytest.NewUDPUpstream(t, proxytest.Named("a")), proxytest.NewUDPUpstream(t, proxytest.Named("b"))
	const route = `{action: {name: route, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route, cluster: CLUSTER}}}`
	to := func(c string) string { return strings.ReplaceAll(route, "CLUSTER", c) }
	p := start(t, proxytest.UDPEdge{
		Address: "0.0.0.0",
		Route: `matcher:
  matcher_list:
    matchers:
    - predicate:
        single_predicate:
          input: {name: source, typed_config: {"@type": type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.SourceIPInput}}
          value_match: {exact: 127.0.0.9}
      on_match: ` + to("up") + `
    - predicate:
        single_predicate:
          input: {name: destination, typed_config: {"@type": type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.DestinationIPInput}}
          value_match: {exact: 127.0.0.2}
      on_match: ` + to("b"),
		Clusters: "- name: b\n  load_assignment: {cluster_name: b, endpoints: [{lb_endpoints: [{endpoint: {address: {{b}}}}]}]}",
	}, map[string]string{"up": a.Addr(), "b": b.Addr()})
	_, port, err := net.SplitHostPort(p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	proxytest.DialUDP(t, "127.0.0.9", "127.0.0.1:"+port).Exchange("x", "a x")
	proxytest.DialUDP(t, "127.0.0.9", "127.0.0.2:"+port).Exchange("x", "a x")
	proxytest.DialUDP(t, "127.0.0.1", "127.0.0.2:"+port).Exchange("x", "b x")
	proxytest.DialUDP(t, "127.0.0.1", "127.0.0.1:"+port).Send("x")
	p.WaitCounter("udp.test.downstream_sess_no_route", 1)
}
