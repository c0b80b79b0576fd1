// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// A host is a connection of the proxy to a server of HTTP/2 that says what it is
// told.
type host struct{ *proxytest.Session }

// next reads a frame.
func (h host) next() (typ, flags byte, id uint32, err error) {
	head, err := h.ReadN(9)
	if err != nil {
		return 0, 0, 0, err
	}
	_, err = h.ReadN(int(head[0])<<16 | int(head[1])<<8 | int(head[2]))
	return head[3], head[4], binary.BigEndian.Uint32([]byte(head[5:])), err
}

// request reads up to the head of the next request.
func (h host) request() (id uint32, err error) {
	for {
		typ, flags, id, err := h.next()
		switch {
		case err != nil:
			return 0, err
		case typ == tHeaders:
			return id, nil
		case typ == tSettings && flags&ack == 0:
			if err := h.Send(frame(tSettings, ack, 0, "")); err != nil {
				return 0, err
			}
		}
	}
}

// serve answers requests until the connection ends.
func (h host) serve(answer func(id uint32) string) {
	if _, err := h.ReadN(len(preface)); err != nil {
		return
	}
	if h.Send(frame(tSettings, 0, 0, "")) != nil {
		return
	}
	for {
		id, err := h.request()
		if err != nil || h.Send(answer(id)) != nil {
			return
		}
	}
}

// okHead is a response's head, and fine a whole response.
const okHead = "\x88"

func fine(id uint32) string {
	return headers(id, false, okHead) + frame(tData, endStream, id, "fine")
}

// bad returns answers that are wrong: before the response has begun and after.
var badAnswers = []struct {
	name   string
	answer func(id uint32) string
	// want is what the client sees: "5xx", "cut" for a response that is cut off, or
	// "200".
	want string
}{
	{"SETTINGS without end", func(id uint32) string {
		return strings.Repeat(frame(tSettings, 0, 0, setting(4, 70000)), 10000) + fine(id)
	}, "5xx"},
	{"SETTINGS with many entries", func(id uint32) string {
		return frame(tSettings, 0, 0, strings.Repeat(setting(5, 16384), 2000)) + fine(id)
	}, "200"},
	{"frame size too small", func(id uint32) string { return frame(tSettings, 0, 0, setting(5, 0)) + fine(id) }, "5xx"},
	{"frame size too large", func(id uint32) string { return frame(tSettings, 0, 0, setting(5, 1<<24)) + fine(id) }, "5xx"},
	{"largest frame size", func(id uint32) string { return frame(tSettings, 0, 0, setting(5, 1<<24-1)) + fine(id) }, "200"},
	{"no streams", func(id uint32) string { return frame(tSettings, 0, 0, setting(3, 0)+setting(3, 100)) + fine(id) }, "200"},
	{"first window too large", func(id uint32) string { return frame(tSettings, 0, 0, setting(4, 1<<32-1)) + fine(id) }, "5xx"},
	{"table sizes", func(id uint32) string { return frame(tSettings, 0, 0, setting(1, 1<<32-1)+setting(1, 0)) + fine(id) }, "200"},
	{"push", func(id uint32) string {
		return frame(tPush, endHeaders, id, u32(2)+request("GET", "/pushed")) + fine(id)
	}, "5xx"},
	{"pushed stream", func(id uint32) string { return headers(2, true, okHead) + fine(id) }, "5xx"},
	{"stream never opened", func(id uint32) string { return headers(id+100, true, okHead) + fine(id) }, "5xx"},
	{"data of a stream never opened", func(id uint32) string { return frame(tData, 0, id+100, "x") + fine(id) }, "5xx"},
	{"interim responses without end", func(id uint32) string {
		return strings.Repeat(headers(id, false, block(":status", "103", "link", "</a>")), 100000) + fine(id)
	}, "5xx"},
	{"interim response that ends", func(id uint32) string { return headers(id, true, block(":status", "103")) }, "5xx"},
	{"PING without end", func(id uint32) string { return strings.Repeat(frame(tPing, 0, 0, "12345678"), 500) + fine(id) }, "200"},
	{"data before the head", func(id uint32) string { return frame(tData, 0, id, "x") + fine(id) }, "5xx"},
	{"no status", func(id uint32) string { return headers(id, true, block("a", "b")) }, "5xx"},
	{"empty head", func(id uint32) string { return headers(id, true, "") }, "5xx"},
	{"status 101", func(id uint32) string { return headers(id, true, block(":status", "101")) }, "5xx"},
	{"status of two digits", func(id uint32) string { return headers(id, true, block(":status", "99")) }, "5xx"},
	{"status of words", func(id uint32) string { return headers(id, true, block(":status", "abc")) }, "5xx"},
	{"status twice", func(id uint32) string { return headers(id, true, block(":status", "200", ":status", "200")) }, "5xx"},
	{"status late", func(id uint32) string { return headers(id, true, block("a", "b", ":status", "200")) }, "5xx"},
	{"a request's field", func(id uint32) string { return headers(id, true, block(":status", "200", ":path", "/")) }, "5xx"},
	{"upper case", func(id uint32) string { return headers(id, true, okHead+block("A", "b")) }, "5xx"},
	{"CRLF in a value", func(id uint32) string { return headers(id, true, okHead+block("a", "b\r\nset-cookie: x=y")) }, "5xx"},
	{"NUL in a value", func(id uint32) string { return headers(id, true, okHead+block("a", "b\x00")) }, "5xx"},
	{"colon in a name", func(id uint32) string { return headers(id, true, okHead+block("a:b", "c")) }, "5xx"},
	{"transfer-encoding", func(id uint32) string { return headers(id, true, okHead+block("transfer-encoding", "chunked")) }, "5xx"},
	{"connection", func(id uint32) string { return headers(id, true, okHead+block("connection", "close")) }, "5xx"},
	{"content-length twice", func(id uint32) string {
		return headers(id, false, okHead+block("content-length", "1", "content-length", "2")) + frame(tData, endStream, id, "x")
	}, "5xx"},
	{"content-length of words", func(id uint32) string {
		return headers(id, false, okHead+block("content-length", "+1")) + frame(tData, endStream, id, "x")
	}, "5xx"},
	{"bad compression", func(id uint32) string { return headers(id, true, "\xff\xff\xff\xff\xff\xff") }, "5xx"},
	{"head too large", func(id uint32) string {
		return frame(tHeaders, 0, id, okHead) + strings.Repeat(frame(tContinuation, 0, id, block("a", strings.Repeat("b", 8000))), 11) + frame(tContinuation, endHeaders, id, "")
	}, "5xx"},
	{"CONTINUATION without end", func(id uint32) string {
		return frame(tHeaders, 0, id, okHead) + strings.Repeat(frame(tContinuation, 0, id, block("a", "b")), 10000)
	}, "5xx"},
	{"frame too large", func(id uint32) string { return frame(tHeaders, endHeaders, id, strings.Repeat("\x88", 16385)) }, "5xx"},
	{"huge frame announced", func(id uint32) string { return "\xff\xff\xff\x00\x00" + u32(id) + strings.Repeat("x", 100000) }, "5xx"},
	{"connection window overflow", func(uint32) string { return window(0, 1<<31-1) }, "5xx"},
	{"stream window overflow", func(id uint32) string { return window(id, 1<<31-1) }, "5xx"},
	{"window update of nothing", func(id uint32) string { return window(id, 0) }, "5xx"},
	{"not HTTP/2", func(uint32) string { return "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n" }, "5xx"},
	{"GOAWAY with an error", func(uint32) string { return frame(tGoAway, 0, 0, u32(0)+u32(internalError)) }, "200"},
	{"GOAWAY below the stream", func(uint32) string { return frame(tGoAway, 0, 0, u32(0)+u32(noError)) }, "200"},
	{"GOAWAY at the stream", func(id uint32) string { return frame(tGoAway, 0, 0, u32(id)+u32(noError)) + fine(id) }, "200"},
	{"GOAWAY far above the stream", func(id uint32) string { return frame(tGoAway, 0, 0, u32(1<<31-1)+u32(noError)) + fine(id) }, "200"},
	{"GOAWAY twice", func(id uint32) string {
		return frame(tGoAway, 0, 0, u32(1<<31-1)+u32(noError)) + frame(tGoAway, 0, 0, u32(id)+u32(noError)) + fine(id)
	}, "200"},
	{"GOAWAY that grows", func(id uint32) string {
		return frame(tGoAway, 0, 0, u32(id)+u32(noError)) + frame(tGoAway, 0, 0, u32(1<<31-1)+u32(noError)) + fine(id)
	}, "200"},
	{"refused", func(id uint32) string { return rst(id, refusedStream) }, "200"},
	{"cut content", func(id uint32) string {
		return headers(id, false, okHead) + frame(tData, 0, id, "x") + rst(id, internalError)
	}, "cut"},
	{"content too long", func(id uint32) string {
		return headers(id, false, okHead+block("content-length", "1")) + frame(tData, endStream, id, "xx")
	}, "cut"},
	{"content too short", func(id uint32) string {
		return headers(id, false, okHead+block("content-length", "9")) + frame(tData, endStream, id, "xx")
	}, "cut"},
	{"content that is missing", func(id uint32) string { return headers(id, true, okHead+block("content-length", "9")) }, "5xx"},
	{"empty DATA without end", func(id uint32) string {
		return headers(id, false, okHead) + strings.Repeat(frame(tData, 0, id, ""), 10000)
	}, "cut"},
	{"trailers that do not end", func(id uint32) string {
		return headers(id, false, okHead) + frame(tData, 0, id, "x") + headers(id, false, block("a", "b"))
	}, "cut"},
	{"trailers with a status", func(id uint32) string {
		return headers(id, false, okHead) + frame(tData, 0, id, "x") + headers(id, true, okHead)
	}, "cut"},
	{"heads after the end", func(id uint32) string { return fine(id) + headers(id, true, okHead) }, "200"},
	{"data after the end", func(id uint32) string { return fine(id) + frame(tData, 0, id, "more") }, "200"},
	{"reset after the end", func(id uint32) string { return fine(id) + rst(id, noError) }, "200"},
}

// TestBadHosts has hosts answer wrongly: the client is told, and the next request is
// served on another connection or the same.
func TestBadHosts(t *testing.T) {
	for _, tt := range badAnswers {
		t.Run(tt.name, func(t *testing.T) { t.Parallel(); badHost(t, tt.answer, tt.want) })
	}
	for code := range uint32(15) {
		if code != refusedStream {
			t.Run(fmt.Sprintf("reset with code %d", code), func(t *testing.T) {
				badHost(t, func(id uint32) string { return rst(id, code) }, "5xx")
			})
		}
	}
}

// one retries what was refused, and only that.
const one = `- {match: {prefix: /}, route: {cluster: up, timeout: 5s, retry_policy: {retry_on: refused-stream, num_retries: 2, retry_back_off: {base_interval: 0.001s}}}}`

func badHost(t *testing.T, answer func(id uint32) string, want string) {
	t.Helper()
	up := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		first := s.Number == 0
		host{s}.serve(func(id uint32) string {
			if first {
				first = false
				return answer(id)
			}
			return fine(id)
		})
	})
	p := proxytest.Start(t, proxytest.Edge{Cluster: http2Cluster, Routes: one}.YAML(), proxytest.Options{
		Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()},
	})
	w := dialWire(t, p)
	if err := w.send(headers(1, true, request("GET", "/"))); err != nil {
		t.Fatal(err)
	}
	r := w.reply(1)
	got := r.status
	switch {
	case r.reset && r.status == "200":
		got = "cut"
	case strings.HasPrefix(r.status, "5"):
		got = "5xx"
	}
	// A response whose fault arrives with its head may be refused as a whole.
	if got != want && !(want == "cut" && got == "5xx") {
		t.Errorf("got %s (%q, reset %v %d, %q), want %s", got, r.status, r.reset, r.code, r.bytes, want)
	}
	if want == "200" && string(r.bytes) != "fine" {
		t.Errorf("the body is %q", r.bytes)
	}
	for id := range uint32(3) {
		w.alive(2*id+3, "/")
	}
	if n := up.Connections(); n > 5 {
		t.Errorf("%d connections", n)
	}
	settled(t, p)
	unharmed(t, p)
}

// TestHostThatNeverReads takes a request's body no further than its buffers.
func TestHostThatNeverReads(t *testing.T) {
	up := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		if s.Send(frame(tSettings, 0, 0, setting(4, 1<<31-1))+window(0, 1<<30)) == nil {
			s.Hold(nil)
		}
	})
	p := proxytest.Start(t, proxytest.Edge{Cluster: http2Cluster, Manager: "stream_idle_timeout: 0.5s"}.YAML(), proxytest.Options{
		Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()},
	})
	c := p.Dial()
	c.Send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1000000000\r\n\r\n")
	before := heap()
	some := strings.Repeat("x", 1<<20)
	sent := 0
	for c.TrySend(some) == nil && sent < 1000 {
		sent++
	}
	if grown := heap() - before; grown > 32<<20 || sent >= 100 {
		t.Errorf("after %d MiB the heap has grown by %d", sent, grown)
	}
	settled(t, p)
	unharmed(t, p)
}

// TestHostThatNeverEnds sends a response that a client does not want any more.
func TestHostThatNeverEnds(t *testing.T) {
	ended := make(chan struct{})
	up := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		defer close(ended)
		if _, err := s.ReadN(len(preface)); err != nil {
			return
		}
		h := host{s}
		if s.Send(frame(tSettings, 0, 0, "")) != nil {
			return
		}
		id, err := h.request()
		if err != nil || s.Send(headers(id, false, okHead), frame(tData, 0, id, "x")) != nil {
			return
		}
		for { // Wants to hear that it is not wanted, and goes on.
			if typ, _, _, err := h.next(); err != nil || typ == tReset {
				break
			}
		}
		_ = s.Send(strings.Repeat(frame(tData, 0, id, strings.Repeat("x", 16384)), 1000)) // The proxy may have enough of it.
	})
	p := proxytest.Start(t, proxytest.Edge{Cluster: http2Cluster}.YAML(), proxytest.Options{
		Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()},
	})
	w := dialWire(t, p)
	if err := w.send(headers(1, true, request("GET", "/"))); err != nil {
		t.Fatal(err)
	}
	w.wait("the response's beginning", func() bool { return w.stream(1).body > 0 })
	if err := w.send(rst(1, cancel)); err != nil {
		t.Fatal(err)
	}
	<-ended
	settled(t, p)
	unharmed(t, p)
}
