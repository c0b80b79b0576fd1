// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"bytes"
	"io"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// tape is a transport that plays bytes in pieces and takes what is written.
type tape struct {
	in      []byte
	piece   int
	eof     bool
	written int
}

func (p *tape) Read(b []byte) (int, error) {
	if len(p.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.in[:min(len(p.in), p.piece)])
	p.in = p.in[n:]
	return n, nil
}

func (p *tape) Write(b []byte) (int, error) { p.written += len(b); return len(b), nil }
func (p *tape) Write2(a, b []byte) error    { p.written += len(a) + len(b); return nil }
func (p *tape) CloseWrite() error           { return nil }
func (p *tape) Ready() bool                 { return len(p.in) > 0 || p.eof }

// scribe makes frames for seeds.
func scribe(f func(w *http2.Framer, block func(...string) []byte)) []byte {
	var out, buf bytes.Buffer
	w := http2.NewFramer(&out, nil)
	w.AllowIllegalWrites = true
	enc := hpack.NewEncoder(&buf)
	f(w, func(fields ...string) []byte {
		buf.Reset()
		for i := 0; i+1 < len(fields); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		return bytes.Clone(buf.Bytes())
	})
	return out.Bytes()
}

// fuzzed is a handler for what comes out of a fuzzer.
type fuzzed struct {
	loop *engine.Loop
	srv  *Server
	jobs int
	bad  []string
	over bool
}

func (f *fuzzed) Request(s *ServerStream) {
	f.jobs++
	done := false
	s.SetOwner(&done)
	f.loop.Go(engine.RunnerFunc(func(t *engine.Task) {
		defer func() {
			f.jobs--
			s.Release()
		}()
		if e := s.Refusal(); e != nil {
			_ = reply(s, e.Status, "") // Nobody may be there to be told.
		} else {
			echo(t, s)
		}
		done = true
	}))
}

func (f *fuzzed) Gone(s *ServerStream, _ error) {
	gone := s.Owner().(*bool)
	if *gone {
		f.bad = append(f.bad, "gone after the end, or twice")
	}
	*gone = true
}
func (f *fuzzed) Quiet()     {}
func (f *fuzzed) Over(error) { f.over = true }

func FuzzServer(f *testing.F) {
	seed := func(g func(w *http2.Framer, block func(...string) []byte)) { f.Add(scribe(g), 1000, true) }
	head := []string{":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/"}
	seed(func(w *http2.Framer, block func(...string) []byte) {
		_ = w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3})
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(head...), EndHeaders: true})
		_ = w.WriteDataPadded(1, false, []byte("hello"), make([]byte, 3))
		_ = w.WriteWindowUpdate(1, 100)
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block("x-t", "1"), EndHeaders: true, EndStream: true})
		_ = w.WritePing(false, [8]byte{})
		_ = w.WriteGoAway(0, 0, nil)
	})
	seed(func(w *http2.Framer, block func(...string) []byte) {
		_ = w.WriteSettings()
		b := block(append(head, "content-length", "5", "cookie", "a", "cookie", "b")...)
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:4]})
		_ = w.WriteContinuation(1, true, b[4:])
		_ = w.WriteRSTStream(1, 8)
		_ = w.WriteData(1, true, []byte("late"))
		_ = w.WritePriority(3, http2.PriorityParam{StreamDep: 1})
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block("x", "y"), EndHeaders: true, EndStream: true})
	})
	r := newRig(f)
	f.Fuzz(func(t *testing.T, in []byte, piece int, keep bool) {
		if len(in) > 1<<16 {
			return
		}
		r.tb = t
		p := &tape{in: append([]byte(http2.ClientPreface), in...), piece: max(piece%5000, 1)}
		var st Stats
		r.on(func(task *engine.Task) {
			h := &fuzzed{loop: r.loop}
			h.srv = NewServer(codec.Ends{Transport: p, Loop: r.loop}, &Options{KeepStreamOnError: keep, AllowConnect: keep, MaxConcurrentStreams: 10}, &st, h)
			for !h.over && h.srv.Serve(task) {
				for range 4 {
					task.Yield()
				}
				p.eof = true
			}
			for i := 0; h.jobs > 0 || h.srv.out.active; i++ {
				if i > 10000 {
					t.Errorf("%d streams go on", h.jobs)
					return
				}
				task.Yield()
			}
			if h.srv.Streams() != 0 || h.srv.counted != 0 || h.srv.table.n != 0 || h.srv.queued != 0 || len(h.bad) > 0 {
				t.Errorf("left: %d streams, %d counted, %d in the table, %d bytes; %v",
					h.srv.Streams(), h.srv.counted, h.srv.table.n, h.srv.queued, h.bad)
			}
			if p.written > 100*len(in)+1000 {
				t.Errorf("%d bytes written for %d", p.written, len(in))
			}
		})
	})
}

func FuzzClient(f *testing.F) {
	seed := func(g func(w *http2.Framer, block func(...string) []byte)) { f.Add(scribe(g), 1000, true) }
	seed(func(w *http2.Framer, block func(...string) []byte) {
		_ = w.WriteSettings(http2.Setting{ID: 8, Val: 1})
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(":status", "103"), EndHeaders: true})
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(":status", "200", "content-length", "5"), EndHeaders: true})
		_ = w.WriteData(1, false, []byte("hello"))
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block("x-t", "1"), EndHeaders: true, EndStream: true})
		_ = w.WriteWindowUpdate(3, 100000)
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block(":status", "204"), EndHeaders: true, EndStream: true})
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, BlockFragment: block(":status", "200"), EndHeaders: true})
		_ = w.WriteData(5, true, []byte("tunnel"))
	})
	seed(func(w *http2.Framer, block func(...string) []byte) {
		_ = w.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
		_ = w.WriteRSTStream(1, 7)
		_ = w.WriteGoAway(3, 0, []byte("x"))
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block(":status", "500"), EndHeaders: true})
		_ = w.WritePushPromise(http2.PushPromiseParam{StreamID: 3, PromiseID: 2})
	})
	r := newRig(f)
	f.Fuzz(func(t *testing.T, in []byte, piece int, keep bool) {
		if len(in) > 1<<16 {
			return
		}
		r.tb = t
		p := &tape{in: bytes.Clone(in), piece: max(piece%5000, 1)}
		u := &caller{rig: r}
		o := Options{KeepStreamOnError: keep, AllowConnect: true}
		r.on(func(task *engine.Task) {
			c := NewClient(codec.Ends{Transport: p, Loop: r.loop}, &o, &u.stats, (*fuzzOwner)(u))
			u.Client = c
			jobs := 0
			for i := range 3 {
				jobs++
				r.loop.Go(engine.RunnerFunc(func(*engine.Task) {
					defer func() { jobs-- }()
					fuzzRequest(c, i)
				}))
			}
			for c.Serve(task) {
				for range 4 {
					task.Yield()
				}
				p.eof = true
			}
			for i := 0; jobs > 0 || c.out.active; i++ {
				if i > 10000 {
					t.Errorf("%d requests go on", jobs)
					return
				}
				task.Yield()
			}
			if c.Streams() != 0 || c.counted != 0 || c.table.n != 0 || c.queued != 0 || !u.closed {
				t.Errorf("left: %d streams, %d counted, %d in the table, %d bytes, closed %t", c.Streams(), c.counted, c.table.n, c.queued, u.closed)
			}
		})
	})
}

// fuzzOwner is a caller without a socket.
type fuzzOwner caller

func (*fuzzOwner) Available(*Client) {}
func (*fuzzOwner) GoingAway(*Client) {}
func (*fuzzOwner) Quiet(*Client)     {}
func (o *fuzzOwner) Closed(*Client, error) {
	if o.closed {
		o.tb.Error("closed twice")
	}
	o.closed = true
}

// fuzzRequest makes one of three kinds of request; how it ends is the fuzzer's.
func fuzzRequest(c *Client, kind int) {
	s := c.Open()
	if s == nil {
		return
	}
	defer s.Release()
	var h header.Map
	m := stream.Message{Header: &h, Length: -1}
	var up bool
	switch kind {
	case 0:
		request(&h, "GET", "/")
	case 1:
		request(&h, "POST", "/")
		m.Body = &sized{n: 100000}
	case 2:
		request(&h, "GET", "/", "upgrade", "websocket")
		up = true
	}
	if s.Open(&m, &codec.Request{Upgrade: up}) != nil {
		return
	}
	if kind == 1 {
		if s.SendBody(&m) != nil {
			return
		}
	} else if s.Flush() != nil {
		return
	}
	_, _ = readAnswer(s)
}
