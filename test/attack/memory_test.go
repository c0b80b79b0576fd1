// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// indexed refers to the newest entry of the dynamic table in one byte.
const indexed = "\xbe"

// bombs are header blocks whose fields are many times what they take on the wire
// (CVE-2026-47774, CVE-2026-49975). first goes before them into the table.
var bombs = []struct {
	name, first string
	block       func() string
}{
	{"one byte references", store("x", strings.Repeat("y", 4000)), func() string { return request("GET", "/slow") + strings.Repeat(indexed, 90) }},
	{"cookie crumbs", store("cookie", strings.Repeat("c", 4000)), func() string { return request("GET", "/slow") + strings.Repeat(indexed, 90) }},
	{"empty crumbs", store("cookie", ""), func() string { return request("GET", "/slow") + strings.Repeat(indexed, 90) }},
	{"references without end", store("x", strings.Repeat("y", 4000)), func() string { return request("GET", "/slow") + strings.Repeat(indexed, 16000) }},
	{"crumbs without end", store("cookie", ""), func() string { return request("GET", "/slow") + strings.Repeat(indexed, 16000) }},
	{"static references", "", func() string { return request("GET", "/slow") + strings.Repeat("\x90", 16000) }},
	{"references that just fit", store("x", strings.Repeat("y", 3900)), func() string { return request("GET", "/slow") + strings.Repeat(indexed, 14) }},
}

// store is a literal that goes to the dynamic table.
func store(name, value string) string {
	return "\x40" + integer(0, 7, len(name)) + name + integer(0, 7, len(value)) + value
}

// TestBombs sends header blocks that grow when they are unpacked, on streams that are
// held open by a window of nothing: the memory they take stays in proportion.
func TestBombs(t *testing.T) {
	for _, tt := range bombs {
		t.Run(tt.name, func(t *testing.T) {
			b := newBackend(t, true)
			p := edge(t, b, proxytest.Edge{Cluster: http2Cluster})
			w := dialWire(t, p, setting(4, 0))
			w.alive(1, "/")
			before := heap()
			w.sent = 0
			if tt.first != "" {
				_ = w.send(headers(3, true, request("GET", "/slow")+tt.first)) // What comes next tells.
			}
			bomb := tt.block()
			n := 0
			for n < 1000 && w.sent < 4<<20 {
				if w.send(headers(uint32(5+2*n), true, bomb)) != nil {
					break
				}
				n++
			}
			w.waits(func() bool { return len(w.streams) >= n/2 }, slack)
			grown := heap() - before
			t.Logf("%d blocks, %d bytes: the heap has grown by %d; ended %v %d %q; the host has %d", n, w.sent, grown, w.closed, w.code, w.debug, b.active.Load())
			// A thousand streams take some memory whatever they carry, here the host's, too.
			if grown > 100*int64(w.sent)+32<<20 {
				t.Errorf("%d bytes have the heap grow by %d", w.sent, grown)
			}
			b.release()
			_ = w.conn.Close() // Closed by the proxy, perhaps.
			settled(t, p)
		})
	}
}

// TestZeroWindow asks for much and takes nothing: what waits is bounded.
func TestZeroWindow(t *testing.T) {
	const streams = 300
	zeroWindow(t, "stream_idle_timeout: 0s", func(p *proxytest.Proxy, w *wire) {
		before := heap()
		ask(t, w, streams)
		statuses := map[string]int{}
		w.wait("heads of all responses", func() bool {
			clear(statuses)
			for _, s := range w.streams {
				statuses[s.status]++
			}
			return len(w.streams) == streams && statuses[""] == 0
		})
		if statuses["200"] < streams*9/10 {
			t.Errorf("the responses are %v", statuses)
		}
		// 4 MiB each, of which nobody takes any.
		if grown := heap() - before; grown > 300<<20 {
			t.Errorf("the heap has grown by %d MiB", grown>>20)
		} else {
			t.Logf("the heap has grown by %d KiB; responses by status: %v", grown>>10, statuses)
		}
		_ = w.conn.Close() // What waits has no end by itself.
		settled(t, p)
	})
}

// TestZeroWindowEnds: the time that such streams wait is bounded, too, and the connection serves on.
func TestZeroWindowEnds(t *testing.T) {
	const streams = 50
	zeroWindow(t, "stream_idle_timeout: 1s", func(p *proxytest.Proxy, w *wire) {
		ask(t, w, streams)
		// Where the time passes before a response has begun the client is told, and takes that no more than the others.
		w.wait("resets of idle streams", func() bool {
			for _, s := range w.streams {
				if !s.reset {
					return false
				}
			}
			return len(w.streams) == streams
		})
		p.WaitCounterPast("http.test.downstream_rq_idle_timeout", streams)
		settled(t, p)
		w.alive(2001, "/")
	})
}

// TestZeroWindowForReplies: nor do the proxy's own replies wait for ever, be it that one tells of the time that is over.
func TestZeroWindowForReplies(t *testing.T) {
	b := newBackend(t, false)
	p := edge(t, b, proxytest.Edge{Manager: "stream_idle_timeout: 0.3s", Routes: `- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: ok}}}
- {match: {prefix: /}, route: {cluster: up}}`})
	w := dialWire(t, p, setting(4, 0))
	for i, path := range []string{"/direct", "/slow"} {
		if err := w.send(headers(uint32(2*i+1), true, request("GET", path))); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[uint32]string{1: "200", 3: "504"} {
		if r := w.reply(id); r.status != want || !r.reset || r.body > 0 {
			t.Errorf("%q with %d bytes, reset %v, want %s that is broken off", r.status, r.body, r.reset, want)
		}
	}
	settled(t, p)
}

// zeroWindow runs a test against a host of either version, with a client that opens no window.
func zeroWindow(t *testing.T, manager string, test func(*proxytest.Proxy, *wire)) {
	t.Helper()
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 host %v", h2), func(t *testing.T) {
			b := newBackend(t, h2)
			e := proxytest.Edge{Manager: manager, Cluster: "circuit_breakers: {thresholds: [{max_requests: 10000, max_connections: 10000}]}\n"}
			if h2 {
				e.Cluster += http2Cluster
			}
			p := edge(t, b, e)
			test(p, dialWire(t, p, setting(4, 0)))
		})
	}
}

// ask sends requests for what is large on streams from 1.
func ask(t *testing.T, w *wire, streams int) {
	t.Helper()
	for i := range streams {
		if err := w.send(headers(uint32(2*i+1), true, request("GET", "/large"))); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWindowTricks changes windows in all ways there are.
func TestWindowTricks(t *testing.T) {
	for _, tt := range []struct {
		name   string
		frames string
		code   uint32
		fatal  bool
	}{
		{"largest first window", frame(tSettings, 0, 0, setting(4, 1<<31-1)), 0, false},
		{"first window too large", frame(tSettings, 0, 0, setting(4, 1<<31)), flowError, true},
		{"first window grows open ones too far", window(1, 1<<30) + frame(tSettings, 0, 0, setting(4, 1<<31-1)), flowError, true},
		{"first window to nothing and back", strings.Repeat(frame(tSettings, 0, 0, setting(4, 0))+frame(tSettings, 0, 0, setting(4, 65535)), 20), 0, false},
		{"negative windows", frame(tSettings, 0, 0, setting(4, 0)+setting(4, 1<<20)+setting(4, 0)+setting(4, 1<<20)), 0, false},
		{"connection overflow", window(0, 1<<31-1), flowError, true},
		{"connection update of nothing", window(0, 0), protocolError, true},
		{"frame size too small", frame(tSettings, 0, 0, setting(5, 16383)), protocolError, true},
		{"frame size too large", frame(tSettings, 0, 0, setting(5, 1<<24)), protocolError, true},
		{"push of a client", frame(tSettings, 0, 0, setting(2, 2)), protocolError, true},
		{"table sizes", frame(tSettings, 0, 0, setting(1, 0)+setting(1, 1<<32-1)+setting(1, 7)+setting(1, 4096)), 0, false},
		{"head list of nothing", frame(tSettings, 0, 0, setting(6, 0)), 0, false},
		{"unknown settings", frame(tSettings, 0, 0, strings.Repeat(setting(0xfff0, 1<<32-1), 2000)), 0, false},
		{"GOAWAY", frame(tGoAway, 0, 0, u32(0)+u32(noError)+"bye"), 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBackend(t, false)
			p := edge(t, b, proxytest.Edge{})
			w := dialWire(t, p)
			_ = w.send(headers(1, true, request("GET", "/slow")), tt.frames) // It may end the connection.
			if tt.fatal {
				if code, ok := w.over(); !ok || code != tt.code {
					t.Errorf("GOAWAY %v with code %d (%s), want %d", ok, code, w.debug, tt.code)
				}
			} else {
				b.release()
				if r := w.reply(1); r.status != "200" {
					t.Errorf("%q, reset %v %d, goaway %d %q", r.status, r.reset, r.code, w.code, w.debug)
				}
			}
			settled(t, p)
		})
	}
}

// TestDrip takes a response byte by byte: it arrives, and others are served meanwhile.
func TestDrip(t *testing.T) {
	b := newBackend(t, true)
	p := edge(t, b, proxytest.Edge{Cluster: http2Cluster})
	w := dialWire(t, p, setting(4, 1))
	if err := w.send(headers(1, true, request("GET", "/large"))); err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		w.wait("the next byte", func() bool { return w.stream(1).body > i || w.closed })
		if w.send(window(1, 1)) != nil {
			break
		}
	}
	if w.closed {
		t.Errorf("the connection has ended: %d %q", w.code, w.debug)
	}
	w.alive(3, "/")
	_ = w.conn.Close() // What is left of the response is not wanted.
	settled(t, p)
}
