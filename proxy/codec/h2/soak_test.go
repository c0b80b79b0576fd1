// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"os"
	"runtime"
	"testing"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// footprint is what a process holds.
type footprint struct {
	heap       uint64
	goroutines int
	files      int
}

// footprint measures once the collector has taken what is free. The loop is at
// work, so tasks that are kept for use again are among the goroutines.
func (r *rig) footprint() footprint {
	r.tb.Helper()
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		r.tb.Fatal(err)
	}
	return footprint{heap: m.HeapAlloc, goroutines: runtime.NumGoroutine(), files: len(files)}
}

// flat compares what is held with what was held before.
func (f footprint) flat(t *testing.T, before footprint, what string) {
	t.Helper()
	t.Logf("%s: heap %d KiB, %d goroutines, %d files; before %d KiB, %d, %d", what,
		f.heap>>10, f.goroutines, f.files, before.heap>>10, before.goroutines, before.files)
	if f.heap > before.heap+256<<10 {
		t.Errorf("%s: the heap has grown by %d KiB", what, (f.heap-before.heap)>>10)
	}
	if f.goroutines > before.goroutines {
		t.Errorf("%s: %d goroutines, %d before", what, f.goroutines, before.goroutines)
	}
	if f.files > before.files {
		t.Errorf("%s: %d files, %d before", what, f.files, before.files)
	}
}

// each runs n exchanges over a caller, streams at a time, and waits for them.
func (r *rig) each(u *caller, n, streams int, run func(p *trip) error) {
	r.tb.Helper()
	r.on(func(t *engine.Task) {
		left, running := n, streams
		for range streams {
			r.loop.Go(engine.RunnerFunc(func(*engine.Task) {
				defer func() { running-- }()
				p := newTrip(u)
				for left > 0 {
					left--
					if err := run(p); err != nil {
						r.tb.Errorf("an exchange: %v", err)
						return
					}
				}
			}))
		}
		for running > 0 {
			if err := t.Sleep(1e6); err != nil {
				return
			}
		}
	})
}

// A million streams over one connection leave it as ten thousand did.
func TestMillionStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("a million streams take some seconds")
	}
	n := 1_000_000
	if raceEnabled {
		n = 50_000
	}
	r := newRig(t)
	x := r.site(Options{}, steady())
	u := r.call(x.addr, Options{})
	get := func(p *trip) error { return p.run(nil) }
	r.each(u, 10_000, 64, get)
	before := r.footprint()
	r.each(u, n, 64, get)
	r.footprint().flat(t, before, "a million streams")
	if x.requests != n+10_000 || len(x.gone) > 0 || x.active != 0 {
		t.Errorf("%d requests were served, %d were lost, %d go on", x.requests, len(x.gone), x.active)
	}
}

// Nor do streams that a client gives up, in whatever state, leave anything.
func TestTenThousandAbortedStreams(t *testing.T) {
	r := newRig(t)
	// What is answered has no end: every stream is given up in its midst.
	endless := func(task *engine.Task, s *ServerStream) {
		var h header.Map
		h.Add(header.Status, "200")
		// It ends by the client's reset.
		_, _ = s.WriteResponse(&stream.Message{Header: &h, Body: stalled{task}, Length: -1}, 200, &codec.Response{})
	}
	x := r.site(Options{MaxPrematureResets: 1 << 20, MaxGlitches: 1 << 20}, endless)
	u := r.call(x.addr, Options{MaxGlitches: 1 << 20})
	body := make([]byte, 1000)
	turn := 0
	abort := func(p *trip) error {
		s := p.u.Client.Open()
		defer s.Release()
		p.m = stream.Message{Header: &p.h, Body: stalled{r.loop.Task()}, Length: -1}
		if turn++; turn%2 == 0 {
			p.m.Body = stream.NewPrefixed(body, p.m.Body)
		}
		if err := s.Open(&p.m, &p.req); err != nil {
			return err
		}
		if _, err := s.SendReady(&p.m, 1<<20); err != nil {
			return err
		}
		if err := s.Flush(); err != nil {
			return err
		}
		if turn%3 == 0 {
			p.got.Reset()
			if err := s.ReadResponse(&p.res, &p.got); err != nil {
				return err
			}
		}
		if turn%5 == 0 {
			s.Reset(frame.InternalError)
		}
		r.loop.Task().Yield() // What waits to be written leaves.
		return nil
	}
	r.each(u, 2_000, 64, abort)
	r.settled(x)
	before := r.footprint()
	r.each(u, 10_000, 64, abort)
	r.settled(x)
	x.gone = nil
	r.footprint().flat(t, before, "10,000 aborted streams")
	r.on(func(*engine.Task) {
		if n := u.Client.Streams() + x.conns[0].srv.Streams() + x.active + u.counted + x.conns[0].srv.counted; n != 0 {
			t.Errorf("%d streams are still in use", n)
		}
		if u.queued != 0 || x.conns[0].srv.queued != 0 || x.conns[0].srv.held != 0 || u.closed {
			t.Errorf("bytes left: %d, %d, %d; closed: %v", u.queued, x.conns[0].srv.queued, x.conns[0].srv.held, u.closed)
		}
	})
}

// settled waits until a site has nothing to do, and forgets whom it has lost.
func (r *rig) settled(x *site) {
	r.tb.Helper()
	r.on(func(t *engine.Task) {
		for x.active > 0 {
			if err := t.Sleep(1e6); err != nil {
				return
			}
		}
		x.gone = nil
	})
}

// stalled is a body that has begun and never goes on.
type stalled struct{ t *engine.Task }

func (b stalled) Next() ([]byte, error) {
	for {
		if err := b.t.Wait(); err != nil {
			return nil, err
		}
	}
}

func (stalled) Ready() bool { return false }
