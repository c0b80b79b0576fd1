// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/proxy/proxytest"
)

// TestFrameFloods sends each kind of frame that costs the sender less than the
// receiver, without end: the connection ends, for the reason told in statistics.
func TestFrameFloods(t *testing.T) {
	huffman := strings.Repeat("0", 8000) // 5 bits each.
	open := func(block string) string { return frame(tHeaders, 0, 1, block) }
	for _, tt := range []struct {
		name  string
		first string
		frame func(i int) string
		code  uint32
		stat  string
	}{
		{"CONTINUATION", open(request("GET", "/")), func(int) string { return frame(tContinuation, 0, 1, block("a", "b")) }, enhanceYourCalm, "inbound_continuation_flood"},
		{"large CONTINUATION", open(request("GET", "/")), func(int) string {
			return frame(tContinuation, 0, 1, strings.Repeat(block("a", strings.Repeat("b", 100)), 100))
		},
			enhanceYourCalm, "inbound_continuation_flood"},
		{"Huffman CONTINUATION", open(request("GET", "/")), func(int) string { return frame(tContinuation, 0, 1, packed("a", huffman)) }, enhanceYourCalm, "inbound_continuation_flood"},
		{"empty CONTINUATION", open(request("GET", "/")), func(int) string { return frame(tContinuation, 0, 1, "") }, enhanceYourCalm, "inbound_empty_frames_flood"},
		{"empty DATA", headers(1, false, request("POST", "/slow")), func(int) string { return frame(tData, 0, 1, "") }, enhanceYourCalm, "inbound_empty_frames_flood"},
		{"padded empty DATA", headers(1, false, request("POST", "/slow")), func(int) string { return frame(tData, padded, 1, "\x03\x00\x00\x00") }, enhanceYourCalm, "inbound_empty_frames_flood"},
		{"PRIORITY", "", func(int) string { return frame(tPriority, 0, 1, u32(3)+"\x10") }, enhanceYourCalm, "inbound_priority_frames_flood"},
		{"WINDOW_UPDATE", "", func(int) string { return window(0, 1) }, enhanceYourCalm, "inbound_window_update_frames_flood"},
		{"WINDOW_UPDATE of a stream", headers(1, true, request("GET", "/slow")), func(int) string { return window(1, 1) }, enhanceYourCalm, "inbound_window_update_frames_flood"},
		{"SETTINGS", "", func(i int) string { return frame(tSettings, 0, 0, setting(4, uint32(i%65536))) }, enhanceYourCalm, "inbound_settings_frames_flood"},
		{"empty SETTINGS", "", func(int) string { return frame(tSettings, 0, 0, "") }, enhanceYourCalm, "inbound_settings_frames_flood"},
		{"SETTINGS ACK", "", func(int) string { return frame(tSettings, ack, 0, "") }, enhanceYourCalm, "inbound_settings_frames_flood"},
		{"empty HEADERS", "", func(i int) string { return frame(tHeaders, 0, uint32(2*i+1), "") }, protocolError, ""},
		{"RST_STREAM of closed streams", headers(1, true, request("GET", "/")), func(int) string { return rst(1, cancel) }, enhanceYourCalm, "inbound_closed_stream_frames_flood"},
		{"DATA of closed streams", headers(1, true, request("GET", "/")), func(int) string { return frame(tData, 0, 1, "x") }, enhanceYourCalm, "inbound_closed_stream_frames_flood"},
		{"malformed requests", "", func(i int) string { return headers(uint32(2*i+1), true, request("GET", "/", "Upper", "case")) }, protocolError, "rx_messaging_error"},
		{"streams beyond the limit", "", func(i int) string { return headers(uint32(2*i+1), true, request("GET", "/slow")) }, enhanceYourCalm, "inbound_refused_streams_flood"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBackend(t, false)
			p := edge(t, b, proxytest.Edge{})
			w := dialWire(t, p)
			before := heap()
			first := w.send(tt.first)
			const most = 200000
			n := 0
			for first == nil && n < most {
				var s strings.Builder
				for range 100 {
					s.WriteString(tt.frame(n))
					n++
				}
				if w.send(s.String()) != nil {
					break
				}
			}
			if n >= most {
				t.Fatalf("%d frames were let pass", n)
			}
			if code, ok := w.over(); ok && code != tt.code {
				t.Errorf("GOAWAY has code %d (%s), want %d", code, w.debug, tt.code)
			}
			if tt.stat != "" && p.Counter("http2."+tt.stat) != 1 {
				t.Errorf("%s was not counted", tt.stat)
			}
			p.WaitCounter("http.test.downstream_cx_protocol_error", 1)
			t.Logf("ended after %d frames, %d bytes: %d %q", n, w.sent, w.code, w.debug)
			if grown := heap() - before; grown > 100*int64(w.sent) && grown > 8<<20 {
				t.Errorf("%d bytes have the heap grow by %d", w.sent, grown)
			}
			b.release()
			settled(t, p)
		})
	}
}

// packed is a field with Huffman coding.
func packed(name, value string) string {
	v := string(hpack.AppendHuffmanString(nil, value))
	return "\x00" + integer(0, 7, len(name)) + name + integer(0x80, 7, len(v)) + v
}

// TestHarmlessFrames sends much of what costs the receiver no more than the sender: it
// is ignored or answered, and the connection goes on.
func TestHarmlessFrames(t *testing.T) {
	b := newBackend(t, false)
	p := edge(t, b, proxytest.Edge{})
	for _, tt := range []struct {
		name  string
		n     int
		frame func(i int) string
		pongs int
	}{
		{"unknown types", 100000, func(i int) string { return frame(byte(10+i%246), byte(i), uint32(i%100), strings.Repeat("x", i%64)) }, 0},
		{"PING", 20000, func(int) string { return frame(tPing, 0, 0, "12345678") }, 20000},
		{"PING ACK", 10000, func(int) string { return frame(tPing, ack, 0, "12345678") }, 0},
		{"large unknown", 1000, func(i int) string { return frame(0xf0, 0, 0, strings.Repeat("x", 16384)) }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := dialWire(t, p)
			var s strings.Builder
			for i := range tt.n {
				s.WriteString(tt.frame(i))
				if i%100 == 99 {
					if err := w.send(s.String()); err != nil {
						t.Fatalf("after %d: %v, %d %q", i, err, w.code, w.debug)
					}
					s.Reset()
					if tt.pongs > 0 {
						w.wait("the answers to PING", func() bool { return w.pongs == i+1 })
					}
				}
			}
			w.alive(1, "/")
			w.wait("all answers to PING", func() bool { return w.pongs == tt.pongs })
		})
	}
	settled(t, p)
}

// TestUnreadPings asks for answers and does not take them.
func TestUnreadPings(t *testing.T) {
	b := newBackend(t, false)
	p := edge(t, b, proxytest.Edge{})
	c := p.Dial()
	c.Send(preface, frame(tSettings, 0, 0, ""))
	before := heap()
	some := strings.Repeat(frame(tPing, 0, 0, "12345678"), 1000)
	n := 0
	for ; n < 10000; n++ {
		if c.TrySend(some) != nil {
			break
		}
		if p.Counter("http2.outbound_control_flood") > 0 {
			break
		}
	}
	proxytest.Eventually(t, "outbound_control_flood", func() (uint64, bool) {
		k := p.Counter("http2.outbound_control_flood")
		return k, k == 1
	})
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("the heap has grown by %d", grown)
	}
	p.WaitGauge("http.test.downstream_cx_active", 0)
}

// TestEveryFrame sends frames of all types in all sizes and on all kinds of streams,
// each on a connection of its own: the proxy ends the connection, or goes on.
func TestEveryFrame(t *testing.T) {
	b := newBackend(t, false)
	p := edge(t, b, proxytest.Edge{})
	sizes := []int{0, 1, 3, 4, 5, 6, 8, 9, 16383, 16384, 16385, 1<<24 - 1}
	for typ := range 256 {
		if testing.Short() && typ > 16 && typ != 255 {
			continue
		}
		if typ > 16 && typ%16 != 15 {
			continue
		}
		for _, size := range sizes {
			for _, stream := range []uint32{0, 1, 2, 3, 5, 1<<31 - 1, 1<<32 - 1} {
				for _, flags := range []byte{0, 0xff} {
					oneFrame(t, p, byte(typ), flags, stream, size)
				}
			}
		}
	}
	b.release()
	settled(t, p)
}

func oneFrame(t *testing.T, p *proxytest.Proxy, typ, flags byte, stream uint32, size int) {
	t.Helper()
	payload := strings.Repeat("\x01", min(size, 20000))
	f := frame(typ, flags, stream, payload)
	f = string([]byte{byte(size >> 16), byte(size >> 8), byte(size)}) + f[3:]
	c := p.Dial()
	defer c.Close()
	// An open stream, one that has ended, and then what is under test.
	_ = c.TrySend(preface, frame(tSettings, 0, 0, ""), headers(1, false, request("POST", "/")), headers(3, true, request("GET", "/")), f) // It may end the connection.
	_ = c.Conn().(interface{ CloseWrite() error }).CloseWrite()                                                                           // As above.
	got, _ := c.ReadAll()
	if !strings.Contains(got, "\x00\x00\x00\x04\x01") && !strings.Contains(got, "\x07\x00\x00\x00\x00\x00") && got != "" {
		t.Errorf("type %d, flags %#x, stream %d, %d bytes: got %q", typ, flags, stream, size, fmt.Sprintf("%.60q", got))
	}
}
