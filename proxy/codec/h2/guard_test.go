// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/stats"
)

// hold serves until it is interrupted.
func hold(t *engine.Task, _ *ServerStream) {
	for t.Wait() == nil {
	}
}

// Each flood ends in GOAWAY with ENHANCE_YOUR_CALM, and is counted.
func TestFloods(t *testing.T) {
	tests := []struct {
		name  string
		o     Options
		serve func(*engine.Task, *ServerStream)
		stat  func(*Stats) *stats.Counter
		least int // below which nothing happens
		send  func(w *wire, i int) error
	}{
		{"rapid reset", Options{}, hold, func(s *Stats) *stats.Counter { return &s.ResetFlood }, 190, func(w *wire, i int) error {
			id := uint32(2*i + 1)
			if err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: w.block(get()...), EndStream: true, EndHeaders: true}); err != nil {
				return err
			}
			return w.WriteRSTStream(id, http2.ErrCodeCancel)
		}},
		{"settings", Options{}, hold, func(s *Stats) *stats.Counter { return &s.SettingsFlood }, 50, func(w *wire, i int) error {
			return w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)})
		}},
		{"empty data", Options{}, hold, func(s *Stats) *stats.Counter { return &s.EmptyFlood }, 1, func(w *wire, i int) error {
			if i == 0 {
				return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(post()...), EndHeaders: true})
			}
			return w.WriteData(1, false, nil)
		}},
		{"empty continuation", Options{MaxConsecutiveInboundEmptyFrames: 5}, hold, func(s *Stats) *stats.Counter { return &s.EmptyFlood }, 4, func(w *wire, i int) error {
			if i == 0 {
				return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(post()...)})
			}
			return w.WriteContinuation(1, false, nil)
		}},
		{"continuation", Options{}, hold, func(s *Stats) *stats.Counter { return &s.ContinuationFlood }, 8, func(w *wire, i int) error {
			if i == 0 {
				return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(post()...)})
			}
			return w.WriteContinuation(1, false, w.block("x-a=b"))
		}},
		{"continuation bytes", Options{MaxHeadBytes: 20000}, hold, func(s *Stats) *stats.Counter { return &s.ContinuationFlood }, 3, func(w *wire, i int) error {
			b := w.block("x-a=" + strings.Repeat("\t", 16000/4)) // 4 bytes each in Huffman code
			if i == 0 {
				return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b})
			}
			return w.WriteContinuation(1, false, append(b, make([]byte, 16384-len(b))...))
		}},
		{"priority", Options{MaxInboundPriorityFramesPerStream: 10}, hold, func(s *Stats) *stats.Counter { return &s.PriorityFlood }, 10, func(w *wire, _ int) error {
			return w.WritePriority(1, http2.PriorityParam{StreamDep: 3})
		}},
		{"window update", Options{}, hold, func(s *Stats) *stats.Counter { return &s.WindowUpdateFlood }, 5, func(w *wire, _ int) error {
			return w.WriteWindowUpdate(0, 1)
		}},
		{"data on a closed stream", Options{MaxGlitches: 20}, hello, func(s *Stats) *stats.Counter { return &s.LateFlood }, 15, func(w *wire, i int) error {
			if i == 0 {
				return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(get()...), EndHeaders: true, EndStream: true})
			}
			return w.WriteData(1, false, []byte("x"))
		}},
		{"data on a reset stream", Options{MaxGlitches: 20, KeepStreamOnError: true}, hold, func(s *Stats) *stats.Counter { return &s.LateFlood }, 250, func(w *wire, i int) error {
			if i == 0 {
				return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(post("content-length=0")...), EndHeaders: true})
			}
			return w.WriteData(1, false, []byte("x"))
		}},
		{"refused streams", Options{MaxConcurrentStreams: 1, MaxGlitches: 20}, hold, func(s *Stats) *stats.Counter { return &s.RefusedFlood }, 250, func(w *wire, i int) error {
			return w.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: w.block(get()...), EndHeaders: true, EndStream: true})
		}},
		{"malformed streams", Options{KeepStreamOnError: true, MaxGlitches: 20}, hold, func(s *Stats) *stats.Counter { return &s.StreamErrorFlood }, 18, func(w *wire, i int) error {
			return w.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: w.block(get("te=x")...), EndHeaders: true, EndStream: true})
		}},
		{"pings unread", Options{}, hold, func(s *Stats) *stats.Counter { return &s.ControlFlood }, 1000, func(w *wire, _ int) error {
			return w.WritePing(false, [8]byte{})
		}},
		{"refused heads unread", Options{}, hold, func(s *Stats) *stats.Counter { return &s.RefusedFlood }, 1000, func(w *wire, i int) error {
			return w.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: w.block(get("host=b")...), EndHeaders: true, EndStream: true})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newRig(t).site(tt.o, tt.serve)
			w := x.wire()
			sent := 0
			for ; sent < 1_000_000; sent++ {
				if tt.send(w, sent) != nil {
					break
				}
			}
			if sent < tt.least {
				t.Fatalf("over after %d", sent)
			}
			goaway := ""
			for s := w.answer(); s != "EOF"; s = w.answer() {
				if strings.HasPrefix(s, "GOAWAY") {
					goaway = s
				}
			}
			if goaway != "" && !strings.Contains(goaway, "ENHANCE_YOUR_CALM") {
				t.Errorf("ended with %q", goaway)
			}
			x.settle()
			if n := tt.stat(&x.stats).Value(); n != 1 {
				t.Errorf("counted %d times, ended with %q after %d", n, goaway, sent)
			}
		})
	}
}

// settle waits until no request is served.
func (x *site) settle() {
	x.tb.Helper()
	x.on(func(t *engine.Task) {
		for x.active > 0 {
			t.Yield()
		}
		for _, k := range x.conns {
			if n := k.srv.Streams(); n != 0 {
				x.tb.Errorf("%d streams left", n)
			}
			if k.srv.counted != 0 || k.srv.table.n != 0 || k.srv.queued != 0 {
				x.tb.Errorf("left: %d counted, %d in the table, %d bytes queued", k.srv.counted, k.srv.table.n, k.srv.queued)
			}
		}
	})
}

// Resets that a correct client makes do not end its connection.
func TestSomeResetsAreFine(t *testing.T) {
	x := newRig(t).site(Options{}, func(t *engine.Task, s *ServerStream) {
		if string(s.Message().Header.Get(pathName)) == "/hold" {
			hold(t, s)
			return
		}
		hello(t, s)
	})
	w := x.wire()
	for i := range 600 {
		id := uint32(4*i + 1)
		w.headers(id, true, ":method=GET", ":scheme=http", ":authority=a", ":path=/hold")
		w.must(w.WriteRSTStream(id, http2.ErrCodeCancel))
		w.alive(id + 2)
		w.wants(fmt.Sprintf("DATA %d END", id+2))
	}
}

// Streams that were reset go on counting while their requests are worked on,
// whoever reset them and however (CVE-2023-44487, CVE-2025-8671).
func TestZombiesCount(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reset func(w *wire, id uint32)
	}{
		{"by the client", func(w *wire, id uint32) { w.must(w.WriteRSTStream(id, http2.ErrCodeCancel)) }},
		{"window update by 0", func(w *wire, id uint32) { w.must(w.WriteRawFrame(http2.FrameWindowUpdate, 0, id, make([]byte, 4))) }},
		{"window overflow", func(w *wire, id uint32) { w.must(w.WriteWindowUpdate(id, 1<<31-1)) }},
		{"data behind the end", func(w *wire, id uint32) { w.must(w.WriteData(id, true, []byte("x"))) }},
		{"headers behind the end", func(w *wire, id uint32) { w.headers(id, true, get()...) }},
		{"dependency on itself", func(w *wire, id uint32) { w.must(w.WritePriority(id, http2.PriorityParam{StreamDep: id})) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var release atomic.Bool
			r := newRig(t)
			t.Cleanup(func() { release.Store(true) })
			started := 0
			x := r.site(Options{MaxConcurrentStreams: 10}, func(t *engine.Task, _ *ServerStream) {
				for started++; !release.Load(); { // Work that does not end with the stream.
					t.Yield()
				}
			})
			w := x.wire()
			id := func(i int) uint32 { return uint32(2*i + 1) }
			for i := range 10 {
				w.headers(id(i), true, get()...)
			}
			x.on(func(t *engine.Task) {
				for started < 10 {
					t.Yield()
				}
			})
			for i := range 10 {
				tt.reset(w, id(i))
			}
			for i := range 20 {
				w.headers(id(10+i), true, get()...)
			}
			refused := 0
			for refused < 20 {
				s := w.answer()
				switch {
				case strings.HasSuffix(s, "REFUSED_STREAM"):
					refused++
				case !strings.HasPrefix(s, "RST_STREAM"):
					t.Fatalf("got %q", s)
				}
			}
			release.Store(true)
			x.settle()
			if x.most != 10 || x.requests != 10 {
				t.Errorf("%d requests, %d at a time", x.requests, x.most)
			}
			if n := x.stats.RefusedStream.Value(); n != 20 {
				t.Errorf("stream_refused_errors %d", n)
			}
		})
	}
}
