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

// TestStaleConnections: a host that closes each connection the moment it has
// answered a few requests fails no GET.
func TestStaleConnections(t *testing.T) {
	total := 10000
	if testing.Short() {
		total = 1000
	}
	for _, how := range []string{"close", "reset"} {
		t.Run(how, func(t *testing.T) {
			u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
				for range 3 {
					if _, err := s.Head(); err != nil {
						return
					}
					if s.Send(ok) != nil {
						return
					}
				}
				if how == "reset" {
					_ = s.Reset()
				}
			})
			p := start(t, proxytest.Edge{AccessLog: "%RESPONSE_FLAGS%"}, up(u))
			var wg sync.WaitGroup
			var failed atomic.Int32
			for range 8 {
				c := p.Dial()
				wg.Go(func() {
					for range total / 8 {
						if res := c.Do(get); res.Content != "ok" {
							failed.Add(1)
						}
					}
				})
			}
			wg.Wait()
			if n := failed.Load(); n > 0 {
				t.Errorf("%d of %d requests failed", n, total)
			}
			atRest(t, p)
		})
	}
}

// TestStalePost: what a host may have seen is not sent twice unasked.
func TestStalePost(t *testing.T) {
	for _, c := range []struct {
		name, request string
		status        int
		requests      int
	}{
		{"POST", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody", 503, 2},
		{"POST without a body", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", 503, 2},
		// Its body is gone: nothing is kept without a retry policy.
		{"PUT", "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody", 503, 2},
		{"DELETE", "DELETE / HTTP/1.1\r\nhost: a\r\n\r\n", 200, 3},
		{"GET", get, 200, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := proxytest.NewUpstream(t, steps(ok, closes, ok))
			p := start(t, proxytest.Edge{}, up(u))
			p.Do(get)
			res := p.Do(c.request)
			if res.StatusCode != c.status {
				t.Errorf("%v", res)
			}
			if n := len(u.Requests()); n != c.requests {
				t.Errorf("%d requests arrived, want %d", n, c.requests)
			}
			atRest(t, p)
		})
	}
}

// TestUpload: uploads that end badly never reach the host as whole, and never leave
// a connection to be used again.
func TestUpload(t *testing.T) {
	for _, c := range []struct {
		name, request string
		reset         bool
		status        int
		log           string
	}{
		{"client gone in a chunk", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", true, 0, "0 DC downstream_remote_disconnect 1"},
		{"client gone in a body", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhel", true, 0, "0 DC downstream_remote_disconnect 1"},
		{"bad chunk", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", false, 400, "400 DPE http1.codec_error 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			began, gone := make(chan struct{}), make(chan string, 1)
			u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
				_, _ = s.Head()
				close(began)
				rest, _ := s.ReadAll()
				gone <- rest
			})
			p := start(t, proxytest.Edge{}, up(u))
			cl := p.Dial()
			cl.Send(c.request)
			if c.reset {
				// A request given up before it was sent leaves its new connection to the pool.
				<-began
				cl.Reset()
			} else if res := cl.Response("POST"); res.StatusCode != c.status {
				t.Errorf("%v", res)
			}
			got := <-gone
			if strings.HasSuffix(got, "0\r\n\r\n") {
				t.Errorf("the host takes it for whole: %q", got)
			}
			check(t, "log", p.LogLines(1)[0], c.log)
			atRest(t, p)
			p.WaitGauge("cluster.up.upstream_cx_active", 0)
		})
	}
}

// TestEarlyResponse: a response that comes before the upload has ended passes.
func TestEarlyResponse(t *testing.T) {
	u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		_, _ = s.Head()
		_ = s.Send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
		_ = s.Gone()
	})
	p := start(t, proxytest.Edge{}, up(u))
	c := p.Dial()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The proxy stops reading at some time; how much it took is its affair.
		_ = c.TrySend("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4000000\r\n\r\n", strings.Repeat("x", 4000000))
	}()
	if res := c.Response("POST"); res.StatusCode != 413 || res.Content != "big" {
		t.Errorf("%v", res)
	}
	<-done
	atRest(t, p)
}

// TestBothWays: three MiB each way at once, with a client that reads late.
func TestBothWays(t *testing.T) {
	const size = 3 << 20
	u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		if _, err := s.Head(); err != nil {
			return
		}
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_ = s.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", size), strings.Repeat("d", size-1))
		}()
		_, _ = s.ReadN(size)
		<-sent
		_ = s.Send("d")
	})
	p := start(t, proxytest.Edge{Routes: policy("retry_on: 5xx")}, up(u))
	c := p.Dial()
	c.Send(fmt.Sprintf("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n", size), strings.Repeat("u", size/2))
	up := make(chan struct{})
	go func() {
		defer close(up)
		_ = c.TrySend(strings.Repeat("u", size/2))
	}()
	res := c.Response("POST")
	<-up
	if res.Err != nil || len(res.Content) != size {
		t.Errorf("%d bytes and %v; log %v", len(res.Content), res.Err, p.LogLines(1))
	}
	atRest(t, p)
}

// TestTunnels: upgrades and CONNECT carry bytes both ways, and half an end.
func TestTunnels(t *testing.T) {
	const upgrade = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
	echo := func(s *proxytest.Session) {
		b, _ := s.ReadN(4)
		_ = s.Send("got " + b)
		rest, _ := s.ReadAll()
		_ = s.Send("then " + rest)
	}
	for _, c := range []struct {
		name, route, request, method string
		script                       func(*proxytest.Session)
		status                       int
	}{
		{"upgrade", "upgrade_configs: [{upgrade_type: websocket}]", upgrade, "GET", func(s *proxytest.Session) {
			_, _ = s.Request()
			_ = s.Send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
			echo(s)
		}, 101},
		{"terminated CONNECT", "upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]", "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", "CONNECT", echo, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := proxytest.NewUpstream(t, c.script)
			match := "{prefix: /}"
			if c.method == "CONNECT" {
				match = "{connect_matcher: {}}"
			}
			p := start(t, proxytest.Edge{Routes: "- {match: " + match + ", route: {cluster: up, " + c.route + "}}"}, up(u))
			cl := p.Dial()
			cl.Send(c.request)
			if res := cl.Response(c.method); res.StatusCode != c.status {
				t.Fatalf("%v", res)
			}
			cl.Send("ping")
			check(t, "tunnel", cl.ReadN(8), "got ping")
			cl.Send("end")
			cl.CloseWrite()
			rest, wasReset := cl.ReadAll()
			if rest != "then end" || wasReset {
				t.Errorf("after the client's end: %q, reset %v", rest, wasReset)
			}
			atRest(t, p)
			p.WaitGauge("cluster.up.upstream_cx_active", 0)
		})
	}
	t.Run("refused upgrade", func(t *testing.T) {
		u := proxytest.NewUpstream(t, steps("HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno"))
		p := start(t, proxytest.Edge{Routes: "- {match: {prefix: /}, route: {cluster: up, upgrade_configs: [{upgrade_type: websocket}]}}"}, up(u))
		res := p.Do(upgrade)
		if res.StatusCode != 403 || res.Content != "no" {
			t.Errorf("%v", res)
		}
		atRest(t, p)
	})
}
