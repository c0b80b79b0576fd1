// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

func response(status int, fields ...string) string {
	return fmt.Sprintf("HTTP/1.1 %d X\r\ncontent-length: 0\r\n%s\r\n", status, strings.Join(append(fields, ""), "\r\n"))
}

// TestRetryOn asks of each condition when it tries again.
func TestRetryOn(t *testing.T) {
	cases := []struct {
		on    string
		step  string
		again bool
	}{
		{`retry_on: 5xx`, response(500), true},
		{`retry_on: 5xx`, response(404), false},
		{`retry_on: 5xx`, closes, true},
		{`retry_on: 5xx`, resets, true},
		{`retry_on: 5xx, per_try_timeout: 0.5s`, hangs, true},
		{`retry_on: gateway-error`, response(502), true},
		{`retry_on: gateway-error`, response(504), true},
		{`retry_on: gateway-error`, response(500), false},
		{`retry_on: gateway-error`, closes, true},
		{`retry_on: reset`, closes, true},
		{`retry_on: reset`, response(503), false},
		{`retry_on: "reset", per_try_timeout: 0.5s`, hangs, true},
		{`retry_on: "reset", per_try_idle_timeout: 0.5s`, hangs, true},
		{`retry_on: reset-before-request`, closes, false},
		{`retry_on: connect-failure`, closes, false},
		{`retry_on: "connect-failure", per_try_timeout: 0.5s`, hangs, false},
		{`retry_on: refused-stream`, closes, false},
		{`retry_on: retriable-4xx`, response(409), true},
		{`retry_on: retriable-4xx`, response(429), false},
		{`retry_on: envoy-ratelimited`, response(429, "x-envoy-ratelimited: true"), true},
		{`retry_on: 5xx`, response(503, "x-envoy-ratelimited: true"), false},
		{`retry_on: retriable-status-codes, retriable_status_codes: [418]`, response(418), true},
		{`retry_on: retriable-status-codes, retriable_status_codes: [418]`, response(503), false},
		{`retry_on: retriable-headers, retriable_headers: [{name: x-again, string_match: {exact: "yes"}}]`, response(200, "x-again: yes"), true},
		{`retry_on: retriable-headers, retriable_headers: [{name: x-again, string_match: {exact: "yes"}}]`, response(200, "x-again: no"), false},
		{`retry_on: cancelled`, response(200, "grpc-status: 1"), true},
		{`retry_on: deadline-exceeded`, response(200, "grpc-status: 4"), true},
		{`retry_on: resource-exhausted`, response(200, "grpc-status: 8"), true},
		{`retry_on: internal`, response(200, "grpc-status: 13"), true},
		{`retry_on: unavailable`, response(200, "grpc-status: 14"), true},
		{`retry_on: unavailable`, response(200, "grpc-status: 1"), false},
		{`retry_on: "5xx,reset", retriable_request_headers: [{name: x-may, present_match: true}]`, response(503), false},
		{`retry_on: "5xx", num_retries: 0`, response(503), false},
	}
	for _, c := range cases {
		name := strings.NewReplacer("\r\n", " ", "content-length: 0", "").Replace(c.on + " " + c.step)
		t.Run(name, func(t *testing.T) {
			u := proxytest.NewUpstream(t, steps(c.step, ok))
			p := start(t, proxytest.Edge{Routes: policy(c.on)}, up(u))
			res := p.Do(get)
			if got := res.Content == "ok"; got != c.again {
				t.Fatalf("tried again: %v, want %v: %v", got, c.again, res)
			}
			want := map[bool]int{false: 1, true: 2}[c.again]
			if got := len(u.WaitRequests(want)); got != want {
				t.Errorf("%d requests arrived, want %d", got, want)
			}
			if c.again {
				check(t, "log", p.LogLines(1)[0], "200 - via_upstream 2")
				p.WaitCounter("cluster.up.upstream_rq_retry", 1)
				p.WaitCounter("cluster.up.upstream_rq_retry_success", 1)
			}
			atRest(t, p)
		})
	}
}

func TestRetryByHeaders(t *testing.T) {
	cases := []struct {
		name, fields string
		policy       string
		requests     int
	}{
		{"asks", "x-envoy-retry-on: 5xx\r\n", "", 2},
		{"grpc", "x-envoy-retry-grpc-on: unavailable\r\n", "", 1},
		{"how often", "x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 3\r\n", "", 4},
		{"never", "x-envoy-max-retries: 0\r\n", `retry_on: 5xx, num_retries: 3`, 1},
		{"overrules the policy", "x-envoy-max-retries: 1\r\n", `retry_on: 5xx, num_retries: 3`, 2},
		{"adds to the policy", "x-envoy-retry-on: gateway-error\r\n", `retry_on: retriable-4xx, num_retries: 2`, 3},
		{"codes", "x-envoy-retry-on: retriable-status-codes\r\nx-envoy-retriable-status-codes: 404, 503\r\n", "", 2},
		{"header names", "x-envoy-retry-on: retriable-headers\r\nx-envoy-retriable-header-names: x-a, x-again\r\n", "", 2},
		{"not for this request", "x-envoy-retry-on: 5xx\r\n", `retry_on: 5xx, retriable_request_headers: [{name: x-may, present_match: true}]`, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			u := proxytest.NewUpstream(t, steps(response(503, "x-again: 1")))
			e := proxytest.Edge{Manager: internal}
			if c.policy != "" {
				e.Routes = policy(c.policy)
			}
			p := start(t, e, up(u))
			p.Do("GET / HTTP/1.1\r\nhost: a\r\n" + c.fields + "\r\n")
			got := u.Requests()
			if len(got) != c.requests {
				t.Fatalf("%d requests arrived, want %d", len(got), c.requests)
			}
			for _, f := range []string{"retry", "retriable", "max-retries"} {
				if strings.Contains(got[0], f) {
					t.Errorf("the host sees how to retry: %q", got[0])
				}
			}
			if c.requests > 1 {
				has(t, "log", p.LogLines(1)[0], "503 URX via_upstream")
			}
		})
	}
}

// TestRetryByHeadersOfGRPC: conditions of gRPC are asked for by one field and all
// others by the other; both together ask for both.
func TestRetryByHeadersOfGRPC(t *testing.T) {
	unavailable, plain := response(200, "grpc-status: 14"), response(503)
	for _, c := range []struct {
		name, fields, step, policy string
		requests                   int
	}{
		{"gRPC by its own", "x-envoy-retry-grpc-on: unavailable\r\n", unavailable, "", 2},
		{"gRPC by the other", "x-envoy-retry-on: unavailable\r\n", unavailable, "", 1},
		{"another by gRPC's", "x-envoy-retry-grpc-on: 5xx\r\n", plain, "", 1},
		{"another code", "x-envoy-retry-grpc-on: cancelled, internal\r\n", unavailable, "", 1},
		{"both, gRPC fails", "x-envoy-retry-on: 5xx\r\nx-envoy-retry-grpc-on: unavailable\r\n", unavailable, "", 2},
		{"both, HTTP fails", "x-envoy-retry-on: 5xx\r\nx-envoy-retry-grpc-on: unavailable\r\n", plain, "", 2},
		{"how often", "x-envoy-retry-grpc-on: unavailable\r\nx-envoy-max-retries: 2\r\n", unavailable, "", 3},
		{"adds to the policy", "x-envoy-retry-grpc-on: unavailable\r\n", unavailable, "retry_on: 5xx", 2},
		{"the policy's", "", unavailable, "retry_on: unavailable", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := proxytest.NewUpstream(t, steps(c.step))
			e := proxytest.Edge{Manager: internal}
			if c.policy != "" {
				e.Routes = policy(c.policy)
			}
			p := start(t, e, up(u))
			res := p.Do("POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n" + c.fields + "\r\n")
			if c.step == unavailable && res.Header.Get("grpc-status") != "14" {
				t.Errorf("%v", res)
			}
			if got := u.Requests(); len(got) != c.requests {
				t.Errorf("%d requests arrived, want %d", len(got), c.requests)
			}
			atRest(t, p)
		})
	}
}

// TestRetryHeadersFromOutside: who is not trusted cannot steer retries or time.
func TestRetryHeadersFromOutside(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(failure))
	p := start(t, proxytest.Edge{Manager: "use_remote_address: true\ninternal_address_config: {}"}, up(u))
	p.Do("GET / HTTP/1.1\r\nhost: a\r\nx-envoy-retry-on: 5xx\r\nx-envoy-upstream-rq-timeout-ms: 3\r\n\r\n")
	got := u.Requests()
	if len(got) != 1 || !strings.Contains(got[0], "x-envoy-expected-rq-timeout-ms: 15000") {
		t.Fatalf("%q", got)
	}
}

// TestRetryBody: a body is sent again whole, as far as it is kept.
func TestRetryBody(t *testing.T) {
	post := func(n int) string {
		return fmt.Sprintf("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%s", n, strings.Repeat("b", n))
	}
	cases := []struct {
		name, edge, request string
		step                string
		requests            int
	}{
		{"small", "", post(10), failure, 2},
		{"small, closed", "", post(10), closes, 2},
		{"large", "", post(200 << 10), failure, 2},
		{"too large", "per_connection_buffer_limit_bytes: 1000", post(2000), failure, 1},
		{"as large as may be", "per_connection_buffer_limit_bytes: 2000", post(2000), failure, 2},
		{"chunked", "", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", failure, 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			u := proxytest.NewUpstream(t, steps(c.step, ok))
			p := start(t, proxytest.Edge{Routes: policy("retry_on: 5xx"), Cluster: c.edge}, up(u))
			res := p.Do(c.request)
			got := u.Requests()
			if len(got) != c.requests {
				t.Fatalf("%d requests arrived, want %d", len(got), c.requests)
			}
			_, first, _ := strings.Cut(got[0], "\r\n\r\n")
			_, last, _ := strings.Cut(got[len(got)-1], "\r\n\r\n")
			if first != last {
				t.Errorf("the bodies differ: %d and %d bytes", len(first), len(last))
			}
			if (res.StatusCode == 200) != (c.requests == 2) {
				t.Errorf("%v", res)
			}
			if c.requests == 1 {
				p.WaitCounter("cluster.up.retry_or_shadow_abandoned", 1)
				p.WaitCounter("http.test.rq_retry_skipped_request_not_complete", 1)
			}
			atRest(t, p)
		})
	}
}

func TestRetryOtherHost(t *testing.T) {
	bad := proxytest.NewUpstream(t, steps(failure))
	good := proxytest.NewUpstream(t, steps(ok))
	const cluster = `- name: two
  type: STATIC
  load_assignment: {cluster_name: two, endpoints: [{lb_endpoints: [
    {endpoint: {address: {{bad}}}, metadata: {filter_metadata: {envoy.lb: {canary: true}}}},
    {endpoint: {address: {{good}}}}]}]}`
	backends := map[string]string{"up": good.Addr(), "bad": bad.Addr(), "good": good.Addr()}
	for _, predicate := range []string{"previous_hosts", "omit_canary_hosts"} {
		t.Run(predicate, func(t *testing.T) {
			routes := fmt.Sprintf(`- {match: {prefix: /}, route: {cluster: two, retry_policy: {retry_on: 5xx, num_retries: 1,
  retry_back_off: {base_interval: 0.001s}, retry_host_predicate: [{name: envoy.retry_host_predicates.%s}],
  host_selection_retry_max_attempts: 20}}}`, predicate)
			p := start(t, proxytest.Edge{Routes: routes, Clusters: cluster + "\n  lb_policy: RANDOM"}, backends)
			for range 40 {
				if res := p.Do(get); res.StatusCode != 200 {
					t.Fatalf("%v", res)
				}
			}
			if bad.Connections() == 0 {
				t.Error("the bad host was never asked")
			}
		})
	}
	_, err := proxytest.TryStart(t, proxytest.Edge{Routes: policy(
		"retry_on: 5xx, retry_host_predicate: [{name: envoy.retry_host_predicates.nonsense}]")}.YAML(),
		proxytest.Options{Extensions: registry(), Backends: backends})
	if err == nil || !strings.Contains(err.Error(), "retry_host_predicate[0]") {
		t.Errorf("%v", err)
	}
}

func TestRetryBreaker(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(failure))
	p := start(t, proxytest.Edge{
		Routes: policy("retry_on: 5xx"), Cluster: "circuit_breakers: {thresholds: [{max_retries: 0}]}",
	}, up(u))
	res := p.Do(get)
	if res.StatusCode != 503 || res.Content != "nope" {
		t.Fatalf("%v", res)
	}
	check(t, "log", p.LogLines(1)[0], "503 UO via_upstream 1")
	p.WaitCounter("cluster.up.upstream_rq_retry_overflow", 1)
	p.WaitCounter("cluster.up.upstream_rq_retry", 0)
}

func TestRetryCounts(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(response(503, "connection: close"), closes, ok))
	p := start(t, proxytest.Edge{
		Routes: policy("retry_on: 5xx, num_retries: 5"),
		Host:   "include_request_attempt_count: true\ninclude_attempt_count_in_response: true",
	}, up(u))
	res := p.Do(get)
	check(t, "attempts told", res.Header.Get("X-Envoy-Attempt-Count"), "3")
	for i, r := range u.Requests() {
		check(t, "attempt", proxytest.Field(r, "x-envoy-attempt-count"), fmt.Sprint(i+1))
	}
	for name, want := range map[string]uint64{
		"upstream_rq_retry": 2, "upstream_rq_retry_success": 1, "upstream_rq_total": 3, "upstream_rq_200": 1, "upstream_rq_2xx": 1,
		"upstream_rq_completed": 1, "upstream_rq_5xx": 0, "retry.upstream_rq_503": 1, "retry.upstream_rq_5xx": 1,
		"upstream_rq_rx_reset": 1, "upstream_rq_retry_backoff_exponential": 2, "upstream_rq_retry_limit_exceeded": 0,
	} {
		p.WaitCounter("cluster.up."+name, want)
	}
	atRest(t, p)
}

// TestRetryExhausted: the last answer is passed on, whatever it is.
func TestRetryExhausted(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(closes))
	p := start(t, proxytest.Edge{Routes: policy("retry_on: 5xx, num_retries: 2"), Host: "include_attempt_count_in_response: true"}, up(u))
	res := p.Do(get)
	check(t, "body", res.Content, "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: connection termination")
	check(t, "attempts told", res.Header.Get("X-Envoy-Attempt-Count"), "3")
	check(t, "log", p.LogLines(1)[0], "503 UC,URX upstream_reset_before_response_started{connection_termination} 3")
	p.WaitCounter("cluster.up.upstream_rq_503", 1)
	atRest(t, p)
}

// TestRetryResetsOfReused: a host that resets a connection which it had answered on before is asked again as often as
// the policy says and no more; without a policy, or if it closes the connection in order, it may not have seen the request.
func TestRetryResetsOfReused(t *testing.T) {
	for _, test := range []struct {
		name, routes string
		end          func(*proxytest.Session) error
		answered     int // as many requests are answered on each connection
		status, seen int
	}{
		{"reset, policy", policy("retry_on: reset, num_retries: 2"), (*proxytest.Session).Reset, 0, 503, 3},
		{"reset, none", "", (*proxytest.Session).Reset, 1, 200, 2},
		{"closed, policy", policy("retry_on: reset, num_retries: 1"), (*proxytest.Session).CloseWrite, 1, 200, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			var connections atomic.Int32
			u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
				answers := test.answered
				if connections.Add(1) == 1 {
					answers = 1
				}
				for n := 0; ; n++ {
					if _, err := s.Request(); err != nil {
						return
					}
					if n == answers {
						_ = test.end(s)
						return
					}
					if s.Send(ok) != nil {
						return
					}
				}
			})
			p := start(t, proxytest.Edge{Routes: test.routes}, up(u))
			if res := p.Do(get); res.StatusCode != 200 {
				t.Fatalf("%v", res)
			}
			if res := p.Do(get); res.StatusCode != test.status {
				t.Errorf("%v", res)
			}
			if got := len(u.Requests()) - 1; got != test.seen {
				t.Errorf("the host saw it %d times, want %d", got, test.seen)
			}
			atRest(t, p)
		})
	}
}

// TestRetryUntilTimeout: the route's time covers all tries and their pauses. A pause is any part of its interval,
// hence one so long that a short part of it is not to be expected.
func TestRetryUntilTimeout(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(failure))
	p := start(t, proxytest.Edge{
		Routes: `- {match: {prefix: /}, route: {cluster: up, timeout: 0.1s, retry_policy: {retry_on: 5xx, num_retries: 1000, retry_back_off: {base_interval: 86400s}}}}`,
	}, up(u))
	if res := p.Do(get); res.StatusCode != 504 {
		t.Fatalf("%v", res)
	}
	check(t, "log", p.LogLines(1)[0], "504 UT response_timeout 1")
	p.WaitCounter("cluster.up.upstream_rq_timeout", 1)
	atRest(t, p)
}

// TestRetryAbandoned: a client that goes away ends the pause, and nothing stays.
func TestRetryAbandoned(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(failure))
	p := start(t, proxytest.Edge{
		Routes: `- {match: {prefix: /}, route: {cluster: up, timeout: 0s, retry_policy: {retry_on: 5xx, num_retries: 1000, retry_back_off: {base_interval: 86400s}}}}`,
	}, up(u))
	c := p.Dial()
	c.Send(get)
	p.WaitCounter("cluster.up.upstream_rq_retry", 1)
	c.Reset()
	check(t, "log", p.LogLines(1)[0], "0 DC downstream_remote_disconnect 1")
	atRest(t, p)
}
