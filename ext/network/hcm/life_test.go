// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"strings"
	"testing"
	"time"

	"weir.dev/weir/proxy/proxytest"
)

// flags is an access log line for tests of what went wrong.
const flags = "%REQ(:METHOD)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"

func hold(s *proxytest.Session) {
	if _, err := s.Request(); err == nil {
		_ = s.Gone()
	}
}

func wantLog(t *testing.T, p *proxytest.Proxy, want ...string) {
	t.Helper()
	got := p.LogLines(len(want))
	if len(got) != len(want) {
		t.Fatalf("access log: %q, want %q", got, want)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("access log line %d: %q, want %q", i, got[i], want[i])
		}
	}
}

func TestHeaderTimeout(t *testing.T) {
	p, up := start(t, proxytest.Edge{AccessLog: flags, Manager: "request_headers_timeout: 0.1s"}, mirror)
	idle, slow := p.Dial(), p.Dial()
	if r := idle.Do(get("/")); r.StatusCode != 200 {
		t.Fatal(r)
	}
	slow.Send("GET / HTTP/1.1\r\nhost: a.test\r\nx: ")
	r := slow.Response("GET")
	if r.StatusCode != 408 || !r.Close {
		t.Errorf("a slow head: %v", r)
	}
	slow.ExpectClosed()
	if r := idle.Do(get("/")); r.StatusCode != 200 {
		t.Errorf("an idle connection: %v", r)
	}
	wantLog(t, p, "GET 200 - via_upstream", "GET 408 - request_header_timeout", "GET 200")
	if n := p.Counter("http.test.downstream_rq_header_timeout"); n != 1 {
		t.Errorf("downstream_rq_header_timeout is %d", n)
	}
	if n := len(up.Requests()); n != 2 {
		t.Errorf("the upstream got %d requests", n)
	}
}

// TestSlowHeadDrip: a byte now and then does not put the limit off.
func TestSlowHeadDrip(t *testing.T) {
	p, _ := start(t, proxytest.Edge{Manager: "request_headers_timeout: 0.2s"}, mirror)
	c := p.Dial()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			if c.TrySend("G"[:1]) != nil {
				return
			}
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	if r := c.Response("GET"); r.StatusCode != 408 {
		t.Errorf("%v", r)
	}
	close(stop)
	<-done
}

func TestBodyTimeouts(t *testing.T) {
	for _, tt := range []struct{ name, manager, log, counter string }{
		{"request", "request_timeout: 0.1s", "POST 408 - request_overall_timeout", "downstream_rq_timeout"},
		{"idle", "stream_idle_timeout: 0.1s", "POST 408 SI stream_idle_timeout", "downstream_rq_idle_timeout"},
		{"duration", "common_http_protocol_options: {max_stream_duration: 0.1s}", "POST 408 DT max_duration_timeout", "downstream_rq_max_duration_reached"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, up := start(t, proxytest.Edge{AccessLog: flags, Manager: tt.manager}, hold)
			c := p.Dial()
			c.Send(post("/", "half", "content-length: 8"))
			r := c.Response("POST")
			if r.StatusCode != 408 || !r.Close {
				t.Errorf("%v", r)
			}
			c.ExpectClosed()
			wantLog(t, p, tt.log)
			if n := p.Counter("http.test." + tt.counter); n != 1 {
				t.Errorf("%s is %d", tt.counter, n)
			}
			if got := up.Requests(); len(got) != 0 {
				t.Errorf("the upstream got a whole request: %q", got)
			}
			p.WaitGauge("cluster.up.upstream_cx_active", 0)
		})
	}
}

// TestResponseTimeouts: the request is whole and the upstream does not answer.
func TestResponseTimeouts(t *testing.T) {
	for _, tt := range []struct{ name, manager, log string }{
		{"idle", "stream_idle_timeout: 0.1s", "GET 504 SI stream_idle_timeout"},
		{"duration", "common_http_protocol_options: {max_stream_duration: 0.1s}", "GET 504 DT max_duration_timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := start(t, proxytest.Edge{AccessLog: flags, Manager: tt.manager}, hold)
			c := p.Dial()
			if r := c.Do(get("/")); r.StatusCode != 504 {
				t.Errorf("%v", r)
			}
			wantLog(t, p, tt.log)
			p.WaitGauge("cluster.up.upstream_cx_active", 0)
		})
	}
}

// TestStallMidResponse: an upstream that stops in a response's midst breaks the
// client's connection off; what the client has does not look whole.
func TestStallMidResponse(t *testing.T) {
	p, _ := start(t, proxytest.Edge{AccessLog: flags, Manager: "stream_idle_timeout: 0.5s"}, func(s *proxytest.Session) {
		if _, err := s.Request(); err == nil {
			_ = s.Send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
			_ = s.Gone()
		}
	})
	c := p.Dial()
	c.Send(get("/"))
	if got, _ := c.ReadAll(); strings.Contains(got, "\r\n0\r\n") {
		t.Errorf("the client got %q", got)
	}
	wantLog(t, p, "GET 200 SI stream_idle_timeout")
}

func TestUpstreamEndsMidBody(t *testing.T) {
	for _, tt := range []struct {
		name, response string
		reset          bool
	}{
		{"length", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", false},
		{"chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", false},
		{"chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc", false},
		{"trailers", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n", false},
		{"reset", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", true},
		{"large length", "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nabc", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			more := make(chan struct{})
			p, _ := start(t, proxytest.Edge{AccessLog: flags}, func(s *proxytest.Session) {
				if _, err := s.Request(); err != nil {
					return
				}
				_ = s.Send(tt.response)
				s.Hold(more)
				if tt.reset {
					_ = s.Reset()
				}
			})
			c := p.Dial()
			c.Send(get("/"))
			head := c.ReadHead()
			close(more)
			rest, reset := c.ReadAll()
			if !reset || strings.Contains(rest, "\r\n0\r\n") {
				t.Errorf("the client got %q and reset %v", head+rest, reset)
			}
			line := p.LogLines(1)
			if len(line) != 1 || !strings.HasPrefix(line[0], "GET 200 UC") && !strings.HasPrefix(line[0], "GET 200 UR") && !strings.HasPrefix(line[0], "GET 200 UPE") {
				t.Errorf("access log: %q", line)
			}
		})
	}
}

// TestUpstreamBodyBadAtOnce: as long as nothing was sent there is an answer.
func TestUpstreamBodyBadAtOnce(t *testing.T) {
	for _, tt := range []struct {
		body   string
		status int
		log    string
	}{
		{"3\r\nabc\r\nzz\r\n", 502, "GET 502 UPE "},
		{"3\nabc\r\n", 502, "GET 502 UPE "},
		{"ffffffffffffffffff\r\n", 502, "GET 502 UPE "},
	} {
		p, _ := start(t, proxytest.Edge{AccessLog: flags}, proxytest.Answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"+tt.body))
		c := p.Dial()
		if r := c.Do(get("/")); r.StatusCode != tt.status || !r.Close || r.Err != nil {
			t.Errorf("%q: %v", tt.body, r)
		}
		c.ExpectClosed()
		wantLog(t, p, tt.log)
		p.WaitGauge("cluster.up.upstream_cx_active", 0)
	}
}

func TestClientGone(t *testing.T) {
	for _, how := range []string{"close", "reset"} {
		t.Run(how, func(t *testing.T) {
			gone := make(chan struct{})
			p, up := start(t, proxytest.Edge{AccessLog: flags}, func(s *proxytest.Session) {
				hold(s)
				close(gone)
			})
			c := p.Dial()
			c.Send(get("/"))
			up.WaitRequests(1)
			if how == "reset" {
				c.Reset()
			} else {
				c.Close()
			}
			<-gone
			wantLog(t, p, "GET 0 DC downstream_remote_disconnect")
			p.WaitCounter("http.test.downstream_cx_destroy_remote", 1)
			p.WaitGauge("http.test.downstream_rq_active", 0)
			p.WaitCounter("cluster.up.upstream_rq_tx_reset", 1)
		})
	}
}

// TestClientGoneMidUpload: what the upstream has of the request is not whole.
func TestClientGoneMidUpload(t *testing.T) {
	got := make(chan string, 1)
	p, up := start(t, proxytest.Edge{AccessLog: flags}, func(s *proxytest.Session) {
		b, _ := s.ReadAll()
		got <- b
	})
	c := p.Dial()
	c.Send(post("/", "3\r\nabc\r\n", "transfer-encoding: chunked"))
	up.WaitConnections(1)
	c.Close()
	if b := <-got; strings.HasSuffix(b, "0\r\n\r\n") {
		t.Errorf("the upstream got %q", b)
	}
	wantLog(t, p, "POST 0 DC downstream_remote_disconnect")
}

func TestHalfClosed(t *testing.T) {
	release := make(chan struct{})
	p, up := start(t, proxytest.Edge{}, func(s *proxytest.Session) {
		if _, err := s.Request(); err != nil {
			return
		}
		s.Hold(release)
		_ = s.Send(proxytest.OK("late"))
	})
	c := p.Dial()
	c.Send(get("/"))
	c.CloseWrite()
	up.WaitRequests(1)
	close(release)
	if got, reset := c.ReadAll(); reset || !strings.HasSuffix(got, "\r\n\r\nlate") {
		t.Errorf("the client got %q, reset %v", got, reset)
	}
}

// TestHalfClosedLongResponse: a response that has begun is not cut off by the
// grace's end.
func TestHalfClosedLongResponse(t *testing.T) {
	first := make(chan struct{})
	p, _ := start(t, proxytest.Edge{}, func(s *proxytest.Session) {
		if _, err := s.Request(); err != nil {
			return
		}
		_ = s.Send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst")
		<-first
		grace := time.NewTimer(1200 * time.Millisecond)
		defer grace.Stop()
		<-grace.C
		_ = s.Send("again")
	})
	c := p.Dial()
	c.Send(get("/"))
	c.CloseWrite()
	head := c.ReadHead()
	close(first)
	if got, reset := c.ReadAll(); reset || got != "firstagain" {
		t.Errorf("the client got %q, reset %v", head+got, reset)
	}
}

func after(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}

// TestRequestTimeoutOver: the limit on a request does not count once the request
// is there, nor for what follows an upgrade.
func TestRequestTimeoutOver(t *testing.T) {
	p, _ := start(t, proxytest.Edge{Manager: "request_timeout: 0.1s\nupgrade_configs: [{upgrade_type: websocket}]"}, func(s *proxytest.Session) {
		r, err := s.Request()
		if err != nil {
			return
		}
		after(250 * time.Millisecond)
		if strings.HasPrefix(r, "GET /ws ") {
			_ = s.Send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
			after(250 * time.Millisecond)
			_ = s.Send("still here")
			return
		}
		_ = s.Send(proxytest.OK("late"))
	})
	if r := p.Do(post("/", "abc", "content-length: 3")); r.StatusCode != 200 || r.Content != "late" {
		t.Errorf("%v", r)
	}
	c := p.Dial()
	c.Send(websocket)
	if r := c.Response("GET"); r.StatusCode != 101 {
		t.Fatal(r)
	}
	if got, reset := c.ReadAll(); got != "still here" || reset {
		t.Errorf("%q, reset %v", got, reset)
	}
}

// TestIdleMoves: a body that moves, in whichever direction, keeps the stream
// from being idle.
func TestIdleMoves(t *testing.T) {
	p, _ := start(t, proxytest.Edge{Manager: "stream_idle_timeout: 1.5s\nupgrade_configs: [{upgrade_type: websocket}]"}, func(s *proxytest.Session) {
		r, err := s.Request()
		if err != nil {
			return
		}
		if strings.HasPrefix(r, "GET /ws ") {
			_ = s.Send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
			b, _ := s.ReadN(8)
			_ = s.Send(b)
			return
		}
		_ = s.Send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n")
		for range 8 {
			after(220 * time.Millisecond)
			_ = s.Send("d")
		}
	})
	drip := func(c *proxytest.Client) {
		for range 8 {
			after(220 * time.Millisecond)
			c.Send("u")
		}
	}
	c := p.Dial()
	c.Send(post("/", "", "content-length: 8"))
	drip(c)
	if r := c.Response("POST"); r.StatusCode != 200 || r.Content != "dddddddd" {
		t.Errorf("%v %v", r, r.Err)
	}
	c = p.Dial()
	c.Send(websocket)
	c.ReadHead()
	drip(c)
	if got, reset := c.ReadAll(); got != "uuuuuuuu" || reset {
		t.Errorf("%q, reset %v", got, reset)
	}
}

// TestSlowReader: a client that takes nothing of its response holds nothing for
// ever.
func TestSlowReader(t *testing.T) {
	p, _ := start(t, proxytest.Edge{AccessLog: flags, Manager: "stream_idle_timeout: 1.5s"}, proxytest.Answer(proxytest.OK(strings.Repeat("x", 32<<20))))
	c := p.Dial()
	c.Send(get("/"))
	wantLog(t, p, "GET 200 SI stream_idle_timeout")
	p.WaitGauge("http.test.downstream_cx_active", 0)
	p.WaitGauge("cluster.up.upstream_cx_active", 0)
	if n := p.Counter("http.test.downstream_cx_destroy_active_rq"); n != 1 {
		t.Errorf("downstream_cx_destroy_active_rq is %d", n)
	}
}
