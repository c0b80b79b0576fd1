// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// options are a cluster's options for HTTP.
func options(fields string) string {
	return `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, ` + fields + `}}`
}

// TestClustersOverrideRoutes: a cluster's policies take the place of those of the routes that
// lead to it.
func TestClustersOverrideRoutes(t *testing.T) {
	t.Run("retries where the route has none", func(t *testing.T) {
		u := proxytest.NewUpstream(t, steps(failure, failure, ok))
		p := start(t, proxytest.Edge{Cluster: options("retry_policy: {retry_on: 5xx, num_retries: 2, retry_back_off: {base_interval: 0.001s}, " +
			"retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]}")}, up(u))
		if res := p.Do(get); res.Content != "ok" {
			t.Error(res)
		}
		check(t, "the log", p.LogLines(1)[0], "200 - via_upstream 3")
	})
	t.Run("retries where the route has others", func(t *testing.T) {
		u := proxytest.NewUpstream(t, steps(failure, ok))
		p := start(t, proxytest.Edge{Routes: policy("retry_on: 5xx, num_retries: 5"), Cluster: options("retry_policy: {retry_on: reset}")}, up(u))
		if res := p.Do(get); res.StatusCode != 503 {
			t.Error(res)
		}
	})
	t.Run("the time of a try", func(t *testing.T) {
		u := proxytest.NewUpstream(t, steps(hangs, ok))
		p := start(t, proxytest.Edge{Cluster: options("retry_policy: {retry_on: 5xx, per_try_timeout: 1s}")}, up(u))
		if res := p.Do(get); res.Content != "ok" {
			t.Error(res)
		}
	})
	t.Run("mirrors", func(t *testing.T) {
		u, sh := proxytest.NewUpstream(t, steps(ok)), proxytest.NewUpstream(t, steps(ok))
		e := mirrored("{cluster: up}", "")
		e.Cluster = options("request_mirror_policies: [{cluster: shadow}]")
		p := start(t, e, map[string]string{"up": u.Addr(), "shadow": sh.Addr()})
		p.Do(get)
		check(t, "the host of the copy", proxytest.Field(sh.WaitRequests(1)[0], "host"), "a.test-shadow")
	})
	t.Run("what is wrong with them", func(t *testing.T) {
		_, err := proxytest.TryStart(t, proxytest.Edge{Cluster: options("retry_policy: {retry_back_off: {base_interval: 2s, max_interval: 1s}}, hash_policy: [{header: {header_name: x}, terminal: true}, {cookie: {name: c}}], outlier_detection: {error_matcher: {http_request_headers_match: {headers: [{name: x, present_match: true}]}}}")}.YAML(),
			proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
		for _, want := range []string{"HttpProtocolOptions].retry_policy.retry_back_off.max_interval: 1s is less than base_interval, 2s", "outlier_detection.error_matcher.http_request_headers_match: is not supported: outlier detection judges by the head of a response"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not tell %q", err, want)
			}
		}
	})
}

// TestErrorsByMatcher: outlier detection takes those responses as errors that the cluster
// says, and no others.
func TestErrorsByMatcher(t *testing.T) {
	for _, c := range []struct {
		name, matcher, step string
		ejected             bool
	}{
		{"a status", `{http_response_headers_match: {headers: [{name: ":status", string_match: {exact: "404"}}]}}`, response(404), true},
		{"another status", `{http_response_headers_match: {headers: [{name: ":status", string_match: {exact: "404"}}]}}`, response(503), false},
		{"a header, not of 5xx", `{and_match: {rules: [{http_response_headers_match: {headers: [{name: x-bad, present_match: true}]}}, {not_match: {http_response_headers_match: {headers: [{name: ":status", string_match: {prefix: "5"}}]}}}]}}`, response(200, "x-bad: yes"), true},
		{"either", `{or_match: {rules: [{http_response_headers_match: {headers: [{name: x-bad, present_match: true}]}}, {http_response_headers_match: {headers: [{name: x-worse, present_match: true}]}}]}}`, response(200, "x-worse: yes"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			good, bad := proxytest.NewUpstream(t, steps(ok)), proxytest.NewUpstream(t, steps(c.step))
			p := proxytest.Start(t, proxytest.Edge{
				Routes:   "- " + strings.Replace(toPair, "%s", "", 1),
				Clusters: strings.Replace(pair, "%s", "consecutive_5xx: 3, max_ejection_percent: 50, base_ejection_time: 600s", 1) + "\n  " + options("outlier_detection: {error_matcher: "+c.matcher+"}"),
			}.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": good.Addr(), "good": good.Addr(), "bad": bad.Addr()}})
			for range 10 {
				p.Do(get)
			}
			if c.ejected {
				p.WaitGauge("cluster.pair.outlier_detection.ejections_active", 1)
				return
			}
			if n := p.Counter("cluster.pair.outlier_detection.ejections_detected_consecutive_5xx"); n != 0 {
				t.Errorf("%d outliers were detected", n)
			}
		})
	}
}
