// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// pair is a cluster of two hosts that may lose one.
const pair = `- name: pair
  connect_timeout: 1s
  lb_policy: ROUND_ROBIN
  outlier_detection: {%s}
  load_assignment: {cluster_name: pair, policy: {overprovisioning_factor: 200}, endpoints: [{lb_endpoints: [{endpoint: {address: {{good}}}}, {endpoint: {address: {{bad}}}}]}]}`

const toPair = `{match: {prefix: /}, route: {cluster: pair%s}}`

// startPair serves from a host that is good and one that does a step for each request.
func startPair(t *testing.T, detection, routing, step string) (p *proxytest.Proxy, good, bad *proxytest.Upstream) {
	t.Helper()
	good, bad = proxytest.NewUpstream(t, steps(ok)), proxytest.NewUpstream(t, steps(step))
	p = proxytest.Start(t, proxytest.Edge{
		Routes: "- " + strings.Replace(toPair, "%s", routing, 1), Clusters: strings.Replace(pair, "%s", detection, 1),
		Bootstrap: `cluster_manager: {outlier_detection: {event_log_path: "{{log}}"}}`,
	}.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": good.Addr(), "good": good.Addr(), "bad": bad.Addr()}})
	return p, good, bad
}

// TestOutliersAreEjected: whatever way a host fails in, it is left out after three times,
// and what follows goes to the other.
func TestOutliersAreEjected(t *testing.T) {
	const three = "consecutive_5xx: 3, max_ejection_percent: 50, base_ejection_time: 600s"
	const split = ", split_external_local_origin_errors: true, consecutive_local_origin_failure: 3"
	cases := []struct {
		name, detection, routing, step, event, stat string
	}{
		{"answers 500", three, "", response(500), "CONSECUTIVE_5XX", "consecutive_5xx"},
		{"answers a call with UNAVAILABLE", three, "", response(200, "content-type: application/grpc", "grpc-status: 14"), "CONSECUTIVE_5XX", "consecutive_5xx"},
		{"closes", three, "", closes, "CONSECUTIVE_5XX", "consecutive_5xx"},
		{"resets", three, "", resets, "CONSECUTIVE_5XX", "consecutive_5xx"},
		{"hangs", three, ", timeout: 0.5s", hangs, "CONSECUTIVE_5XX", "consecutive_5xx"},
		{"hangs each time", three, ", timeout: 5s, retry_policy: {retry_on: 5xx, per_try_timeout: 0.5s, num_retries: 1}", hangs, "CONSECUTIVE_5XX", "consecutive_5xx"},
		{"answers nonsense", three, "", "nonsense\r\n\r\n", "CONSECUTIVE_5XX", "consecutive_5xx"},
		{"answers 503, apart", three + split, "", response(503), "CONSECUTIVE_5XX", "consecutive_5xx"},
		{"a bad gateway", "consecutive_5xx: 0, consecutive_gateway_failure: 3, enforcing_consecutive_gateway_failure: 100, max_ejection_percent: 50", "", response(502), "CONSECUTIVE_GATEWAY_FAILURE", "consecutive_gateway_failure"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, good, bad := startPair(t, c.detection, c.routing, c.step)
			request := "GET / HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\nte: trailers\r\n\r\n"
			if !strings.Contains(c.step, "grpc") {
				request = get
			}
			for range 6 {
				p.Do(request)
			}
			p.WaitGauge("cluster.pair.outlier_detection.ejections_active", 1)
			p.WaitCounter("cluster.pair.outlier_detection.ejections_enforced_"+c.stat, 1)
			p.WaitGauge("cluster.pair.membership_healthy", 1)
			if line := p.LogLines(1)[0]; !strings.Contains(line, `"type":"`+c.event+`"`) || !strings.Contains(line, `"upstream_url":"`+bad.Addr()+`"`) {
				t.Errorf("the event is %s", line)
			}
			// What timed out may have been sent and not been read yet.
			proxytest.Eventually(t, "requests that arrived", func() (int, bool) {
				n := len(good.Requests()) + len(bad.Requests())
				return n, n == int(p.Counter("cluster.pair.upstream_rq_total"))
			})
			before, seen := len(good.Requests()), bad.Connections()
			for range 8 {
				if res := p.Do(get); res.Content != "ok" {
					t.Errorf("after the ejection: %v", res)
				}
			}
			if len(good.Requests()) != before+8 || bad.Connections() != seen {
				t.Error("the ejected host was asked")
			}
		})
	}
}

// TestHostsComeBack: an ejection ends by itself.
func TestHostsComeBack(t *testing.T) {
	p, _, bad := startPair(t, "consecutive_5xx: 1, max_ejection_percent: 50, base_ejection_time: 0.05s, interval: 0.02s", "", response(500))
	for n := 1; n <= 3; n++ {
		for len(bad.Requests()) < n {
			p.Do(get)
		}
		p.WaitCounter("cluster.pair.outlier_detection.ejections_enforced_total", uint64(n))
		p.WaitGauge("cluster.pair.outlier_detection.ejections_active", 0)
		p.WaitGauge("cluster.pair.membership_healthy", 2)
	}
}

// TestDegradedByResponses: what says that it is degraded serves only if nothing else can.
func TestDegradedByResponses(t *testing.T) {
	p, good, bad := startPair(t, "detect_degraded_hosts: true", "", response(200, "x-envoy-degraded: true"))
	for len(bad.Requests()) == 0 {
		p.Do(get)
	}
	p.WaitGauge("cluster.pair.membership_degraded", 1)
	before := len(good.Requests())
	for range 8 {
		p.Do(get)
	}
	if len(good.Requests()) != before+8 {
		t.Error("the degraded host was asked")
	}
}

// TestPanicAfterEjections: with too few hosts left, all serve.
func TestPanicAfterEjections(t *testing.T) {
	p, _, bad := startPair(t, "consecutive_5xx: 1, max_ejection_percent: 100, base_ejection_time: 600s", "", response(500))
	for len(bad.Requests()) == 0 {
		p.Do(get)
	}
	p.WaitGauge("cluster.pair.membership_healthy", 1)
	p.Do(get)
	if m, _ := p.Metric("cluster.pair.lb_healthy_panic"); m.Count != 0 {
		t.Error("panic with half of the hosts left")
	}
}
