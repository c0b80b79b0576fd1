// SPDX-License-Identifier: Apache-2.0

package grpchttp1bridge_test

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// TestThroughBothBridges: a client without trailers calls a server without gRPC, each
// bridged on its side.
func TestThroughBothBridges(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(
		"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 6\r\n\r\nanswer",
		"HTTP/1.1 503 Busy\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nsorry",
	))
	p := proxytest.Start(t, proxytest.Edge{Filters: `
- name: envoy.filters.http.grpc_http1_bridge
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_http1_bridge.v3.Config
    upgrade_protobuf_to_grpc: true
- name: envoy.filters.http.grpc_http1_reverse_bridge
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfig
    content_type: application/x-protobuf
    withhold_grpc_frames: true`,
	}.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
	c := p.Dial()
	res := c.Do("POST /a.B/C HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\ncontent-length: 8\r\n\r\nquestion")
	if res.StatusCode != 200 || res.Content != "answer" || res.Header.Get("grpc-status") != "0" || res.ContentLength != 6 {
		t.Errorf("%s", res)
	}
	res = c.Do("POST /a.B/C HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n3\r\n\x00\x00\x00\r\na\r\n\x00\x08question\r\n0\r\n\r\n")
	if res.StatusCode != 503 || res.Content != "\x00\x00\x00\x00\x00" || res.Header.Get("grpc-status") != "14" {
		t.Errorf("a failure: %s", res)
	}
	res = c.Do("POST /a.B/C HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 13\r\n\r\n\x00\x00\x00\x00\x08question")
	if res.StatusCode != 200 || res.Header.Get("grpc-status") != "2" || !strings.Contains(res.Header.Get("grpc-message"), "unsupported content-type text/plain, status code 200") {
		t.Errorf("another type: %s", res)
	}
	res = c.Do("POST /a.B/C HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 3\r\n\r\n\x00\x00\x00")
	if res.StatusCode != 200 || res.Header.Get("grpc-status") != "2" || res.Header.Get("grpc-message") != "invalid request body" {
		t.Errorf("no frame: %s", res)
	}
	for i, r := range up.WaitRequests(3)[:3] {
		if proxytest.Field(r, "content-type") != "application/x-protobuf" || !strings.Contains(r, "question") || strings.Contains(r, "\x08question") {
			t.Errorf("request %d: %q", i, r)
		}
	}
}
