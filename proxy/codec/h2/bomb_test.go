// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/stream"
)

// Few bytes that refer to a large entry of the table, on streams whose answers find
// no window, must not become many bytes in memory (CVE-2026-47774).
func TestCompressionBomb(t *testing.T) {
	r := newRig(t)
	x := r.site(Options{}, func(_ *engine.Task, s *ServerStream) { _ = send(s, &sized{n: 100000}, -1) })
	w := x.wire(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	entry := "x-bomb=" + strings.Repeat("b", 3900)
	w.headers(1, true, get(entry)...)
	w.wants("HEADERS 1 ")
	fields := get()
	for range 14 {
		fields = append(fields, entry)
	}
	block := w.block(fields...)
	if len(block) > 50 {
		t.Fatalf("a block of %d bytes", len(block))
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const n = 1000
	for i := range uint32(n) {
		w.must(w.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 3, BlockFragment: block, EndStream: true, EndHeaders: true}))
	}
	refused := 0
	for answers := 0; answers < n; answers++ {
		if strings.HasSuffix(w.answer(), "REFUSED_STREAM") {
			refused++
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 3*maxHeld {
		t.Errorf("%d bytes of memory for %d sent", grown, n*(len(block)+9))
	}
	if refused < n-2*maxHeld/55000 {
		t.Errorf("only %d refused", refused)
	}
	w.Close()
	x.settle()
	x.on(func(*engine.Task) {
		if h := x.conns[0].srv.held; h != 0 {
			t.Errorf("%d bytes are held", h)
		}
	})
}

// A million references in one block cost a 431 and not the connection, or more than
// that the connection.
func TestLongBlocks(t *testing.T) {
	x := newRig(t).site(Options{}, hello)
	for _, tt := range []struct {
		refs int
		want string
	}{{30, "HEADERS 3 END :status=431"}, {60000, "GOAWAY"}} {
		w := x.wire()
		w.headers(1, true, get("x-bomb="+strings.Repeat("b", 3900))...)
		w.wants("HEADERS 1 ", "DATA 1 END")
		block := append(w.block(get()...), w.block("x-bomb="+strings.Repeat("b", 3900))...)
		ref := w.block("x-bomb=" + strings.Repeat("b", 3900))
		if len(ref) != 1 {
			t.Fatalf("a reference of %d bytes", len(ref))
		}
		for range tt.refs {
			block = append(block, ref...)
		}
		first := min(len(block), 16384)
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block[:first], EndStream: true, EndHeaders: first == len(block)})
		for block = block[first:]; len(block) > 0; {
			n := min(len(block), 16384)
			if w.WriteContinuation(3, n == len(block), block[:n]) != nil {
				break
			}
			block = block[n:]
		}
		got := w.answer()
		if tt.want == "GOAWAY" && got == "EOF" {
			continue
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%d references: %q", tt.refs, got)
		}
	}
}

// An interrupt ends a wait and nothing else: the stream can be used on.
func TestInterruptedWaits(t *testing.T) {
	errStop := errors.New("stop")
	var errs []error
	var task *engine.Task
	x := newRig(t).site(Options{}, func(t *engine.Task, s *ServerStream) {
		task = t
		_, err := s.Message().Body.Next()
		errs = append(errs, err)
		p, err := s.Message().Body.Next()
		if string(p) != "body" {
			errs = append(errs, err)
		}
		err = send(s, stream.NewBytes([]byte("answer")), -1)
		errs = append(errs, err)
		s.Reset()
	})
	w := x.wire(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	interrupt := func(waits int) {
		x.on(func(t *engine.Task) {
			for task == nil || len(errs) < waits {
				t.Yield()
			}
			for range 3 {
				t.Yield()
			}
			task.Interrupt(errStop)
		})
	}
	w.headers(1, false, post()...)
	interrupt(0)
	w.must(w.WriteData(1, true, []byte("body")))
	w.wants("HEADERS 1 ")
	interrupt(1)
	w.wants("RST_STREAM 1 INTERNAL_ERROR")
	x.settle()
	if len(errs) != 2 || !errors.Is(errs[0], errStop) || !errors.Is(errs[1], errStop) {
		t.Errorf("%v", errs)
	}
	var i *engine.Interrupted
	if !errors.As(errs[1], &i) {
		t.Errorf("%v", errs[1])
	}
}

// A connection that drains closes its side and waits for the client's: what the
// client still sends does not cost it the answer.
func TestDrainLingers(t *testing.T) {
	r := newRig(t)
	release := false
	x := r.site(Options{}, func(t *engine.Task, s *ServerStream) {
		for !release {
			t.Yield()
		}
		hello(t, s)
	})
	w := x.wire()
	w.headers(1, true, get()...)
	w.must(w.WritePing(false, [8]byte{}))
	w.wants("PING ACK")
	x.on(func(*engine.Task) { x.conns[0].srv.Drain() })
	w.wants("GOAWAY 2147483647", "PING")
	w.must(w.WritePing(true, drainPing))
	w.wants("GOAWAY 1")
	x.on(func(*engine.Task) { release = true })
	x.settle()
	for range 100 {
		w.must(w.WritePing(false, [8]byte{}))
	}
	w.wants("HEADERS 1 ", "DATA 1 END hello", "EOF")
	x.on(func(*engine.Task) {
		if x.conns[0].closed {
			t.Error("closed before the client")
		}
	})
	w.Close()
	x.on(func(t *engine.Task) {
		for !x.conns[0].closed {
			t.Yield()
		}
	})
	if _, err := w.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("%v", err)
	}
}
