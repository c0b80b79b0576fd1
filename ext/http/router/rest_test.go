// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"math/rand/v2"
	"sync"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// TestAtRest: however requests end (well, badly, late, twice, redirected, mirrored,
// hedged, because the client leaves), every count of what is under way is 0 after.
func TestAtRest(t *testing.T) {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(1, 2))
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return r.IntN(n)
	}
	script := func(s *proxytest.Session) {
		for {
			if _, err := s.Request(); err != nil {
				return
			}
			var err error
			switch draw(12) {
			case 0:
				err = s.Reset()
			case 1:
				return
			case 2:
				err = s.Gone() // Until the proxy is tired of waiting.
			case 3:
				err = s.Send(failure)
			case 4:
				err = s.Send(redirectTo(302, "http://b.test/to"))
			case 5:
				err = s.Send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
				_ = s.Reset()
			case 6:
				err = s.Send("HTTP/1.1 103 Early Hints\r\n\r\n", ok)
			case 7:
				err = s.Send("nonsense\r\n\r\n")
			default:
				err = s.Send(ok)
			}
			if err != nil {
				return
			}
		}
	}
	u, m := proxytest.NewUpstream(t, script), proxytest.NewUpstream(t, script)
	const policy = "internal_redirect_policy: {}, request_mirror_policies: [{cluster: mirror}]"
	routes := `- {match: {prefix: /hedged}, route: {cluster: up, timeout: 0.3s, hedge_policy: {hedge_on_per_try_timeout: true}, ` + policy + `,
  retry_policy: {retry_on: "5xx,reset", num_retries: 3, per_try_timeout: 0.02s, retry_back_off: {base_interval: 0.002s}}}}
- {match: {prefix: /}, route: {cluster: up, timeout: 0.3s, ` + policy + `,
  retry_policy: {retry_on: "5xx,reset", num_retries: 3, per_try_timeout: 0.05s, retry_back_off: {base_interval: 0.002s}}}}`
	const limits = "circuit_breakers: {thresholds: [{max_connections: 6, max_pending_requests: 3, max_requests: 8, max_retries: 2, track_remaining: true}]}"
	p := start(t, proxytest.Edge{
		Routes: routes, Cluster: limits,
		Clusters: "- name: mirror\n  type: STATIC\n  " + limits + "\n  load_assignment: {cluster_name: mirror, endpoints: [{lb_endpoints: [{endpoint: {address: {{mirror}}}}]}]}",
	}, map[string]string{"up": u.Addr(), "mirror": m.Addr()})
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for range 40 {
				c := p.Dial()
				path := []string{"/hedged", "/plain"}[draw(2)]
				request := "GET " + path + " HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
				if draw(2) == 0 {
					request = "POST " + path + " HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello"
				}
				if c.TrySend(request) == nil && draw(6) > 0 {
					_, _ = c.ReadAll()
				}
				c.Close()
			}
		})
	}
	wg.Wait()
	for _, c := range []string{"up", "mirror"} {
		for _, g := range []string{"upstream_rq_active", "upstream_rq_pending_active", "circuit_breakers.default.rq_open", "circuit_breakers.default.rq_pending_open", "circuit_breakers.default.rq_retry_open"} {
			p.WaitGauge("cluster."+c+"."+g, 0)
		}
		p.WaitGauge("cluster."+c+".circuit_breakers.default.remaining_rq", 8)
		p.WaitGauge("cluster."+c+".circuit_breakers.default.remaining_pending", 3)
		p.WaitGauge("cluster."+c+".circuit_breakers.default.remaining_retries", 2)
	}
	p.WaitGauge("http.test.downstream_rq_active", 0)
	// What idles is closed by the hosts; then no connection is counted either.
	u.Close()
	m.Close()
	for _, c := range []string{"up", "mirror"} {
		p.WaitGauge("cluster."+c+".upstream_cx_active", 0)
		p.WaitGauge("cluster."+c+".circuit_breakers.default.remaining_cx", 6)
	}
}
