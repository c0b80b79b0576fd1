// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// TestRuntime: values of the runtime take clusters out of service, forbid retries and
// change breakers.
func TestRuntime(t *testing.T) {
	for _, c := range []struct {
		name, layer, log string
		requests         int
		overloaded       string
	}{
		{"maintenance", "upstream.maintenance_mode.up: 100", "503 UO maintenance_mode 0", 0, "true"},
		{"maintenance of another", "upstream.maintenance_mode.other: 100", "200 - via_upstream 2", 2, ""},
		{"no retries", "upstream.use_retry: 0", "503 - via_upstream 1", 1, ""},
		{"no requests", "circuit_breakers.up.default.max_requests: 0", "503 UO upstream_reset_before_response_started{overflow} 1", 0, "true"},
		{"no places for retries", "circuit_breakers.up.default.max_retries: 0", "503 UO via_upstream 1", 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := proxytest.NewUpstream(t, steps(failure, ok))
			p := start(t, proxytest.Edge{
				Bootstrap: "layered_runtime: {layers: [{name: static, static_layer: {" + c.layer + "}}]}",
				Routes:    policy("retry_on: 5xx"),
			}, up(u))
			res := p.Do(get)
			check(t, "log", p.LogLines(1)[0], c.log)
			check(t, "x-envoy-overloaded", res.Header.Get("X-Envoy-Overloaded"), c.overloaded)
			if got := len(u.Requests()); got != c.requests {
				t.Errorf("%d requests arrived, want %d", got, c.requests)
			}
			p.WaitGauge("cluster.up.upstream_rq_active", 0)
		})
	}
}

// TestRetryOtherPriority: a retry goes to a priority that was not tried.
func TestRetryOtherPriority(t *testing.T) {
	bad, good := proxytest.NewUpstream(t, steps(failure)), proxytest.NewUpstream(t, steps(ok))
	p := start(t, proxytest.Edge{
		Routes: `- {match: {prefix: /}, route: {cluster: two, retry_policy: {retry_on: 5xx, num_retries: 1, retry_back_off: {base_interval: 0.001s}, retry_priority: {name: p, typed_config: {
  "@type": type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, update_frequency: 1}}}}}`,
		Clusters: `- name: two
  load_assignment: {cluster_name: two, endpoints: [{lb_endpoints: [{endpoint: {address: {{bad}}}}]}, {priority: 1, lb_endpoints: [{endpoint: {address: {{good}}}}]}]}`,
	}, map[string]string{"up": good.Addr(), "bad": bad.Addr(), "good": good.Addr()})
	for range 5 {
		if res := p.Do(get); res.Content != "ok" {
			t.Fatalf("%v", res)
		}
	}
	if b, g := len(bad.Requests()), len(good.Requests()); b != 5 || g != 5 {
		t.Errorf("%d and %d requests, want 5 and 5", b, g)
	}
}

// TestStreamDurationByHeader: x-envoy-upstream-stream-duration-ms takes the place of the
// cluster's max_stream_duration.
func TestStreamDurationByHeader(t *testing.T) {
	u := proxytest.NewUpstream(t, silent)
	p := start(t, proxytest.Edge{Manager: internal, Cluster: "common_http_protocol_options: {max_stream_duration: 600s}"}, up(u))
	res := p.Do("GET / HTTP/1.1\r\nhost: a\r\nx-envoy-upstream-stream-duration-ms: 50\r\n\r\n")
	if res.StatusCode != 504 {
		t.Fatalf("%v", res)
	}
	check(t, "log", p.LogLines(1)[0], "504 UMSDR upstream_max_stream_duration_reached 1")
	check(t, "header upstream", proxytest.Field(u.Requests()[0], "x-envoy-upstream-stream-duration-ms"), "")
}
