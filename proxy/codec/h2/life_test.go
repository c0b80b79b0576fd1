// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// A drain loses no request: the first GOAWAY takes all, and the second comes when
// the client has seen the first.
func TestDrain(t *testing.T) {
	x := newRig(t).site(Options{}, hello)
	w := x.wire()
	w.alive(1)
	x.on(func(*engine.Task) { x.conns[0].srv.Drain() })
	w.wants("DATA 1 END", "GOAWAY 2147483647 NO_ERROR")
	w.headers(3, true, get()...) // It was on its way.
	ping := w.answer()
	if !strings.HasPrefix(ping, "PING ") {
		t.Fatalf("got %q", ping)
	}
	w.wants("HEADERS 3", "DATA 3 END")
	w.must(w.WritePing(true, drainPing))
	w.wants("GOAWAY 3 NO_ERROR", "EOF")
}

// Streams at work end before the connection does, and later ones are ignored.
func TestDrainWaitsForStreams(t *testing.T) {
	x := newRig(t).site(Options{}, func(t *engine.Task, s *ServerStream) {
		b := s.Message().Body
		for {
			if _, err := b.Next(); err != nil {
				break
			}
		}
		hello(t, s)
	})
	w := x.wire()
	w.headers(1, false, post()...)
	w.must(w.WritePing(false, [8]byte{1}))
	w.wants("PING ACK")
	x.on(func(*engine.Task) { x.conns[0].srv.Drain() })
	w.wants("GOAWAY 2147483647", "PING")
	w.must(w.WritePing(true, drainPing))
	w.wants("GOAWAY 1 NO_ERROR")
	w.headers(3, false, post()...)
	w.must(w.WriteData(3, false, []byte("x")))
	w.headers(3, true, "x-trailer=y")
	w.must(w.WriteData(1, true, []byte("x")))
	w.wants("HEADERS 1 ", "DATA 1 END hello", "EOF")
	x.settle()
	if x.requests != 1 {
		t.Errorf("%d requests", x.requests)
	}
}

// Without an answer to the PING the drain goes on after a second.
func TestDrainWithoutAnswer(t *testing.T) {
	x := newRig(t).site(Options{}, hello)
	w := x.wire()
	w.alive(1)
	x.on(func(*engine.Task) { x.conns[0].srv.Drain() })
	w.wants("DATA 1 END", "GOAWAY 2147483647", "PING", "GOAWAY 1 NO_ERROR", "EOF")
}

func TestKeepAlive(t *testing.T) {
	x := newRig(t).site(Options{KeepAlive: KeepAlive{Interval: 20 * time.Millisecond, Timeout: time.Second, Jitter: 10}}, hold)
	w := x.wire()
	w.headers(1, true, get()...)
	for range 3 {
		w.wants("PING weirkeep")
		w.must(w.WritePing(true, keepPing))
	}
	w.wants("PING weirkeep", "EOF")
	x.settle()
	if n := x.stats.KeepAliveTimeout.Value(); n != 1 {
		t.Errorf("keepalive_timeout %d", n)
	}
	if len(x.gone) != 1 || x.gone[0] != ErrKeepAlive.Error() {
		t.Errorf("gone: %v", x.gone)
	}
}

// An answer before the request has ended is whole: RST_STREAM with NO_ERROR tells
// the client that the rest is not wanted (RFC 9113 §8.1).
func TestEarlyAnswer(t *testing.T) {
	x := newRig(t).site(Options{}, func(_ *engine.Task, s *ServerStream) {
		_ = reply(s, 401, "no")
		if !s.Finish() {
			x := s.Owner().(*siteJob).site
			x.tb.Error("not finished")
		}
	})
	w := x.wire()
	w.headers(1, false, post()...)
	w.wants("HEADERS 1 :status=401", "DATA 1 END no", "RST_STREAM 1 NO_ERROR")
	w.must(w.WriteData(1, false, []byte("late")))
	w.headers(1, true, "x-late=trailer")
	w.alive(3)
}

func TestClientReset(t *testing.T) {
	var err error
	x := newRig(t).site(Options{}, func(_ *engine.Task, s *ServerStream) {
		if b := s.Message().Body; b != nil {
			_, err = b.Next()
			return
		}
		hello(nil, s)
	})
	w := x.wire()
	w.headers(1, false, post()...)
	w.must(w.WritePing(false, [8]byte{}))
	w.wants("PING ACK")
	w.must(w.WriteRSTStream(1, http2.ErrCodeCancel))
	w.alive(3)
	x.settle()
	if len(x.gone) != 1 || !strings.Contains(x.gone[0], "CANCEL") {
		t.Errorf("gone: %v", x.gone)
	}
	if !errors.Is(err, stream.ErrDownstreamGone) && !strings.Contains(err.Error(), "CANCEL") {
		t.Errorf("read: %v", err)
	}
	if n := x.stats.RxReset.Value(); n != 1 {
		t.Errorf("rx_reset %d", n)
	}
}

func TestClientGone(t *testing.T) {
	x := newRig(t).site(Options{}, hold)
	w := x.wire()
	w.headers(1, true, get()...)
	w.headers(3, false, post()...)
	w.must(w.WritePing(false, [8]byte{}))
	w.wants("PING ACK")
	w.Close()
	x.settle()
	if len(x.gone) != 2 || x.gone[0] != io.EOF.Error() {
		t.Errorf("gone: %v", x.gone)
	}
}

// What cannot be written is refused before anything of it is sent.
func TestResponsesThatCannotBeWritten(t *testing.T) {
	var errs []error
	x := newRig(t).site(Options{}, func(_ *engine.Task, s *ServerStream) {
		for _, f := range [][2]string{{"x-a", "b\r\nc: d"}, {"x-a", "b\x00"}, {"x a", "b"}, {"x-a:", "b"}, {":x", "y"}} {
			err := reply(s, 200, "x", f[0], f[1])
			_, _, begun := s.Sent()
			if begun {
				s.c.loop.Task().Interrupt(io.EOF)
			}
			errs = append(errs, err)
		}
		var h header.Map
		h.Add(header.Status, "2000")
		_, err := s.WriteResponse(&stream.Message{Header: &h}, 200, &codec.Response{})
		errs = append(errs, err)
		_ = reply(s, 500, "")
	})
	w := x.wire()
	w.headers(1, true, get()...)
	w.wants("HEADERS 1 END :status=500")
	x.settle()
	for i, err := range errs {
		var src *codec.SourceError
		var bad *codec.Error
		if !errors.As(err, &src) || !errors.As(err, &bad) || bad.Status != 500 {
			t.Errorf("%d: %v", i, err)
		}
	}
	if len(errs) != 6 {
		t.Errorf("%d errors", len(errs))
	}
}

// failing is a body that fails after some bytes.
type failing struct{ pieces []string }

func (b *failing) Next() ([]byte, error) {
	if len(b.pieces) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	p := b.pieces[0]
	b.pieces = b.pieces[1:]
	return []byte(p), nil
}
func (*failing) Ready() bool { return true }

func TestResponseBodies(t *testing.T) {
	type outcome struct {
		begun  bool
		source bool
	}
	tests := []struct {
		name   string
		body   stream.Body
		length int64
		want   string // of the last frame
		outcome
	}{
		{"fails at once", &failing{}, -1, "RST_STREAM 1 INTERNAL_ERROR", outcome{false, true}},
		{"fails later", &failing{pieces: []string{"abc"}}, -1, "RST_STREAM 1 INTERNAL_ERROR", outcome{true, true}},
		{"too long", stream.NewBytes([]byte("abc")), 2, "RST_STREAM 1 INTERNAL_ERROR", outcome{true, true}},
		{"too short", stream.NewBytes([]byte("abc")), 4, "RST_STREAM 1 INTERNAL_ERROR", outcome{true, true}},
		{"empty", stream.NewBytes(nil), -1, "HEADERS 1 END :status=200", outcome{true, false}},
		{"empty of length 0", stream.NewBytes(nil), 0, "HEADERS 1 END :status=200 content-length=0", outcome{true, false}},
		{"empty of length 1", stream.NewBytes(nil), 1, "RST_STREAM 1 INTERNAL_ERROR", outcome{true, true}},
		{"whole", stream.NewBytes([]byte("abc")), 3, "DATA 1 END abc", outcome{true, false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got outcome
			var err error
			x := newRig(t).site(Options{}, func(_ *engine.Task, s *ServerStream) {
				err = send(s, tt.body, tt.length)
				var src *codec.SourceError
				got.source = errors.As(err, &src)
				_, _, got.begun = s.Sent()
				if err != nil {
					s.Reset()
				}
			})
			w := x.wire()
			w.headers(1, true, get()...)
			last := w.answer()
			for last != tt.want && strings.HasPrefix(last, "HEADERS") || strings.HasPrefix(last, "DATA 1 abc") || strings.HasPrefix(last, "DATA 1  ") {
				last = w.answer()
			}
			x.settle()
			if last != tt.want || got != tt.outcome {
				t.Errorf("%q %v (%v), want %q %v", last, got, err, tt.want, tt.outcome)
			}
		})
	}
}

// Nothing stays behind: goroutines, memory and tables are as before after ten
// thousand streams, answered and aborted.
func TestTenThousandStreams(t *testing.T) {
	r := newRig(t)
	x := r.site(Options{MaxPrematureResets: 1 << 30}, func(t *engine.Task, s *ServerStream) {
		if string(s.Message().Header.Get(header.Path)) == "/echo" {
			echo(t, s)
			return
		}
		hold(t, s)
	})
	u := r.call(x.addr, Options{})
	body := []byte(strings.Repeat("b", 3000))
	cycle := func(n int) {
		r.on(func(task *engine.Task) {
			var h header.Map
			for i := range n {
				s := u.Client.Open()
				h.Reset()
				if i%2 == 0 {
					request(&h, "POST", "/echo")
					a, err := converse(s, &stream.Message{Header: &h, Body: stream.NewBytes(body), Length: int64(len(body))})
					if err != nil || len(a.body) != len(body) {
						t.Errorf("%d bytes, %v", len(a.body), err)
					}
				} else {
					request(&h, "GET", "/hold")
					m := stream.Message{Header: &h}
					if err := errors.Join(s.Open(&m, &codec.Request{}), s.Flush()); err != nil {
						t.Error(err)
					}
					task.Yield()
					task.Yield()
				}
				s.Release()
			}
		})
		x.settle()
	}
	cycle(500)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	cycle(10000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := runtime.NumGoroutine(); n > goroutines+2 {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	if after.HeapAlloc > before.HeapAlloc+1<<20 {
		t.Errorf("heap of %d, %d before", after.HeapAlloc, before.HeapAlloc)
	}
	if u.Client.Streams() != 0 || u.Client.counted != 0 || u.Client.table.n != 0 {
		t.Error("streams are left")
	}
}

// GoAway with an error ends everything at once.
func TestGoAway(t *testing.T) {
	x := newRig(t).site(Options{}, hold)
	w := x.wire()
	w.headers(1, true, get()...)
	w.must(w.WritePing(false, [8]byte{}))
	w.wants("PING ACK")
	x.on(func(*engine.Task) { x.conns[0].srv.GoAway(frame.EnhanceYourCalm, "too much") })
	w.wants("GOAWAY 1 ENHANCE_YOUR_CALM too much", "EOF")
	x.settle()
}
