// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// TestTimeoutHeaders tells what the host is told of the time it has.
func TestTimeoutHeaders(t *testing.T) {
	const grpc = "content-type: application/grpc\r\n"
	cases := []struct {
		name, route, fields, expected, grpc string
	}{
		{"default", "", "", "15000", ""},
		{"route", "timeout: 2s", "", "2000", ""},
		{"none", "timeout: 0s", "", "", ""},
		{"asked", "timeout: 2s", "x-envoy-upstream-rq-timeout-ms: 700\r\n", "700", ""},
		{"asked for none", "timeout: 2s", "x-envoy-upstream-rq-timeout-ms: 0\r\n", "", ""},
		{"nonsense", "timeout: 2s", "x-envoy-upstream-rq-timeout-ms: 1e3\r\n", "2000", ""},
		{"per try", "timeout: 2s, retry_policy: {per_try_timeout: 0.3s}", "", "300", ""},
		{"per try longer than all", "timeout: 2s, retry_policy: {per_try_timeout: 3s}", "", "2000", ""},
		{"per try asked", "timeout: 2s", "x-envoy-upstream-rq-per-try-timeout-ms: 40\r\n", "40", ""},
		{"gRPC", "timeout: 2s, max_grpc_timeout: 1s", grpc + "grpc-timeout: 5S\r\n", "1000", "1000m"},
		{"gRPC within", "timeout: 2s, max_grpc_timeout: 1s", grpc + "grpc-timeout: 250m\r\n", "250", "250m"},
		{"gRPC offset", "timeout: 2s, max_grpc_timeout: 0s, grpc_timeout_offset: 0.05s", grpc + "grpc-timeout: 250m\r\n", "200", "200m"},
		{"gRPC per try", "max_grpc_timeout: 1s, retry_policy: {per_try_timeout: 0.3s}", grpc + "grpc-timeout: 1S\r\n", "300", "300m"},
		{"gRPC not asked", "timeout: 2s", grpc + "grpc-timeout: 5S\r\n", "2000", "5S"},
		{"gRPC without", "timeout: 2s, max_grpc_timeout: 0s", grpc, "", ""},
		{"stream duration instead", "timeout: 2s, max_stream_duration: {max_stream_duration: 9s}", "", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			u := proxytest.NewUpstream(t, steps(ok))
			p := start(t, proxytest.Edge{Manager: internal, Routes: "- {match: {prefix: /}, route: {cluster: up, " + c.route + "}}"}, up(u))
			p.Do("GET / HTTP/1.1\r\nhost: a\r\n" + c.fields + "\r\n")
			r := u.WaitRequests(1)[0] // The shortest of these times may pass before the host has read it.
			check(t, "expected time", proxytest.Field(r, "x-envoy-expected-rq-timeout-ms"), c.expected)
			check(t, "grpc-timeout", proxytest.Field(r, "grpc-timeout"), c.grpc)
			if strings.Contains(r, "x-envoy-upstream-rq") {
				t.Errorf("the host sees the proxy's headers: %q", r)
			}
		})
	}
}

// TestTimeoutFromRequestEnd: the route's time begins when the request is complete.
func TestTimeoutFromRequestEnd(t *testing.T) {
	u := proxytest.NewUpstream(t, silent)
	p := start(t, proxytest.Edge{Routes: `- {match: {prefix: /}, route: {cluster: up, timeout: 0.1s}}`}, up(u))
	c := p.Dial()
	c.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na")
	u.WaitConnections(1)
	// Another request's time passes meanwhile.
	if res := p.Do(get); res.StatusCode != 504 {
		t.Fatalf("%v", res)
	}
	c.Send("bc")
	if res := c.Response("POST"); res.StatusCode != 504 || res.Header.Get("Connection") == "close" {
		t.Fatalf("%v", res)
	}
	p.WaitCounter("cluster.up.upstream_rq_timeout", 2)
	p.WaitCounter("cluster.up.upstream_rq_tx_reset", 2)
	p.WaitCounter("cluster.up.upstream_cx_destroy_local_with_active_rq", 2)
	p.WaitCounter("cluster.up.upstream_rq_504", 2)
	atRest(t, p)
}

// TestTimeoutMidway: a response that has begun never looks complete.
func TestTimeoutMidway(t *testing.T) {
	for _, limit := range []struct{ route, cluster, log string }{
		{"timeout: 0.1s", "", "200 UT response_timeout 1"},
		{"timeout: 0s, retry_policy: {per_try_idle_timeout: 0.1s}", "", "200 UT upstream_per_try_idle_timeout 1"},
		{"timeout: 0s", "common_http_protocol_options: {max_stream_duration: 0.1s}", "200 UMSDR upstream_max_stream_duration_reached 1"},
		{"timeout: 0s, idle_timeout: 0.1s", "", "200 SI stream_idle_timeout 1"},
		{"timeout: 0s, max_stream_duration: {max_stream_duration: 0.1s}", "", "200 DT max_duration_timeout 1"},
	} {
		for _, head := range []string{"content-length: 10", "transfer-encoding: chunked", "connection: close"} {
			t.Run(limit.route+" "+limit.cluster+" "+head, func(t *testing.T) {
				u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
					_, _ = s.Request()
					part := "abc"
					if strings.Contains(head, "chunked") {
						part = "3\r\nabc\r\n"
					}
					_ = s.Send("HTTP/1.1 200 OK\r\n" + head + "\r\n\r\n" + part)
					_ = s.Gone()
				})
				p := start(t, proxytest.Edge{
					Routes:  `- {match: {prefix: /}, route: {cluster: up, ` + limit.route + `}}`,
					Cluster: limit.cluster,
				}, up(u))
				// Where the time passes before the response begins, on a busy machine, it is another story.
				res, asked := p.Do(get), 1
				for ; res.StatusCode == 504 && asked < 50; asked++ {
					res = p.Do(get)
				}
				if res.StatusCode != 200 || res.Err == nil {
					t.Fatalf("a part of the response looks whole: %v", res)
				}
				check(t, "log", p.LogLines(asked)[asked-1], limit.log)
				p.WaitCounter("http.test.rq_reset_after_downstream_response_started", 1)
				atRest(t, p)
			})
		}
	}
}

// TestTimeoutSlowClient: the limit holds too where the client does not read.
func TestTimeoutSlowClient(t *testing.T) {
	const size = 64 << 20
	body := strings.Repeat("x", size)
	u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		_, _ = s.Request()
		_ = s.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", size), body)
	})
	p := start(t, proxytest.Edge{Routes: `- {match: {prefix: /}, route: {cluster: up, timeout: 1s}}`}, up(u))
	c := p.Dial()
	c.Send(get)
	check(t, "log", p.LogLines(1)[0], "200 UT response_timeout 1")
	atRest(t, p)
}

// TestGRPCStreamDuration: grpc-timeout bounds the stream where the route says so.
func TestGRPCStreamDuration(t *testing.T) {
	for _, c := range []struct{ duration, asked string }{
		{"grpc_timeout_header_max: 0s", "50m"},
		{"grpc_timeout_header_max: 0.05s", "1H"},
		{"grpc_timeout_header_max: 0s, grpc_timeout_header_offset: 8.95s", "9S"},
	} {
		u := proxytest.NewUpstream(t, silent)
		p := start(t, proxytest.Edge{
			Routes: "- {match: {prefix: /}, route: {cluster: up, max_stream_duration: {" + c.duration + "}}}",
		}, up(u))
		res := p.Do("GET / HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ngrpc-timeout: " + c.asked + "\r\n\r\n")
		if res.StatusCode != 200 || res.Header.Get("Grpc-Status") == "" {
			t.Errorf("%+v: %v", c, res)
		}
		has(t, "log", p.LogLines(1)[0], "DT max_duration_timeout")
		atRest(t, p)
	}
}

// TestTimeoutAltResponse: who asks for it gets 204 instead of 504.
func TestTimeoutAltResponse(t *testing.T) {
	u := proxytest.NewUpstream(t, silent)
	p := start(t, proxytest.Edge{Manager: internal, Routes: `- {match: {prefix: /}, route: {cluster: up, timeout: 0.05s}}`}, up(u))
	res := p.Do("GET / HTTP/1.1\r\nhost: a\r\nx-envoy-upstream-rq-timeout-alt-response: 1\r\n\r\n")
	if res.StatusCode != 204 || res.Content != "" {
		t.Errorf("%v", res)
	}
	check(t, "log", p.LogLines(1)[0], "204 UT response_timeout 1")
	if r := u.WaitRequests(1)[0]; strings.Contains(r, "alt-response") {
		t.Errorf("%q", r)
	}
}

// TestTunnelDuration: a tunnel has no time-out, but its cluster may bound it.
func TestTunnelDuration(t *testing.T) {
	u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		_, _ = s.Request()
		_ = s.Send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello")
		_ = s.Gone()
	})
	p := start(t, proxytest.Edge{
		Routes:  "- {match: {prefix: /}, route: {cluster: up, timeout: 0.5s, upgrade_configs: [{upgrade_type: websocket}]}}",
		Cluster: "common_http_protocol_options: {max_stream_duration: 1.5s}",
	}, up(u))
	c := p.Dial()
	c.Send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
	if res := c.Response("GET"); res.StatusCode != 101 {
		t.Fatalf("%v", res)
	}
	check(t, "tunnel", c.ReadN(5), "hello")
	c.ExpectClosed()
	check(t, "log", p.LogLines(1)[0], "101 UMSDR upstream_max_stream_duration_reached 1")
	p.WaitCounter("cluster.up.upstream_rq_timeout", 0)
	atRest(t, p)
	p.WaitGauge("cluster.up.upstream_cx_active", 0)
}
