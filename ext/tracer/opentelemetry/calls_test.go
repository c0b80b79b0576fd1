// SPDX-License-Identifier: Apache-2.0

package opentelemetry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	otlpv1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/otlp/otlptest"
	"weir.dev/weir/proxy/proxytest"
)

// TestCalls: a mirrored request, a question to an authorization service and one to a rate
// limit service have spans of their own, each a child of the request's; whoever is asked
// learns of it, and one that fails is told as failed.
func TestCalls(t *testing.T) {
	c := otlptest.New(t, nil)
	parents := make(chan [2]string, 10) // who was asked, and what it learned
	host := func(name string, status int) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			parents <- [2]string{name, r.Header.Get("traceparent")}
			w.WriteHeader(status)
		}))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	e := proxytest.Edge{
		Manager: manager("spawn_upstream_span: true", overGRPC),
		Filters: `- {name: auth, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz, http_service: {server_uri: {uri: "http://auth", cluster: auth, timeout: 5s}}}}
- {name: limits, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit, domain: d, rate_limit_service: {transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: limits}, timeout: 5s}}}}`,
		Routes: `- {match: {prefix: /}, route: {cluster: up, request_mirror_policies: [{cluster: shadow}], rate_limits: [{actions: [{generic_key: {descriptor_value: a}}]}]}}`,
		Clusters: c.Cluster("otel") + `
- {name: auth, type: STATIC, connect_timeout: 5s, load_assignment: {cluster_name: auth, endpoints: [{lb_endpoints: [{endpoint: {address: {{auth}}}}]}]}}
- {name: limits, type: STATIC, connect_timeout: 5s, load_assignment: {cluster_name: limits, endpoints: [{lb_endpoints: [{endpoint: {address: {{limits}}}}]}]}}
- {name: shadow, type: STATIC, connect_timeout: 5s, load_assignment: {cluster_name: shadow, endpoints: [{lb_endpoints: [{endpoint: {address: {{shadow}}}}]}]}}`,
	}
	p := proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{
		// The limits' service speaks no gRPC: the request passes without it.
		"up": host("up", 200), "auth": host("auth", 200), "limits": host("limits", 500), "shadow": host("shadow", 200),
	}})
	if r := p.Do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode != 200 {
		t.Fatal(r)
	}
	byCluster := map[string]*otlpv1.Span{}
	var own *otlpv1.Span
	for _, s := range c.Spans(5) {
		if s.GetKind() == otlpv1.Span_SPAN_KIND_SERVER {
			own = s
		} else {
			byCluster[tags(s)["upstream_cluster"]] = s
		}
	}
	if own == nil || len(byCluster) != 4 {
		t.Fatalf("the request's span is %v, the calls' are %v", own, byCluster)
	}
	for range 4 {
		who := <-parents
		s := byCluster[who[0]]
		if s == nil {
			t.Errorf("%s was asked and has no span", who[0])
			continue
		}
		if want := fmt.Sprintf("00-%x-%x-01", own.GetTraceId(), s.GetSpanId()); who[1] != want {
			t.Errorf("%s learned %q, want %s", who[0], who[1], want)
		}
		if string(s.GetParentSpanId()) != string(own.GetSpanId()) {
			t.Errorf("the span to %s is no child of the request's: %v", who[0], s)
		}
		if failed := s.GetStatus().GetCode() == otlpv1.Status_STATUS_CODE_ERROR; failed != (who[0] == "limits") {
			t.Errorf("the span to %s tells that it failed: %v", who[0], failed)
		}
	}
	for name, want := range map[string]string{"up": "router up egress", "auth": "async auth egress", "limits": "async limits egress", "shadow": "mirror"} {
		if got := byCluster[name].GetName(); got != want {
			t.Errorf("the span to %s is called %q, want %q", name, got, want)
		}
	}
}
