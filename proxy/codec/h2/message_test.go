// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
)

// show answers with what it got of the request's head.
func show(_ *engine.Task, s *ServerStream) {
	if b := s.Message().Body; b != nil {
		for {
			if _, err := b.Next(); err != nil {
				break
			}
		}
	}
	var b strings.Builder
	for n, v := range s.Message().Header.All() {
		fmt.Fprintf(&b, "%s=%s;", n, v)
	}
	if t := s.Message().Trailer; t != nil {
		for n, v := range t.All() {
			fmt.Fprintf(&b, "%s~%s;", n, v)
		}
	}
	if s.Head().Upgrade {
		b.WriteString("upgrade;")
	}
	_ = reply(s, 200, b.String())
}

func TestRequestHeads(t *testing.T) {
	const malformed, bad = "RST_STREAM 1 PROTOCOL_ERROR", "HEADERS 1 END :status=400"
	long := strings.Repeat("x", 5000)
	many := make([]string, 120)
	for i := range many {
		many[i] = "x-a=b"
	}
	crumbs := make([]string, 120)
	for i := range crumbs {
		crumbs[i] = "cookie=a"
	}
	tests := []struct {
		name   string
		fields []string
		want   string // of the answer, or the head as shown
	}{
		{"plain", get("accept=a", "x-own=b"), ":method=GET;:scheme=http;:authority=a.test;:path=/;accept=a;x-own=b;"},
		{"pseudo in any order", []string{":path=/x?y", ":authority=a", ":scheme=https", ":method=PUT"}, ":path=/x?y;:authority=a;:scheme=https;:method=PUT;"},
		{"host for authority", []string{":method=GET", ":scheme=http", ":path=/", "host=b.test"}, ":method=GET;:scheme=http;:path=/;:authority=b.test;"},
		{"host agrees", get("host=A.test"), ":method=GET;:scheme=http;:authority=a.test;:path=/;"},
		{"crumbs", get("cookie=a=1", "x=y", "cookie=b=2", "cookie=c"), ":method=GET;:scheme=http;:authority=a.test;:path=/;x=y;cookie=a=1; b=2; c;"},
		{"te trailers", get("te=trailers"), ":method=GET;:scheme=http;:authority=a.test;:path=/;te=trailers;"},
		{"options", []string{":method=OPTIONS", ":scheme=http", ":authority=a", ":path=*"}, ":method=OPTIONS;:scheme=http;:authority=a;:path=*;"},
		{"connect", []string{":method=CONNECT", ":authority=a:443"}, ":method=CONNECT;:authority=a:443;"},
		{"trailer field", get("trailer=x", "http2-settings=y"), ":method=GET;:scheme=http;:authority=a.test;:path=/;trailer=x;"},
		{"space around a value", get("x-a= b "), ":method=GET;:scheme=http;:authority=a.test;:path=/;x-a=b;"},
		{"extended connect", []string{":method=CONNECT", ":scheme=http", ":authority=a", ":path=/ws", ":protocol=websocket"},
			":method=GET;:scheme=http;:authority=a;:path=/ws;upgrade=websocket;upgrade;"},

		{"upper case", get("X-Upper=a"), malformed},
		{"space in a name", get("x a=b"), malformed},
		{"empty name", get("=b"), malformed},
		{"colon in a name", get("x:a=b"), malformed},
		{"cr in a value", get("x-a=b\rc"), malformed},
		{"lf in a value", get("x-a=b\nc"), malformed},
		{"nul in a value", get("x-a=b\x00c"), malformed},
		{"lf in the path", []string{":method=GET", ":scheme=http", ":authority=a", ":path=/\nx"}, malformed},
		{"connection", get("connection=close"), malformed},
		{"keep-alive", get("keep-alive=1"), malformed},
		{"proxy-connection", get("proxy-connection=x"), malformed},
		{"transfer-encoding", get("transfer-encoding=chunked"), malformed},
		{"upgrade", get("upgrade=h2c"), malformed},
		{"te", get("te=gzip"), malformed},
		{"te list", get("te=trailers, gzip"), malformed},
		{"unknown pseudo", append([]string{":x=y"}, get()...), malformed},
		{"response pseudo", append([]string{":status=200"}, get()...), malformed},
		{"late pseudo", []string{":method=GET", ":scheme=http", ":authority=a", "x=y", ":path=/"}, malformed},
		{"two methods", append([]string{":method=GET"}, get()...), malformed},
		{"two paths", append([]string{":path=/"}, get()...), malformed},
		{"two schemes", append([]string{":scheme=http"}, get()...), malformed},
		{"two authorities", append([]string{":authority=b"}, get()...), malformed},
		{"no method", get()[1:], malformed},
		{"no scheme", []string{":method=GET", ":authority=a", ":path=/"}, malformed},
		{"no path", get()[:3], malformed},
		{"empty path", []string{":method=GET", ":scheme=http", ":authority=a", ":path="}, malformed},
		{"relative path", []string{":method=GET", ":scheme=http", ":authority=a", ":path=x"}, malformed},
		{"absolute path", []string{":method=GET", ":scheme=http", ":authority=a", ":path=http://b/"}, malformed},
		{"star", []string{":method=GET", ":scheme=http", ":authority=a", ":path=*"}, malformed},
		{"method with space", []string{":method=GET /x", ":scheme=http", ":authority=a", ":path=/"}, malformed},
		{"empty method", []string{":method=", ":scheme=http", ":authority=a", ":path=/"}, malformed},
		{"scheme", []string{":method=GET", ":scheme=ht tp", ":authority=a", ":path=/"}, malformed},
		{"length with end", get("content-length=1"), malformed},
		{"two lengths", get("content-length=0", "content-length=0"), malformed},
		{"signed length", get("content-length=+0"), malformed},
		{"connect with path", []string{":method=CONNECT", ":authority=a:443", ":path=/"}, malformed},
		{"connect without port", []string{":method=CONNECT", ":authority=a"}, malformed},
		{"protocol with get", append([]string{":protocol=websocket"}, get()...), malformed},

		{"host differs", get("host=b.test"), bad},
		{"two hosts", get("host=a.test", "host=a.test"), bad},
		{"no authority", []string{":method=GET", ":scheme=http", ":path=/"}, bad},
		{"empty authority", []string{":method=GET", ":scheme=http", ":authority=", ":path=/"}, bad},
		{"userinfo", []string{":method=GET", ":scheme=http", ":authority=u@a", ":path=/"}, bad},
		{"fragment", []string{":method=GET", ":scheme=http", ":authority=a", ":path=/#x"}, bad},
		{"space in the path", []string{":method=GET", ":scheme=http", ":authority=a", ":path=/ x"}, bad},
		{"underscore", get("x_a=b"), bad},
		{"expectation", get("expect=x"), "HEADERS 1 END :status=417"},
		{"too many", get(many...), "HEADERS 1 END :status=431"},
		{"too many crumbs", get(crumbs...), "HEADERS 1 END :status=431"},
		{"too large", get("x-a="+long, "x-b="+long, "x-c="+long), "HEADERS 1 END :status=431"},
	}
	x := newRig(t).site(Options{KeepStreamOnError: true, AllowConnect: true, MaxHeadBytes: 10000, Underscores: codec.UnderscoresReject}, show)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := x.wire()
			w.tb = t
			w.headers(1, true, tt.fields...)
			got := w.answer()
			switch {
			case strings.HasPrefix(tt.want, "HEADERS"), strings.HasPrefix(tt.want, "RST_STREAM"):
				if !strings.HasPrefix(got, tt.want) {
					t.Fatalf("got %q, want %q", got, tt.want)
				}
				w.alive(3)
			default:
				if body := w.answer(); body != "DATA 1 END "+tt.want {
					t.Fatalf("got %q and %q, want %q", got, body, tt.want)
				}
			}
		})
	}
}

// A malformed request ends the connection, as it does by default in Envoy.
func TestMalformedEndsConnection(t *testing.T) {
	x := newRig(t).site(Options{}, show)
	w := x.wire()
	w.headers(1, true, get("connection=close")...)
	w.wants("GOAWAY 1 PROTOCOL_ERROR field that belongs to a connection", "EOF")
	if n := x.stats.MessagingError.Value(); n != 1 {
		t.Errorf("rx_messaging_error %d", n)
	}
}

func TestRequestBodies(t *testing.T) {
	const malformed = "RST_STREAM 1 PROTOCOL_ERROR"
	head := ":method=POST;:scheme=http;:authority=a.test;:path=/;"
	tests := []struct {
		name string
		send func(w *wire)
		want string
	}{
		{"length", func(w *wire) {
			w.headers(1, false, post("content-length=3")...)
			w.must(w.WriteData(1, true, []byte("abc")))
		}, "DATA 1 END " + head + "content-length=3;"},
		{"in pieces with padding", func(w *wire) {
			w.headers(1, false, post("content-length=3")...)
			w.must(w.WriteDataPadded(1, false, []byte("ab"), make([]byte, 30)))
			w.must(w.WriteDataPadded(1, true, []byte("c"), make([]byte, 255)))
		}, "DATA 1 END " + head + "content-length=3;"},
		{"empty end", func(w *wire) {
			w.headers(1, false, post()...)
			w.must(w.WriteData(1, true, nil))
		}, "DATA 1 END " + head},
		{"trailers", func(w *wire) {
			w.headers(1, false, post()...)
			w.must(w.WriteData(1, false, []byte("ab")))
			w.headers(1, true, "x-t=1", "content-length=7", "x-envoy-y=z")
		}, "DATA 1 END " + head + "x-t~1;"},
		{"trailers with the exact length", func(w *wire) {
			w.headers(1, false, post("content-length=2")...)
			w.must(w.WriteData(1, false, []byte("ab")))
			w.headers(1, true, "x-t=1")
		}, "DATA 1 END " + head + "content-length=2;x-t~1;"},
		{"too much", func(w *wire) {
			w.headers(1, false, post("content-length=2")...)
			w.must(w.WriteData(1, true, []byte("abc")))
		}, malformed},
		{"too little", func(w *wire) {
			w.headers(1, false, post("content-length=4")...)
			w.must(w.WriteData(1, true, []byte("abc")))
		}, malformed},
		{"too little before trailers", func(w *wire) {
			w.headers(1, false, post("content-length=4")...)
			w.must(w.WriteData(1, false, []byte("abc")))
			w.headers(1, true, "x-t=1")
		}, malformed},
		{"none", func(w *wire) {
			w.headers(1, false, post("content-length=4")...)
			w.must(w.WriteData(1, true, nil))
		}, malformed},
		{"trailers without end", func(w *wire) {
			w.headers(1, false, post()...)
			w.headers(1, false, "x-t=1")
		}, malformed},
		{"pseudo in trailers", func(w *wire) {
			w.headers(1, false, post()...)
			w.headers(1, true, ":path=/")
		}, malformed},
		{"upper case in trailers", func(w *wire) {
			w.headers(1, false, post()...)
			w.headers(1, true, "X-T=1")
		}, malformed},
		{"connection in trailers", func(w *wire) {
			w.headers(1, false, post()...)
			w.headers(1, true, "connection=x")
		}, malformed},
	}
	x := newRig(t).site(Options{KeepStreamOnError: true}, show)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := x.wire()
			w.tb = t
			tt.send(w)
			got := w.answer()
			if strings.HasPrefix(got, "HEADERS") {
				got = w.answer()
			}
			if !strings.HasPrefix(got, tt.want) {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			w.alive(3)
		})
	}
}
