// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"strings"
	"testing"

	"weir.dev/weir/internal/reserve"
	"weir.dev/weir/proxy/proxytest"
)

// TestFailures tells, for each way a request can fail, what the client and the
// access log are told, and that everything is at rest afterwards.
func TestFailures(t *testing.T) {
	const before = "upstream connect error or disconnect/reset before headers. "
	reply := func(s string) func(*proxytest.Session) { return proxytest.Answer(s) }
	cases := []struct {
		name    string
		edge    proxytest.Edge
		script  func(*proxytest.Session) // nil: refused
		request string
		status  int
		body    string
		log     string
		header  string // a response header there must be
	}{
		{
			name: "no route", edge: proxytest.Edge{Routes: `- {match: {path: /other}, route: {cluster: up}}`},
			status: 404, log: "404 NR route_not_found 0",
		},
		{
			name: "no cluster", edge: proxytest.Edge{Routes: `- {match: {prefix: /}, route: {cluster_header: x-to}}`},
			request: "GET / HTTP/1.1\r\nhost: a\r\nx-to: nowhere\r\n\r\n", status: 503, log: "503 NC cluster_not_found 0",
		},
		{
			name:   "no cluster, other status",
			edge:   proxytest.Edge{Routes: `- {match: {prefix: /}, route: {cluster_header: x-to, cluster_not_found_response_code: NOT_FOUND}}`},
			status: 404, log: "404 NC cluster_not_found 0",
		},
		{
			name: "no host",
			edge: proxytest.Edge{
				Routes:   `- {match: {prefix: /}, route: {cluster: none}}`,
				Clusters: "- {name: none, type: STATIC, load_assignment: {cluster_name: none}}",
			},
			status: 503, body: "no healthy upstream", log: "503 UH no_healthy_upstream 1",
		},
		{
			name: "overflow", edge: proxytest.Edge{Cluster: "circuit_breakers: {thresholds: [{max_pending_requests: 0}]}"},
			script: reply(proxytest.OK("ok")), status: 503, body: before + "reset reason: overflow",
			log: "503 UO upstream_reset_before_response_started{overflow} 1", header: "X-Envoy-Overloaded",
		},
		{
			name: "refused", status: 503,
			body: before + "reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused",
			log:  "503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} 1",
		},
		{
			name: "closed", script: hangUp, status: 503, body: before + "reset reason: connection termination",
			log: "503 UC upstream_reset_before_response_started{connection_termination} 1",
		},
		{
			name: "reset", script: func(s *proxytest.Session) { _, _ = s.Request(); _ = s.Reset() },
			status: 503, body: before + "reset reason: connection termination",
			log: "503 UC upstream_reset_before_response_started{connection_termination} 1",
		},
		{
			name: "half a head", script: reply("HTTP/1.1 200 OK\r\ncontent-le"),
			edge:   proxytest.Edge{Routes: `- {match: {prefix: /}, route: {cluster: up, timeout: 0.05s}}`},
			status: 504, body: "upstream request timeout", log: "504 UT response_timeout 1",
		},
		{
			name: "nonsense", script: reply("HTTP/9 nonsense\r\n\r\n"), status: 502,
			body: before + "reset reason: protocol error",
			log:  "502 UPE upstream_reset_before_response_started{protocol_error} 1",
		},
		{
			name: "head too large", script: reply("HTTP/1.1 200 OK\r\nx: " + strings.Repeat("a", 70<<10) + "\r\ncontent-length: 0\r\n\r\n"),
			status: 502, body: before + "reset reason: protocol error",
			log: "502 UPE upstream_reset_before_response_started{protocol_error} 1",
		},
		{
			name: "interim responses without end", script: func(s *proxytest.Session) {
				_, _ = s.Request()
				for s.Send("HTTP/1.1 102 Processing\r\n\r\n") == nil {
				}
			},
			status: 502, body: before + "reset reason: protocol error",
			log: "502 UPE upstream_reset_before_response_started{protocol_error} 1",
		},
		{
			name: "switched unasked", script: reply("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
			status: 502, body: before + "reset reason: protocol error",
			log: "502 UPE upstream_reset_before_response_started{protocol_error} 1",
		},
		{
			name: "timeout", script: silent, edge: proxytest.Edge{Routes: `- {match: {prefix: /}, route: {cluster: up, timeout: 0.05s}}`},
			status: 504, body: "upstream request timeout", log: "504 UT response_timeout 1",
		},
		{
			name: "per-try timeout", script: silent,
			edge:   proxytest.Edge{Routes: `- {match: {prefix: /}, route: {cluster: up, retry_policy: {num_retries: 0, per_try_timeout: 0.05s}}}`},
			status: 504, body: "upstream request timeout", log: "504 UT upstream_per_try_timeout 1",
		},
		{
			name: "per-try idle timeout", script: silent,
			edge:   proxytest.Edge{Routes: `- {match: {prefix: /}, route: {cluster: up, retry_policy: {num_retries: 0, per_try_idle_timeout: 0.05s}}}`},
			status: 504, body: "upstream request timeout", log: "504 UT upstream_per_try_idle_timeout 1",
		},
		{
			name: "cluster's stream duration", script: silent,
			edge:   proxytest.Edge{Cluster: "common_http_protocol_options: {max_stream_duration: 0.05s}"},
			status: 504, body: "upstream max stream duration reached",
			log: "504 UMSDR upstream_max_stream_duration_reached 1",
		},
		{
			name: "drop overload",
			edge: proxytest.Edge{
				Routes: `- {match: {prefix: /}, route: {cluster: dropped}}`,
				Clusters: "- {name: dropped, type: STATIC, load_assignment: {cluster_name: dropped, policy: {drop_overloads: " +
					"[{category: c, drop_percentage: {numerator: 100}}]}, endpoints: [{lb_endpoints: [{endpoint: {address: {{up}}}}]}]}}",
			},
			script: reply(proxytest.OK("ok")), status: 503, body: "drop overload", log: "503 DO drop_overload 1",
			header: "X-Envoy-Drop-Overload",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			backends := map[string]string{}
			if c.script != nil {
				backends = up(proxytest.NewUpstream(t, c.script))
			} else {
				backends["up"] = reserve.TCP(t)
			}
			p := start(t, c.edge, backends)
			req := c.request
			if req == "" {
				req = get
			}
			cl := p.Dial()
			res := cl.Do(req)
			for res.StatusCode < 200 {
				res = cl.Response("GET")
			}
			if res.StatusCode != c.status {
				t.Errorf("status is %d, want %d", res.StatusCode, c.status)
			}
			check(t, "body", res.Content, c.body)
			check(t, "log", p.LogLines(1)[0], c.log)
			if c.header != "" && res.Header.Get(c.header) != "true" {
				t.Errorf("there is no %s in %v", c.header, res.Header)
			}
			if c.name != "overflow" { // A breaker of 0 is always open.
				atRest(t, p)
			}
		})
	}
}
