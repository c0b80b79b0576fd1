// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

func TestContinue(t *testing.T) {
	p, up := start(t, proxytest.Edge{}, mirror)
	c := p.Dial()
	for i := range 2 {
		c.Send(post("/", "", "content-length: 3", "expect: 100-continue"))
		if got := c.ReadHead(); got != "HTTP/1.1 100 Continue\r\n\r\n" {
			t.Fatalf("%q", got)
		}
		c.Send("abc")
		if r := c.Response("POST"); !strings.HasSuffix(r.Content, "|abc") {
			t.Error(r)
		}
		if got := up.WaitRequests(i + 1)[i]; proxytest.Field(got, "expect") != "" {
			t.Errorf("the upstream got %q", got)
		}
	}
	// A client that does not wait.
	c.Send(post("/", "abc", "content-length: 3", "expect: 100-continue"))
	head := c.ReadHead()
	if strings.HasPrefix(head, "HTTP/1.1 100 ") {
		head = c.ReadHead()
	}
	if !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		t.Errorf("%q", head)
	}
	c.ReadN(len("POST / HTTP/1.1|abc"))
	// A refusal before the body: the client need not send it.
	c2 := p.Dial()
	c2.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n")
	c2.ReadHead()
}

func TestContinueRefused(t *testing.T) {
	p, _ := start(t, proxytest.Edge{Routes: `- {match: {prefix: /}, direct_response: {status: 403}}`}, mirror)
	c := p.Dial()
	c.Send(post("/", "", "content-length: 3", "expect: 100-continue"))
	if r := c.Response("POST"); r.StatusCode != 403 || !r.Close {
		t.Errorf("%v", r)
	}
	c.ExpectClosed()
}

func TestContinueProxied(t *testing.T) {
	p, up := start(t, proxytest.Edge{Manager: "proxy_100_continue: true"}, func(s *proxytest.Session) {
		head, err := s.Head()
		if err != nil {
			return
		}
		_ = s.Send("HTTP/1.1 100 Continue\r\nx-mine: 1\r\n\r\n")
		body, _ := s.ReadN(3)
		s.Note(head + body)
		_ = s.Send(proxytest.OK("ok"))
		_ = s.Gone()
	})
	c := p.Dial()
	c.Send(post("/", "", "content-length: 3", "expect: 100-continue"))
	if got := c.ReadHead(); !strings.HasPrefix(got, "HTTP/1.1 100 Continue\r\n") {
		t.Fatalf("%q", got)
	}
	c.Send("abc")
	if r := c.Response("POST"); r.Content != "ok" {
		t.Error(r)
	}
	if got := up.WaitRequests(1)[0]; proxytest.Field(got, "expect") != "100-continue" || !strings.HasSuffix(got, "abc") {
		t.Errorf("the upstream got %q", got)
	}
}

func TestInterim(t *testing.T) {
	p, _ := start(t, proxytest.Edge{Manager: "http_protocol_options: {accept_http_10: true}"}, func(s *proxytest.Session) {
		for {
			if _, err := s.Request(); err != nil {
				return
			}
			_ = s.Send("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", proxytest.OK("ok"))
		}
	})
	c := p.Dial()
	c.Send(get("/"))
	if got := c.ReadHead(); got != "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" {
		t.Errorf("%q", got)
	}
	if r := c.Response("GET"); r.Content != "ok" {
		t.Error(r)
	}
	c = p.Dial()
	c.Send("GET / HTTP/1.0\r\nhost: a\r\n\r\n")
	if got, _ := c.ReadAll(); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
		t.Errorf("an HTTP/1.0 client got %q", got)
	}
}

// TestInterimFlood: an upstream may not send interim responses without end.
func TestInterimFlood(t *testing.T) {
	p, _ := start(t, proxytest.Edge{}, func(s *proxytest.Session) {
		if _, err := s.Request(); err != nil {
			return
		}
		flood := strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 1000)
		for range 10_000 {
			if s.Send(flood) != nil {
				return
			}
		}
	})
	c := p.Dial()
	c.Send(get("/"))
	for n := 0; ; n++ {
		if head := c.ReadHead(); !strings.HasPrefix(head, "HTTP/1.1 103 ") {
			if !strings.HasPrefix(head, "HTTP/1.1 502 ") {
				t.Errorf("%q", head)
			}
			break
		}
		if n > 1000 {
			t.Fatal("the client got more than 1000 interim responses")
		}
	}
}

func TestEarlyReply(t *testing.T) {
	p, _ := start(t, proxytest.Edge{Routes: `- {match: {prefix: /}, direct_response: {status: 413}}`}, mirror)
	// What is there already is thrown away.
	c := p.Dial()
	c.Send(post("/", "abc", "content-length: 3") + get("/"))
	if r := c.Response("POST"); r.StatusCode != 413 {
		t.Error(r)
	}
	// What is not costs the connection, but not the response.
	c = p.Dial()
	c.Send(post("/", strings.Repeat("x", 1000), "content-length: 1000000"))
	if r := c.Response("POST"); r.StatusCode != 413 || !r.Close {
		t.Errorf("%v", r)
	}
	for range 30 {
		if c.TrySend(strings.Repeat("x", 16<<10)) != nil {
			break
		}
	}
	c.CloseWrite()
	if got, reset := c.ReadAll(); got != "" || reset {
		t.Errorf("got %q, reset %v", got, reset)
	}
}

func TestEarlyUpstreamReply(t *testing.T) {
	p, _ := start(t, proxytest.Edge{AccessLog: flags}, func(s *proxytest.Session) {
		if _, err := s.Head(); err == nil {
			_ = s.Send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
		}
		_ = s.Gone()
	})
	c := p.Dial()
	c.Send(post("/", strings.Repeat("x", 1000), "content-length: 100000000"))
	r := c.Response("POST")
	if r.StatusCode != 413 || r.Content != "big" || r.Err != nil {
		t.Errorf("%v", r)
	}
	c.CloseWrite()
	if got, reset := c.ReadAll(); got != "" || reset {
		t.Errorf("got %q, reset %v", got, reset)
	}
	wantLog(t, p, "POST 413 - via_upstream")
	p.WaitGauge("cluster.up.upstream_cx_active", 0)
}

// TestPoolReuse: a connection whose exchange did not end well is not used again.
func TestPoolReuse(t *testing.T) {
	p, up := start(t, proxytest.Edge{}, func(s *proxytest.Session) {
		for {
			r, err := s.Head()
			if err != nil {
				return
			}
			switch {
			case strings.HasPrefix(r, "POST /early "):
				_ = s.Send(proxytest.OK("early")) // Without reading the body.
			case strings.HasPrefix(r, "GET /close "):
				_ = s.Send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nclose")
			default:
				_ = s.Send(proxytest.OK("plain"))
			}
		}
	})
	for i := range 5 {
		c := p.Dial()
		c.Send(post("/early", "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n", "content-length: 1000"))
		if r := c.Response("POST"); r.Content != "early" {
			t.Errorf("%d: %v", i, r)
		}
		c.Close()
		if r := p.Do(get("/close")); r.Content != "close" || r.Close {
			t.Errorf("%d: %v", i, r)
		}
		if r := p.Do(get("/plain")); r.Content != "plain" {
			t.Errorf("%d: %v", i, r)
		}
	}
	for _, got := range up.Received() {
		if _, behind, ok := strings.Cut(got, "/smuggled"); ok && strings.Contains(behind, "host: a.test") {
			t.Errorf("a connection was used again: %q", got)
		}
	}
}

// TestEarlyReplyThenNext: a request answered early whose body then arrives leaves
// the connection to the next request, or ends it; never does the body become one.
func TestEarlyReplyThenNext(t *testing.T) {
	p, up := start(t, proxytest.Edge{Routes: "- {match: {path: /no}, direct_response: {status: 403}}\n- {match: {prefix: /}, route: {cluster: up}}"}, mirror)
	hidden := get("/hidden")
	for _, whole := range []bool{true, false} {
		c := p.Dial()
		in := post("/no", hidden, fmt.Sprintf("content-length: %d", len(hidden)))
		if !whole {
			in = post("/no", "", fmt.Sprintf("content-length: %d", len(hidden)))
		}
		c.Send(in)
		r := c.Response("POST")
		if r.StatusCode != 403 || !whole && !r.Close {
			t.Errorf("%v", r)
		}
		_ = c.TrySend(hidden + get("/next"))
		c.CloseWrite()
		c.ReadAll()
	}
	// Those two that followed a request that was whole.
	if got := up.Requests(); len(got) != 2 || !strings.HasPrefix(got[0], "GET /hidden ") || !strings.HasPrefix(got[1], "GET /next ") {
		t.Errorf("the upstream got %q", got)
	}
}
