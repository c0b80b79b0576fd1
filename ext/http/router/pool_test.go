// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"weir.dev/weir/internal/reserve"
	"weir.dev/weir/proxy/proxytest"
)

func breaker(s string) string { return "circuit_breakers: {thresholds: [{" + s + "}]}" }

// TestPending: who waits for a connection is served in order, may go, and there are
// not more than may be.
func TestPending(t *testing.T) {
	next := make(chan struct{})
	u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		for {
			if _, err := s.Request(); err != nil {
				return
			}
			s.Hold(next)
			select {
			case <-next:
			default:
			}
			if s.Send(ok) != nil {
				return
			}
		}
	})
	p := start(t, proxytest.Edge{Cluster: breaker("max_connections: 1, max_pending_requests: 3, max_requests: 1")}, up(u))
	send := func(path string) *proxytest.Client {
		c := p.Dial()
		c.Send("GET " + path + " HTTP/1.1\r\nhost: a\r\n\r\n")
		return c
	}
	clients := []*proxytest.Client{send("/0")}
	u.WaitRequests(1)
	for i := 1; i <= 3; i++ {
		clients = append(clients, send(fmt.Sprintf("/%d", i)))
		p.WaitGauge("cluster.up.upstream_rq_pending_active", int64(i))
	}
	p.WaitGauge("cluster.up.upstream_rq_active", 1)
	if res := p.Do(get); res.StatusCode != 503 || res.Header.Get("X-Envoy-Overloaded") != "true" {
		t.Errorf("%v", res)
	}
	clients[2].Reset()
	p.WaitGauge("cluster.up.upstream_rq_pending_active", 2)
	close(next)
	for _, i := range []int{0, 1, 3} {
		if res := clients[i].Response("GET"); res.Content != "ok" {
			t.Errorf("%v", res)
		}
	}
	var order []string
	for _, r := range u.Requests() {
		order = append(order, strings.Fields(r)[1])
	}
	check(t, "order", fmt.Sprint(order), "[/0 /1 /3]")
	if n := u.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	for name, want := range map[string]uint64{
		"upstream_rq_pending_overflow": 1, "upstream_rq_cancelled": 1, "upstream_cx_overflow": 3,
		"upstream_rq_503": 1, "upstream_rq_total": 3, "upstream_rq_pending_total": 5,
	} {
		p.WaitCounter("cluster.up."+name, want)
	}
	atRest(t, p)
}

// TestPendingHostLeaves: who waits for a connection to a host that leaves is still
// served.
func TestPendingHostLeaves(t *testing.T) {
	next := make(chan struct{})
	u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		for {
			if _, err := s.Request(); err != nil {
				return
			}
			s.Hold(next)
			if s.Send(ok) != nil {
				return
			}
		}
	})
	e := proxytest.Edge{Cluster: breaker("max_connections: 1")}
	p := start(t, e, up(u))
	a, b := p.Dial(), p.Dial()
	a.Send(get)
	u.WaitRequests(1)
	b.Send(get)
	p.WaitGauge("cluster.up.upstream_rq_pending_active", 1)
	e.Cluster = breaker("max_connections: 2")
	if problems := p.Update(e.YAML()); len(problems) > 0 {
		t.Fatal(problems)
	}
	close(next)
	for _, c := range []*proxytest.Client{a, b} {
		if res := c.Response("GET"); res.Content != "ok" {
			t.Errorf("%v", res)
		}
	}
	// What the replaced cluster counted late is not lost.
	p.WaitCounter("cluster.up.upstream_rq_200", 2)
	p.WaitCounter("cluster.up.upstream_rq_total", 2)
	p.WaitGauge("cluster.up.upstream_cx_active", 0)
	atRest(t, p)
}

// TestConnectionEnds tells when a connection may be used again.
func TestConnectionEnds(t *testing.T) {
	for _, c := range []struct {
		name, cluster, response string
		connections             int
		stat                    string
		want                    uint64
	}{
		{"kept", "", ok, 1, "upstream_cx_destroy", 0},
		{"close", "", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", 4, "upstream_cx_destroy", 4},
		{"HTTP/1.0", "", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", 4, "upstream_cx_destroy", 4},
		{"HTTP/1.0 kept", "", "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", 1, "upstream_cx_destroy", 0},
		{"longer than told", "", ok + "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", 4, "upstream_cx_destroy", 4},
		{"two requests each", "max_requests_per_connection: 2", ok, 2, "upstream_cx_max_requests", 2},
		{"old", "common_http_protocol_options: {max_connection_duration: 0.000001s}", ok, 4, "upstream_cx_max_duration_reached", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := proxytest.NewUpstream(t, steps(c.response))
			p := start(t, proxytest.Edge{Cluster: c.cluster}, up(u))
			cl := p.Dial()
			for range 4 {
				if res := cl.Do(get); res.Content != "ok" {
					t.Fatalf("%v", res)
				}
			}
			if n := u.Connections(); n != c.connections {
				t.Errorf("%d connections, want %d", n, c.connections)
			}
			p.WaitCounter("cluster.up."+c.stat, c.want)
			p.WaitCounter("cluster.up.upstream_cx_total", uint64(c.connections))
			atRest(t, p)
		})
	}
}

// TestIdleConnections: an idle connection ends by time-out, by age, by its host's
// end, and when its host speaks unasked.
func TestIdleConnections(t *testing.T) {
	for _, c := range []struct {
		name, cluster, stat string
		unasked             string
	}{
		{"idle", "common_http_protocol_options: {idle_timeout: 0.05s}", "upstream_cx_idle_timeout", ""},
		{"age", "common_http_protocol_options: {max_connection_duration: 0.1s}", "upstream_cx_max_duration_reached", ""},
		{"unasked", "", "upstream_cx_destroy_remote", "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			idle := make(chan struct{})
			u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
				_, _ = s.Request()
				_ = s.Send(ok)
				if c.unasked != "" {
					s.Hold(idle)
					_ = s.Send(c.unasked)
				}
				_ = s.Gone()
			})
			p := start(t, proxytest.Edge{Cluster: c.cluster}, up(u))
			p.Do(get)
			close(idle)
			p.WaitGauge("cluster.up.upstream_cx_active", 0)
			p.WaitCounter("cluster.up."+c.stat, 1)
			if res := p.Do(get); res.Content != "ok" {
				t.Errorf("%v", res)
			}
		})
	}
}

// TestShortResponse: a body shorter than told is never passed on as whole.
func TestShortResponse(t *testing.T) {
	for _, head := range []string{"content-length: 10\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"} {
		u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
			_, _ = s.Request()
			_ = s.Send("HTTP/1.1 200 OK\r\n" + head)
		})
		p := start(t, proxytest.Edge{}, up(u))
		c := p.Dial()
		c.Send(get)
		// If nothing was sent yet there is an error to tell, else only a reset.
		got, wasReset := c.ReadAll()
		if !wasReset && !strings.HasPrefix(got, "HTTP/1.1 50") || strings.HasSuffix(got, "0\r\n\r\n") {
			t.Errorf("%q: looks whole: %q", head, got)
		}
		has(t, "log", p.LogLines(1)[0], " U")
		if !strings.Contains(head, "zz") { // Of nonsense it is chance who ends it first.
			p.WaitCounter("cluster.up.upstream_rq_rx_reset", 1)
		}
		atRest(t, p)
	}
}

// TestStorm: whatever fails, nothing stays counted as under way.
func TestStorm(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(ok, closes, resets, failure, "junk\r\n\r\n", ok, hangs, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", closes, failure, ok,
		closes, ok, ok, resets, failure, hangs, closes, ok, failure, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz", resets, ok))
	p := start(t, proxytest.Edge{
		Routes: `- match: {prefix: /}
  route: {cluster: up, timeout: 0.3s, retry_policy: {retry_on: "5xx,reset", num_retries: 2, per_try_timeout: 0.1s, retry_back_off: {base_interval: 0.001s}}}`,
		Cluster: breaker("max_connections: 4, max_pending_requests: 6, max_requests: 8, max_retries: 2"),
	}, up(u))
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			for j := range 10 {
				c, err := net.Dial("tcp", p.Addr())
				if err != nil {
					t.Error(err)
					return
				}
				req := get
				if i%3 == 0 {
					req = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbo"
					if j%2 == 0 {
						req += "dy"
					}
				}
				// Some clients go away at once, others wait for the first bytes.
				_, _ = c.Write([]byte(req))
				if j%3 > 0 && !strings.HasSuffix(req, "bo") {
					_, _ = c.Read(make([]byte, 100))
				}
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	atRest(t, p)
	p.WaitGauge("http.test.downstream_rq_active", 0)
	if a, b := p.Counter("cluster.up.upstream_cx_total"), p.Counter("cluster.up.upstream_cx_destroy"); int64(a-b) != p.Gauge("cluster.up.upstream_cx_active") {
		t.Errorf("%d connections, %d of them ended, %d open", a, b, p.Gauge("cluster.up.upstream_cx_active"))
	}
}

// TestUnixUpstream reaches a host by a socket in the file system.
func TestUnixUpstream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1000))
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"))
			_ = c.Close()
		}
	}()
	p := start(t, proxytest.Edge{}, map[string]string{"up": path})
	if res := p.Do(get); res.Content != "ok" {
		t.Errorf("%v", res)
	}
	_ = ln.Close()
	<-done
	res := p.Do(get)
	has(t, "body", res.Content, "immediate connect error: ")
}

// TestSource binds upstream connections to an address of our own.
func TestSource(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(ok))
	p := start(t, proxytest.Edge{
		AccessLog: "%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %UPSTREAM_HOST%",
		Cluster:   "upstream_bind_config: {source_address: {address: 127.0.0.9, port_value: 0}, socket_options: [{level: 6, name: 18, int_value: 5000, state: STATE_BOUND}]}",
	}, up(u))
	p.Do(get)
	check(t, "log", p.LogLines(1)[0], "127.0.0.9 "+u.Addr())
	q := start(t, proxytest.Edge{Cluster: "upstream_bind_config: {source_address: {address: 192.0.2.1, port_value: 0}}"}, up(u))
	if res := q.Do(get); res.StatusCode != 503 {
		t.Errorf("%v", res)
	}
	q.WaitCounter("cluster.up.bind_errors", 1)
	q.WaitCounter("cluster.up.upstream_cx_connect_fail", 1)
	q.WaitCounter("cluster.up.upstream_rq_pending_failure_eject", 1)
	atRest(t, q)
}

// TestFurtherAddresses: a host with several addresses is reached by any of them.
func TestFurtherAddresses(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(ok))
	p := start(t, proxytest.Edge{
		Routes: `- {match: {prefix: /}, route: {cluster: many}}`,
		Clusters: `- name: many
  type: STATIC
  load_assignment: {cluster_name: many, endpoints: [{lb_endpoints: [{endpoint: {address: {{gone}}, additional_addresses: [{address: {{up}}}]}}]}]}`,
	}, map[string]string{"up": u.Addr(), "gone": reserve.TCP(t)})
	if res := p.Do(get); res.Content != "ok" {
		t.Errorf("%v", res)
	}
}
