// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// The server's limit of streams is kept, and the owner told when there is room.
func TestClientCapacity(t *testing.T) {
	b := newBackend(t)
	u := newRig(t).call(b.addr(), Options{MaxConcurrentStreams: 300})
	if n := u.Client.Capacity(); n != firstStreams {
		t.Errorf("capacity %d before the settings", n)
	}
	r1 := u.ask("GET", "/1", nil)
	w := b.accept(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 2})
	w.wants("HEADERS 1")
	for w.next() != "SETTINGS ACK" {
	}
	r2 := u.ask("GET", "/2", nil)
	w.wants("HEADERS 3")
	u.on(func(*engine.Task) {
		if u.Client.Capacity() != 0 || u.Client.Open() != nil || u.Client.Streams() != 2 {
			t.Error("more than two streams")
		}
	})
	w.headers(3, true, ":status=200")
	if _, err := r2.wait(t); err != nil {
		t.Error(err)
	}
	u.on(func(*engine.Task) {
		if u.Client.Capacity() != 1 {
			t.Error("no room")
		}
		if d := cmp.Diff([]string{"available"}, u.events); d != "" {
			t.Error(d)
		}
	})
	w.must(w.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0}))
	for w.next() != "SETTINGS ACK" {
	}
	u.on(func(*engine.Task) {
		if u.Client.Open() != nil {
			t.Error("a stream though none is allowed")
		}
	})
	w.headers(1, true, ":status=200")
	if _, err := r1.wait(t); err != nil {
		t.Error(err)
	}
	w.must(w.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 5}))
	for w.next() != "SETTINGS ACK" {
	}
	u.on(func(*engine.Task) {
		if d := cmp.Diff([]string{"available", "quiet", "available"}, u.events); d != "" {
			t.Error(d)
		}
		if u.Client.Capacity() != 5 {
			t.Errorf("capacity %d", u.Client.Capacity())
		}
	})
}

// GOAWAY: later streams are refused and may be sent again, earlier ones go on, and
// the connection ends with the last of them.
func TestClientGoAway(t *testing.T) {
	b := newBackend(t)
	u := newRig(t).call(b.addr(), Options{})
	r1, r2 := u.ask("GET", "/1", nil), u.ask("GET", "/2", nil)
	w := b.accept()
	w.wants("HEADERS 1", "HEADERS 3")
	w.must(w.WriteGoAway(1, http2.ErrCodeNo, nil))
	_, err := r2.wait(t)
	var reset *codec.ResetError
	if !errors.As(err, &reset) || !reset.Refused {
		t.Errorf("%v", err)
	}
	u.on(func(*engine.Task) {
		if u.Client.Open() != nil {
			t.Error("a stream on a connection that goes away")
		}
	})
	w.headers(1, true, ":status=200")
	if _, err := r1.wait(t); err != nil {
		t.Error(err)
	}
	w.wants("EOF")
	u.on(func(*engine.Task) {
		if d := cmp.Diff([]string{"going away"}, u.events); d != "" || !u.closed || u.err != nil {
			t.Errorf("%v %v %s", u.closed, u.err, d)
		}
	})
}

// Extended CONNECT waits for the server's consent, and is an upgrade on this side.
func TestClientUpgrade(t *testing.T) {
	for _, tt := range []struct {
		name     string
		settings []http2.Setting
		answer   string
		status   int
	}{
		{"granted", []http2.Setting{{ID: 8, Val: 1}}, ":status=200", 101},
		{"not granted", []http2.Setting{{ID: 8, Val: 1}}, ":status=403", 403},
		{"not known", nil, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBackend(t)
			u := newRig(t).call(b.addr(), Options{AllowConnect: true})
			done := make(chan error, 1)
			var status int
			var got []byte
			u.loop.Post(func() {
				u.loop.Go(engine.RunnerFunc(func(*engine.Task) {
					done <- func() error {
						s := u.Client.Open()
						defer s.Release()
						var h, rh header.Map
						var res stream.Message
						request(&h, "GET", "/ws", "upgrade", "websocket", "connection", "upgrade")
						m := stream.Message{Header: &h}
						if err := errors.Join(s.Open(&m, &codec.Request{Upgrade: true}), s.Flush()); err != nil {
							return err
						}
						if err := s.ReadResponse(&res, &rh); err != nil {
							return err
						}
						status = s.Head().Status
						if !s.Head().Tunnel {
							return nil
						}
						if string(rh.Get(header.Upgrade)) != "websocket" || string(rh.Get(header.Status)) != "101" {
							t.Errorf("%v", fieldsOf(&rh))
						}
						if err := s.SendTunnel(stream.NewBytes([]byte("ping"))); err != nil {
							return err
						}
						var err error
						got, err = stream.Collect(res.Body, nil, 100)
						return err
					}()
				}))
			})
			w := b.accept(tt.settings...)
			if tt.answer == "" {
				err := <-done
				var bad *codec.Error
				if !errors.As(err, &bad) {
					t.Errorf("%v", err)
				}
				return
			}
			w.wants("HEADERS 1 :method=CONNECT :protocol=websocket :scheme=http :authority=test :path=/ws")
			w.headers(1, tt.status != 101, tt.answer)
			if tt.status == 101 {
				w.wants("DATA 1 END ping")
				w.must(w.WriteData(1, true, []byte("pong")))
			}
			if err := <-done; err != nil || status != tt.status || tt.status == 101 && string(got) != "pong" {
				t.Errorf("%d %q %v", status, got, err)
			}
		})
	}
}

// The server's side of the same.
func TestServerUpgrade(t *testing.T) {
	x := newRig(t).site(Options{AllowConnect: true}, func(_ *engine.Task, s *ServerStream) {
		if !s.Head().Upgrade || string(s.Head().Protocol) != "websocket" {
			_ = reply(s, 400, "")
			return
		}
		var h header.Map
		h.Add(header.Status, "101")
		h.Add(header.Upgrade, "websocket")
		_, _ = s.WriteResponse(&stream.Message{Header: &h, Body: s.Tunnel(), Length: -1}, 101, &codec.Response{Tunnel: true})
	})
	w := x.wire()
	w.headers(1, false, ":method=CONNECT", ":scheme=http", ":authority=a", ":path=/", ":protocol=websocket")
	w.wants("HEADERS 1 :status=200")
	w.must(w.WriteData(1, false, []byte("one")))
	w.wants("DATA 1 one")
	w.must(w.WriteData(1, true, []byte("two")))
	w.wants("DATA 1 END two")
}

// A hostile server ends its own connection, and nothing else.
func TestHostileServers(t *testing.T) {
	tests := []struct {
		name string
		send func(w *wire) error
	}{
		{"push promise", func(w *wire) error {
			return w.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: w.block(get()...), EndHeaders: true})
		}},
		{"settings loop", func(w *wire) error {
			return w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 1})
		}},
		{"ping loop", func(w *wire) error { return w.WritePing(false, [8]byte{}) }},
		{"headers of a new stream", func(w *wire) error {
			return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 7, BlockFragment: w.block(":status=200"), EndHeaders: true})
		}},
		{"table beyond", func(w *wire) error {
			return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x3f, 0xff, 0xff, 0x7f}, EndHeaders: true})
		}},
		{"window loop", func(w *wire) error { return w.WriteWindowUpdate(0, 1) }},
		{"empty data", func(w *wire) error { return w.WriteData(1, false, nil) }},
		{"goaway loop", func(w *wire) error { return w.WriteGoAway(0, http2.ErrCodeProtocol, nil) }},
		{"enable push", func(w *wire) error { return w.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 1}) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBackend(t)
			u := newRig(t).call(b.addr(), Options{})
			r := u.ask("GET", "/", nil)
			w := b.accept()
			w.wants("HEADERS 1 ")
			for range 1_000_000 {
				if tt.send(w) != nil {
					break
				}
			}
			if _, err := r.wait(t); err == nil {
				t.Error("no error")
			}
			u.on(func(t *engine.Task) {
				for !u.closed {
					t.Yield()
				}
			})
		})
	}
}

// A body that is refused goes on no longer, and the stream of a request that was
// given up is reset.
func TestClientRelease(t *testing.T) {
	b := newBackend(t)
	u := newRig(t).call(b.addr(), Options{})
	u.on(func(t *engine.Task) {
		var h header.Map
		s := u.Client.Open()
		request(&h, "GET", "/")
		m := stream.Message{Header: &h}
		if err := errors.Join(s.Open(&m, &codec.Request{}), s.Flush()); err != nil {
			u.tb.Error(err)
		}
		s.Release()
		s = u.Client.Open()
		s.Release() // Never sent.
	})
	w := b.accept()
	w.wants("HEADERS 1 END", "RST_STREAM 1 CANCEL")
	w.headers(1, false, ":status=200")
	w.must(w.WriteData(1, true, []byte("late")))
	r := u.ask("GET", "/", nil)
	w.wants("HEADERS 3")
	w.headers(3, true, ":status=200")
	if _, err := r.wait(t); err != nil {
		t.Error(err)
	}
	u.on(func(*engine.Task) { u.Client.Drain() })
	w.wants("GOAWAY 0 NO_ERROR", "EOF")
}

func TestClientKeepAlive(t *testing.T) {
	b := newBackend(t)
	u := newRig(t).call(b.addr(), Options{KeepAlive: KeepAlive{IdleInterval: time.Millisecond, Timeout: 50 * time.Millisecond}})
	u.on(func(t *engine.Task) { _ = t.Sleep(5 * time.Millisecond) })
	r := u.ask("GET", "/", nil)
	w := b.accept()
	w.wants("PING weirkeep", "HEADERS 1")
	if _, err := r.wait(t); !errors.Is(err, ErrKeepAlive) {
		t.Errorf("%v", err)
	}
	w.wants("EOF")
}

// What waits to be written when an idle connection gives memory up is written all the same.
func TestTrimKeepsWhatWaits(t *testing.T) {
	b := newBackend(t)
	u := newRig(t).call(b.addr(), Options{})
	r := u.ask("GET", "/", nil)
	w := b.accept()
	w.wants("HEADERS 1")
	w.headers(1, true, ":status=200")
	if _, err := r.wait(t); err != nil {
		t.Error(err)
	}
	u.on(func(*engine.Task) {
		u.Client.Drain()
		u.Client.conn.trim()
	})
	w.wants("GOAWAY 0 NO_ERROR", "EOF")
}

// Requests that cannot be written cost nothing but themselves.
func TestRequestsThatCannotBeWritten(t *testing.T) {
	b := newBackend(t)
	u := newRig(t).call(b.addr(), Options{})
	u.on(func(*engine.Task) {
		for _, set := range [][2]string{
			{":method", "GET /"}, {":path", "x"}, {":path", "/ x"}, {":path", "/\r\n"}, {":authority", "a b"}, {":scheme", "h:"},
			{"x-a", "b\nc"}, {"x a", "b"},
		} {
			var h header.Map
			request(&h, "GET", "/")
			h.Set(header.NewName(set[0]), set[1])
			_, err := u.exchange(&stream.Message{Header: &h})
			var bad *codec.Error
			if !errors.As(err, &bad) || bad.Status != 500 {
				u.tb.Errorf("%q: %v", set, err)
			}
		}
		if u.Client.last != 0 {
			u.tb.Error("something was sent")
		}
	})
}
