// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// mirror answers each request with the request line and the body it came with.
func mirror(s *proxytest.Session) {
	for {
		r, err := s.Request()
		if err != nil {
			return
		}
		head, body, _ := strings.Cut(r, "\r\n\r\n")
		line, _, _ := strings.Cut(head, "\r\n")
		if s.Send(proxytest.OK(line+"|"+body)) != nil {
			return
		}
	}
}

func TestPipeline(t *testing.T) {
	p, up := start(t, proxytest.Edge{}, mirror)
	c := p.Dial()
	const n = 200
	var all strings.Builder
	var want []string
	for i := range n {
		switch i % 3 {
		case 0:
			all.WriteString(get(fmt.Sprintf("/%d", i)))
			want = append(want, fmt.Sprintf("GET /%d HTTP/1.1|", i))
		case 1:
			body := strings.Repeat("x", i)
			all.WriteString(post(fmt.Sprintf("/%d", i), body, fmt.Sprintf("content-length: %d", i)))
			want = append(want, fmt.Sprintf("POST /%d HTTP/1.1|%s", i, body))
		default:
			all.WriteString(post(fmt.Sprintf("/%d", i), fmt.Sprintf("3;x=y\r\nabc\r\n%x\r\n%s\r\n0\r\n\r\n", i, strings.Repeat("y", i)), "transfer-encoding: chunked"))
			want = append(want, "")
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.TrySend(all.String())
	}()
	for i := range n {
		r := c.Response("GET")
		if r.StatusCode != 200 || want[i] != "" && r.Content != want[i] {
			t.Fatalf("response %d: %v, want %q", i, r, want[i])
		}
		if want[i] == "" && !strings.HasPrefix(r.Content, fmt.Sprintf("POST /%d ", i)) {
			t.Fatalf("response %d: %v", i, r)
		}
	}
	<-done
	if got := up.Requests(); len(got) != n {
		t.Errorf("the upstream got %d requests, want %d", len(got), n)
	}
}

// TestEverySplit sends requests in two pieces, cut at every byte.
func TestEverySplit(t *testing.T) {
	p, _ := start(t, proxytest.Edge{}, mirror)
	in := post("/a", "3\r\nabc\r\n1;x=\"y\"\r\nd\r\n0\r\nt: u\r\n\r\n", "transfer-encoding: chunked") +
		post("/b", "hello", "content-length: 5") + get("/c")
	want := []string{"POST /a HTTP/1.1|", "POST /b HTTP/1.1|hello", "GET /c HTTP/1.1|"}
	for cut := range in {
		c := p.Dial()
		c.Send(in[:cut])
		c.Send(in[cut:])
		for i, w := range want {
			if r := c.Response("GET"); r.StatusCode != 200 || !strings.HasPrefix(r.Content, w) {
				t.Fatalf("cut at %d: response %d: %v", cut, i, r)
			}
		}
		c.Close()
	}
}

// TestEveryByte sends every byte on its own.
func TestEveryByte(t *testing.T) {
	p, up := start(t, proxytest.Edge{Manager: "http_protocol_options: {enable_trailers: true}",
		Cluster: h1Options("enable_trailers: true")}, proxytest.Answer(proxytest.OK("ok")))
	c := p.Dial()
	in := post("/a", "3\r\nabc\r\n1;x=\"y\"\r\nd\r\n0\r\nt: u\r\n\r\n", "transfer-encoding: chunked")
	for i := range in {
		c.Send(in[i : i+1])
	}
	if r := c.Response("POST"); r.StatusCode != 200 {
		t.Fatal(r)
	}
	got := up.WaitRequests(1)[0]
	if body := dechunk(t, got); body != "abcd" || !strings.HasSuffix(got, "\r\nt: u\r\n\r\n") {
		t.Errorf("the upstream got %q", got)
	}
}

// h1Options are a cluster's HTTP/1 options.
func h1Options(o string) string {
	return "typed_extension_protocol_options:\n  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n" +
		"    \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n" +
		"    explicit_http_config: {http_protocol_options: {" + o + "}}"
}

func dechunk(t *testing.T, message string) string {
	t.Helper()
	_, body, _ := strings.Cut(message, "\r\n\r\n")
	var out strings.Builder
	for {
		var n int
		size, rest, ok := strings.Cut(body, "\r\n")
		if _, err := fmt.Sscanf(size, "%x", &n); err != nil || !ok {
			t.Fatalf("chunks of %q: %v", message, err)
		}
		if n == 0 {
			return out.String()
		}
		out.WriteString(rest[:n])
		body = rest[n+2:]
	}
}

// TestLargeHead sends heads of all sizes up to the limit, in pieces of several
// sizes.
func TestLargeHead(t *testing.T) {
	p, up := start(t, proxytest.Edge{Manager: "max_request_headers_kb: 96"}, proxytest.Answer(proxytest.OK("ok")))
	n := 0
	for _, size := range []int{1000, 28 << 10, 32<<10 - 200, 32 << 10, 33 << 10, 40 << 10, 64 << 10, 80 << 10, 95 << 10} {
		for _, piece := range []int{size + 1000, 16 << 10, 4093, 1000} {
			for _, lines := range []int{1, 60} {
				var b strings.Builder
				fmt.Fprintf(&b, "GET /%d HTTP/1.1\r\nhost: a.test\r\n", n)
				for i := range lines {
					fmt.Fprintf(&b, "x-%d: %s\r\n", i, strings.Repeat(string(rune('a'+i%26)), size/lines))
				}
				b.WriteString("\r\n")
				want := b.String()
				c := p.Dial()
				for in := want; in != ""; {
					k := min(piece, len(in))
					c.Send(in[:k])
					in = in[k:]
				}
				if r := c.Response("GET"); r.StatusCode != 200 {
					t.Fatalf("head of %d bytes in pieces of %d: %v", size, piece, r)
				}
				got := up.WaitRequests(n + 1)[n]
				for i := range lines {
					if v := proxytest.Field(got, fmt.Sprintf("x-%d", i)); v != strings.Repeat(string(rune('a'+i%26)), size/lines) {
						t.Fatalf("head of %d bytes in pieces of %d: field %d arrived as %.40q... (%d bytes)", size, piece, i, v, len(v))
					}
				}
				c.Close()
				n++
			}
		}
	}
}

// TestLargeBody moves bodies of all framings both ways, byte for byte.
func TestLargeBody(t *testing.T) {
	p, _ := start(t, proxytest.Edge{}, func(s *proxytest.Session) {
		for {
			r, err := s.Request()
			if err != nil {
				return
			}
			body := ""
			if strings.Contains(r, "chunked") {
				body = dechunk(t, r)
			} else {
				_, body, _ = strings.Cut(r, "\r\n\r\n")
			}
			out := proxytest.OK(body)
			if strings.HasPrefix(r, "POST /chunks") {
				out = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks(body, 5000) + "0\r\n\r\n"
			}
			if s.Send(out) != nil {
				return
			}
		}
	})
	c := p.Dial()
	for _, size := range []int{1, 4 << 10, 32 << 10, 64 << 10, 65 << 10, 200 << 10, 1 << 20} {
		var b strings.Builder
		for i := range size {
			b.WriteByte(byte('a' + i*7%26 + i/1000%3))
		}
		body := b.String()
		for _, tt := range []struct{ name, request string }{
			{"length", post("/", body, fmt.Sprintf("content-length: %d", size))},
			{"length to chunks", post("/chunks", body, fmt.Sprintf("content-length: %d", size))},
			{"chunks", post("/", chunks(body, 3000)+"0\r\n\r\n", "transfer-encoding: chunked")},
			{"one chunk", post("/chunks", chunks(body, size)+"0\r\n\r\n", "transfer-encoding: chunked")},
			{"small chunks", post("/chunks", chunks(body[:min(size, 4000)], 1)+"0\r\n\r\n", "transfer-encoding: chunked")},
		} {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = c.TrySend(tt.request)
			}()
			want := body
			if tt.name == "small chunks" {
				want = body[:min(size, 4000)]
			}
			if r := c.Response("POST"); r.StatusCode != 200 || r.Err != nil || r.Content != want {
				t.Fatalf("%s, %d bytes: status %d, %d bytes, %v", tt.name, size, r.StatusCode, len(r.Content), r.Err)
			}
			<-done
		}
	}
}

func chunks(body string, n int) string {
	var b strings.Builder
	for body != "" {
		k := min(n, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", k, body[:k])
		body = body[k:]
	}
	return b.String()
}

func TestTrailers(t *testing.T) {
	const in = "3\r\nabc\r\n0\r\nx-t: 1\r\ncontent-length: 9\r\nx-forwarded-for: 1.1.1.1\r\n\r\n"
	for _, on := range []bool{false, true} {
		o := fmt.Sprintf("enable_trailers: %v", on)
		p, up := start(t, proxytest.Edge{Manager: "http_protocol_options: {" + o + "}", Cluster: h1Options(o)},
			proxytest.Answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-r: 2\r\ncontent-length: 7\r\n\r\n"))
		c := p.Dial()
		for i := range 2 {
			c.Send(post("/", in, "transfer-encoding: chunked"))
			r := c.Response("POST")
			if want := map[bool]string{true: "2"}[on]; r.Content != "ok" || r.Trailer.Get("x-r") != want || r.Trailer.Get("content-length") != "" {
				t.Errorf("trailers %v: %v, trailer %v", on, r, r.Trailer)
			}
			want := "\r\n0\r\n\r\n"
			if on {
				want = "\r\n0\r\nx-t: 1\r\n\r\n"
			}
			if got := up.WaitRequests(i + 1)[i]; !strings.HasSuffix(got, want) {
				t.Errorf("trailers %v: the upstream got %q", on, got)
			}
		}
	}
}

func TestNoBody(t *testing.T) {
	p, _ := start(t, proxytest.Edge{}, func(s *proxytest.Session) {
		for {
			r, err := s.Request()
			if err != nil {
				return
			}
			var out string
			switch {
			case strings.HasPrefix(r, "HEAD /chunked"):
				out = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
			case strings.HasPrefix(r, "HEAD"):
				out = "HTTP/1.1 200 OK\r\ncontent-length: 123\r\n\r\n"
			case strings.HasPrefix(r, "GET /204"):
				out = "HTTP/1.1 204 No Content\r\n\r\n"
			case strings.HasPrefix(r, "GET /304"):
				out = "HTTP/1.1 304 Not Modified\r\ncontent-length: 50\r\netag: \"x\"\r\n\r\n"
			default:
				out = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
			}
			if s.Send(out) != nil {
				return
			}
		}
	})
	c := p.Dial()
	for _, tt := range []struct{ request, length, te string }{
		{"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n", "123", ""},
		{"HEAD /chunked HTTP/1.1\r\nhost: a\r\n\r\n", "", ""},
		{get("/204"), "", ""},
		{get("/304"), "50", ""},
		{get("/0"), "0", ""},
		{get("/last"), "0", ""},
	} {
		c.Send(tt.request)
		head := c.ReadHead()
		if proxytest.Field(head, "content-length") != tt.length || proxytest.Field(head, "transfer-encoding") != tt.te {
			t.Errorf("%q: %q", tt.request, head)
		}
	}
}

// TestHeadLocal: a local reply to HEAD has the length and no body.
func TestHeadLocal(t *testing.T) {
	p, _ := start(t, proxytest.Edge{Routes: `- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hello}}}`}, mirror)
	c := p.Dial()
	for range 2 {
		c.Send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
		if head := c.ReadHead(); proxytest.Field(head, "content-length") != "5" {
			t.Errorf("%q", head)
		}
	}
	if r := c.Do(get("/")); r.Content != "hello" {
		t.Error(r)
	}
}

func TestHTTP10(t *testing.T) {
	p, up := start(t, proxytest.Edge{Manager: "http_protocol_options: {accept_http_10: true, default_host_for_http_10: fallback.test}"}, func(s *proxytest.Session) {
		for {
			r, err := s.Request()
			if err != nil {
				return
			}
			out := proxytest.OK("ok")
			if strings.HasPrefix(r, "GET /chunks") {
				out = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
			}
			if s.Send(out) != nil {
				return
			}
		}
	})
	c := p.Dial()
	for range 2 {
		r := c.Do("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
		if r.Content != "ok" || r.Header.Get("connection") != "keep-alive" || r.Proto != "HTTP/1.1" {
			t.Errorf("keep-alive: %v %s", r, r.Proto)
		}
	}
	c.Send("GET /chunks HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
	if got, reset := c.ReadAll(); reset || !strings.HasSuffix(got, "\r\n\r\nok") || strings.Contains(got, "chunked") || proxytest.Field(got, "connection") != "close" {
		t.Errorf("a body without length: %q", got)
	}
	c = p.Dial()
	c.Send("GET / HTTP/1.0\r\n\r\n")
	if got, reset := c.ReadAll(); reset || !strings.HasSuffix(got, "\r\n\r\nok") {
		t.Errorf("without keep-alive: %q", got)
	}
	for _, r := range up.Requests() {
		if proxytest.Field(r, "host") != "fallback.test" || !strings.Contains(r, " HTTP/1.1\r\n") {
			t.Errorf("the upstream got %q", r)
		}
	}
}

// TestUntilClose: an upstream body that ends with its connection is chunked for
// the client, whose connection stays.
func TestUntilClose(t *testing.T) {
	p, _ := start(t, proxytest.Edge{}, func(s *proxytest.Session) {
		if _, err := s.Request(); err == nil {
			_ = s.Send("HTTP/1.0 200 OK\r\n\r\nuntil the end")
		}
	})
	c := p.Dial()
	for range 2 {
		if r := c.Do(get("/")); r.Content != "until the end" || r.Err != nil || r.Close {
			t.Errorf("%v %v", r, r.Err)
		}
	}
}

// TestHTTP10NoHost: without a default there is no host to route by.
func TestHTTP10NoHost(t *testing.T) {
	p, up := start(t, proxytest.Edge{AccessLog: flags, Manager: "http_protocol_options: {accept_http_10: true}"}, mirror)
	c := p.Dial()
	c.Send("GET / HTTP/1.0\r\n\r\n")
	if r := c.Response("GET"); r.StatusCode != 400 {
		t.Errorf("%v", r)
	}
	c.ExpectClosed() // There was no keep-alive.
	if n := len(up.Received()); n > 0 {
		t.Errorf("the upstream got %q", up.Received())
	}
	if line := p.LogLines(1)[0]; !strings.Contains(line, "missing_host_header") {
		t.Errorf("access log: %q", line)
	}
}

// TestMany: several loops, clients and pooled connections, bodies both ways; each
// client gets its own.
func TestMany(t *testing.T) {
	up := proxytest.NewUpstream(t, mirror)
	p := proxytest.Start(t, proxytest.Edge{}.YAML(), proxytest.Options{
		Extensions: extensions(), Backends: map[string]string{"up": up.Addr()}, Concurrency: 3,
	})
	addr := p.Addr()
	done := make(chan string, 12)
	for i := range 12 {
		go func() {
			c := proxytest.Dial(t, addr)
			for n := range 60 {
				body := strings.Repeat(fmt.Sprintf("%d.%d ", i, n), 1+n*i*20)
				c.Send(post("/", body, fmt.Sprintf("content-length: %d", len(body))))
				r := c.Response("POST")
				if want := "POST / HTTP/1.1|" + body; r.Content != want || r.Err != nil {
					done <- fmt.Sprintf("client %d, request %d: status %d, %d bytes, want %d, %v", i, n, r.StatusCode, len(r.Content), len(want), r.Err)
					return
				}
			}
			done <- ""
		}()
	}
	for range 12 {
		if problem := <-done; problem != "" {
			t.Error(problem)
		}
	}
	p.WaitGauge("http.test.downstream_rq_active", 0)
	p.WaitGauge("cluster.up.upstream_rq_active", 0)
}
