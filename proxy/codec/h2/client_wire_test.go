// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// A backend is a listener whose connections a test serves frame by frame.
type backend struct {
	tb testing.TB
	ln net.Listener
}

func newBackend(tb testing.TB) *backend {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { ln.Close() })
	return &backend{tb, ln}
}

func (b *backend) addr() string { return b.ln.Addr().String() }

// accept takes a connection, reads the preface and greets.
func (b *backend) accept(settings ...http2.Setting) *wire {
	b.tb.Helper()
	c, err := b.ln.Accept()
	if err != nil {
		b.tb.Fatal(err)
	}
	w := newWire(b.tb, c)
	p := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c, p); err != nil || string(p) != http2.ClientPreface {
		b.tb.Fatalf("preface %q, %v", p, err)
	}
	w.must(w.WriteSettings(settings...))
	return w
}

// An asked is a request under way.
type asked struct {
	a    answer
	err  error
	done chan struct{}
}

// ask sends a request and goes on.
func (u *caller) ask(method, path string, body stream.Body, fields ...string) *asked {
	r := &asked{done: make(chan struct{})}
	u.loop.Post(func() {
		u.loop.Go(engine.RunnerFunc(func(*engine.Task) {
			defer close(r.done)
			var h header.Map
			request(&h, method, path, fields...)
			r.a, r.err = u.exchange(&stream.Message{Header: &h, Body: body, Length: -1})
		}))
	})
	return r
}

func (r *asked) wait(tb testing.TB) (answer, error) {
	tb.Helper()
	select {
	case <-r.done:
	case <-time.After(patience):
		tb.Fatal("no answer")
	}
	return r.a, r.err
}

// The preface, the settings and the first request leave in one write.
func TestClientGreetsWithRequest(t *testing.T) {
	b := newBackend(t)
	u := newRig(t).call(b.addr(), Options{})
	r := u.ask("GET", "/", nil)
	c, err := b.ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4096)
	n, err := c.Read(p)
	if err != nil || !bytes.HasPrefix(p[:n], []byte(http2.ClientPreface)) {
		t.Fatalf("%q, %v", p[:n], err)
	}
	w := newWire(t, c)
	w.Framer = http2.NewFramer(c, bytes.NewReader(p[len(http2.ClientPreface):n]))
	want := []string{"SETTINGS 2=0 3=1024 4=262144", "WINDOW_UPDATE 0 983041", "HEADERS 1 END :method=GET :scheme=http :authority=test :path=/"}
	for i := range want {
		got := w.next()
		got = strings.NewReplacer("ENABLE_PUSH", "2", "MAX_CONCURRENT_STREAMS", "3", "INITIAL_WINDOW_SIZE", "4").Replace(got)
		if got != want[i] {
			t.Errorf("got %q, want %q", got, want[i])
		}
	}
	c.Close()
	if _, err := r.wait(t); err != io.EOF && !engine.IsReset(err) {
		t.Errorf("%v", err)
	}
}

func TestResponses(t *testing.T) {
	const broken = "http2"
	type res struct {
		status  int
		interim []int
		body    string
		fields  map[string]string
		trailer map[string]string
		err     string // detail of a codec.Error, or the error's text
	}
	none := map[string]string{}
	tests := []struct {
		name   string
		method string
		send   func(w *wire)
		want   res
	}{
		{"no body", "GET", func(w *wire) { w.headers(1, true, ":status=200", "x-a=b") }, res{status: 200, fields: map[string]string{"x-a": "b"}}},
		{"body", "GET", func(w *wire) {
			w.headers(1, false, ":status=200")
			w.must(w.WriteDataPadded(1, true, []byte("abc"), make([]byte, 5)))
		}, res{status: 200, body: "abc", fields: none, trailer: none}},
		{"trailers", "GET", func(w *wire) {
			w.headers(1, false, ":status=200", "content-length=3")
			w.must(w.WriteData(1, false, []byte("abc")))
			w.headers(1, true, "grpc-status=0", "content-length=9")
		}, res{status: 200, body: "abc", fields: map[string]string{"content-length": "3"}, trailer: map[string]string{"grpc-status": "0"}}},
		{"interim", "GET", func(w *wire) {
			w.headers(1, false, ":status=100")
			w.headers(1, false, ":status=103", "link=x")
			w.headers(1, true, ":status=204")
		}, res{status: 204, interim: []int{100, 103}, fields: none}},
		{"head", "HEAD", func(w *wire) { w.headers(1, true, ":status=200", "content-length=10") }, res{status: 200, fields: map[string]string{"content-length": "10"}}},
		{"not modified", "GET", func(w *wire) { w.headers(1, true, ":status=304", "content-length=10") }, res{status: 304, fields: map[string]string{"content-length": "10"}}},
		{"host of a response", "GET", func(w *wire) { w.headers(1, true, ":status=200", "host=a", "cookie=b", "expect=c") },
			res{status: 200, fields: map[string]string{"host": "a", "cookie": "b", "expect": "c"}}},
		{"early end", "POST", func(w *wire) {
			w.headers(1, false, ":status=401")
			w.must(w.WriteData(1, true, []byte("no")))
			w.must(w.WriteRSTStream(1, http2.ErrCodeNo))
		}, res{status: 401, body: "no", fields: none, trailer: none}},

		{"no status", "GET", func(w *wire) { w.headers(1, true, "x-a=b") }, res{err: broken}},
		{"status 20", "GET", func(w *wire) { w.headers(1, true, ":status=20") }, res{err: broken}},
		{"status 101", "GET", func(w *wire) { w.headers(1, true, ":status=101") }, res{err: broken}},
		{"request pseudo", "GET", func(w *wire) { w.headers(1, true, ":status=200", ":path=/") }, res{err: broken}},
		{"connection", "GET", func(w *wire) { w.headers(1, true, ":status=200", "connection=close") }, res{err: broken}},
		{"interim that ends", "GET", func(w *wire) { w.headers(1, true, ":status=103") }, res{err: broken}},
		{"data first", "GET", func(w *wire) { w.must(w.WriteData(1, true, []byte("x"))) }, res{err: broken}},
		{"data behind interim", "GET", func(w *wire) {
			w.headers(1, false, ":status=103")
			w.must(w.WriteData(1, true, []byte("x")))
		}, res{status: 103, interim: []int{103}, err: broken}},
		{"data to head", "HEAD", func(w *wire) {
			w.headers(1, false, ":status=200")
			w.must(w.WriteData(1, true, []byte("x")))
		}, res{status: 200, fields: none}},
		{"data with 204", "GET", func(w *wire) {
			w.headers(1, false, ":status=204")
			w.must(w.WriteData(1, true, []byte("x")))
		}, res{status: 204, fields: none}},
		{"too short", "GET", func(w *wire) {
			w.headers(1, false, ":status=200", "content-length=3")
			w.must(w.WriteData(1, true, []byte("x")))
		}, res{status: 200, body: "x", err: broken}},
		{"many interim", "GET", func(w *wire) {
			var all []byte
			for range 50 {
				b := w.block(":status=103")
				all = append(all, 0, 0, byte(len(b)), 1, 4, 0, 0, 0, 1)
				all = append(all, b...)
			}
			w.raw(string(all))
		}, res{err: broken}},
		{"reset", "GET", func(w *wire) { w.must(w.WriteRSTStream(1, http2.ErrCodeInternal)) }, res{err: "INTERNAL_ERROR"}},
		{"refused", "GET", func(w *wire) { w.must(w.WriteRSTStream(1, http2.ErrCodeRefusedStream)) }, res{err: "REFUSED_STREAM refused"}},
		{"goaway", "GET", func(w *wire) { w.must(w.WriteGoAway(0, http2.ErrCodeNo, nil)) }, res{err: "GOAWAY refused"}},
		{"reset within", "GET", func(w *wire) {
			w.headers(1, false, ":status=200")
			w.must(w.WriteData(1, false, []byte("abc")))
			w.must(w.WriteRSTStream(1, http2.ErrCodeInternal))
		}, res{status: 200, body: "abc", err: "INTERNAL_ERROR"}},
		{"end", "GET", func(w *wire) { w.closeWrite() }, res{err: io.EOF.Error()}},
		{"end within", "GET", func(w *wire) {
			w.headers(1, false, ":status=200")
			w.must(w.WriteData(1, false, []byte("abc")))
			w.closeWrite()
		}, res{status: 200, body: "abc", err: ErrIncomplete.Error()}},
	}
	for _, keep := range []bool{true, false} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s keep %t", tt.name, keep), func(t *testing.T) {
				b := newBackend(t)
				u := newRig(t).call(b.addr(), Options{KeepStreamOnError: keep})
				var body stream.Body
				if tt.method == "POST" {
					body = &endless{}
				}
				r := u.ask(tt.method, "/", body)
				w := b.accept()
				w.wants("HEADERS 1 ")
				tt.send(w)
				a, err := r.wait(t)
				got := res{a.status, a.interim, a.body, a.fields, a.trailer, ""}
				got.err = describe(err)
				want := tt.want
				if want.err != "" { // What came before the error is not compared in full.
					got.fields, got.trailer, want.fields, want.trailer = nil, nil, nil, nil
					if got.interim != nil || want.err == broken {
						got.interim, want.interim, got.status, want.status, got.body, want.body = nil, nil, 0, 0, "", ""
					}
				}
				if d := cmp.Diff(want, got, cmp.AllowUnexported(res{})); d != "" {
					t.Errorf("%v\n%s", err, d)
				}
				if keep && !slices.Contains([]string{"end", "end within", "goaway", "early end"}, tt.name) {
					r := u.ask("GET", "/", nil)
					w.wantsSoon("HEADERS 3")
					w.headers(3, true, ":status=200")
					if a, err := r.wait(t); err != nil || a.status != 200 {
						t.Errorf("afterwards: %d %v", a.status, err)
					}
				}
			})
		}
	}
}

// closeWrite ends what is sent.
func (w *wire) closeWrite() { w.must(w.Conn.(*net.TCPConn).CloseWrite()) }

// wantsSoon reads answers up to one that begins as told.
func (w *wire) wantsSoon(prefix string) {
	w.tb.Helper()
	for {
		s := w.answer()
		if strings.HasPrefix(s, prefix) {
			return
		}
		if s == "EOF" || strings.HasPrefix(s, "GOAWAY") {
			w.tb.Fatalf("got %q, want %q", s, prefix)
		}
	}
}

func describe(err error) string {
	var bad *codec.Error
	var reset *codec.ResetError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &bad):
		if bad.Status != 502 {
			return bad.Error()
		}
		return bad.Detail[:5]
	case errors.As(err, &reset):
		if reset.Refused {
			return reset.Reason + " refused"
		}
		return reset.Reason
	case engine.IsReset(err):
		return io.EOF.Error()
	}
	return err.Error()
}
