// SPDX-License-Identifier: Apache-2.0

package extauthz_test

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// overHTTP is the field for a service of HTTP.
func overHTTP(more string) string {
	return "http_service: {server_uri: {uri: 'http://auth.example', cluster: auth, timeout: 5s}, " + more + "}, "
}

func TestHTTPService(t *testing.T) {
	const post = "POST /a?b HTTP/1.1\r\nhost: shop.example\r\nauthorization: me\r\nx-many: 1\r\nx-many: 2\r\ncontent-length: 4\r\n\r\nbody"
	cases := []struct {
		name, service, fields, answer string
		status                        int
		content                       string
		asked, not                    []string
		upstream, hidden              []string
		client                        string
	}{
		{
			"ok", "", "", "HTTP/1.1 200 OK\r\nx-user: me\r\ncontent-length: 0\r\n\r\n", 200, "ok",
			[]string{"POST /a?b HTTP/1.1", "host: shop.example", "authorization: me", "content-length: 0"},
			[]string{"x-many", "body", "partial"},
			[]string{"body"}, []string{"x-user"}, "",
		},
		{
			"denied", "", "", "HTTP/1.1 302 Found\r\nlocation: /login\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 2\r\n\r\nno", 302, "no",
			nil, nil, nil, nil, "location: /login",
		},
		{
			"denied with few fields", "authorization_response: {allowed_client_headers: {patterns: [{exact: x-a}]}}", "",
			"HTTP/1.1 401 No\r\nwww-authenticate: Basic\r\nx-a: 1\r\nx-b: 1\r\ncontent-length: 0\r\n\r\n", 401, "", nil, nil, nil, nil, "www-authenticate: Basic",
		},
		{"error", "", "status_on_error: {code: 500},", "HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\nno", 500, "", nil, nil, nil, nil, ""},
		{"open on error", "", "failure_mode_allow: true,", "HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\nno", 200, "ok", nil, nil, []string{"body"}, nil, ""},
		{
			"fields", `path_prefix: /check, authorization_request: {allowed_headers: {patterns: [{exact: X-Many}]}, headers_to_add: [{key: x-many, value: "9"}, {key: x-from, value: weir}]},
			authorization_response: {allowed_upstream_headers: {patterns: [{exact: x-user}]}, allowed_upstream_headers_to_append: {patterns: [{exact: x-many}]},
			allowed_client_headers_on_success: {patterns: [{prefix: x-c}]}, dynamic_metadata_from_headers: {patterns: [{exact: x-m}]}}`, "",
			"HTTP/1.1 200 OK\r\nx-user: me\r\nx-many: 3\r\nx-client: yes\r\nx-m: meta\r\nx-envoy-auth-headers-to-remove: authorization, host,:path\r\ncontent-length: 0\r\n\r\n", 200, "ok",
			[]string{"POST /check/a?b HTTP/1.1", "x-many: 9", "x-from: weir"},
			[]string{"x-many: 1"},
			[]string{"x-user: me", ",3", "POST /a?b"},
			[]string{"authorization", "x-envoy-auth"}, "x-client: yes",
		},
		{
			"body", "path_override: /only", "with_request_body: {max_request_bytes: 3, allow_partial_message: true},", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, "ok",
			[]string{"POST /only HTTP/1.1", "content-length: 3", "x-envoy-auth-partial-body: true", "\r\n\r\nbod"}, nil,
			[]string{"\r\n\r\nbody"}, nil, "",
		},
		{
			"the filter's own list", "authorization_request: {allowed_headers: {patterns: [{exact: x-none}]}}", "allowed_headers: {patterns: [{exact: x-many}]},",
			"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, "ok",
			[]string{"x-many: 1,2", "authorization: me"}, nil, nil, nil, "",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			auth := proxytest.NewUpstream(t, proxytest.Answer(c.answer))
			p, up := start(t, edge(overHTTP(c.service)+c.fields, h1), auth.Addr())
			res := p.Do(post)
			if res.StatusCode != c.status || res.Content != c.content {
				t.Fatalf("%s", res)
			}
			if name, value, _ := strings.Cut(c.client, ": "); name != "" && res.Header.Get(name) != value {
				t.Errorf("the client does not get %q: %v", c.client, res.Header)
			}
			if c.name == "denied" && len(res.Header.Values("Set-Cookie")) != 2 || c.name == "denied with few fields" && (res.Header.Get("x-b") != "" || res.Header.Get("x-a") != "1") {
				t.Errorf("%v", res.Header)
			}
			has(t, "the service", auth.WaitRequests(1)[0], c.asked, c.not)
			if c.status == 200 {
				has(t, "upstream", up.WaitRequests(1)[0], c.upstream, c.hidden)
			}
		})
	}
}

func has(t *testing.T, who, got string, want, not []string) {
	t.Helper()
	for _, s := range want {
		if !strings.Contains(got, s) {
			t.Errorf("%s got %q, not %q", who, got, s)
		}
	}
	for _, s := range not {
		if strings.Contains(got, s) {
			t.Errorf("%s got %q with %q", who, got, s)
		}
	}
}

// TestHostileHTTP: whatever such a service does, nobody is let in by it.
func TestHostileHTTP(t *testing.T) {
	for name, script := range map[string]func(*proxytest.Session){
		"hangs":         func(s *proxytest.Session) { _, _ = s.ReadAll() },
		"half a head":   proxytest.Answer("HTTP/1.1 200 O"),
		"half a body":   proxytest.Answer("HTTP/1.1 403 No\r\ncontent-length: 10\r\n\r\nno"),
		"nonsense":      proxytest.Answer("yes!\r\n\r\n"),
		"two lengths":   proxytest.Answer("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nno"),
		"a huge answer": proxytest.Answer("HTTP/1.1 403 No\r\ncontent-length: 2000000\r\n\r\n" + strings.Repeat("x", 2_000_000)),
		"resets":        func(s *proxytest.Session) { _, _ = s.Head(); _ = s.Reset() },
	} {
		t.Run(name, func(t *testing.T) {
			auth := proxytest.NewUpstream(t, script)
			p, up := start(t, edge("http_service: {server_uri: {uri: 'http://auth.example', cluster: auth, timeout: 0.3s}}, status_on_error: {code: 503},", h1), auth.Addr())
			if res := p.Do(get); res.StatusCode != 503 || up.Connections() > 0 {
				t.Errorf("%s", res)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	for fields, want := range map[string]string{
		"": "grpc_service",
		"grpc_service: {google_grpc: {target_uri: 'a:1', stat_prefix: a}},":                      "envoy_grpc",
		overGRPC + "shadow_mode: true,":                                                          "shadow_mode",
		overHTTP("path_prefix: a"):                                                               "path_prefix",
		overHTTP("path_prefix: /a, path_override: /b"):                                           "path_override",
		overHTTP("retry_policy: {retry_on: sometimes}"):                                          "retry_policy",
		overGRPC + "decoder_header_mutation_rules: {allow_expression: {regex: '('}},":            "allow_expression",
		overGRPC + "allowed_headers: {patterns: [{safe_regex: {regex: '('}}]},":                  "allowed_headers",
		"grpc_service: {envoy_grpc: {cluster_name: auth}, retry_policy: {retry_on: sometimes}},": "grpc_service.retry_policy",
	} {
		_, err := proxytest.TryStart(t, edge(fields, h1).YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1", "auth": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", fields, err, want)
		}
	}
}
