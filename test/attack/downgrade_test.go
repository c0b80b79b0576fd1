// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// marker is what a smuggled request would look like.
const marker = "GET /smuggled HTTP/1.1\r\nhost: evil.test\r\n\r\n"

// A trick is a request of HTTP/2 that means something else in HTTP/1.
type trick struct {
	name  string
	block string
	data  string
	end   bool // END_STREAM on HEADERS
	ok    bool // it may be served
}

func tricks() []trick {
	var out []trick
	get := func(name string, ok bool, fields ...string) {
		out = append(out, trick{name, block(fields...), "", true, ok})
	}
	pseudo := func(name, method, scheme, path, authority string) {
		get(name, false, ":method", method, ":scheme", scheme, ":path", path, ":authority", authority)
	}
	for what, s := range map[string]string{
		"CRLF": "\r\n", "CR": "\r", "LF": "\n", "NUL": "\x00", "request": " HTTP/1.1\r\nhost: a\r\n\r\n" + marker,
	} {
		more := "x" + s + "y"
		pseudo(what+" in :method", more, "http", "/", "a.test")
		pseudo(what+" in :scheme", "GET", more, "/", "a.test")
		pseudo(what+" in :path", "GET", "http", "/"+more, "a.test")
		pseudo(what+" in :authority", "GET", "http", "/", more)
		for _, f := range []string{"x-field", "cookie", "host", "content-type", "te", "expect", "user-agent", "x-forwarded-for"} {
			out = append(out, trick{what + " in the value of " + f, request("GET", "/", f, more), "", true, false})
		}
		out = append(out, trick{what + " in a name", request("GET", "/", more, "z"), "", true, false})
		out = append(out, trick{what + " in a trailer", request("POST", "/"), "trailer:" + more, false, false})
	}
	for _, s := range []string{" ", "\t", ":", "(", "[", "/", "\x7f", "\x80", "\xff", "A"} {
		out = append(out, trick{fmt.Sprintf("%q in a name", s), request("GET", "/", "x"+s+"y", "z"), "", true, false})
	}
	out = append(out, trick{"empty name", request("GET", "/", "", "z"), "", true, false})
	for _, s := range []string{" ", "\t", "/", ":", ""} {
		pseudo(fmt.Sprintf("%q as the end of :method", s), strings.TrimSuffix("GET"+s, strings.Repeat("GET", 1-min(len(s), 1))), "http", "/", "a.test")
	}
	for _, s := range []string{"", "*", "x", "http://evil.test/", "//evil.test\x00", "/ /", "/a b", "/#f", "/\t", "/\x7f", "/\xff", " /", "/ HTTP/1.1"} {
		pseudo(fmt.Sprintf(":path %q", s), "GET", "http", s, "a.test")
	}
	for _, s := range []string{"", "a b", "a@b", "user@a.test", "a.test/x", "a.test:x", "a.test:99999", "a,b", "[::1", "a?b", "a#b"} {
		pseudo(fmt.Sprintf(":authority %q", s), "GET", "http", "/", s)
	}
	for _, s := range []string{"", "1", "ht tp", "http://evil.test/x?", "http:", "/"} {
		pseudo(fmt.Sprintf(":scheme %q", s), "GET", s, "/", "a.test")
	}
	base := []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a.test"}
	for i := 0; i < len(base); i += 2 {
		get(base[i]+" twice", false, append(append([]string{}, base...), base[i], base[i+1])...)
		if base[i] != ":authority" {
			get("no "+base[i], false, append(append([]string{}, base[:i]...), base[i+2:]...)...)
		}
		get(base[i]+" late", false, append(append(append([]string{}, base[:i]...), base[i+2:]...), "x", "y", base[i], base[i+1])...)
	}
	get("unknown pseudo field", false, append(base, ":other", "x")...)
	get("a response's pseudo field", false, append(base, ":status", "200")...)
	get(":protocol", false, append(base, ":protocol", "websocket")...)
	for _, f := range [][2]string{
		{"transfer-encoding", "chunked"}, {"transfer-encoding", "identity"}, {"connection", "close"}, {"connection", "x-field"}, {"keep-alive", "1"},
		{"proxy-connection", "close"}, {"upgrade", "websocket"}, {"te", "gzip"}, {"te", "trailers, chunked"}, {"host", "other.test"},
		{"content-length", "-1"}, {"content-length", "+1"}, {"content-length", "0x1"}, {"content-length", "1, 1"}, {"content-length", ""}, {"content-length", "99999999999999999999"},
	} {
		out = append(out, trick{f[0] + ": " + f[1], request("POST", "/", f[0], f[1]), "x", false, false})
	}
	for _, l := range []struct {
		lengths string
		n       int
		ok      bool
	}{{"5", 5, true}, {"5", 4, false}, {"5", 6, false}, {"0", 1, false}, {"5 5", 5, false}, {"5 4", 5, false}, {"0", 0, true}, {"1000000", 3, false}} {
		var fields []string
		for _, v := range strings.Fields(l.lengths) {
			fields = append(fields, "content-length", v)
		}
		out = append(out, trick{fmt.Sprintf("content-length %s of %d", l.lengths, l.n), request("POST", "/", fields...), strings.Repeat("x", l.n), false, l.ok})
	}
	out = append(out, trick{"content-length without content", request("POST", "/", "content-length", "5"), "", true, false},
		trick{"content that is a request", request("POST", "/"), marker, false, true},
		trick{"sized content that is a request", request("POST", "/", "content-length", strconv.Itoa(len(marker))), marker, false, true},
		trick{"chunks in content", request("POST", "/"), "0\r\n\r\n" + marker, false, true},
		trick{"content of GET", request("GET", "/"), marker, false, true},
		trick{"trailers", request("POST", "/"), "trailer:fine", false, true},
		trick{"host like :authority", request("GET", "/", "host", "a.test"), "", true, true},
		trick{"underscore", request("GET", "/", "content_length", "5"), "", true, true},
		trick{"dots", request("GET", "/a/../b"), "", true, true},
		trick{"two slashes", request("GET", "//evil.test/"), "", true, true})
	return out
}

// frames are the trick's frames on a stream.
func (k trick) frames(id uint32) string {
	s := headers(id, k.end, k.block)
	switch v, trailer := strings.CutPrefix(k.data, "trailer:"); {
	case k.end:
	case trailer:
		s += frame(tData, 0, id, "x") + headers(id, true, block("x-sum", v))
	default:
		s += frame(tData, endStream, id, k.data)
	}
	return s
}

// TestDowngrade sends requests that would be two, or another's, if they were written
// to a host of HTTP/1 as they are. The host takes each byte for what it is.
func TestDowngrade(t *testing.T) {
	for _, keep := range []bool{false, true} {
		up := proxytest.NewUpstream(t, func(s *proxytest.Session) {
			for {
				r, err := s.Request()
				if err != nil || s.Send(proxytest.OK(r[:strings.Index(r, "\r\n")])) != nil {
					return
				}
			}
		})
		p := proxytest.Start(t, proxytest.Edge{Manager: fmt.Sprintf("http2_protocol_options: {override_stream_error_on_invalid_http_message: %v}", keep)}.YAML(),
			proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
		for _, k := range tricks() {
			t.Run(fmt.Sprintf("keep %v, %s", keep, k.name), func(t *testing.T) { downgrade(t, p, up, k, keep) })
		}
		settled(t, p)
		unharmed(t, p)
		for _, r := range up.Requests() {
			if strings.HasPrefix(r, "GET /smuggled") {
				t.Errorf("the host has served %q", r)
			}
		}
	}
}

func downgrade(t *testing.T, p *proxytest.Proxy, up *proxytest.Upstream, k trick, keep bool) {
	t.Helper()
	before := len(up.Requests())
	w := dialWire(t, p)
	if err := w.send(k.frames(1)); err != nil {
		t.Fatal(err)
	}
	r := w.reply(1)
	answered := 0
	if r.status == "200" {
		answered = 1
	}
	switch {
	case k.ok && r.status != "200":
		t.Errorf("%q, reset %v %d; goaway %d %q", r.status, r.reset, r.code, w.code, w.debug)
	case !k.ok && r.status != "" && r.status[0] != '4':
		t.Errorf("it was answered %q %q", r.status, r.bytes)
	case !k.ok && keep && w.goAway:
		t.Errorf("the connection has ended: %d %q", w.code, w.debug)
	}
	next := w
	id := uint32(3)
	if w.goAway {
		next, id = dialWire(t, p), 1
	}
	if err := next.send(headers(id, true, request("GET", "/next"))); err != nil {
		t.Fatal(err)
	}
	if n := next.reply(id); n.status != "200" || string(n.bytes) != "GET /next HTTP/1.1" {
		t.Errorf("the next request is answered %q %q", n.status, n.bytes)
	}
	served := up.Requests()[before:]
	if len(served) != answered+1 {
		t.Errorf("%d requests were answered, the host has served %q", answered+1, served)
	}
	_ = w.conn.Close() // Ended, perhaps.
}

// TestUpgrade sends requests of HTTP/1 that mean something else in HTTP/2.
func TestUpgrade(t *testing.T) {
	b := newBackend(t, true)
	p := edge(t, b, proxytest.Edge{Cluster: http2Cluster})
	for _, tt := range []struct {
		name, request string
		status        int
	}{
		{"pseudo field", "GET / HTTP/1.1\r\nhost: a.test\r\n:path: /other\r\n\r\n", 400},
		{"pseudo field behind a blank", "GET / HTTP/1.1\r\nhost: a.test\r\n :path: /other\r\n\r\n", 400},
		{"h2c", "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n", 0},
		{"length and chunks", "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"two lengths", "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc", 0},
		{"connection's fields", "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: x-a\r\nx-a: b\r\nkeep-alive: 1\r\nproxy-connection: close\r\nte: gzip\r\n\r\n", 200},
		{"upper case", "GET / HTTP/1.1\r\nHOST: a.test\r\nX-UPPER: b\r\n\r\n", 200},
		{"absolute", "GET http://a.test/ HTTP/1.1\r\nhost: b.test\r\n\r\n", 200},
		{"chunks", "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n", 200},
		{"preface in a body", "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 24\r\n\r\n" + preface, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := b.total.Load()
			res := p.Do(tt.request)
			if tt.status != 0 && res.StatusCode != tt.status || res.StatusCode >= 500 {
				t.Errorf("%v", res)
			}
			served := b.total.Load() - before
			if want := int64(1); res.StatusCode == 200 && served != want || res.StatusCode != 200 && served != 0 {
				t.Errorf("answered %d, the host served %d", res.StatusCode, served)
			}
		})
	}
	settled(t, p)
}
