// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"fmt"
	"testing"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
)

// readResponse parses a response to method, given in one piece.
func readResponse(t testing.TB, o *Options, method string, upgrade bool, in string) (string, error) {
	t.Helper()
	var p Parser
	var m header.Map
	p.Reset(o)
	p.SetRequest([]byte(method), upgrade)
	n, done, err := p.Response([]byte(in), &m)
	if err != nil {
		return "", err
	}
	if !done {
		return fmt.Sprintf("waits after %d", n), nil
	}
	if n != p.Head().Size || n > len(in) {
		t.Errorf("consumed %d of %d, size %d", n, len(in), p.Head().Size)
	}
	return dump(p.Head(), &m), nil
}

type responseRow struct {
	method, in, want string
	err              *codec.Error
}

func responses() []responseRow {
	const ok, s = "HTTP/1.1 200 OK\r\n", ":status=200|"
	rows := []responseRow{
		{"GET", ok + "\r\n", s + "1.1 untilclose body close", nil},
		{"GET", ok + "Content-Length: 3\r\n\r\nabc", s + "content-length=3|1.1 cl=3 body", nil},
		{"GET", ok + "Content-Length: 0\r\n\r\n", s + "content-length=0|1.1 cl=0", nil},
		{"GET", ok + "Transfer-Encoding: chunked\r\n\r\n", s + "1.1 chunked body", nil},
		{"GET", ok + "Content-Length: 3\r\nConnection: close\r\n\r\n", s + "content-length=3|1.1 cl=3 body close", nil},
		{"GET", ok + "Content-Length: 3\r\nConnection: x-a, set-cookie, x-forwarded-for\r\nX-A: 1\r\nSet-Cookie: c\r\n\r\n", s + "content-length=3|set-cookie=c|1.1 cl=3 body", nil},
		{"GET", ok + "Content-Length: 3\r\nUpgrade: h2,h2c\r\nConnection: Upgrade\r\nKeep-Alive: timeout=5\r\n\r\n", s + "content-length=3|1.1 cl=3 body", nil},
		{"GET", ok + "Content-Length: 3\r\nX_Y: 1\r\nHost: h\r\nExpect: x\r\n\r\n", s + "content-length=3|x_y=1|host=h|expect=x|1.1 cl=3 body", nil},
		{"GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", s + "content-length=0|1.1 cl=0", nil},
		{"GET", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", s + "content-length=0|1.1 cl=0", nil},
		{"GET", "HTTP/1.1 200 All\tgood \xff\r\nContent-Length: 0\r\n\r\n", s + "content-length=0|1.1 cl=0", nil},
		{"GET", "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n", ":status=999|content-length=0|1.1 cl=0", nil},
		{"GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", s + "content-length=3|1.0 cl=3 body close", nil},
		{"GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n", s + "content-length=3|1.0 cl=3 body", nil},
		{"GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", s + "1.0 untilclose body close", nil},
		// No body, whatever the fields say (RFC 9112 §6.3).
		{"HEAD", ok + "Content-Length: 3\r\n\r\n", s + "content-length=3|1.1 cl=3", nil},
		{"HEAD", ok + "Transfer-Encoding: chunked\r\n\r\n", s + "1.1", nil},
		{"HEAD", ok + "\r\n", s + "1.1", nil},
		{"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", ":status=304|content-length=3|1.1 cl=3", nil},
		{"GET", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", ":status=304|1.1", nil},
		{"GET", "HTTP/1.1 204 No Content\r\n\r\n", ":status=204|1.1", nil},
		{"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", ":status=204|1.1", nil},
		{"GET", "HTTP/1.1 100 Continue\r\n\r\n", ":status=100|1.1", nil},
		{"GET", "HTTP/1.1 103 Early Hints\r\nLink: l\r\n\r\n", ":status=103|link=l|1.1", nil},
		{"CONNECT", ok + "\r\n", s + "1.1 close tunnel", nil},
		{"CONNECT", ok + "Content-Length: 3\r\n\r\n", s + "1.1 close tunnel", nil},
		{"CONNECT", "HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\n", ":status=403|content-length=3|1.1 cl=3 body", nil},
		{"upgrade", "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", ":status=101|upgrade=websocket|1.1 close upgrade tunnel", nil},
		{"upgrade", ok + "Content-Length: 3\r\n\r\n", s + "content-length=3|1.1 cl=3 body", nil},

		{"GET", "HTTP/1.1 204 N\r\nContent-Length: 3\r\n\r\n", "", errLengthHere},
		{"GET", "HTTP/1.1 204 N\r\nTransfer-Encoding: chunked\r\n\r\n", "", errTEHere},
		{"GET", "HTTP/1.1 100 C\r\nContent-Length: 3\r\n\r\n", "", errLengthHere},
		{"GET", "HTTP/1.1 103 C\r\nTransfer-Encoding: chunked\r\n\r\n", "", errTEHere},
		{"CONNECT", ok + "Transfer-Encoding: chunked\r\n\r\n", "", errTEHere},
		{"GET", "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "", errSwitch},
		{"upgrade", "HTTP/1.1 101 S\r\n\r\n", "", errSwitch},
		{"upgrade", "HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n", "", errSwitch},
		{"upgrade", "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "", errSwitch},
		{"upgrade", "HTTP/1.0 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "", errSwitch},
		{"GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", errTE10},
		{"GET", "\r\nHTTP/1.1 200 OK\r\n\r\n", "", errStatusLine},
		{"GET", "HTTP/1.1 200 OK\n\r\n", "", errBareLF},
	}
	for _, line := range []string{
		"HTTP/1.1  200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 20x OK", "HTTP/1.1 +20 OK", "HTTP/1.1 099 OK", "HTTP/1.1 000 OK",
		"HTTP/1.1 200OK", "HTTP/1.1 200\tOK", "HTTP/1.1\t200 OK", "HTTP/1.1200 OK", "HTTP/1.1", "HTTP/1.1 ", "", "200 OK", "HTTP/1.2 200 OK",
		"HTTP/2.0 200 OK", "HTTP/2 200 OK", "HTTP/0.9 200 OK", "http/1.1 200 OK", "HTTP/1.1 200 a\x00b", "HTTP/1.1 200 a\rb", "HTTP/1.1 200 a\x7fb",
		" HTTP/1.1 200 OK", "ICY 200 OK", "HTTP/1.1 -20 OK", "HTTP/1.1 2 0 OK",
	} {
		rows = append(rows, responseRow{"GET", line + "\r\nContent-Length: 0\r\n\r\n", "", errStatusLine})
	}
	for _, r := range badFields() {
		if r.want != errConnection || r.in != "" {
			rows = append(rows, responseRow{"GET", ok + r.in + "\r\n", "", r.want})
		}
	}
	return rows
}

func TestResponse(t *testing.T) {
	for _, tt := range responses() {
		got, err := readResponse(t, nil, tt.method, tt.method == "upgrade", tt.in)
		if tt.err == nil {
			if err != nil || got != tt.want {
				t.Errorf("%s %q:\n got %s %v\nwant %s", tt.method, tt.in, got, err, tt.want)
			}
			continue
		}
		e, ok := err.(*codec.Error)
		if !ok || e.Status != 502 || e.Reason != tt.err.Reason || e.Detail != tt.err.Detail {
			t.Errorf("%s %q: got %s %v want %v", tt.method, tt.in, got, err, tt.err)
		}
	}
}

func TestInterimThenFinal(t *testing.T) {
	var p Parser
	var m header.Map
	p.Reset(nil)
	p.SetRequest([]byte("HEAD"), false)
	in := []byte("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 Fine\r\nContent-Length: 7\r\n\r\n")
	n, done, err := p.Response(in, &m)
	if !done || err != nil || p.Head().Status != 103 {
		t.Fatal(n, done, err)
	}
	p.Next()
	m.Reset()
	k, done, err := p.Response(in[n:], &m)
	if !done || err != nil || n+k != len(in) || p.Head().HasBody || string(p.Head().Reason) != "Fine" {
		t.Fatal(k, done, err, p.Head())
	}
}
