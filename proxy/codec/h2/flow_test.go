// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// endless is a body without end that is always ready.
type endless struct{ p [32 << 10]byte }

func (b *endless) Next() ([]byte, error) { return b.p[:], nil }
func (b *endless) Ready() bool           { return true }

// sized is a body of n bytes in pieces of 32 KiB.
type sized struct {
	n int
	p [32 << 10]byte
}

func (b *sized) Next() ([]byte, error) {
	k := min(b.n, len(b.p))
	if b.n -= k; b.n == 0 {
		return b.p[:k], io.EOF
	}
	return b.p[:k], nil
}
func (b *sized) Ready() bool { return true }

func send(s *ServerStream, b stream.Body, length int64) error {
	var h header.Map
	h.Add(header.Status, "200")
	_, err := s.WriteResponse(&stream.Message{Header: &h, Body: b, Length: length}, 200, &codec.Response{})
	return err
}

// A client that opens no window gets what its window allows and no more; the rest
// is neither sent nor buffered, and comes when the window opens, be it in drips.
func TestSendWindow(t *testing.T) {
	x := newRig(t).site(Options{}, func(_ *engine.Task, s *ServerStream) { _ = send(s, &sized{n: 100}, 100) })
	w := x.wire(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	w.headers(1, true, get()...)
	w.wants("HEADERS 1 ")
	for i := range 10 {
		end := ""
		if i == 9 {
			end = " END"
		}
		w.wants("DATA 1" + end + " " + strings.Repeat("\x00", 10))
		if i < 9 {
			w.must(w.WriteWindowUpdate(1, 10))
		}
	}
	w.alive(3)
}

// RFC 9113 §6.9.2: a window may become negative, and must be climbed out of.
func TestNegativeWindow(t *testing.T) {
	x := newRig(t).site(Options{}, func(_ *engine.Task, s *ServerStream) { _ = send(s, &sized{n: 200}, 200) })
	w := x.wire(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
	w.headers(1, true, get()...)
	w.wants("HEADERS 1 ", "DATA 1 "+strings.Repeat("\x00", 100))
	w.must(w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 20})) // now -80
	w.must(w.WriteWindowUpdate(1, 80))                                                  // now 0
	w.must(w.WritePing(false, [8]byte{1}))
	w.wants("PING ACK")
	w.must(w.WriteWindowUpdate(1, 5))
	w.wants("DATA 1 " + strings.Repeat("\x00", 5))
	w.must(w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000}))
	w.wants("DATA 1 END " + strings.Repeat("\x00", 95))
}

// One stream must not keep another from its turn: a small answer comes while large
// ones are under way, and those advance alike.
func TestFairness(t *testing.T) {
	x := newRig(t).site(Options{}, func(_ *engine.Task, s *ServerStream) {
		if string(s.Message().Header.Get(header.Path)) == "/large" {
			_ = send(s, &endless{}, -1)
			return
		}
		hello(nil, s)
	})
	w := x.wire(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	w.must(w.WriteWindowUpdate(0, 1<<30))
	for id := uint32(1); id < 9; id += 2 {
		w.headers(id, true, ":method=GET", ":scheme=http", ":authority=a", ":path=/large")
	}
	got := map[string]int{}
	for len(got) < 4 { // Whoever came first has had some turns alone.
		if s := w.answer(); strings.HasPrefix(s, "DATA") {
			got[s[:6]] = 0
		}
	}
	for range 400 {
		s := w.answer()
		if strings.HasPrefix(s, "DATA") {
			got[s[:6]] += len(s) - 7
		}
	}
	w.headers(9, true, get()...)
	for n := 0; ; n++ {
		s := w.answer()
		if strings.HasPrefix(s, "HEADERS 9") {
			break
		}
		if strings.HasPrefix(s, "DATA") {
			got[s[:6]] += len(s) - 7
		}
		if n > 4000 {
			t.Fatal("a small answer waits for large ones")
		}
	}
	least, most := 1<<30, 0
	for _, n := range got {
		least, most = min(least, n), max(most, n)
	}
	if len(got) != 4 || most-least > most/4 {
		t.Errorf("bytes by stream: %v", got)
	}
}

// The connection's window is shared: streams that find it empty get their turns.
func TestConnectionWindow(t *testing.T) {
	x := newRig(t).site(Options{}, func(_ *engine.Task, s *ServerStream) { _ = send(s, &sized{n: 50000}, 50000) })
	w := x.wire()
	for id := uint32(1); id < 20; id += 2 {
		w.headers(id, true, get()...)
	}
	left, ended := 10*50000, 0
	for ended < 10 {
		s := w.answer()
		if !strings.HasPrefix(s, "DATA") {
			continue
		}
		_, body, _ := strings.Cut(s[5:], " ")
		if strings.HasPrefix(body, "END ") {
			ended++
			body = body[4:]
		}
		left -= len(body)
		w.must(w.WriteWindowUpdate(0, 5000))
	}
	if left != 0 {
		t.Errorf("%d bytes are missing", left)
	}
}

// A reader that is slow stops the sender: what is buffered is bounded by the
// windows, and goes on when it reads.
func TestReceiveWindow(t *testing.T) {
	for _, o := range []Options{{}, {InitialStreamWindow: 65535, InitialConnectionWindow: 65535}} {
		var read atomic.Bool
		var seen *ServerStream
		var total int
		x := newRig(t).site(o, func(t *engine.Task, s *ServerStream) {
			seen = s
			for !read.Load() {
				t.Yield()
			}
			b := s.Message().Body
			for {
				p, err := b.Next()
				if total += len(p); err != nil {
					break
				}
			}
			hello(t, s)
		})
		w := x.wire()
		w.headers(1, false, post()...)
		window, conn := 65535, 65535
		if o.InitialStreamWindow == 0 {
			window, conn = firstStreamWindow, firstConnectionWindow
			for w.next() != fmt.Sprintf("WINDOW_UPDATE 0 %d", conn-65535) {
			}
		}
		for sent := 0; sent < window; {
			n := min(16384, window-sent)
			w.must(w.WriteData(1, false, make([]byte, n)))
			sent += n
		}
		w.must(w.WritePing(false, [8]byte{1}))
		w.wants("PING ACK")
		x.on(func(*engine.Task) {
			if seen.queue.n != window {
				t.Errorf("%d bytes are queued", seen.queue.n)
			}
		})
		read.Store(true)
		updates := map[string]bool{}
		for len(updates) < 1 {
			if s := w.next(); strings.HasPrefix(s, "WINDOW_UPDATE 1 ") {
				updates[s] = true
			}
		}
		w.must(w.WriteData(1, true, make([]byte, 10000)))
		w.wants("HEADERS 1 ")
		x.settle()
		if total != window+10000 {
			t.Errorf("read %d", total)
		}
		w.must(w.WriteData(1, true, nil))
		w.wants("DATA 1 END hello", "RST_STREAM 1 STREAM_CLOSED")
	}
}

// A sender that ignores the window is cut off: the stream's, then the connection's.
func TestReceiveWindowExceeded(t *testing.T) {
	x := newRig(t).site(Options{InitialStreamWindow: 1000, InitialConnectionWindow: 70000}, hold)
	w := x.wire()
	w.headers(1, false, post()...)
	w.must(w.WriteData(1, false, make([]byte, 1001)))
	w.wants("RST_STREAM 1 FLOW_CONTROL_ERROR")
	for id := uint32(3); id < 200; id += 2 {
		if w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: w.block(post()...), EndHeaders: true}) != nil ||
			w.WriteData(id, false, make([]byte, 1000)) != nil {
			break
		}
	}
	w.wants("GOAWAY 139 FLOW_CONTROL_ERROR", "EOF")
}

// What arrives on a stream that was reset is given back at once: such streams do not
// use up the connection's window.
func TestCreditOfResetStreams(t *testing.T) {
	x := newRig(t).site(Options{InitialStreamWindow: 65535, InitialConnectionWindow: 65535}, func(_ *engine.Task, s *ServerStream) {
		_ = reply(s, 413, "")
	})
	w := x.wire()
	credit := 65535
	for id := uint32(1); id < 100; id += 2 {
		w.headers(id, false, post()...)
		got := false
		for sent := 0; sent < 20000; {
			for credit < 5000 || !got && sent > 0 {
				var n int
				s := w.next()
				if _, err := fmt.Sscanf(s, "WINDOW_UPDATE 0 %d", &n); err == nil {
					credit += n
				}
				got = got || s == fmt.Sprintf("RST_STREAM %d NO_ERROR", id)
			}
			w.must(w.WriteData(id, false, make([]byte, 5000)))
			sent += 5000
			credit -= 5000
		}
	}
	w.alive(101)
}

// Windows grow while the reader keeps up, and only then.
func TestWindowGrows(t *testing.T) {
	r := newRig(t)
	x := r.site(Options{}, func(t *engine.Task, s *ServerStream) {
		b := s.Message().Body
		for {
			if _, err := b.Next(); err != nil {
				break
			}
		}
		if s.recvMax <= firstStreamWindow || s.c.recvMax <= firstConnectionWindow {
			_ = reply(s, 500, fmt.Sprint(s.recvMax, s.c.recvMax))
			return
		}
		hello(t, s)
	})
	u := r.call(x.addr, Options{})
	a, err := u.post("/", strings.Repeat("x", 8<<20))
	if err != nil || a.status != 200 {
		t.Errorf("%d %s %v", a.status, a.body, err)
	}
}

// A byte does not cost a buffer.
func TestSmallBodiesHoldNoBuffers(t *testing.T) {
	var q queue
	q.loop = newRig(t).loop
	for range 4096 {
		q.push([]byte{1})
	}
	if len(q.bufs) != 0 {
		t.Error("4 KiB took a buffer")
	}
	q.push([]byte{1})
	if len(q.bufs) != 1 {
		t.Error("more than 4 KiB took none")
	}
	if n := len(q.next()) + len(q.next()); n != 4097 {
		t.Errorf("%d bytes", n)
	}
	if q.next() != nil || q.n != 0 || len(q.bufs) != 0 {
		t.Error("not empty")
	}
}
