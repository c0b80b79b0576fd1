// SPDX-License-Identifier: Apache-2.0

package http_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", &corev3.HealthCheck_HttpHealthCheck{}) }

// edge checks the hosts of cluster up often, as check says, with common fields.
func edge(common, check string) proxytest.Edge {
	return proxytest.Edge{Cluster: `common_lb_config: {healthy_panic_threshold: {value: 0}, update_merge_window: 0s}
health_checks:
- {timeout: 5s, interval: 0.02s, no_traffic_interval: 0.02s, unhealthy_threshold: 2, healthy_threshold: 2, ` + common + ` http_health_check: {path: /healthz, ` + check + `}}`}
}

func start(t *testing.T, common, check string, up *proxytest.Upstream) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, edge(common, check).YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
}

// serve answers every request as the answer of the moment says; "" never answers.
func serve(answer *atomic.Value) func(*proxytest.Session) {
	return func(s *proxytest.Session) {
		for {
			if _, err := s.Request(); err != nil {
				return
			}
			a, _ := answer.Load().(string)
			switch a {
			case "":
				_ = s.Gone()
				return
			case "close":
				return
			}
			if s.Send(a) != nil {
				return
			}
		}
	}
}

func answer(status, fields, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s X\r\ncontent-length: %d\r\n%s\r\n%s", status, len(body), fields, body)
}

const get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n"

// TestVerdicts has a host answer in many ways, and asks what becomes of it by the first
// check.
func TestVerdicts(t *testing.T) {
	cases := []struct {
		name, common, check, answer string
		healthy                     bool
		stat                        string
	}{
		{"200", "", "", answer("200", "", "ok"), true, "success"},
		{"204 is not expected", "", "", answer("204", "", ""), false, "failure"},
		{"204 is", "", "expected_statuses: [{start: 200, end: 205}]", "HTTP/1.1 204 X\r\n\r\n", true, "success"},
		{"the end of a range is not in it", "", "expected_statuses: [{start: 200, end: 204}]", "HTTP/1.1 204 X\r\n\r\n", false, "failure"},
		{"503", "", "", answer("503", "", ""), false, "failure"},
		{"closes", "", "", "close", false, "network_failure"},
		{"nonsense", "", "", "nonsense\r\n\r\n", false, "network_failure"},
		{"silence", "timeout: 0.05s,", "", "", false, "network_failure"},
		{"what is expected", "", `receive: [{text: "6f6b"}, {binary: "Zm9v"}]`, answer("200", "", "is ok, is foo"), true, "success"},
		{"the order counts", "", `receive: [{text: "6f6b"}, {text: "666f6f"}]`, answer("200", "", "is foo, is ok"), false, "failure"},
		{"too far behind", "", `response_buffer_size: 4, receive: [{text: "6f6b"}]`, answer("200", "", "it's ok"), false, "failure"},
		{"anywhere", "", `response_buffer_size: 0, receive: [{text: "6f6b"}]`, answer("200", "", strings.Repeat("x", 900)+"ok"), true, "success"},
		{"the name", "", `service_name_matcher: {prefix: web}`, answer("200", "x-envoy-upstream-healthchecked-cluster: web-7\r\n", ""), true, "verify_cluster"},
		{"another name", "", `service_name_matcher: {prefix: web}`, answer("200", "x-envoy-upstream-healthchecked-cluster: mail\r\n", ""), false, "verify_cluster"},
		{"no name", "", `service_name_matcher: {prefix: web}`, answer("200", "", ""), false, "failure"},
		{"degraded", "", "", answer("200", "x-envoy-degraded: 1\r\n", ""), true, "success"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var a atomic.Value
			a.Store(c.answer)
			up := proxytest.NewUpstream(t, serve(&a))
			common := c.common
			e := edge("", c.check)
			if common != "" {
				e.Cluster = strings.Replace(e.Cluster, "timeout: 5s,", common, 1)
			}
			p := proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
			// The proxy listens once its hosts have been checked.
			if n, ok := p.Metric("cluster.up.health_check." + c.stat); !ok || n.Count == 0 {
				t.Errorf("%s is %d", c.stat, n.Count)
			}
			// A degraded host counts as such, and is all there is to use.
			usable := p.Gauge("cluster.up.membership_healthy") + p.Gauge("cluster.up.membership_degraded")
			if (usable == 1) != c.healthy {
				t.Errorf("usable hosts: %d", usable)
			}
			if (p.Gauge("cluster.up.health_check.healthy") == 1) != c.healthy || (p.Gauge("cluster.up.membership_degraded") == 1) != (c.name == "degraded") {
				t.Error("the gauges do not say so")
			}
			if !c.healthy {
				if res := p.Do(get); !strings.HasPrefix(res.Status, "503") || res.Content != "no healthy upstream" {
					t.Errorf("a request got %v", res)
				}
			}
		})
	}
}

// TestThresholds follows a host down and up again.
func TestThresholds(t *testing.T) {
	var a atomic.Value
	good := answer("200", "", "ok")
	a.Store(good)
	up := proxytest.NewUpstream(t, serve(&a))
	p := start(t, "reuse_connection: true, event_log_path: \"{{log}}\", always_log_health_check_failures: true,", "retriable_statuses: [{start: 500, end: 504}]", up)
	if res := p.Do(get); res.Content != "ok" {
		t.Fatalf("%v", res)
	}
	a.Store(answer("503", "", ""))
	p.WaitGauge("cluster.up.membership_healthy", 0)
	if n := p.Counter("cluster.up.health_check.failure"); n < 2 {
		t.Errorf("unhealthy after %d failures", n)
	}
	a.Store(answer("200", "", "ok"))
	p.WaitGauge("cluster.up.membership_healthy", 1)
	a.Store(answer("404", "", "")) // Not retriable: once is enough.
	p.WaitGauge("cluster.up.membership_healthy", 0)
	for _, want := range []string{
		`"add_healthy_event":{"first_check":true}`, `"add_healthy_event":{"first_check":false}`,
		`"eject_unhealthy_event":{"failure_type":"ACTIVE","http_status_code":503}`, `"health_check_failure_event":{"failure_type":"ACTIVE","first_check":false,"http_status_code":503}`,
		`"eject_unhealthy_event":{"failure_type":"ACTIVE","http_status_code":404}`, `"health_checker_type":"HTTP"`, `"cluster_name":"up"`,
	} {
		proxytest.Eventually(t, "the log without an event "+want, func() (string, bool) { // The gauge may be ahead of it.
			lines := strings.Join(p.LogLines(6), "\n")
			return lines, strings.Contains(lines, want)
		})
	}
}

// TestRequests is what a host is asked.
func TestRequests(t *testing.T) {
	var a atomic.Value
	a.Store(answer("200", "", "ok"))
	up := proxytest.NewUpstream(t, serve(&a))
	start(t, "", `host: check.test, method: POST, send: {text: "68656c6c6f"}, request_headers_to_remove: [user-agent], request_headers_to_add: [{header: {key: x-cluster, value: "%UPSTREAM_CLUSTER%"}}]`, up)
	got := up.WaitRequests(2)
	want := "POST /healthz HTTP/1.1\r\nhost: check.test\r\nx-cluster: up\r\ncontent-length: 5\r\n\r\nhello"
	if got[0] != want || got[1] != want {
		t.Errorf("the host was asked %q", got[0])
	}
	if n := up.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestConnections: they are kept or not, as the configuration and the host say.
func TestConnections(t *testing.T) {
	for _, tt := range []struct {
		name, common, answer string
		kept                 bool
	}{
		{"kept", "", answer("200", "", "ok"), true},
		{"not to be kept", "reuse_connection: false,", answer("200", "", "ok"), false},
		{"the host closes", "", answer("200", "connection: close\r\n", "ok"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a atomic.Value
			a.Store(tt.answer)
			up := proxytest.NewUpstream(t, serve(&a))
			start(t, tt.common, "", up)
			up.WaitRequests(4)
			if n := up.Connections(); (n == 1) != tt.kept {
				t.Errorf("%d connections for four checks", n)
			}
		})
	}
}

// TestClosedMeanwhile: a connection that the host has closed between two checks says
// nothing of the host.
func TestClosedMeanwhile(t *testing.T) {
	up := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		if _, err := s.Request(); err == nil {
			_ = s.Send(answer("200", "", "ok"))
		}
	})
	p := start(t, "", "", up)
	up.WaitRequests(5)
	if n := p.Counter("cluster.up.health_check.failure"); n != 0 {
		t.Errorf("%d failures", n)
	}
}

// TestImmediateFailure: a response to an ordinary request takes its host out, and checks
// bring it back.
func TestImmediateFailure(t *testing.T) {
	var check atomic.Value
	check.Store(answer("503", "", ""))
	first := true
	up := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		for {
			req, err := s.Request()
			if err != nil {
				return
			}
			a := answer("200", "x-envoy-immediate-health-check-fail: true\r\n", "last")
			if strings.Contains(req, "/healthz") {
				a = check.Load().(string)
				if first {
					a, first = answer("200", "", "ok"), false
				}
			}
			if s.Send(a) != nil {
				return
			}
		}
	})
	p := proxytest.Start(t, strings.Replace(edge("", "").YAML(), "interval: 0.02s", "interval: 600s", 2), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
	if res := p.Do(get); res.Content != "last" {
		t.Fatalf("%v", res)
	}
	p.WaitCounter("cluster.up.health_check.passive_failure", 1)
	p.WaitGauge("cluster.up.membership_healthy", 0)
	p.WaitGauge("cluster.up.membership_excluded", 1)
	if res := p.Do(get); !strings.HasPrefix(res.Status, "503") {
		t.Errorf("%v", res)
	}
}

// TestHTTP2 asks over HTTP/2, in cleartext.
func TestHTTP2(t *testing.T) {
	var n atomic.Int32
	var proto atomic.Value
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		proto.Store(r.Proto + " " + r.Host + " " + string(body))
		if n.Add(1) == 3 {
			w.WriteHeader(500)
			return
		}
		_, _ = io.WriteString(w, "fine")
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	defer srv.Close()
	p := proxytest.Start(t, edge("", `codec_client_type: HTTP2, method: PUT, send: {text: "6869"}, receive: [{text: "66696e65"}]`).YAML(),
		proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": srv.Listener.Addr().String()}})
	p.WaitCounter("cluster.up.health_check.failure", 1)
	p.WaitGauge("cluster.up.membership_healthy", 1)
	if got := proto.Load(); got != "HTTP/2.0 up hi" {
		t.Errorf("the host was asked by %v", got)
	}
}

// TestTLS asks by the cluster's transport socket, or by one that the check chooses, and
// lets the handshake choose the version.
func TestTLS(t *testing.T) {
	var proto atomic.Value
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { proto.Store(r.Proto) }))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	const socket = `{name: envoy.transport_sockets.tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}`
	for _, tt := range []struct{ name, common, check, cluster, want string }{
		{"HTTP/1", "", "", "transport_socket: " + socket, "HTTP/1.1"},
		{"HTTP/2", "", "codec_client_type: HTTP2", "transport_socket: " + socket, "HTTP/2.0"},
		{"by ALPN", "", "use_alpn_protocol: true", "transport_socket: " + socket, "HTTP/2.0"},
		{"by ALPN, of those that are offered", "tls_options: {alpn_protocols: [http/1.1]},", "use_alpn_protocol: true", "transport_socket: " + socket, "HTTP/1.1"},
		{"by a match", "transport_socket_match_criteria: {secure: true},", "", "transport_socket_matches: [{name: s, match: {secure: true}, transport_socket: " + socket + "}]", "HTTP/1.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			proto.Store("")
			e := edge(tt.common, tt.check)
			e.Cluster += "\n" + tt.cluster
			p := proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": srv.Listener.Addr().String()}})
			p.WaitGauge("cluster.up.membership_healthy", 1)
			if got := proto.Load(); got != tt.want {
				t.Errorf("asked by %v", got)
			}
		})
	}
}

// TestEndpoints: an endpoint may be asked elsewhere, by another name, or not at all.
func TestEndpoints(t *testing.T) {
	var a, bad atomic.Value
	a.Store(answer("200", "", "ok"))
	bad.Store(answer("500", "", ""))
	checked, up := proxytest.NewUpstream(t, serve(&a)), proxytest.NewUpstream(t, serve(&bad))
	host, port, _ := strings.Cut(checked.Addr(), ":")
	for _, tt := range []struct{ name, endpoint, common, host string }{
		{"at a port", "health_check_config: {port_value: " + port + "}", "", "up"},
		{"at an address", "health_check_config: {hostname: other.test, address: {socket_address: {address: " + host + ", port_value: " + port + "}}}", "", "other.test"},
		{"at the checker's port", "", "alt_port: " + port + ",", "up"},
		{"not at all", "health_check_config: {disable_active_health_check: true}", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			yaml := edge(tt.common, "").YAML()
			if tt.endpoint != "" {
				yaml = strings.Replace(yaml, "[{endpoint: {address: {{up}}}}]", "[{endpoint: {address: {{up}}, "+tt.endpoint+"}}]", 1)
			}
			before := len(checked.Requests())
			p := proxytest.Start(t, yaml, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
			if n := p.Gauge("cluster.up.membership_healthy"); n != 1 {
				t.Errorf("%d healthy hosts", n)
			}
			if got := checked.Requests()[before:]; tt.host != "" && (len(got) == 0 || proxytest.Field(got[0], "host") != tt.host) {
				t.Errorf("asked was %q", got)
			}
		})
	}
}

// TestSeveralCheckers: a host is well if all find it so, and each counts for itself, by its name or its number.
func TestSeveralCheckers(t *testing.T) {
	for _, test := range []struct{ first, second, web, port string }{
		{"name: web,", "name: port,", "web", "port"},
		{"", "", "0", "1"},
	} {
		var a atomic.Value
		a.Store(answer("500", "", ""))
		up := proxytest.NewUpstream(t, serve(&a))
		e := edge(test.first, "")
		e.Cluster += "\n- {" + test.second + " timeout: 5s, interval: 0.02s, no_traffic_interval: 0.02s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}"
		p := proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
		p.WaitGauge("cluster.up.health_check.name."+test.port+".healthy", 1)
		if p.Gauge("cluster.up.membership_healthy") != 0 || p.Gauge("cluster.up.health_check.name."+test.web+".healthy") != 0 {
			t.Error("one of two is enough")
		}
		a.Store(answer("200", "", ""))
		p.WaitGauge("cluster.up.membership_healthy", 1)
	}
}

// TestHealthyHostsComeBackFromEjection: what active checks find well is not out any more.
func TestHealthyHostsComeBackFromEjection(t *testing.T) {
	up := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		for {
			req, err := s.Request()
			if err != nil {
				return
			}
			a := answer("500", "", "")
			if strings.Contains(req, "/healthz") {
				a = answer("200", "", "")
			}
			if s.Send(a) != nil {
				return
			}
		}
	})
	e := edge("", "")
	e.Cluster += "\noutlier_detection: {consecutive_5xx: 1, max_ejection_percent: 100, base_ejection_time: 600s}"
	p := proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
	p.Do(get)
	p.WaitCounter("cluster.up.outlier_detection.ejections_enforced_total", 1)
	p.WaitGauge("cluster.up.outlier_detection.ejections_active", 0)
	p.WaitGauge("cluster.up.membership_healthy", 1)
}

// TestRefusals is what is said of configurations that cannot be.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct{ check, want string }{
		{"codec_client_type: HTTP3", "http_health_check.codec_client_type: HTTP/3 is not spoken"},
		{`send: {text: "68"}`, "http_health_check.send: a request with method GET has no body"},
		{`method: POST, send: {text: "hello"}`, `http_health_check.send[0].text: "hello" is no hexadecimal text`},
		{`response_buffer_size: 1, receive: [{text: "6f6b"}]`, "http_health_check.receive: is 2 bytes long, but only 1 of a response are looked at"},
		{"expected_statuses: [{start: 200, end: 200}]", "http_health_check.expected_statuses[0]: 200 to below 200 is no range of statuses"},
		{"retriable_statuses: [{start: 0, end: 700}]", "http_health_check.retriable_statuses[0]: 0 to below 700"},
		{"request_headers_to_remove: [host]", `http_health_check.request_headers_to_remove[0]: "host" cannot be removed`},
		{`request_headers_to_add: [{header: {key: ":path", value: x}}]`, "request_headers_to_add[0]"},
	} {
		up := map[string]string{"up": "127.0.0.1:1"}
		_, err := proxytest.TryStart(t, edge("", tt.check).YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: up})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.check, err)
		}
	}
}
