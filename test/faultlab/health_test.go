// SPDX-License-Identifier: Apache-2.0

package faultlab

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// spread sends requests one after the other and returns each host's share of the answers, in
// percent.
func (w *weir) spread(n int) map[string]int {
	w.t.Helper()
	tr := http1()
	defer tr.CloseIdleConnections()
	l := w.client(tr, "/")
	got := map[string]int{}
	for range n {
		from, err := l.get()
		if err != nil {
			from = err.Error()
		}
		got[from]++
	}
	for k := range got {
		got[k] = got[k] * 100 / n
	}
	return got
}

// shares fails the test unless each host has about its share, in percent, and no other has
// any.
func (w *weir) shares(what string, want map[string]int) {
	w.t.Helper()
	got := w.spread(600)
	w.t.Logf("%s: %v", what, got)
	for h := range want {
		if d := got[h] - want[h]; d < -8 || d > 8 {
			w.t.Errorf("%s: the shares are %v, want %v", what, got, want)
			return
		}
	}
	if len(got) != len(want) {
		w.t.Errorf("%s: %v answer, want %v", what, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// healthy waits until checks have found so many healthy and degraded hosts.
func (w *weir) healthy(healthy, degraded int) {
	w.t.Helper()
	w.waitStat("cluster.c.membership_healthy", healthy)
	w.waitStat("cluster.c.membership_degraded", degraded)
}

// TestPanic: hosts that fail their checks get nothing, until there are too few others.
func TestPanic(t *testing.T) {
	t.Parallel()
	hosts := newHosts(t, "a", "b", "c", "d")
	w := start(t, setup{routes: toC(""), clusters: cluster(endpoints(hosts), checked, "common_lb_config: {update_merge_window: 0s}")})
	w.healthy(4, 0)
	w.shares("all are well", map[string]int{"a": 25, "b": 25, "c": 25, "d": 25})
	hosts[0].tell(ails)
	hosts[1].tell(ails)
	w.healthy(2, 0)
	w.shares("two of four", map[string]int{"c": 50, "d": 50})
	if n := w.stat("cluster.c.lb_healthy_panic"); n != 0 {
		t.Errorf("lb_healthy_panic is %d with half of the hosts", n)
	}
	hosts[2].tell(ails)
	w.healthy(1, 0)
	w.shares("one of four: panic", map[string]int{"a": 25, "b": 25, "c": 25, "d": 25})
	if n := w.stat("cluster.c.lb_healthy_panic"); n != 600 {
		t.Errorf("lb_healthy_panic is %d after 600 requests in panic", n)
	}
	hosts[0].tell(thrives)
	w.healthy(2, 0)
	w.shares("two again", map[string]int{"a": 50, "d": 50})
}

// TestPriorities: what the hosts of a priority cannot bear spills over to the next.
func TestPriorities(t *testing.T) {
	t.Parallel()
	hosts := newHosts(t, "a", "b", "c", "d", "e")
	w := start(t, setup{routes: toC(""), clusters: cluster(endpoints(hosts[:4], group("priority: 1, ", hosts[4])), checked, "common_lb_config: {update_merge_window: 0s}")})
	w.healthy(5, 0)
	w.shares("all are well", map[string]int{"a": 25, "b": 25, "c": 25, "d": 25})
	hosts[0].tell(ails)
	w.healthy(4, 0)
	w.shares("three of four are 105 %", map[string]int{"b": 33, "c": 33, "d": 33})
	hosts[1].tell(ails)
	w.healthy(3, 0)
	w.shares("two of four are 70 %", map[string]int{"c": 35, "d": 35, "e": 30})
	for _, h := range hosts[2:4] {
		h.tell(ails)
	}
	w.healthy(1, 0)
	w.shares("none: all spills over", map[string]int{"e": 100})
	hosts[4].tell(ails)
	w.healthy(0, 0)
	got := w.spread(200)
	for who := range got {
		if strings.Contains(who, "503") {
			t.Errorf("none at all: in panic %v answer", got)
		}
	}
}

// TestDegraded: degraded hosts take what healthy ones leave.
func TestDegraded(t *testing.T) {
	t.Parallel()
	hosts := newHosts(t, "a", "b", "c", "d")
	w := start(t, setup{routes: toC(""), clusters: cluster(endpoints(hosts), checked, "common_lb_config: {update_merge_window: 0s}")})
	hosts[1].tell(degrades)
	w.healthy(3, 1)
	w.shares("three of four are 105 %", map[string]int{"a": 33, "c": 33, "d": 33})
	hosts[2].tell(degrades)
	hosts[3].tell(ails)
	w.healthy(1, 2)
	// 140 % of a quarter.
	w.shares("one is well, two are degraded", map[string]int{"a": 35, "b": 33, "c": 32})
}

// TestHedgingOverHTTP2: a host that hangs or is slow costs the time of a try, and no answer.
func TestHedgingOverHTTP2(t *testing.T) {
	t.Parallel()
	hosts := newHosts(t, "a", "b")
	w := start(t, setup{
		routes:   toC(", hedge_policy: {hedge_on_per_try_timeout: true}, retry_policy: {retry_on: 5xx, num_retries: 2, per_try_timeout: 0.1s}"),
		clusters: cluster(endpoints(hosts), speaksHTTP2, "circuit_breakers: {thresholds: [{max_retries: 100}]}"),
	})
	for _, fault := range []string{slows, hangs} {
		hosts[0].tell(fault)
		l := w.startLoadOver(http2(), 100, "/")
		l.more(100)
		l.noneBad()
		// Of the half that came to that host first, half.
		if p := l.percentile(75); p >= slowness {
			t.Errorf("%s: 75 %% took up to %v, want less than the %v that the host takes", fault, p, slowness)
		}
		if got := l.answers(); got["a"] > 0 || got["b"] < 100 {
			t.Errorf("%s: answers came of %v, want the other host's", fault, got)
		}
	}
	if n := w.stat("cluster.c.upstream_rq_retry"); n < 50 {
		t.Errorf("%d tries were hedged, want about one for every other request", n)
	}
	if n := w.stat("cluster.c.upstream_cx_http2_total"); n == 0 {
		t.Error("the hosts were not spoken to in HTTP/2")
	}
}

const speaksHTTP2 = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}`

// TestInternalRedirectsOverHTTP2: the proxy goes where hosts redirect, and the client sees
// the end only, also while hosts die.
func TestInternalRedirectsOverHTTP2(t *testing.T) {
	t.Parallel()
	hosts := newHosts(t, "a", "b", "c")
	w := start(t, setup{
		routes:   toC(", internal_redirect_policy: {max_internal_redirects: 1}" + retried),
		clusters: cluster(endpoints(hosts), speaksHTTP2),
	})
	for _, h := range hosts {
		h.tell(redirects)
	}
	l := w.startLoadOver(http2(), 100, "/")
	l.more(100)
	hosts[1].kill()
	l.more(100)
	l.noneBad()
	if n := w.stat("cluster.c.upstream_internal_redirect_succeeded_total"); n < 200 {
		t.Errorf("%d internal redirects for %d requests", n, l.sent.Load())
	}
}
