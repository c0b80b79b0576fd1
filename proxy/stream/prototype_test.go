// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/stream/streamtest"
)

// The filters here are what the interface was settled with
// (docs/design/0001-filter-interface.md). They are kept as its tests.

func TestMain(m *testing.M) { leak.Main(m) }

// compressor compresses responses as they come: what has arrived is sent before
// the next piece is waited for.
type compressor struct{}

func (compressor) Request(*stream.Stream) error { return nil }

func (compressor) Response(s *stream.Stream) error {
	m := &s.Response
	accepts := bytes.Contains(s.Request.Header.Get(header.AcceptEncoding), []byte("gzip"))
	if m.Body == nil || !accepts || m.Header.Has(header.ContentEncoding) {
		return nil
	}
	m.Header.Del(header.ContentLength)
	m.Header.Set(header.ContentEncoding, "gzip")
	m.Header.Append(header.Vary, []byte("accept-encoding"))
	m.Length = -1
	z := &zipped{body: m.Body}
	z.w = gzip.NewWriter(&z.out)
	m.Body = z
	return nil
}

type zipped struct {
	body stream.Body
	out  bytes.Buffer
	w    *gzip.Writer
	done bool
}

func (z *zipped) Next() ([]byte, error) {
	if z.done {
		return nil, io.EOF
	}
	z.out.Reset() // What was handed out is the reader's no more.
	p, err := z.body.Next()
	if err != nil && err != io.EOF {
		return nil, err
	}
	if _, werr := z.w.Write(p); werr != nil {
		return nil, werr
	}
	if err == io.EOF {
		z.done = true
		if werr := z.w.Close(); werr != nil {
			return nil, werr
		}
		return z.out.Bytes(), io.EOF
	}
	if werr := z.w.Flush(); werr != nil {
		return nil, werr
	}
	return z.out.Bytes(), nil
}

func (z *zipped) Ready() bool { return z.done || z.body.Ready() }

func TestCompressor(t *testing.T) {
	second := make(chan struct{})
	var raw []byte
	text := func() string { // as far as the client can read it
		zr, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return ""
		}
		// The end may not be there yet.
		b, _ := io.ReadAll(zr)
		return string(b)
	}
	rig := streamtest.New(t)
	rig.AddFilter("compressor", compressor{})
	res := rig.Run(streamtest.Request{
		Header: []string{"accept-encoding: br, gzip"},
		OnPiece: func(p string) {
			if raw = append(raw, p...); text() == "hello " {
				close(second) // Only now does the upstream say more.
			}
		},
	}, streamtest.Upstream{Header: []string{"vary: origin"}, Body: []streamtest.Piece{{Data: "hello "}, {Data: "world", After: second}}})
	if text() != "hello world" {
		t.Errorf("%q", text())
	}
	if res.Header.Has("content-length") || res.Header.Get("content-encoding") != "gzip" || res.Header.Get("vary") != "origin,accept-encoding" || res.Length != -1 {
		t.Errorf("head: %v, length %d", res.Header, res.Length)
	}
	broken := errors.New("broken")
	res = rig.Run(streamtest.Request{Header: []string{"accept-encoding: gzip"}}, streamtest.Upstream{Body: []streamtest.Piece{{Data: "a"}, {Err: broken}}})
	if !errors.Is(res.Err, broken) {
		t.Errorf("a broken body ended with %v", res.Err)
	}
}

// processor hands the bodies of both directions to goroutines of another
// service, which may send pieces on, change, keep or add them as they like and
// when they like: full duplex, as ext_proc is.
type processor struct {
	slot  stream.Slot
	serve func(ctx context.Context, response bool, in <-chan []byte, out chan<- []byte)
}

type processed struct{ request, response *exchange }

func (f *processor) Request(s *stream.Stream) error {
	if s.Request.Body != nil {
		st := stream.State[processed](s, f.slot)
		st.request = f.wrap(s, &s.Request, false)
	}
	return nil
}

func (f *processor) Response(s *stream.Stream) error {
	if s.Response.Body != nil {
		st := stream.State[processed](s, f.slot)
		st.response = f.wrap(s, &s.Response, true)
	}
	return nil
}

func (f *processor) End(s *stream.Stream) {
	st := stream.State[processed](s, f.slot)
	for _, x := range []*exchange{st.request, st.response} {
		if x != nil {
			x.close()
		}
	}
}

func (f *processor) wrap(s *stream.Stream, m *stream.Message, response bool) *exchange {
	m.Header.Del(header.ContentLength)
	m.Length = -1
	x := &exchange{s: s, body: m.Body, in: make(chan []byte), out: make(chan []byte)}
	x.ctx, x.cancel = context.WithCancel(context.Background())
	x.served = make(chan struct{})
	go func() {
		defer close(x.served)
		defer close(x.out)
		f.serve(x.ctx, response, x.in, x.out)
	}()
	m.Body = x
	return x
}

// exchange is one direction. Two things are waited for at once, the next piece
// and what the service says, so there is a task for each: a pump feeds the
// service, and whoever reads the body waits for its answers.
type exchange struct {
	s       *stream.Stream
	body    stream.Body
	in, out chan []byte
	ctx     context.Context
	cancel  context.CancelFunc
	served  chan struct{}

	started bool
	pump    *engine.Task // nil once it has ended
	err     error        // what broke the source off
}

func (x *exchange) Next() ([]byte, error) {
	if !x.started {
		x.started = true
		x.s.Task().Loop().Go(x)
	}
	var p []byte
	var ok bool
	err := x.s.Await(func(ctx context.Context) {
		select {
		case p, ok = <-x.out:
		case <-ctx.Done():
		}
	})
	switch {
	case err != nil:
		return nil, err
	case !ok && x.err != nil:
		return nil, x.err
	case !ok:
		return nil, io.EOF
	}
	return p, nil
}

// Ready is false: that a channel is not empty now is nothing to rely on.
func (x *exchange) Ready() bool { return false }

// Run is the pump.
func (x *exchange) Run(t *engine.Task) {
	x.pump = t
	defer func() { x.pump = nil }()
	defer close(x.in)
	for {
		p, err := x.body.Next()
		if len(p) > 0 {
			// The service keeps what it is given, and p is a view.
			piece := bytes.Clone(p)
			if aerr := x.s.Await(func(ctx context.Context) {
				select {
				case x.in <- piece:
				case <-x.served:
				case <-ctx.Done():
				}
			}); aerr != nil {
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				x.err = err
			}
			return
		}
	}
}

// close ends the pump and the service, whatever they wait for.
func (x *exchange) close() {
	x.cancel()
	for x.pump != nil {
		x.pump.Interrupt(stream.ErrDownstreamGone)
		x.s.Running().Yield()
	}
	x.s.Foreign(func() { <-x.served })
}

// shout changes each piece as it comes and ends with one of its own.
func shout(ctx context.Context, response bool, in <-chan []byte, out chan<- []byte) {
	last := []byte("?")
	if response {
		last = []byte("!")
	}
	send := func(p []byte) {
		select {
		case out <- p:
		case <-ctx.Done():
		}
	}
	for {
		select {
		case p, ok := <-in:
			if !ok {
				send(last)
				return
			}
			send(bytes.ToUpper(p))
		case <-ctx.Done():
			return
		}
	}
}

func TestFullDuplex(t *testing.T) {
	// A conversation: each side says its next word when it has heard the other's,
	// and the response ends when the whole request has been heard: once a response
	// is over, nobody reads what is left of its request.
	a, b, c := make(chan struct{}), make(chan struct{}), make(chan struct{})
	hear := func(word string, ch chan struct{}) func(string) {
		return func(p string) {
			if p == word {
				close(ch)
			}
		}
	}
	rig := streamtest.New(t)
	rig.AddFilter("processor", &processor{slot: 0, serve: shout})
	both := func(fs ...func(string)) func(string) {
		return func(p string) {
			for _, f := range fs {
				f(p)
			}
		}
	}
	res := rig.Run(streamtest.Request{
		Chunked: true,
		Body:    []streamtest.Piece{{Data: "ping"}, {Data: "ping2", After: b}},
		OnPiece: hear("PONG", b),
	}, streamtest.Upstream{
		Duplex: true, Chunked: true,
		OnPiece: both(hear("PING", a), hear("?", c)),
		Body:    []streamtest.Piece{{Data: "pong", After: a}, {Data: "pong2", After: c}},
	})
	if res.Upstream.Body != "PINGPING2?" || res.Body != "PONGPONG2!" {
		t.Errorf("upstream %q, client %q", res.Upstream.Body, res.Body)
	}
}

func TestFullDuplexAbandoned(t *testing.T) {
	never := make(chan struct{})
	heard := make(chan struct{})
	rig := streamtest.New(t)
	rig.AddFilter("processor", &processor{slot: 0, serve: shout})
	call := rig.Start(streamtest.Request{
		Chunked: true, Body: []streamtest.Piece{{Data: "a"}, {Data: "b", After: never}},
		OnPiece: func(string) { close(heard) },
	}, streamtest.Upstream{
		Duplex: true, Chunked: true,
		Body: []streamtest.Piece{{Data: "c"}, {Data: "d", After: never}},
	})
	<-heard // Both directions are on their way, and stuck.
	call.Cancel()
	if res := call.Wait(); !errors.Is(res.Err, stream.ErrDownstreamGone) || res.Body != "C" || res.Info.StatusDetails != "downstream_remote_disconnect" {
		t.Errorf("%+v", res)
	}
}

// note is a filter that notes what it is asked for.
type note struct {
	name    string
	log     *[]string
	request func(*stream.Stream) error
}

func (n *note) Request(s *stream.Stream) error {
	*n.log = append(*n.log, n.name+" request")
	if n.request != nil {
		return n.request(s)
	}
	return nil
}

func (n *note) Response(*stream.Stream) error {
	*n.log = append(*n.log, n.name+" response")
	return nil
}

func (n *note) End(*stream.Stream) { *n.log = append(*n.log, n.name+" end") }

func TestOrder(t *testing.T) {
	tests := []struct {
		name   string
		second func(*stream.Stream) error
		status int
		want   string
	}{
		{"through", nil, 200, "a request, b request, c request, c response, b response, a response, c end, b end, a end"},
		{"a reply passes every response", func(s *stream.Stream) error {
			s.Reply(stream.Reply{Status: 403})
			return nil
		}, 403, "a request, b request, c response, b response, a response, c end, b end, a end"},
		{"so does an error's", func(*stream.Stream) error {
			return &stream.Error{Status: 502, Details: "why"}
		}, 502, "a request, b request, c response, b response, a response, c end, b end, a end"},
		{"a reset has no response", func(*stream.Stream) error {
			return &stream.Error{Reset: true}
		}, 0, "a request, b request, c end, b end, a end"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log []string
			rig := streamtest.New(t)
			rig.AddFilter("a", &note{"a", &log, nil})
			rig.AddFilter("b", &note{"b", &log, tt.second})
			rig.AddFilter("c", &note{"c", &log, nil})
			res := rig.Run(streamtest.Request{}, streamtest.Upstream{})
			if got := strings.Join(log, ", "); got != tt.want || res.Status != tt.status {
				t.Errorf("%d: %s", res.Status, got)
			}
		})
	}
}

func TestInform(t *testing.T) {
	rig := streamtest.New(t)
	res := rig.Run(streamtest.Request{}, streamtest.Upstream{Inform: [][]string{{":status: 103", "link: </a.css>"}}})
	if len(res.Informed) != 1 || res.Informed[0].Get(":status") != "103" || res.Status != 200 {
		t.Errorf("%+v", res)
	}
}

func TestAwaitAtTheLoopsEnd(t *testing.T) {
	e, err := engine.New(engine.Options{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	started, got := make(chan struct{}), make(chan error, 1)
	l := e.Loops()[0]
	l.Post(func() {
		l.Go(engine.RunnerFunc(func(task *engine.Task) {
			var s stream.Stream
			s.Begin(task, nil)
			got <- s.Await(func(ctx context.Context) {
				close(started)
				<-ctx.Done()
			})
		}))
	})
	<-started
	e.Close()
	select {
	case err := <-got:
		if !errors.Is(err, engine.ErrClosed) {
			t.Errorf("await returned %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("await does not return")
	}
}
