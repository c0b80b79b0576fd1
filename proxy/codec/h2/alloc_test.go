// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"testing"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// steady serves without allocating.
func steady() func(t *engine.Task, s *ServerStream) {
	var h header.Map
	h.Add(header.Status, "200")
	h.Add(header.Server, "test")
	h.Add(header.ContentType, "text/plain")
	text := []byte("a hundred bytes or so are sent in the answer to each request, so that there is something to be copied")
	var body stream.Bytes
	m := stream.Message{Header: &h}
	var res codec.Response
	return func(_ *engine.Task, s *ServerStream) {
		if b := s.Message().Body; b != nil {
			for {
				if _, err := b.Next(); err != nil {
					break
				}
			}
		}
		body = *stream.NewBytes(text)
		m.Body, m.Length = &body, int64(len(text))
		if _, err := s.WriteResponse(&m, 200, &res); err != nil {
			panic(err)
		}
	}
}

// A trip is one exchange after the other over a caller, on a task.
type trip struct {
	u      *caller
	h, got header.Map
	m, res stream.Message
	req    codec.Request
	body   stream.Bytes
}

func newTrip(u *caller) *trip {
	r := &trip{u: u}
	request(&r.h, "POST", "/some/path", "user-agent", "test/1.0", "accept", "*/*", "x-own-name", "a value of its own")
	return r
}

func (r *trip) run(payload []byte) error {
	s := r.u.Client.Open()
	defer s.Release()
	r.m = stream.Message{Header: &r.h}
	if payload != nil {
		r.body = *stream.NewBytes(payload)
		r.m.Body, r.m.Length = &r.body, int64(len(payload))
	}
	if err := s.Open(&r.m, &r.req); err != nil {
		return err
	}
	var err error
	if payload == nil {
		err = s.Flush()
	} else {
		err = s.SendBody(&r.m)
	}
	if err != nil {
		return err
	}
	r.got.Reset()
	if err := s.ReadResponse(&r.res, &r.got); err != nil {
		return err
	}
	for {
		if _, err := r.res.Body.Next(); err != nil {
			return nil
		}
	}
}

func TestExchangeDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := newRig(t)
	x := r.site(Options{}, steady())
	u := r.call(x.addr, Options{})
	for _, tt := range []struct {
		name string
		size int
	}{{"without body", 0}, {"with a small body", 1000}, {"with a body of 20 kB", 20000}} {
		var payload []byte
		if tt.size > 0 {
			payload = make([]byte, tt.size)
		}
		var allocs float64
		r.on(func(*engine.Task) {
			p := newTrip(u)
			for range 100 {
				if err := p.run(payload); err != nil {
					t.Error(err)
				}
			}
			allocs = testing.AllocsPerRun(200, func() { _ = p.run(payload) })
		})
		if allocs > 0 {
			t.Errorf("%s: %v allocations for both ends", tt.name, allocs)
		}
	}
}

// An idle connection holds no buffer, no task and no stream.
func TestIdleConnection(t *testing.T) {
	r := newRig(t)
	x := r.site(Options{}, steady())
	u := r.call(x.addr, Options{})
	r.on(func(task *engine.Task) {
		p := newTrip(u)
		for range 10 {
			if err := p.run(make([]byte, 10000)); err != nil {
				t.Error(err)
			}
		}
		for u.Client.out.active || x.conns[0].srv.out.active || u.Client.within || x.conns[0].srv.within {
			task.Yield()
		}
		if err := task.Sleep(trimAfter * 3 / 2); err != nil {
			t.Error(err)
		}
		for i, c := range []*conn{&u.Client.conn, &x.conns[0].srv.conn} {
			if c.in.buf != nil || len(c.out.bufs) > 0 || c.table.slots != nil || c.in.carry != nil {
				t.Errorf("end %d: holds %v %v %v", i, c.in.buf != nil, len(c.out.bufs), len(c.table.slots))
			}
		}
		if u.Client.free != nil || u.Client.heads != nil || x.conns[0].srv.free != nil {
			t.Error("streams are kept")
		}
	})
}

func BenchmarkExchange(b *testing.B) {
	for _, bb := range []struct {
		name    string
		streams int
		size    int
	}{{"1 stream", 1, 0}, {"32 streams", 32, 0}, {"32 streams of 1 kB", 32, 1000}, {"8 streams of 1 MB", 8, 1 << 20}} {
		b.Run(bb.name, func(b *testing.B) {
			r := newRig(b)
			x := r.site(Options{}, steady())
			u := r.call(x.addr, Options{})
			var payload []byte
			if bb.size > 0 {
				payload = make([]byte, bb.size)
				b.SetBytes(int64(bb.size))
			}
			work := func(n int) {
				r.on(func(t *engine.Task) {
					left, running := n, bb.streams
					for range bb.streams {
						r.loop.Go(engine.RunnerFunc(func(*engine.Task) {
							p := newTrip(u)
							for left > 0 {
								left--
								if err := p.run(payload); err != nil {
									b.Error(err)
								}
							}
							running--
						}))
					}
					for running > 0 {
						if err := t.Sleep(1e6); err != nil {
							return
						}
					}
				})
			}
			work(1000)
			b.ReportAllocs()
			b.ResetTimer()
			work(b.N)
		})
	}
}
