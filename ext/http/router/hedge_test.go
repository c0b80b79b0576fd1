// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// hedged is a route whose tries take 50 ms and then go on while another is made.
func hedged(retry, action string) string {
	if !strings.Contains(retry, "per_try") {
		retry += ", per_try_timeout: 0.05s"
	}
	return "- {match: {prefix: /}, route: {cluster: up, hedge_policy: {hedge_on_per_try_timeout: true}, " + action +
		" retry_policy: {retry_back_off: {base_interval: 0.001s}, " + retry + "}}}"
}

// hosts answers the n-th request, counted from 1, by whatever connection it comes.
func hosts(answer func(n int, s *proxytest.Session) error) func(*proxytest.Session) {
	var n atomic.Int32
	return func(s *proxytest.Session) {
		for {
			if _, err := s.Request(); err != nil {
				return
			}
			if answer(int(n.Add(1)), s) != nil {
				return
			}
		}
	}
}

func body(text string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s", len(text), text)
}

// TestHedge: a try that takes too long goes on while the next is made; the first good
// response wins, and the others are broken off.
func TestHedge(t *testing.T) {
	type events struct {
		second chan struct{} // the second try is there
		gone   chan struct{} // the one that lost was broken off
	}
	cases := []struct {
		name, retry string
		answer      func(e events, n int, s *proxytest.Session) error
		content     string
		log         string
		lost        bool // one was broken off
		tries       int
	}{
		{"the second is faster", "retry_on: 5xx", func(e events, n int, s *proxytest.Session) error {
			if n == 1 {
				defer close(e.gone)
				return s.Gone()
			}
			return s.Send(body("second"))
		}, "second", "200 - via_upstream 2", true, 2},
		{"the first after all", "retry_on: 5xx", func(e events, n int, s *proxytest.Session) error {
			if n == 1 {
				s.Hold(e.second)
				return s.Send(body("first"))
			}
			close(e.second)
			defer close(e.gone)
			return s.Gone()
		}, "first", "200 - via_upstream 2", true, 2},
		{"the first fails", "retry_on: 5xx", func(e events, n int, s *proxytest.Session) error {
			if n == 1 {
				s.Hold(e.second)
				return s.Send(failure)
			}
			close(e.second)
			s.Hold(e.gone)
			return s.Send(body("second"))
		}, "second", "200 - via_upstream 2", false, 2},
		{"the second fails", "retry_on: 5xx", func(e events, n int, s *proxytest.Session) error {
			if n == 1 {
				s.Hold(e.second)
				s.Hold(e.gone)
				return s.Send(body("first"))
			}
			defer close(e.second)
			return s.Send(failure)
		}, "first", "200 - via_upstream 2", false, 2},
		{"the second fails and a third wins", "retry_on: 5xx, num_retries: 2", func(e events, n int, s *proxytest.Session) error {
			switch n {
			case 1:
				defer close(e.gone)
				return s.Gone()
			case 2:
				return s.Reset()
			}
			return s.Send(body("third"))
		}, "third", "200 - via_upstream 3", true, 3},
		{"all fail", "retry_on: 5xx", func(e events, n int, s *proxytest.Session) error {
			if n == 1 {
				s.Hold(e.second)
				return s.Reset()
			}
			close(e.second)
			s.Hold(e.gone)
			return s.Send(failure)
		}, "nope", "503 - via_upstream 2", false, 2},
		{"an error before the time", "retry_on: 5xx", func(_ events, n int, s *proxytest.Session) error {
			if n == 1 {
				return s.Send(failure)
			}
			return s.Send(body("second"))
		}, "second", "200 - via_upstream 2", false, 2},
		{"idle", "retry_on: 5xx, per_try_idle_timeout: 0.05s", func(e events, n int, s *proxytest.Session) error {
			if n == 1 {
				defer close(e.gone)
				return s.Gone()
			}
			return s.Send(body("second"))
		}, "second", "200 - via_upstream 2", true, 2},
		{"no retries", `retry_on: "", num_retries: 0`, func(_ events, _ int, s *proxytest.Session) error {
			return s.Gone()
		}, "upstream request timeout", "504 UT upstream_per_try_timeout 1", false, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := events{make(chan struct{}), make(chan struct{})}
			u := proxytest.NewUpstream(t, hosts(func(n int, s *proxytest.Session) error { return c.answer(e, n, s) }))
			p := start(t, proxytest.Edge{Routes: hedged(c.retry, "")}, up(u))
			if c.log[:3] == "503" || strings.Contains(c.name, "fails") && !c.lost {
				// What has failed is seen before the other answers.
				go func() {
					<-e.second
					proxytest.Eventually(t, "the failed try is over", func() (int64, bool) {
						n := p.Gauge("cluster.up.upstream_rq_active")
						return n, n == 1
					})
					close(e.gone)
				}()
			}
			res := p.Do("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
			check(t, "content", res.Content, c.content)
			// On a slow machine the last try may take too long, too, with no retry left.
			check(t, "log", strings.Replace(p.LogLines(1)[0], " URX ", " - ", 1), c.log)
			if c.lost {
				<-e.gone
				p.WaitCounter("cluster.up.upstream_rq_tx_reset", 1)
			}
			// As in Envoy, one that was broken off counts though others go on, and a bad response
			// that others are preferred to does not.
			want := map[string]uint64{"all fail": 2, "no retries": 1}[c.name]
			if got := p.Counter("cluster.up.upstream_rq_5xx"); got != want && !strings.Contains(p.LogLines(1)[0], " URX ") {
				t.Errorf("upstream_rq_5xx is %d, want %d", got, want)
			}
			got := u.WaitRequests(c.tries) // One that timed out may have been sent and not been read yet.
			if len(got) != c.tries {
				t.Errorf("%d tries, want %d", len(got), c.tries)
			}
			for _, r := range got {
				has(t, "a try", r, "\r\n\r\nhello")
			}
			atRest(t, p)
		})
	}
}

// TestHedgeRedirect: a redirect that is followed does not wait for another try, though the
// retry policy would rather have one that is none.
func TestHedgeRedirect(t *testing.T) {
	u := proxytest.NewUpstream(t, hosts(func(n int, s *proxytest.Session) error {
		switch n {
		case 1:
			return s.Gone()
		case 2:
			return s.Send("HTTP/1.1 302 Found\r\nlocation: http://a/there\r\ncontent-length: 0\r\n\r\n")
		}
		return s.Send(body("there"))
	}))
	p := start(t, proxytest.Edge{Routes: hedged("retry_on: retriable-status-codes, retriable_status_codes: [302], num_retries: 1",
		"internal_redirect_policy: {redirect_response_codes: [302]},")}, up(u))
	res := p.Do("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
	check(t, "status", res.Status, "200 OK")
	check(t, "content", res.Content, "there")
	p.WaitCounter("cluster.up.upstream_internal_redirect_succeeded_total", 1)
	atRest(t, p)
}

// TestHedgeTimes: the route's time ends all tries; a host may take all of it.
func TestHedgeTimes(t *testing.T) {
	u := proxytest.NewUpstream(t, silent)
	p := start(t, proxytest.Edge{Routes: hedged("retry_on: 5xx, num_retries: 2", "timeout: 1s,")}, up(u))
	if res := p.Do(get); res.StatusCode != 504 {
		t.Fatalf("%v", res)
	}
	check(t, "log", p.LogLines(1)[0], "504 UT,URX response_timeout 3")
	check(t, "time told", proxytest.Field(u.WaitRequests(1)[0], "x-envoy-expected-rq-timeout-ms"), "1000")
	p.WaitCounter("cluster.up.upstream_rq_timeout", 3)
	p.WaitCounter("cluster.up.upstream_rq_per_try_timeout", 0)
	p.WaitCounter("cluster.up.upstream_rq_tx_reset", 3)
	atRest(t, p)
	p.WaitGauge("cluster.up.upstream_cx_active", 0)
}

// TestHedgeClientGone: when the client leaves all tries end.
func TestHedgeClientGone(t *testing.T) {
	u := proxytest.NewUpstream(t, silent)
	p := start(t, proxytest.Edge{Routes: hedged("retry_on: 5xx", "")}, up(u))
	c := p.Dial()
	c.Send(get)
	u.WaitRequests(2)
	p.WaitCounter("cluster.up.upstream_rq_retry_limit_exceeded", 1)
	c.Close()
	has(t, "log", p.LogLines(1)[0], " DC,URX downstream_remote_disconnect 2")
	atRest(t, p)
	p.WaitGauge("cluster.up.upstream_cx_active", 0)
}

// TestHedgeByHeader: x-envoy-hedge-on-per-try-timeout overrules the route.
func TestHedgeByHeader(t *testing.T) {
	for value, want := range map[string]string{"true": "400", "false": "50", "maybe": "50"} {
		u := proxytest.NewUpstream(t, steps(ok))
		p := start(t, proxytest.Edge{
			Manager: internal,
			Routes:  "- {match: {prefix: /}, route: {cluster: up, timeout: 0.4s, retry_policy: {retry_on: 5xx, per_try_timeout: 0.05s}}}",
		}, up(u))
		p.Do("GET / HTTP/1.1\r\nhost: a\r\nx-envoy-hedge-on-per-try-timeout: " + value + "\r\n\r\n")
		r := u.WaitRequests(1)[0]
		check(t, value+": time told", proxytest.Field(r, "x-envoy-expected-rq-timeout-ms"), want)
		if strings.Contains(r, "hedge") {
			t.Error("the host sees the proxy's header")
		}
	}
}

// TestHedgeBreaker: with the breaker of retries open the first try goes on alone.
func TestHedgeBreaker(t *testing.T) {
	answer := make(chan struct{})
	u := proxytest.NewUpstream(t, hosts(func(_ int, s *proxytest.Session) error {
		s.Hold(answer)
		return s.Send(ok)
	}))
	p := start(t, proxytest.Edge{
		Routes: hedged("retry_on: 5xx", ""), Cluster: "circuit_breakers: {thresholds: [{max_retries: 0}]}",
	}, up(u))
	c := p.Dial()
	c.Send(get)
	p.WaitCounter("cluster.up.upstream_rq_retry_overflow", 1)
	close(answer)
	if res := c.Response("GET"); res.Content != "ok" {
		t.Fatalf("%v", res)
	}
	check(t, "log", p.LogLines(1)[0], "200 UO via_upstream 1")
	p.WaitGauge("cluster.up.upstream_rq_active", 0)
}

// TestHedgeInterim: whose interim response the client has seen is the only one left.
func TestHedgeInterim(t *testing.T) {
	second := make(chan struct{})
	another := sync.OnceFunc(func() { close(second) }) // There may be a third, if the first takes long to hear of the second.
	u := proxytest.NewUpstream(t, hosts(func(n int, s *proxytest.Session) error {
		if n == 1 {
			s.Hold(second)
			if err := s.Send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"); err != nil {
				return err
			}
			return s.Send(failure)
		}
		another()
		return s.Gone()
	}))
	p := start(t, proxytest.Edge{Routes: hedged("retry_on: 5xx, num_retries: 5", "")}, up(u))
	c := p.Dial()
	c.Send(get)
	has(t, "interim response", c.ReadHead(), "103")
	if res := c.Response("GET"); res.Content != "nope" {
		t.Fatalf("%v", res)
	}
	has(t, "log", p.LogLines(1)[0], fmt.Sprintf(" via_upstream %d", p.Counter("cluster.up.upstream_rq_retry")+1))
	atRest(t, p)
}
