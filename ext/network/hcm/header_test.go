// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

const early = `early_header_mutation_extensions: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation, mutations: `

// headerRules are what the connection manager does to a request's head: YAML of
// the manager, what the client sends, and fields as the upstream gets them; "-"
// is a field that is not there.
var headerRules = []struct {
	name, manager string
	send          []string
	want          []string
}{
	{"internal by default", "", []string{"x-forwarded-for: 10.0.0.1"}, []string{"x-forwarded-for: 10.0.0.1", "x-forwarded-proto: http"}},
	{"not edge keeps", "", []string{"x-forwarded-for: 1.2.3.4, 5.6.7.8", "x-forwarded-proto: https", "x-request-id: mine"},
		[]string{"x-forwarded-for: 1.2.3.4, 5.6.7.8", "x-forwarded-proto: https", "x-request-id: mine", "x-envoy-external-address: -"}},
	{"edge appends", "use_remote_address: true", []string{"x-forwarded-for: 1.2.3.4"}, []string{"x-forwarded-for: 1.2.3.4,127.0.0.1"}},
	{"edge without", "use_remote_address: true", nil, []string{"x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-envoy-external-address: 127.0.0.1"}},
	{"edge several lines", "use_remote_address: true", []string{"x-forwarded-for: 1.2.3.4", "x-forwarded-for: 5.6.7.8"}, []string{"x-forwarded-for: 1.2.3.4,5.6.7.8,127.0.0.1"}},
	{"edge overwrites proto", "use_remote_address: true", []string{"x-forwarded-proto: https"}, []string{"x-forwarded-proto: http"}},
	{"edge skips", "use_remote_address: true\nskip_xff_append: true", []string{"x-forwarded-for: 1.2.3.4"}, []string{"x-forwarded-for: 1.2.3.4"}},
	{"edge skips without", "use_remote_address: true\nskip_xff_append: true", nil, []string{"x-forwarded-for: -"}},
	{"early mutation", early + `[{append: {header: {key: x-early, value: "%REQ(x-name)%"}}}, {remove: x-name}]}}]`,
		[]string{"x-name: n"}, []string{"x-early: n", "x-name: -"}},
	{"early mutation is before built-in changes", "use_remote_address: true\n" + early + `[{append: {header: {key: x-envoy-force-trace, value: "1"}}}, {remove: x-forwarded-for}]}}]`,
		[]string{"x-forwarded-for: 1.2.3.4"}, []string{"x-envoy-force-trace: -", "x-forwarded-for: 127.0.0.1"}},
	{"edge behind one", "use_remote_address: true\nxff_num_trusted_hops: 1", []string{"x-forwarded-for: 9.9.9.9, 1.2.3.4", "x-forwarded-proto: https"},
		[]string{"x-forwarded-for: 9.9.9.9, 1.2.3.4,127.0.0.1", "x-forwarded-proto: https", "x-envoy-external-address: 1.2.3.4"}},
	{"edge behind two", "use_remote_address: true\nxff_num_trusted_hops: 2", []string{"x-forwarded-for: 9.9.9.9, 1.2.3.4"}, []string{"x-envoy-external-address: 9.9.9.9"}},
	{"edge behind too many", "use_remote_address: true\nxff_num_trusted_hops: 3", []string{"x-forwarded-for: 9.9.9.9, 1.2.3.4"}, []string{"x-envoy-external-address: 127.0.0.1"}},
	{"mapped", "use_remote_address: true\nrepresent_ipv4_remote_address_as_ipv4_mapped_ipv6: true", nil, []string{"x-forwarded-for: ::ffff:127.0.0.1"}},

	{"internal", "use_remote_address: true\ninternal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}", []string{"x-envoy-retry-on: 5xx", "x-envoy-decorator-operation: x", "x-request-id: mine"},
		[]string{"x-envoy-internal: true", "x-request-id: mine", "x-envoy-external-address: -"}},
	{"internal with xff", "use_remote_address: true\ninternal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}", []string{"x-forwarded-for: 1.2.3.4", "x-envoy-internal: true"},
		[]string{"x-envoy-internal: -"}},
	{"forged internal", "use_remote_address: true", []string{"x-envoy-internal: true"}, []string{"x-envoy-internal: -"}},
	{"external steers", "use_remote_address: true", []string{
		"x-envoy-retry-on: 5xx", "x-envoy-max-retries: 9", "x-envoy-upstream-rq-timeout-ms: 1", "x-envoy-force-trace: 1",
		"x-envoy-expected-rq-timeout-ms: 1", "x-envoy-original-path: /admin", "x-envoy-decorator-operation: x", "x-envoy-ip-tags: a",
		"x-envoy-downstream-service-cluster: c", "x-envoy-downstream-service-node: n",
	}, []string{
		"x-envoy-retry-on: -", "x-envoy-max-retries: -", "x-envoy-upstream-rq-timeout-ms: -", "x-envoy-force-trace: -",
		"x-envoy-expected-rq-timeout-ms: 15000", "x-envoy-original-path: -", "x-envoy-decorator-operation: -", "x-envoy-ip-tags: -",
		"x-envoy-downstream-service-cluster: -", "x-envoy-downstream-service-node: -",
	}},

	{"detection xff", "original_ip_detection_extensions: [{name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.http.original_ip_detection.xff.v3.XffConfig, xff_num_trusted_hops: 1}}]\ninternal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}",
		[]string{"x-forwarded-for: 10.0.0.1, 1.2.3.4"}, []string{"x-envoy-internal: -"}},
	{"detection xff appends", "original_ip_detection_extensions: [{name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.http.original_ip_detection.xff.v3.XffConfig, skip_xff_append: false}}]",
		[]string{"x-forwarded-for: 1.2.3.4"}, []string{"x-forwarded-for: 1.2.3.4,127.0.0.1"}},
	{"detection by proxies", "original_ip_detection_extensions: [{name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.http.original_ip_detection.xff.v3.XffConfig, xff_trusted_cidrs: {cidrs: [{address_prefix: 127.0.0.0, prefix_len: 8}, {address_prefix: 10.0.0.0, prefix_len: 8}]}}}]",
		[]string{"x-forwarded-for: 9.9.9.9, 1.2.3.4, 10.0.0.1"}, []string{"x-forwarded-for: 9.9.9.9, 1.2.3.4, 10.0.0.1", "x-client: 1.2.3.4"}},
	{"detection header", "original_ip_detection_extensions: [{name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig, header_name: x-real, allow_extension_to_set_address_as_trusted: true}}]\ninternal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}",
		[]string{"x-real: 10.1.2.3"}, []string{"x-envoy-internal: true"}},

	{"id preserved", "use_remote_address: true\npreserve_external_request_id: true", []string{"x-request-id: mine"}, []string{"x-request-id: mine"}},
	{"id not generated", "generate_request_id: false", nil, []string{"x-request-id: -"}},
	{"via", "via: weir", []string{"via: 1.1 other"}, []string{"via: 1.1 other, weir"}},
	{"user agent", "add_user_agent: true", nil, []string{"user-agent: edge", "x-envoy-downstream-service-cluster: edge", "x-envoy-downstream-service-node: node-1"}},
	{"user agent kept", "add_user_agent: true", []string{"user-agent: curl"}, []string{"user-agent: curl"}},
	{"scheme", "scheme_header_transformation: {scheme_to_overwrite: https}", nil, []string{"x-forwarded-proto: https"}},
	{"client cert forged", "", []string{"x-forwarded-client-cert: By=me"}, []string{"x-forwarded-client-cert: -"}},
	{"client cert forwarded", "forward_client_cert_details: ALWAYS_FORWARD_ONLY", []string{"x-forwarded-client-cert: By=me"}, []string{"x-forwarded-client-cert: By=me"}},
	{"underscores kept", "", []string{"x_a: 1"}, []string{"x_a: 1"}},
	{"underscores dropped", "common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}", []string{"x_a: 1", "x-b: 2"}, []string{"x_a: -", "x-b: 2"}},
	{"hop by hop", "", []string{"keep-alive: x", "proxy-connection: x", "te: trailers, gzip", "connection: te"}, []string{"keep-alive: -", "proxy-connection: -", "te: trailers", "connection: te"}},
}

const node = "node: {id: node-1, cluster: edge}"

func TestHeaderRules(t *testing.T) {
	for _, tt := range headerRules {
		t.Run(tt.name, func(t *testing.T) {
			p, up := start(t, proxytest.Edge{Bootstrap: node, Manager: tt.manager, Host: "request_headers_to_add: [{header: {key: x-client, value: \"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\"}}]"}, mirror)
			if r := p.Do(get("/", tt.send...)); r.StatusCode != 200 {
				t.Fatal(r)
			}
			got := up.WaitRequests(1)[0]
			for _, w := range tt.want {
				name, value, _ := strings.Cut(w, ": ")
				v := proxytest.Field(got, name)
				if value == "-" && strings.Contains(strings.ToLower(got), "\r\n"+name+":") || value != "-" && v != value {
					t.Errorf("%s is %q, want %q", name, v, value)
				}
			}
		})
	}
}

func TestForwardedPort(t *testing.T) {
	p, up := start(t, proxytest.Edge{Manager: "use_remote_address: true\nappend_x_forwarded_port: true"}, mirror)
	p.Do(get("/", "x-forwarded-port: 1"))
	_, port, _ := strings.Cut(p.Addr(), ":")
	if got := up.WaitRequests(1)[0]; proxytest.Field(got, "x-forwarded-port") != port {
		t.Errorf("want port %s: %q", port, got)
	}
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestRequestID(t *testing.T) {
	p, up := start(t, proxytest.Edge{Manager: "use_remote_address: true\nalways_set_request_id_in_response: true"}, mirror)
	seen := map[string]bool{}
	for i := range 3 {
		r := p.Do(get("/", "x-request-id: forged"))
		id := proxytest.Field(up.WaitRequests(i + 1)[i], "x-request-id")
		if !uuid.MatchString(id) || seen[id] || r.Header.Get("x-request-id") != id {
			t.Errorf("id %q, response's %q", id, r.Header.Get("x-request-id"))
		}
		seen[id] = true
	}
}

func TestUnderscoreRejected(t *testing.T) {
	p, _ := start(t, proxytest.Edge{Manager: "common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}"}, mirror)
	if r := p.Do(get("/", "x_a: 1")); r.StatusCode != 400 {
		t.Error(r)
	}
	if n := p.Counter("http.test.http1.requests_rejected_with_underscores_in_headers"); n != 1 {
		t.Errorf("requests_rejected_with_underscores_in_headers is %d", n)
	}
}

func TestDetectionRejects(t *testing.T) {
	p, up := start(t, proxytest.Edge{AccessLog: flags, Manager: "original_ip_detection_extensions: [{name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig, header_name: x-real, reject_with_status: {code: Unauthorized}}}]"}, mirror)
	if r := p.Do(get("/")); r.StatusCode != 401 {
		t.Error(r)
	}
	if r := p.Do(get("/", "x-real: 1.2.3.4")); r.StatusCode != 200 {
		t.Error(r)
	}
	if n := len(up.Requests()); n != 1 {
		t.Errorf("the upstream got %d requests", n)
	}
}

func TestServerHeader(t *testing.T) {
	for _, tt := range []struct{ manager, upstream, want string }{
		{"", "up", "envoy"},
		{"server_name: edge", "up", "edge"},
		{"server_name: edge\nserver_header_transformation: APPEND_IF_ABSENT", "up", "up"},
		{"server_name: edge\nserver_header_transformation: APPEND_IF_ABSENT", "", "edge"},
		{"server_header_transformation: PASS_THROUGH", "up", "up"},
		{"server_header_transformation: PASS_THROUGH", "", ""},
	} {
		line := ""
		if tt.upstream != "" {
			line = "server: " + tt.upstream + "\r\n"
		}
		p, _ := start(t, proxytest.Edge{Manager: tt.manager}, proxytest.Answer("HTTP/1.1 200 OK\r\n"+line+"content-length: 0\r\n\r\n"))
		r := p.Do(get("/"))
		if got := r.Header.Get("server"); got != tt.want {
			t.Errorf("%q, upstream %q: server is %q, want %q", tt.manager, tt.upstream, got, tt.want)
		}
		if r.Header.Get("date") == "" {
			t.Error("no date")
		}
	}
}

func TestHosts(t *testing.T) {
	for _, tt := range []struct{ manager, host, want string }{
		{"", "a.test.:80", "a.test.:80"},
		{"strip_trailing_host_dot: true", "a.test.", "a.test"},
		{"strip_trailing_host_dot: true", "a.test.:80", "a.test:80"},
		{"strip_any_host_port: true", "a.test:80", "a.test"},
		{"strip_any_host_port: true", "[::1]:80", "[::1]"},
		{"strip_any_host_port: true", "[::1]", "[::1]"},
		{"strip_matching_host_port: true", "a.test:PORT", "a.test"},
		{"strip_matching_host_port: true", "a.test:1", "a.test:1"},
		{"strip_any_host_port: true\nstrip_trailing_host_dot: true", "a.test.:80", "a.test"},
	} {
		p, up := start(t, proxytest.Edge{Manager: tt.manager}, mirror)
		_, port, _ := strings.Cut(p.Addr(), ":")
		p.Do("GET / HTTP/1.1\r\nhost: " + strings.ReplaceAll(tt.host, "PORT", port) + "\r\n\r\n")
		if got := proxytest.Field(up.WaitRequests(1)[0], "host"); got != tt.want {
			t.Errorf("%q, host %q: got %q, want %q", tt.manager, tt.host, got, tt.want)
		}
	}
}

// TestAbsoluteForm: the target's authority is the host, whatever Host says.
func TestAbsoluteForm(t *testing.T) {
	p, up := start(t, proxytest.Edge{}, mirror)
	p.Do("GET http://b.test/x?y HTTP/1.1\r\nhost: a.test\r\n\r\n")
	if got := up.WaitRequests(1)[0]; !strings.HasPrefix(got, "GET /x?y HTTP/1.1\r\nhost: b.test\r\n") {
		t.Errorf("the upstream got %q", got)
	}
	p, _ = start(t, proxytest.Edge{Manager: "http_protocol_options: {allow_absolute_url: false}"}, mirror)
	if r := p.Do("GET http://b.test/ HTTP/1.1\r\nhost: a.test\r\n\r\n"); r.StatusCode != 400 {
		t.Error(r)
	}
}

const allPaths = "normalize_path: true\nmerge_slashes: true\n"

// TestPaths: the router and the upstream see one canonical path.
func TestPaths(t *testing.T) {
	for _, tt := range []struct{ manager, path, want string }{
		{"", "/a//b/../%2e%2e/c", "/a//b/../%2e%2e/c"},
		{allPaths, "/", "/"},
		{allPaths, "/a/b", "/a/b"},
		{allPaths, "/a/./b", "/a/b"},
		{allPaths, "/a/../b", "/b"},
		{allPaths, "/../../b", "/b"},
		{allPaths, "/a/%2e%2e/b", "/b"},
		{allPaths, "/a/%2E./b", "/b"},
		{allPaths, "/a/.%2e", "/"},
		{allPaths, "/a//b", "/a/b"},
		{allPaths, "//a", "/a"},
		{allPaths, "/a/..//admin", "/admin"},
		{allPaths, "/a\\..\\admin", "/admin"},
		{allPaths, "/a%5c..%5cadmin", "/a%5c..%5cadmin"},
		{allPaths, "/a%2f..%2fadmin", "/a%2f..%2fadmin"},
		{allPaths, "/%61dmin", "/admin"},
		{allPaths, "/%41%7e%2d", "/A~-"},
		{allPaths, "/%252e%252e/x", "/%252e%252e/x"},
		{allPaths, "/a?b=/../c//d", "/a?b=/../c//d"},
		{allPaths, "/a/..;/admin", "/a/..;/admin"},
		{allPaths, "/%20%zz%4", "/%20%zz%4"},
		{allPaths, "/%%32e%%32e/admin", "/%%32e%%32e/admin"},
		{allPaths, "/a/%00/b", "400"},
		{"normalize_path: true", "/a//b", "/a//b"},
		{"merge_slashes: true", "/a//b/../c", "/a/b/../c"},
		{"path_with_escaped_slashes_action: REJECT_REQUEST", "/a%2fb", "400"},
		{"path_with_escaped_slashes_action: REJECT_REQUEST", "/a%5Cb", "400"},
		{"path_with_escaped_slashes_action: REJECT_REQUEST", "/a?b=%2f", "/a?b=%2f"},
		{allPaths + "path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD", "/a%2f..%5cadmin", "/admin"},
		{allPaths + "path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT", "/a%2fb?c", "307 /a/b?c"},
		{allPaths + "path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT", "/%2fevil.test", "307 /evil.test"},
		{"path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT", "/%2fevil.test", "400"},
		{"path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT", "/%5cevil.test", "400"},
		{allPaths + "path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT", "/a//b", "/a/b"},
		{allPaths + "path_with_escaped_slashes_action: IMPLEMENTATION_SPECIFIC_DEFAULT", "/a%2fb", "/a%2fb"},
	} {
		// The route answers what it sees by a redirect to it.
		p, up := start(t, proxytest.Edge{Manager: tt.manager}, mirror)
		r := p.Do("GET " + tt.path + " HTTP/1.1\r\nhost: a\r\n\r\n")
		got := fmt.Sprint(r.StatusCode)
		switch r.StatusCode {
		case 200:
			_, got, _ = strings.Cut(up.Requests()[0], " ")
			got, _, _ = strings.Cut(got, " ")
		case 307:
			got += " " + r.Header.Get("location")
		}
		if got != tt.want {
			t.Errorf("%q: %q became %q, want %q", tt.manager, tt.path, got, tt.want)
		}
	}
}

// TestPathAtRouter: a path that is denied cannot be written in another way.
func TestPathAtRouter(t *testing.T) {
	p, up := start(t, proxytest.Edge{Manager: allPaths + "path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD", Routes: `- {match: {prefix: /admin}, direct_response: {status: 403}}
- {match: {prefix: /}, route: {cluster: up}}`}, mirror)
	for _, path := range []string{
		"/admin", "/admin/x", "//admin", "/./admin", "/x/../admin", "/%61dmin", "/x/%2e%2e/admin", "/%2fadmin", "/%5cadmin",
		"/x%2f..%2fadmin", "\\admin", "/\\admin", "/x/..%5cadmin", "/%2e/admin", "/admin%2fx", "/;/../admin",
	} {
		if path[0] != '/' {
			continue
		}
		if r := p.Do("GET " + path + " HTTP/1.1\r\nhost: a\r\n\r\n"); r.StatusCode != 403 {
			t.Errorf("%q: %v", path, r)
		}
	}
	if got := up.Requests(); len(got) > 0 {
		t.Errorf("the upstream got %q", got)
	}
}
