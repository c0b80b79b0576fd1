// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// namedUp answers with its name and keeps what it got.
func namedUp(t *testing.T, name string) *proxytest.Upstream {
	return proxytest.NewUpstream(t, steps(proxytest.OK(name)))
}

func cluster(name string) string {
	return "- {name: " + name + ", type: STATIC, load_assignment: {cluster_name: " + name + ", endpoints: [{lb_endpoints: [{endpoint: {address: {{" + name + "}}, hostname: " + name + ".internal}}]}]}}\n"
}

// TestRouting follows requests through each kind of match to their answer.
func TestRouting(t *testing.T) {
	a, b := namedUp(t, "a"), namedUp(t, "b")
	p := start(t, proxytest.Edge{
		Clusters: cluster("a") + cluster("b"),
		Routes: `- {match: {path: /exact}, route: {cluster: a}}
- {match: {safe_regex: {regex: "/re/[0-9]+"}}, route: {cluster: a}}
- {match: {prefix: /header, headers: [{name: x-v, string_match: {exact: "2"}}]}, route: {cluster: a}}
- {match: {prefix: /query, query_parameters: [{name: v, string_match: {exact: "2"}}]}, route: {cluster: a}}
- {match: {path_separated_prefix: /sep}, route: {cluster: a}}
- {match: {prefix: /by-header}, route: {cluster_header: x-to}}
- {match: {prefix: /old/}, route: {cluster: a, prefix_rewrite: /new/}}
- {match: {prefix: /rx/}, route: {cluster: a, regex_rewrite: {pattern: {regex: "^/rx/([a-z]+)/(.*)$"}, substitution: "/\\2/\\1"}}}
- {match: {prefix: /host-literal}, route: {cluster: a, host_rewrite_literal: other.test}}
- {match: {prefix: /host-auto}, route: {cluster: a, auto_host_rewrite: true}}
- {match: {prefix: /host-header}, route: {cluster: a, host_rewrite_header: x-host}}
- {match: {prefix: /direct}, direct_response: {status: 418, body: {inline_string: "short and stout"}}}
- {match: {prefix: /r/plain}, redirect: {host_redirect: new.test}}
- {match: {prefix: /r/https}, redirect: {https_redirect: true, response_code: PERMANENT_REDIRECT}}
- {match: {prefix: /r/port}, redirect: {port_redirect: 8443, scheme_redirect: https}}
- {match: {prefix: /r/path}, redirect: {path_redirect: /there, response_code: FOUND}}
- {match: {prefix: /r/prefix}, redirect: {prefix_rewrite: /p, response_code: SEE_OTHER}}
- {match: {prefix: /r/regex/}, redirect: {regex_rewrite: {pattern: {regex: "^/r/regex/(.*)$"}, substitution: "/x/\\1"}, response_code: TEMPORARY_REDIRECT}}
- {match: {prefix: /r/strip}, redirect: {path_redirect: /s, strip_query: true}}
- {match: {prefix: /}, route: {cluster: b}}
`,
	}, map[string]string{"a": a.Addr(), "b": b.Addr(), "up": b.Addr()})
	for _, c := range []struct {
		path, fields string
		status       int
		want         string // the body, or the location
		line, host   string // what the host saw
	}{
		{"/exact", "", 200, "a", "GET /exact HTTP/1.1", "h.test"},
		{"/exact/more", "", 200, "b", "", ""},
		{"/exact?q", "", 200, "a", "GET /exact?q HTTP/1.1", "h.test"},
		{"/re/12", "", 200, "a", "", ""},
		{"/re/x", "", 200, "b", "", ""},
		{"/header", "x-v: 2\r\n", 200, "a", "", ""},
		{"/header", "x-v: 3\r\n", 200, "b", "", ""},
		{"/query?v=2", "", 200, "a", "", ""},
		{"/query?v=1", "", 200, "b", "", ""},
		{"/sep/x", "", 200, "a", "", ""},
		{"/separate", "", 200, "b", "", ""},
		{"/by-header", "x-to: a\r\n", 200, "a", "", ""},
		{"/by-header", "x-to: none\r\n", 503, "", "", ""},
		{"/by-header", "", 503, "", "", ""},
		{"/old/x?y=1", "", 200, "a", "GET /new/x?y=1 HTTP/1.1", "h.test"},
		{"/rx/one/two?q", "", 200, "a", "GET /two/one?q HTTP/1.1", "h.test"},
		{"/host-literal", "", 200, "a", "", "other.test"},
		{"/host-auto", "", 200, "a", "", "a.internal"},
		{"/host-header", "x-host: said.test\r\n", 200, "a", "", "said.test"},
		{"/host-header", "", 200, "a", "", "h.test"},
		{"/direct", "", 418, "short and stout", "", ""},
		{"/r/plain?q=1", "", 301, "http://new.test/r/plain?q=1", "", ""},
		{"/r/https", "", 308, "https://h.test/r/https", "", ""},
		{"/r/port", "", 301, "https://h.test:8443/r/port", "", ""},
		{"/r/path?q", "", 302, "http://h.test/there?q", "", ""},
		{"/r/prefix/x", "", 303, "http://h.test/p/x", "", ""},
		{"/r/regex/x?q", "", 307, "http://h.test/x/x?q", "", ""},
		{"/r/strip?q", "", 301, "http://h.test/s", "", ""},
	} {
		t.Run(c.path+" "+c.fields, func(t *testing.T) {
			before := len(a.Requests())
			res := p.Do("GET " + c.path + " HTTP/1.1\r\nhost: h.test\r\n" + c.fields + "\r\n")
			got := res.Content
			if res.StatusCode/100 == 3 {
				got = res.Header.Get("Location")
			}
			if res.StatusCode != c.status || got != c.want {
				t.Fatalf("%d %q, want %d %q", res.StatusCode, got, c.status, c.want)
			}
			if c.line+c.host == "" {
				return
			}
			r := a.Requests()[before]
			if line, _, _ := strings.Cut(r, "\r\n"); c.line != "" && line != c.line {
				t.Errorf("the host saw %q, want %q", line, c.line)
			}
			if h := proxytest.Field(r, "host"); c.host != "" && h != c.host {
				t.Errorf("the host was called %q, want %q", h, c.host)
			}
		})
	}
}

// TestWeights: shares are as configured; the chi-square of 10,000 requests over
// three clusters stays under 13.8 (p = 0.001, two degrees of freedom).
func TestWeights(t *testing.T) {
	const n = 10000
	a, b, c := namedUp(t, "a"), namedUp(t, "b"), namedUp(t, "c")
	p := start(t, proxytest.Edge{
		Clusters: cluster("a") + cluster("b") + cluster("c"),
		Routes: `- match: {prefix: /}
  route: {weighted_clusters: {header_name: x-pick, clusters: [
    {name: a, weight: 70, request_headers_to_add: [{header: {key: x-cluster, value: first}}], response_headers_to_add: [{header: {key: x-answer, value: first}}]},
    {name: b, weight: 20, host_rewrite_literal: b.test}, {name: c, weight: 10}]}}`,
	}, map[string]string{"a": a.Addr(), "b": b.Addr(), "c": c.Addr(), "up": a.Addr()})
	cl := p.Dial()
	count := map[string]int{}
	for range n {
		count[cl.Do(get).Content]++
	}
	chi := 0.0
	for name, weight := range map[string]float64{"a": 0.7, "b": 0.2, "c": 0.1} {
		d := float64(count[name]) - weight*n
		chi += d * d / (weight * n)
	}
	if chi > 13.8 {
		t.Errorf("%v: chi-square %.1f", count, chi)
	}
	for pick, want := range map[int]string{0: "a", 69: "a", 70: "b", 89: "b", 90: "c", 99: "c", 100: "a", 170: "b"} {
		res := cl.Do(fmt.Sprintf("GET / HTTP/1.1\r\nhost: a\r\nx-pick: %d\r\n\r\n", pick))
		check(t, fmt.Sprintf("the choice of %d", pick), res.Content, want)
		if (res.Header.Get("X-Answer") == "first") != (want == "a") {
			t.Errorf("%d: %v", pick, res.Header)
		}
	}
	check(t, "header of the cluster", proxytest.Field(a.Requests()[0], "x-cluster"), "first")
	check(t, "host of the cluster", proxytest.Field(b.Requests()[0], "host"), "b.test")
}

// TestHeaders: what routes add and remove, on what is proxied and on what is
// answered here; a value that does not exist adds nothing.
func TestHeaders(t *testing.T) {
	u := proxytest.NewUpstream(t, steps("HTTP/1.1 200 OK\r\nx-secret: 1\r\ncontent-length: 0\r\n\r\n"))
	p := start(t, proxytest.Edge{
		Routes: `- match: {prefix: /down}
  route: {cluster: none}
  response_headers_to_add: [{header: {key: x-a, value: "%RESPONSE_CODE%"}}]
- match: {prefix: /}
  route: {cluster: up}
  request_headers_to_add:
  - {header: {key: x-path, value: "%REQ(:path)%"}}
  - {header: {key: x-none, value: "%REQ(x-missing)%"}}
  - {header: {key: x-set, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  request_headers_to_remove: [x-drop]
  response_headers_to_add: [{header: {key: x-a, value: b}}]
  response_headers_to_remove: [x-secret]
`,
		Clusters: "- {name: none, type: STATIC, load_assignment: {cluster_name: none}}",
	}, up(u))
	res := p.Do("GET /x HTTP/1.1\r\nhost: a\r\nx-set: old\r\nx-drop: 1\r\n\r\n")
	r := u.Requests()[0]
	check(t, "formatted", proxytest.Field(r, "x-path"), "/x")
	check(t, "overwritten", proxytest.Field(r, "x-set"), "new")
	if strings.Contains(r, "x-none") || strings.Contains(r, "x-drop") {
		t.Errorf("%q", r)
	}
	if res.Header.Get("X-A") != "b" || res.Header.Get("X-Secret") != "" || res.Header.Get("X-Envoy-Upstream-Service-Time") == "" {
		t.Errorf("%v", res.Header)
	}
	if res := p.Do("GET /down HTTP/1.1\r\nhost: a\r\n\r\n"); res.StatusCode != 503 || res.Header.Get("X-A") != "503" {
		t.Errorf("%v", res)
	}
}
