// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// grpcCall is a gRPC request in HTTP/1.
func grpcCall(path string) string {
	return post(path, "\x00\x00\x00\x00\x00", "content-type: application/grpc", "content-length: 5")
}

func TestLocalRepliesToGRPC(t *testing.T) {
	tests := []struct {
		name            string
		edge            proxytest.Edge
		path            string
		script          func(*proxytest.Session)
		status, message string
	}{
		{"no route", proxytest.Edge{Routes: "- {match: {path: /x}, route: {cluster: up}}"}, "/a.B/C", nil, "12", ""},
		{"a route that answers", proxytest.Edge{Routes: "- {match: {prefix: /}, direct_response: {status: 403, body: {inline_string: \"50%\"}}}"}, "/a.B/C", nil, "7", "50%25"},
		{"time-out", proxytest.Edge{Routes: "- {match: {prefix: /}, route: {cluster: up, timeout: 0.05s}}"}, "/a.B/C", func(s *proxytest.Session) { _ = s.Gone() }, "14", "upstream request timeout"},
		{"max_stream_duration", proxytest.Edge{Manager: "common_http_protocol_options: {max_stream_duration: 0.05s}"}, "/a.B/C", func(s *proxytest.Session) { _ = s.Gone() }, "4", "downstream duration timeout"},
		{"too large", proxytest.Edge{Filters: "- name: buffer\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 1}"}, "/a.B/C", nil, "2", "Payload Too Large"},
		{"no host", proxytest.Edge{Routes: "- {match: {prefix: /}, route: {cluster: none}}", Clusters: "- {name: none, type: STATIC}"}, "/a.B/C", nil, "14", "no healthy upstream"},
		{"changed", proxytest.Edge{
			Routes: "- {match: {path: /x}, route: {cluster: up}}",
			Manager: `
local_reply_config:
  mappers:
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 404, runtime_key: x}}}}
    status_code: 401
    headers_to_add: [{header: {key: x-why, value: none}}]
  body_format: {json_format: {code: "%RESPONSE_CODE%"}}`,
		}, "/a.B/C", nil, "16", `{"code":401}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			script := tt.script
			if script == nil {
				script = proxytest.Answer(proxytest.OK("ok"))
			}
			p, _ := start(t, tt.edge, script)
			res := p.Do(grpcCall(tt.path))
			h := res.Header
			if res.StatusCode != 200 || res.Content != "" || h.Get("content-type") != "application/grpc" || h.Get("grpc-status") != tt.status || h.Get("grpc-message") != tt.message {
				t.Errorf("%s %v", res, h)
			}
			if tt.name == "changed" && h.Get("x-why") != "none" {
				t.Errorf("%v", h)
			}
		})
	}
}
