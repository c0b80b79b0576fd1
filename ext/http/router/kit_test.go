// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/proxytest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// start runs an edge whose access log tells how each request ended.
func start(t testing.TB, e proxytest.Edge, backends map[string]string) *proxytest.Proxy {
	t.Helper()
	if e.AccessLog == "" {
		e.AccessLog = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%"
	}
	return proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: registry(), Backends: backends})
}

// up is the backends of an edge with one upstream.
func up(u *proxytest.Upstream) map[string]string { return map[string]string{"up": u.Addr()} }

const get = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"

// internal is a manager that takes the peer at its word, so that x-envoy headers count.
const internal = "use_remote_address: true\ninternal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}"

func check(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %q, want %q", what, got, want)
	}
}

func has(t *testing.T, what, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%s is %q and has no %q", what, text, part)
	}
}

// silent never answers.
func silent(s *proxytest.Session) {
	_, _ = s.Request() // The proxy ends it when it is tired of waiting.
	_ = s.Gone()
}

// hangUp closes after a request without an answer.
func hangUp(s *proxytest.Session) { _, _ = s.Request() }

// atRest fails the test unless every active count of the cluster returns to 0.
func atRest(t *testing.T, p *proxytest.Proxy) {
	t.Helper()
	for _, g := range []string{
		"upstream_rq_active", "upstream_rq_pending_active",
		"circuit_breakers.default.rq_open", "circuit_breakers.default.rq_pending_open",
		"circuit_breakers.default.rq_retry_open",
	} {
		p.WaitGauge("cluster.up."+g, 0)
	}
}

// What a step of [steps] does instead of answering.
const (
	closes  = "close"
	resets  = "reset"
	hangs   = "hang"
	ok      = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
	failure = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nnope"
)

// steps answers the first request with the first step, whichever connection it comes
// by, and so on; the last step answers all that follow.
func steps(list ...string) func(*proxytest.Session) {
	var n atomic.Int32
	return func(s *proxytest.Session) {
		for {
			if _, err := s.Request(); err != nil {
				return
			}
			switch step := list[min(int(n.Add(1)), len(list))-1]; step {
			case closes:
				return
			case resets:
				_ = s.Reset()
				return
			case hangs:
				_ = s.Gone()
				return
			default:
				if s.Send(step) != nil {
					return
				}
			}
		}
	}
}

// policy is a route with a retry policy.
func policy(retry string) string {
	return "- {match: {prefix: /}, route: {cluster: up, retry_policy: {retry_back_off: {base_interval: 0.001s}, " + retry + "}}}"
}

func registry() *extension.Registry { return all.Extensions() }
