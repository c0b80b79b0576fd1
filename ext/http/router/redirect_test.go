// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// following are routes of which the first follows redirects as policy says.
func following(policy string) string {
	return `- {name: from, match: {prefix: /from}, route: {cluster: up, internal_redirect_policy: {` + policy + `}}}
- {name: to, match: {prefix: /to}, route: {cluster: up}}
- {name: on, match: {prefix: /on}, route: {cluster: up, internal_redirect_policy: {` + policy + `}}}`
}

func redirectTo(status int, location string, fields ...string) string {
	return response(status, append(fields, "location: "+location)...)
}

func predicate(name, config string) string {
	return fmt.Sprintf(`predicates: [{name: p, typed_config: {"@type": type.googleapis.com/envoy.extensions.internal_redirect.%s%s}}]`, name, config)
}

const from = "GET /from HTTP/1.1\r\nhost: a.test\r\n\r\n"

// TestRedirectFollowed: the request goes where the response says, as another.
func TestRedirectFollowed(t *testing.T) {
	post := func(fields string) string {
		return "POST /from HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n" + fields + "\r\nhello"
	}
	for _, c := range []struct {
		name, policy, request, response string
		want                            []string // of the second request
		not                             []string
	}{
		{"found", "", from, redirectTo(302, "http://b.test/to?x=1#part"), []string{"GET /to?x=1 HTTP/1.1", "host: b.test\r\n", "x-envoy-original-url: http://a.test/from\r\n"}, nil},
		{"no path", "", from, redirectTo(302, "http://b.test:8080/to"), []string{"host: b.test:8080\r\n"}, nil},
		{"moved", "redirect_response_codes: [301]", from, redirectTo(301, "http://b.test/to"), []string{"GET /to "}, nil},
		{"a body", "redirect_response_codes: [307]", post(""), redirectTo(307, "http://b.test/to"), []string{"POST /to ", "content-length: 5\r\n", "\r\n\r\nhello"}, nil},
		{"a body, found", "", post(""), redirectTo(302, "http://b.test/to"), []string{"POST /to ", "hello"}, nil},
		{"see other", "redirect_response_codes: [303]", post(""), redirectTo(303, "http://b.test/to"), []string{"GET /to "}, []string{"content-length", "hello"}},
		{"chunks", "redirect_response_codes: [308]", "POST /from HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", redirectTo(308, "http://b.test/to"), []string{"POST /to ", "hello"}, nil},
		{"another scheme", "allow_cross_scheme_redirect: true", from, redirectTo(302, "HTTPS://b.test/to"), []string{"GET /to "}, nil},
		{"fields to copy", "response_headers_to_copy: [x-new, x-old, x-none]", "GET /from HTTP/1.1\r\nhost: a\r\nx-old: request\r\nx-none: request\r\n\r\n",
			redirectTo(302, "http://b.test/to", "x-new: 1", "x-new: 2", "x-old: response"), []string{"x-new: 1\r\n", "x-new: 2\r\n", "x-old: response\r\n"}, []string{"x-none", "x-old: request"}},
		{"a route that is listed", predicate("allow_listed_routes.v3.AllowListedRoutesConfig", ", allowed_route_names: [to]"), from, redirectTo(302, "http://b.test/to"), []string{"GET /to "}, nil},
		{"a path in another form", "", from, redirectTo(302, "http://b.test/x/../to"), []string{"GET /to "}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := proxytest.NewUpstream(t, steps(c.response, ok, c.response, ok))
			p := start(t, proxytest.Edge{Routes: following(c.policy), Manager: "normalize_path: true"}, up(u))
			client := p.Dial()
			for range 2 { // The connection goes on.
				if res := client.Do(c.request); res.Content != "ok" {
					t.Fatalf("%v", res)
				}
			}
			second := u.Requests()[1]
			for _, part := range c.want {
				has(t, "the second request", second, part)
			}
			for _, part := range c.not {
				if strings.Contains(second, part) {
					t.Errorf("the second request has %q: %q", part, second)
				}
			}
			log := p.LogLines(4)
			has(t, "log", log[0], " - internal_redirect 1")
			check(t, "log", log[1], "200 - via_upstream 1")
			p.WaitCounter("cluster.up.upstream_internal_redirect_succeeded_total", 2)
			p.WaitCounter("http.test.downstream_rq_3xx", 2)
			p.WaitCounter("http.test.downstream_rq_total", 4)
			p.WaitGauge("http.test.downstream_rq_active", 0)
			atRest(t, p)
		})
	}
}

// TestRedirectPassed: what cannot be followed goes to the client.
func TestRedirectPassed(t *testing.T) {
	const passed = "http.test.passthrough_internal_redirect_"
	for _, c := range []struct {
		name, policy, request, counter string
		responses                      []string
	}{
		{"another status", "", from, "", []string{redirectTo(301, "http://b.test/to")}},
		{"no redirect", "redirect_response_codes: [302, 200]", from, "", []string{response(200, "location: http://b.test/to")}},
		{"no location", "", from, "failed", []string{response(302)}},
		{"relative", "", from, passed + "bad_location", []string{redirectTo(302, "/to")}},
		{"no host", "", from, passed + "bad_location", []string{redirectTo(302, "http:///to")}},
		{"a user", "", from, passed + "bad_location", []string{redirectTo(302, "http://me:secret@b.test/to")}},
		{"another protocol", "", from, passed + "bad_location", []string{redirectTo(302, "ftp://b.test/to")}},
		{"another scheme", "", from, passed + "unsafe_scheme", []string{redirectTo(302, "https://b.test/to")}},
		{"an unsafe scheme", "allow_cross_scheme_redirect: true, " + predicate("safe_cross_scheme.v3.SafeCrossSchemeConfig", ""), from, passed + "predicate", []string{redirectTo(302, "https://b.test/to")}},
		{"no route", "", from, passed + "no_route", []string{redirectTo(302, "http://b.test/none")}},
		{"none allowed", "max_internal_redirects: 0", from, passed + "too_many_redirects", []string{redirectTo(302, "http://b.test/to")}},
		{"a second", "", from, passed + "too_many_redirects", []string{redirectTo(302, "http://b.test/on"), redirectTo(302, "http://b.test/to")}},
		{"a route that is not listed", predicate("allow_listed_routes.v3.AllowListedRoutesConfig", ", allowed_route_names: [on]"), from, passed + "predicate", []string{redirectTo(302, "http://b.test/to")}},
		{"around in a ring", "max_internal_redirects: 9, " + predicate("previous_routes.v3.PreviousRoutesConfig", ""), from, passed + "predicate",
			[]string{redirectTo(302, "http://b.test/on"), redirectTo(302, "http://b.test/from"), redirectTo(302, "http://b.test/on")}},
		{"nobody allows", predicate("filter_state.v3.FilterStateConfig", ", redirect_enabled_key: k"), from, passed + "predicate", []string{redirectTo(302, "http://b.test/to")}},
		{"too large a body", "", "POST /from HTTP/1.1\r\nhost: a\r\ncontent-length: 2000\r\n\r\n" + strings.Repeat("b", 2000), "failed", []string{redirectTo(302, "http://b.test/to")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := proxytest.NewUpstream(t, steps(c.responses...))
			p := start(t, proxytest.Edge{Routes: following(c.policy), Cluster: "per_connection_buffer_limit_bytes: 1000"}, up(u))
			res := p.Do(c.request)
			if _, want, _ := strings.Cut(c.responses[len(c.responses)-1], " "); !strings.HasPrefix(want, res.Status[:3]) {
				t.Errorf("%v", res)
			}
			if got := len(u.Requests()); got != len(c.responses) {
				t.Errorf("%d requests arrived, want %d", got, len(c.responses))
			}
			failed := uint64(0)
			if c.counter != "" {
				failed = 1
			}
			p.WaitCounter("cluster.up.upstream_internal_redirect_failed_total", failed)
			p.WaitCounter("cluster.up.upstream_internal_redirect_succeeded_total", uint64(len(c.responses)-1))
			if strings.HasPrefix(c.counter, passed) {
				p.WaitCounter(c.counter, 1)
			}
			lines := p.LogLines(len(c.responses))
			has(t, "log", lines[len(lines)-1], " - via_upstream 1")
			atRest(t, p)
		})
	}
}

// TestRedirectThroughFilters: the request passes all filters once more and the new
// route decides about them; what it is retried and logged by is its own.
func TestRedirectThroughFilters(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(closes, redirectTo(302, "http://b.test/to"), failure, ok))
	const filters = `- name: fault
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
    abort: {header_abort: {}, percentage: {numerator: 100}}
`
	routes := `- {name: from, match: {prefix: /from}, route: {cluster: up, retry_policy: {retry_on: reset, retry_back_off: {base_interval: 0.001s}}, internal_redirect_policy: {response_headers_to_copy: [x-envoy-fault-abort-request]}},
  request_headers_to_add: [{header: {key: x-route, value: from}}]}
- {name: to, match: {prefix: /to}, route: {cluster: up, retry_policy: {retry_on: 5xx, retry_back_off: {base_interval: 0.001s}}},
  request_headers_to_add: [{header: {key: x-route, value: to}}]}`
	p := start(t, proxytest.Edge{
		Routes: routes, Filters: filters,
		AccessLog: "%REQ(:path)% %ROUTE_NAME% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %RESP(location)% %FILTER_STATE(num_internal_redirects:PLAIN)%",
	}, up(u))
	if res := p.Do(from); res.Content != "ok" {
		t.Fatalf("%v", res)
	}
	log := p.LogLines(2)
	check(t, "log of the first", log[0], "/from from 302 internal_redirect 2 http://b.test/to 1")
	check(t, "log of the second", log[1], "/to to 200 via_upstream 2 - 1")
	// As in Envoy, what routes add is added by both.
	last := u.Requests()[3]
	has(t, "the last request", last, "x-route: from\r\n")
	has(t, "the last request", last, "x-route: to\r\n")

	// A filter can answer the second time.
	u2 := proxytest.NewUpstream(t, steps(redirectTo(302, "http://b.test/to", "x-envoy-fault-abort-request: 418")))
	p = start(t, proxytest.Edge{Routes: routes, Filters: filters}, up(u2))
	if res := p.Do(from); res.StatusCode != 418 {
		t.Fatalf("%v", res)
	}
	has(t, "log", p.LogLines(2)[1], "418 FI fault_filter_abort")
	atRest(t, p)
}
