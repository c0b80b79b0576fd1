// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"strings"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// next is a request that hides behind each refused one: it must never be served.
const next = "GET /hidden HTTP/1.1\r\nhost: a.test\r\n\r\n"

// refusals are requests that must be answered with a status and the end of the
// connection, and of which the upstream sees nothing.
var refusals = []struct {
	name, request string
	status        int
}{
	{"length and chunked", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"chunked and length", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", 400},
	{"two lengths", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ncontent-length: 5\r\n\r\n", 400},
	{"two equal lengths", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n", 400},
	{"length list", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0, 0\r\n\r\n", 400},
	{"length sign", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +0\r\n\r\n", 400},
	{"length minus", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", 400},
	{"length hex", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x0\r\n\r\n", 400},
	{"length empty", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \r\n\r\n", 400},
	{"length space within", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1 2\r\n\r\n", 400},
	{"length overflow", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551616\r\n\r\n", 400},
	{"length underscore", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1_0\r\n\r\n", 400},
	{"te identity", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n", 400},
	{"te gzip", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
	{"te chunked twice", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400},
	{"te two lines", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"te two lines other", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: cow\r\n\r\n0\r\n\r\n", 400},
	{"te quoted", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400},
	{"te xchunked", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 400},
	{"te parameter", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 400},
	{"te vertical tab", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \vchunked\r\n\r\n0\r\n\r\n", 400},
	{"te empty", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n\r\n", 400},
	{"te comma", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked,\r\n\r\n0\r\n\r\n", 400},
	{"te space before colon", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", 400},
	{"te folded", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400},
	{"te in 1.0", "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"fold", "GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n", 400},
	{"fold tab", "GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n\tb\r\n\r\n", 400},
	{"fold first", "GET / HTTP/1.1\r\n host: a\r\n\r\n", 400},
	{"bare lf line", "GET / HTTP/1.1\nhost: a\n\n", 400},
	{"bare lf field", "GET / HTTP/1.1\r\nhost: a\nx: b\r\n\r\n", 400},
	{"bare lf end", "GET / HTTP/1.1\r\nhost: a\r\n\n", 400},
	{"bare cr value", "GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n", 400},
	{"bare cr end", "GET / HTTP/1.1\r\nhost: a\r\n\rX: y\r\n\r\n", 400},
	{"cr cr lf", "GET / HTTP/1.1\r\nhost: a\r\r\n\r\n", 400},
	{"nul value", "GET / HTTP/1.1\r\nhost: a\r\nx: a\x00b\r\n\r\n", 400},
	{"nul name", "GET / HTTP/1.1\r\nhost: a\r\nx\x00: b\r\n\r\n", 400},
	{"nul target", "GET /\x00 HTTP/1.1\r\nhost: a\r\n\r\n", 400},
	{"control value", "GET / HTTP/1.1\r\nhost: a\r\nx: \x01\r\n\r\n", 400},
	{"delete value", "GET / HTTP/1.1\r\nhost: a\r\nx: \x7f\r\n\r\n", 400},
	{"space in name", "GET / HTTP/1.1\r\nhost: a\r\nx y: b\r\n\r\n", 400},
	{"space before colon", "GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400},
	{"tab before colon", "GET / HTTP/1.1\r\nhost\t: a\r\n\r\n", 400},
	{"no name", "GET / HTTP/1.1\r\nhost: a\r\n: b\r\n\r\n", 400},
	{"no colon", "GET / HTTP/1.1\r\nhost: a\r\nnothing\r\n\r\n", 400},
	{"bracket name", "GET / HTTP/1.1\r\nhost: a\r\n[x]: b\r\n\r\n", 400},
	{"utf-8 name", "GET / HTTP/1.1\r\nhost: a\r\nxé: b\r\n\r\n", 400},
	{"pseudo name", "GET / HTTP/1.1\r\nhost: a\r\n:path: /x\r\n\r\n", 400},
	{"no host", "GET / HTTP/1.1\r\n\r\n", 400},
	{"two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400},
	{"host list", "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", 400},
	{"host with at", "GET / HTTP/1.1\r\nhost: a@b\r\n\r\n", 400},
	{"host with path", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", 400},
	{"host with space", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n", 400},
	{"host port", "GET / HTTP/1.1\r\nhost: a:x\r\n\r\n", 400},
	{"host port large", "GET / HTTP/1.1\r\nhost: a:65536\r\n\r\n", 400},
	{"host bracket", "GET / HTTP/1.1\r\nhost: [::1\r\n\r\n", 400},
	{"relative target", "GET x HTTP/1.1\r\nhost: a\r\n\r\n", 400},
	{"fragment", "GET /x#y HTTP/1.1\r\nhost: a\r\n\r\n", 400},
	{"star for GET", "GET * HTTP/1.1\r\nhost: a\r\n\r\n", 400},
	{"space in target", "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", 400},
	{"two spaces", "GET  / HTTP/1.1\r\nhost: a\r\n\r\n", 400},
	{"space behind version", "GET / HTTP/1.1 \r\nhost: a\r\n\r\n", 400},
	{"tab", "GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n", 400},
	{"leading space", " GET / HTTP/1.1\r\nhost: a\r\n\r\n", 400},
	{"utf-8 target", "GET /é HTTP/1.1\r\nhost: a\r\n\r\n", 400},
	{"other scheme", "GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", 400},
	{"userinfo", "GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n", 400},
	{"unknown method", "FOO / HTTP/1.1\r\nhost: a\r\n\r\n", 400},
	{"lower method", "get / HTTP/1.1\r\nhost: a\r\n\r\n", 400},
	{"connect without port", "CONNECT a HTTP/1.1\r\nhost: a\r\n\r\n", 400},
	{"connect with path", "CONNECT /a HTTP/1.1\r\nhost: a\r\n\r\n", 400},
	{"connect with length", "CONNECT a:1 HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx", 400},
	{"simple request", "GET /\r\n", 400},
	{"version lower", "GET / http/1.1\r\nhost: a\r\n\r\n", 400},
	{"version 1.2", "GET / HTTP/1.2\r\nhost: a\r\n\r\n", 505},
	{"version 2.0", "GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505},
	{"version 0.9", "GET / HTTP/0.9\r\nhost: a\r\n\r\n", 505},
	{"version 1.11", "GET / HTTP/1.11\r\nhost: a\r\n\r\n", 400},
	{"version 1.0", "GET / HTTP/1.0\r\nhost: a\r\n\r\n", 426},
	{"preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
	{"tls hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400},
	{"many blank lines", strings.Repeat("\r\n", 20), 400},
	{"unknown expectation", "POST / HTTP/1.1\r\nhost: a\r\nexpect: 200-ok\r\ncontent-length: 1\r\n\r\nx", 417},
	{"nominated host", "GET / HTTP/1.1\r\nhost: a\r\nconnection: host\r\n\r\n", 400},
	{"nominated length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\nconnection: Content-Length\r\n\r\nx", 400},
	{"nominated te", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close, transfer-encoding\r\n\r\n0\r\n\r\n", 400},
	{"connection not a token", "GET / HTTP/1.1\r\nhost: a\r\nconnection: a b\r\n\r\n", 400},
	{"many nominations", "GET / HTTP/1.1\r\nhost: a\r\nconnection: a,b,c,d,e,f,g,h,i,j,k\r\n\r\n", 400},
	{"head too large", "GET / HTTP/1.1\r\nhost: a\r\nx: " + strings.Repeat("a", 61<<10) + "\r\n\r\n", 431},
	{"many small fields too large", "GET / HTTP/1.1\r\nhost: a\r\n" + strings.Repeat("x: "+strings.Repeat("a", 1000)+"\r\n", 62) + "\r\n", 431},
	{"too many fields", "GET / HTTP/1.1\r\nhost: a\r\n" + strings.Repeat("x: y\r\n", 101) + "\r\n", 431},
	{"target too large", "GET /" + strings.Repeat("a", 61<<10) + " HTTP/1.1\r\nhost: a\r\n\r\n", 431},
	{"endless line", strings.Repeat("a", 62<<10), 431},
}

func TestRefused(t *testing.T) {
	p, up := start(t, proxytest.Edge{Manager: "codec_type: HTTP1", AccessLog: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"}, proxytest.Answer(proxytest.OK("")))
	for i, tt := range refusals {
		t.Run(tt.name, func(t *testing.T) {
			c := p.Dial()
			// The proxy may close before all was sent.
			_ = c.TrySend(tt.request + next)
			r := c.Response("GET")
			if r.StatusCode != tt.status {
				t.Errorf("status %d, want %d", r.StatusCode, tt.status)
			}
			if !r.Close {
				t.Errorf("the response does not announce the end: %v", r)
			}
			c.ExpectClosed()
			if got := up.Received(); len(got) > 0 {
				t.Fatalf("the upstream got %q", got)
			}
			lines := p.LogLines(i + 1)
			if len(lines) != i+1 || !strings.Contains(lines[i], " DPE ") && tt.status != 426 {
				t.Errorf("access log lines: %q", lines)
			}
		})
	}
	if n := p.Gauge("http.test.downstream_rq_active"); n != 0 {
		t.Errorf("%d requests are still active", n)
	}
}

// badBodies are bodies that are refused once their head is on its way.
var badBodies = []struct{ name, body string }{
	{"size word", "x\r\n"},
	{"size empty", "\r\n0\r\n\r\n"},
	{"size sign", "+1\r\na\r\n0\r\n\r\n"},
	{"size minus", "-1\r\na\r\n0\r\n\r\n"},
	{"size 0x", "0x1\r\na\r\n0\r\n\r\n"},
	{"size space before", " 1\r\na\r\n0\r\n\r\n"},
	{"size overflow", "10000000000000000\r\na\r\n0\r\n\r\n"},
	{"size sign bit", "8000000000000000\r\na\r\n0\r\n\r\n"},
	{"size zeros", strings.Repeat("0", 20) + "1\r\na\r\n0\r\n\r\n"},
	{"size lf", "1\na\r\n0\r\n\r\n"},
	{"size bare cr", "1\rXa\r\n0\r\n\r\n"},
	{"data too long", "1\r\nab\r\n0\r\n\r\n"},
	{"data lf", "1\r\na\n0\r\n\r\n"},
	{"data cr", "1\r\na\r0\r\n\r\n"},
	{"extension lf", "1;a\nb\r\na\r\n0\r\n\r\n"},
	{"extension control", "1;a=\"\x01\"\r\na\r\n0\r\n\r\n"},
	{"extension cr", "1;a\rb\r\na\r\n0\r\n\r\n"},
	{"extension no name", "1;=x\r\na\r\n0\r\n\r\n"},
	{"extensions too long", "1;a=" + strings.Repeat("b", 5<<10) + "\r\na\r\n0\r\n\r\n"},
	{"extensions too long together", strings.Repeat("1;abcdefghijklmnopqrstuvwxyz=1\r\na\r\n", 200) + "0\r\n\r\n"},
	{"trailer fold", "0\r\nx: y\r\n z\r\n\r\n"},
	{"trailer no colon", "0\r\nxy\r\n\r\n"},
	{"trailer lf", "0\r\nx: y\n\r\n"},
	{"trailer end lf", "0\r\n\n"},
	{"trailer nul", "0\r\nx: \x00\r\n\r\n"},
	{"trailer space", "0\r\nx : y\r\n\r\n"},
	{"trailers too large", "0\r\n" + strings.Repeat("x: "+strings.Repeat("y", 2000)+"\r\n", 32) + "\r\n"},
	{"trailers too many", "0\r\n" + strings.Repeat("x: y\r\n", 101) + "\r\n"},
}

func TestRefusedBody(t *testing.T) {
	p, up := start(t, proxytest.Edge{Manager: "codec_type: HTTP1", AccessLog: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"}, func(s *proxytest.Session) {
		// It answers only what is whole.
		if _, err := s.Request(); err == nil {
			_ = s.Send(proxytest.OK(""))
		}
		_ = s.Gone()
	})
	for i, tt := range badBodies {
		t.Run(tt.name, func(t *testing.T) {
			c := p.Dial()
			_ = c.TrySend("POST /bad HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + tt.body + next)
			r := c.Response("POST")
			if r.StatusCode != 400 && r.StatusCode != 431 {
				t.Errorf("status %d, want 400 or 431", r.StatusCode)
			}
			if !r.Close {
				t.Errorf("the response does not announce the end: %v", r)
			}
			c.ExpectClosed()
			if got := up.Requests(); len(got) > 0 {
				t.Fatalf("the upstream got a whole request: %q", got)
			}
			for _, got := range up.Received() {
				if strings.Contains(got, "/hidden") {
					t.Errorf("the upstream got %q", got)
				}
			}
			if lines := p.LogLines(i + 1); len(lines) != i+1 || !strings.Contains(lines[i], " DPE ") {
				t.Errorf("access log lines: %q", lines[i:])
			}
		})
	}
}

func TestRefusedBehindServed(t *testing.T) {
	p, up := start(t, proxytest.Edge{}, proxytest.Answer(proxytest.OK("ok")))
	c := p.Dial()
	c.Send(get("/1") + get("/2") + "GET /3 HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n" + next)
	for i, want := range []int{200, 200, 400} {
		if r := c.Response("GET"); r.StatusCode != want {
			t.Errorf("response %d: status %d, want %d", i, r.StatusCode, want)
		}
	}
	c.ExpectClosed()
	if got := up.Requests(); len(got) != 2 {
		t.Errorf("the upstream got %q", got)
	}
}

func TestNominated(t *testing.T) {
	p, up := start(t, proxytest.Edge{}, proxytest.Answer(proxytest.OK("ok")))
	for _, tt := range []struct {
		name, connection, field string
		kept                    bool
	}{
		{"x-forwarded-for", "close, X-Forwarded-For", "x-forwarded-for: 1.2.3.4", true},
		{"x-forwarded-host", "x-forwarded-host", "x-forwarded-host: b", true},
		{"x-forwarded-proto", "x-forwarded-proto", "x-forwarded-proto: https", true},
		{"x-forwarded-anything", "keep-alive, x-forwarded-anything", "x-forwarded-anything: z", true},
		{"authorization", "authorization", "authorization: z", true},
		{"cookie", "cookie", "cookie: z=1", true},
		{"x-envoy", "x-envoy-peer-metadata", "x-envoy-peer-metadata: z", true},
		{"own", "x-own", "x-own: z", false},
		{"keep-alive", "keep-alive", "keep-alive: timeout=5", false},
		{"not named", "x-other", "proxy-connection: keep-alive", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(up.Requests())
			if r := p.Do(get("/", "connection: "+tt.connection, tt.field)); r.StatusCode != 200 {
				t.Fatalf("status %d", r.StatusCode)
			}
			head := up.WaitRequests(before + 1)[before]
			name, value, _ := strings.Cut(tt.field, ": ")
			if got := proxytest.Field(head, name); tt.kept && got != value || !tt.kept && got != "" {
				t.Errorf("the upstream got %s %q of %q", name, got, head)
			}
		})
	}
}
