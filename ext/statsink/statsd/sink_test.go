// SPDX-License-Identifier: Apache-2.0

package statsd_test

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", &metricsv3.StatsdSink{}) }

const (
	quick = "stats_flush_interval: 0.02s"
	// few is so little that no datagram is lost when the test is slow to read.
	few   = "stats_flush_interval: 0.1s\nstats_config: {stats_matcher: {inclusion_list: {patterns: [{suffix: downstream_rq_total}, {suffix: downstream_rq_time}, {exact: server.live}]}}}"
	never = "stats_flush_interval: 299s" // But at the end.
	rq    = "envoy.http.test.downstream_rq_total"
)

func edge(fields, bootstrap string) string {
	return proxytest.Edge{
		Bootstrap: `stats_sinks: [{name: statsd, typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v3.StatsdSink, ` + fields + "}}]\n" + bootstrap,
		Routes:    "- {match: {prefix: /}, direct_response: {status: 200}}",
		Clusters:  "- {name: statsd, connect_timeout: 1s, type: STATIC, load_assignment: {cluster_name: statsd, endpoints: [{lb_endpoints: [{endpoint: {address: {{to}}}}]}]}}",
	}.YAML()
}

func start(t *testing.T, yaml, to string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, yaml, proxytest.Options{Extensions: all.Extensions(), Concurrency: 2, Backends: map[string]string{"up": "127.0.0.1:1", "to": to}})
}

func ask(t *testing.T, p *proxytest.Proxy, times int) {
	t.Helper()
	for range times {
		if r := p.Do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode != 200 {
			t.Fatal(r)
		}
	}
}

// server is a server of statsd over UDP.
type server struct {
	t *testing.T
	net.PacketConn
	// totals are the sums of counters, last the last lines by name and type.
	totals map[string]uint64
	last   map[string]string
}

func newServer(t *testing.T, addr string) *server {
	t.Helper()
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &server{t, c, map[string]uint64{}, map[string]string{}}
}

// receive takes a datagram.
func (s *server) receive() {
	s.t.Helper()
	if err := s.SetReadDeadline(time.Now().Add(proxytest.Patience)); err != nil {
		s.t.Fatal(err)
	}
	b := make([]byte, 1<<16)
	n, _, err := s.ReadFrom(b)
	if err != nil {
		s.t.Fatalf("%v; got %v", err, s.totals)
	}
	for line := range strings.SplitSeq(string(b[:n]), "\n") {
		s.take(line)
	}
}

func (s *server) take(line string) {
	s.t.Helper()
	name, rest, _ := strings.Cut(line, ":")
	value, kind, ok := strings.Cut(rest, "|")
	if !ok {
		s.t.Fatalf("%q is no line of statsd", line)
	}
	if kind == "c" {
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			s.t.Fatalf("%q: %v", line, err)
		}
		s.totals[name] += n
	}
	s.last[name+"|"+kind] = value
}

// until receives until a counter's sum is n, and fails if it becomes more.
func (s *server) until(name string, n uint64) {
	s.t.Helper()
	for s.totals[name] < n {
		s.receive()
	}
	if s.totals[name] != n {
		s.t.Errorf("%s is %d, want %d", name, s.totals[name], n)
	}
}

func TestUDP(t *testing.T) {
	s := newServer(t, "127.0.0.1:0")
	p := start(t, edge("address: {{to}}", few), s.LocalAddr().String())
	ask(t, p, 3)
	s.until(rq, 3)
	for s.last["envoy.http.test.downstream_rq_time|ms"] == "" || s.last["envoy.server.live|g"] != "1" {
		s.receive()
	}
	// A reset of what users see takes nothing from what is sent, and adds nothing.
	ask(t, p, 4)
	p.Stats().ResetCounters()
	ask(t, p, 2)
	s.until(rq, 9)
	if n := p.Counter("http.test.downstream_rq_total"); n > 2 {
		t.Errorf("the counter is %d after a reset", n)
	}
	for range 12 { // It stays so.
		s.receive()
	}
	s.until(rq, 9)
}

// TestLast: what was counted until the end is sent.
func TestLast(t *testing.T) {
	s := newServer(t, "127.0.0.1:0")
	p := start(t, edge("address: {{to}}, prefix: edge", never), s.LocalAddr().String())
	ask(t, p, 5)
	p.Close()
	s.until("edge.http.test.downstream_rq_total", 5)
}

// TestOnAdmin: with stats_flush_on_admin it is sent when the admin is asked, and only then.
func TestOnAdmin(t *testing.T) {
	s := newServer(t, "127.0.0.1:0")
	p := start(t, edge("address: {{to}}", "stats_flush_on_admin: true\nadmin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}"), s.LocalAddr().String())
	total := uint64(0)
	for _, path := range []string{"/stats", "/stats/prometheus", "/stats?format=json"} {
		total++
		ask(t, p, 1)
		if r := proxytest.Dial(t, p.AdminAddr()).Do("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); r.StatusCode != 200 {
			t.Fatal(r)
		}
		s.until(rq, total)
	}
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := start(t, edge("tcp_cluster_name: statsd", quick), l.Addr().String())
	s := &server{t, nil, map[string]uint64{}, map[string]string{}}
	total := uint64(0)
	for range 2 { // A connection that the server has closed is made anew.
		total += 3
		ask(t, p, 3)
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(proxytest.Patience)); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(c)
		for s.totals[rq] < total {
			if !lines.Scan() {
				t.Fatal(lines.Err())
			}
			s.take(lines.Text())
		}
		for range 1000 { // The same connection has what comes later.
			if !lines.Scan() {
				t.Fatal(lines.Err())
			}
			s.take(lines.Text())
		}
		if s.totals[rq] != total {
			t.Errorf("%d requests, want %d", s.totals[rq], total)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.Counter("cluster.statsd.upstream_cx_total"); n < 2 {
		t.Errorf("%d connections", n)
	}
}

// TestNobody: a proxy serves and ends whether or not somebody takes its statistics.
func TestNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // It accepts, and reads nothing.
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, to := range []string{"address: {{to}}", "tcp_cluster_name: statsd"} {
		for _, addr := range []string{"127.0.0.1:1", l.Addr().String()} {
			t.Run(fmt.Sprint(to, addr), func(t *testing.T) {
				p := start(t, edge(to, quick), addr)
				ask(t, p, 5)
				began := time.Now()
				p.Close()
				if took := time.Since(began); took > proxytest.Patience {
					t.Errorf("the end took %v", took)
				}
			})
		}
	}
}

// TestOldFiles: files of versions 1 and 2 say it in their ways.
func TestOldFiles(t *testing.T) {
	const manager = `"stat_prefix": "test", "filters": [{"type": "decoder", "name": "router", "config": {}}], "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"prefix": "/", "cluster": "up"}]}]}`
	s := newServer(t, "127.0.0.1:0")
	udp := s.LocalAddr().String()
	_, port, err := net.SplitHostPort(udp)
	if err != nil {
		t.Fatal(err)
	}
	v1 := func(fields string) string {
		return `{"listeners": [{"address": "tcp://127.0.0.1:0", "filters": [{"type": "read", "name": "http_connection_manager", "config": {"codec_type": "auto", ` + manager + `}}]}],
			"admin": {"access_log_path": "/dev/null", "address": "tcp://127.0.0.1:0"},
			"cluster_manager": {"clusters": [{"name": "up", "connect_timeout_ms": 1000, "type": "static", "lb_type": "round_robin", "hosts": [{"url": "tcp://127.0.0.1:1"}]}]}, ` + fields + `}`
	}
	v2 := func(sink string) string {
		return proxytest.Edge{Bootstrap: "stats_sinks: [" + sink + "]", Clusters: "- {name: old, type: STATIC, connect_timeout: 1s, hosts: [{socket_address: {address: 127.0.0.1, port_value: 1}}]}"}.YAML()
	}
	total := uint64(0)
	for _, tt := range []struct{ name, give string }{
		{"version 1", v1(`"statsd_udp_ip_address": "` + udp + `", "stats_flush_interval_ms": 5000`)},
		{"version 1, the port alone", v1(`"statsd_local_udp_port": ` + port)},
		{"version 2", v2("{name: envoy.statsd, config: {address: {{to}}}}")},
		{"version 2, typed", v2(`{name: envoy.statsd, typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v2.StatsdSink, address: {{to}}}}`)},
		{"version 3, untyped", v2("{name: envoy.stat_sinks.statsd, config: {address: {{to}}}}")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, tt.give, udp)
			if r := p.Do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode != 503 {
				t.Fatal(r)
			}
			p.Close()
			total++
			s.until(rq, total)
		})
	}
}

// A sink that Weir does not have keeps no request from being served; a warning tells of it.
func TestUnknown(t *testing.T) {
	var log bytes.Buffer
	given := proxytest.Edge{Bootstrap: `stats_sinks: [{name: hystrix, typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v3.HystrixSink}}]`}.YAML()
	p := proxytest.Start(t, given, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if r := p.Do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode != 503 {
		t.Error(r)
	}
	p.Close()
	const want = "stats_sinks[0].typed_config: the sink is not supported, and is sent nothing, as envoy.config.metrics.v3.HystrixSink is not known: use one of envoy.stat_sinks.statsd"
	if got := log.String(); !strings.Contains(got, want) {
		t.Errorf("the log has %s, want %s", got, want)
	}
}

func TestRefused(t *testing.T) {
	sinks := func(list string) string {
		return proxytest.Edge{Bootstrap: "stats_sinks: [" + list + "]"}.YAML()
	}
	typed := func(fields string) string {
		return sinks(`{name: statsd, typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v3.StatsdSink, ` + fields + "}}")
	}
	for _, tt := range []struct{ name, give, want string }{
		{"nowhere", typed("prefix: a"), "stats_sinks[0]"},
		{"a name", typed("address: {socket_address: {address: statsd, port_value: 1}}"), `stats_sinks[0].typed_config.address.socket_address.address: "statsd" is not an IP address`},
		{"a named port", typed("address: {socket_address: {address: 127.0.0.1, named_port: statsd}}"), "stats_sinks[0].typed_config.address.socket_address.named_port"},
		{"no configuration", sinks("{name: statistics}"), "stats_sinks[0].typed_config: is missing: configure one of envoy.stat_sinks.statsd"},
		{"an interval", proxytest.Edge{Bootstrap: "stats_flush_interval: 0s"}.YAML(), "stats_flush_interval"},
		{"a long interval", proxytest.Edge{Bootstrap: "stats_flush_interval: 300s"}.YAML(), "stats_flush_interval"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := proxytest.TryStart(t, tt.give, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
