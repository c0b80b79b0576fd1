// SPDX-License-Identifier: Apache-2.0

package grpcweb_test

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

const filters = `
- name: envoy.filters.http.grpc_web
  typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb}
- name: envoy.filters.http.grpc_stats
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig
    stats_for_all_methods: true
    enable_upstream_stats: true`

// start runs a proxy whose upstream speaks gRPC over HTTP/1 with trailers.
func start(t *testing.T, response string) (*proxytest.Proxy, *proxytest.Upstream) {
	t.Helper()
	up := proxytest.NewUpstream(t, proxytest.Answer(response))
	p := proxytest.Start(t, proxytest.Edge{
		Filters: filters,
		Manager: "http_protocol_options: {enable_trailers: true}",
		Cluster: `
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {enable_trailers: true}}`,
	}.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
	return p, up
}

func post(path, contentType, body string, fields ...string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nhost: a.test\r\ncontent-type: %s\r\n%scontent-length: %d\r\n\r\n%s", path, contentType, strings.Join(fields, ""), len(body), body)
}

const answer = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n" +
	"7\r\n\x00\x00\x00\x00\x02hi\r\n0\r\ngrpc-status: 0\r\ngrpc-message: fine\r\n\r\n"

func TestThroughTheProxy(t *testing.T) {
	p, up := start(t, answer)
	res := p.Do(post("/greet.Greeter/Say", "application/grpc-web+proto", "\x00\x00\x00\x00\x03you"))
	if want := "\x00\x00\x00\x00\x02hi\x80\x00\x00\x00\x22grpc-status:0\r\ngrpc-message:fine\r\n"; res.Content != want || res.StatusCode != 200 ||
		res.Header.Get("content-type") != "application/grpc-web+proto" {
		t.Errorf("binary: %s", res)
	}
	res = p.Do(post("/greet.Greeter/Say", "application/grpc-web-text", "AAAAAAN5b3U=", "accept: application/grpc-web-text\r\n"))
	if want := "AAAAAAJoaQ==gAAAACJncnBjLXN0YXR1czowDQpncnBjLW1lc3NhZ2U6ZmluZQ0K"; res.Content != want || res.Header.Get("content-type") != "application/grpc-web-text+proto" {
		t.Errorf("text: %s", res)
	}
	for i, r := range up.WaitRequests(2) {
		if !strings.Contains(r, "\x00\x00\x00\x00\x03you") || proxytest.Field(r, "content-type") != "application/grpc" || proxytest.Field(r, "te") != "trailers" {
			t.Errorf("request %d: %q", i, r)
		}
	}
	p.WaitCounter("cluster.up.grpc-web.greet.Greeter.Say.0", 2)
	p.WaitCounter("cluster.up.grpc.greet.Greeter.Say.success", 2)
	p.WaitCounter("cluster.up.grpc.greet.Greeter.Say.request_message_count", 2)
	p.WaitCounter("cluster.up.grpc.greet.Greeter.Say.response_message_count", 2)
	m, ok := p.Metric("cluster.up.grpc.greet.Greeter.Say.upstream_rq_time")
	if !ok || m.Cumulative.Count() != 2 {
		t.Errorf("upstream_rq_time: %+v", m)
	}
}

func TestErrorsThroughTheProxy(t *testing.T) {
	p, up := start(t, "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nsorry")
	res := p.Do(post("/greet.Greeter/Say", "application/grpc-web", "\x00\x00\x00\x00\x00"))
	if res.StatusCode != 503 || res.Header.Get("grpc-status") != "14" || res.Header.Get("grpc-message") != "sorry" || res.Content != "" {
		t.Errorf("an error page: %s", res)
	}
	res = p.Do(post("/greet.Greeter/Say", "application/grpc-web-text", "AAAA!"))
	if res.StatusCode != 400 || res.Header.Get("grpc-status") != "13" || res.Header.Get("grpc-message") != "Bad gRPC-web request, invalid base64 data." {
		t.Errorf("no base64: %s", res)
	}
	up.Close()
	res = p.Do(post("/greet.Greeter/Say", "application/grpc-web", "\x00\x00\x00\x00\x00"))
	if res.StatusCode != 503 || res.Header.Get("grpc-status") != "14" || !strings.HasPrefix(res.Header.Get("grpc-message"), "upstream connect error") {
		t.Errorf("no upstream: %s", res)
	}
}
