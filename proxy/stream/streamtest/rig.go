// SPDX-License-Identifier: Apache-2.0

// Package streamtest is the test kit of HTTP filters. A Rig runs a chain of
// them over requests on a real event loop, with a fake upstream behind the last
// that says and does what the test wants, and tells what the client would have
// seen and what the upstream saw:
//
//	rig := streamtest.New(t)
//	rig.Add(buffer.Extension(), `{"max_request_bytes": 10}`)
//	res := rig.Run(streamtest.Request{Body: streamtest.Pieces("hello", " world")}, streamtest.Upstream{})
//	if res.Status != 413 ...
//
// It is strict about what the interface leaves open: a body's piece is
// overwritten as soon as the next is asked for, header maps are wiped when the
// stream is over (under the race detector), and bodies end with their last
// piece or after it. It knows no wire format and no real upstream.
package streamtest

import (
	"fmt"
	"log/slog"
	"syscall"
	"testing"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/runtime"
	"weir.dev/weir/proxy/secret"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Rig is a chain of filters on an event loop. It is closed when its test ends,
// which fails if anything panicked on the loop.
type Rig struct {
	t    testing.TB
	loop *engine.Loop
	// Services are what filters are made with: one loop, an empty runtime (see
	// [Rig.SetRuntime]), a node called "node" of the cluster "edge".
	Services *extension.Services

	runtime *runtime.Runtime
	filters []named
	table   *route.Table
}

type named struct {
	name     string
	filter   stream.Filter
	disabled bool
}

// Run runs one filter over one request.
func Run(t testing.TB, f stream.Filter, req Request, up Upstream) *Result {
	t.Helper()
	r := New(t)
	r.AddFilter("filter", f)
	return r.Run(req, up)
}

// New returns a rig without filters, whose requests all take a route to the
// cluster "backend".
func New(t testing.TB) *Rig {
	t.Helper()
	e, err := engine.New(engine.Options{Loops: 1, OnPanic: func(v any, stack []byte) {
		t.Errorf("panic on the loop: %v\n%s", v, stack)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	store := stats.NewStore()
	secrets := secret.NewStore(secret.Options{})
	t.Cleanup(secrets.Close)
	rt := newRuntime(store)
	t.Cleanup(rt.Close)
	r := &Rig{t: t, loop: e.Loops()[0], runtime: rt}
	r.Services = &extension.Services{
		Registry: &extension.Registry{},
		Loops:    e.Loops(),
		Stats:    store,
		Secrets:  secrets,
		Runtime:  rt,
		Health:   &extension.Health{},
		Node:     extension.Node{ID: "node", Cluster: "edge", Hostname: "host"},
		Log:      func(string) *slog.Logger { return slog.New(slog.DiscardHandler) },
	}
	r.Route(Route{})
	return r
}

// SetRuntime sets runtime values; an empty value takes a key away.
func (r *Rig) SetRuntime(values map[string]string) {
	r.t.Helper()
	if err := r.runtime.Modify(values); err != nil {
		r.t.Fatal(err)
	}
}

// AddFilter appends a filter to the chain.
func (r *Rig) AddFilter(name string, f stream.Filter) {
	r.filters = append(r.filters, named{name: name, filter: f})
}

// Add compiles an extension's configuration, in JSON, and appends the filter to
// the chain under its canonical name.
func (r *Rig) Add(x extension.HTTPFilter, json string) {
	r.t.Helper()
	f, err := r.Compile(x, json)
	if err != nil {
		r.t.Fatalf("%s: %v", x.Name, err)
	}
	r.AddFilter(x.Name, f)
}

// NoRoute leaves requests without a route.
func (r *Rig) NoRoute() { r.table = nil }

// Counter returns the value of a counter or gauge by its name, 0 if there is
// none. Filters count below "http.test.".
func (r *Rig) Counter(name string) int64 {
	var n int64
	r.Services.Stats.Visit(func(m stats.Metric) {
		if m.Name == name {
			n = int64(m.Count) + m.Level
		}
	})
	return n
}

func (r *Rig) chain(last stream.Filter) *stream.Chain {
	c := &stream.Chain{}
	for _, f := range r.filters {
		c.Add(f.name, f.filter, f.disabled)
	}
	c.Add("upstream", last, false)
	return c
}

// Run serves one request and waits for its end.
func (r *Rig) Run(req Request, up Upstream) *Result {
	r.t.Helper()
	return r.Start(req, up).Wait()
}

// Start begins to serve one request. The test must Wait for it.
func (r *Rig) Start(req Request, up Upstream) *Call {
	r.t.Helper()
	c := &Call{rig: r, req: req, up: up, done: make(chan struct{})}
	if !r.loop.Post(func() { r.loop.Go(c) }) {
		r.t.Fatal("the loop is closed")
	}
	return c
}

// Allocs returns how many allocations a request takes on its way through the
// chain and back, in steady state; the fake upstream answers 200 without a
// body. It skips the test under the race detector, which allocates itself.
func (r *Rig) Allocs(req Request) float64 {
	r.t.Helper()
	if raceEnabled {
		r.t.Skip("the race detector allocates")
	}
	var n float64
	r.repeat(req, func(serve, _ func()) { n = testing.AllocsPerRun(200, serve) })
	return n
}

// Bench times a request on its way through the chain and back, as Allocs counts. It
// reports the time of the processor, too (cpu-ns/op), which others on the machine disturb
// less.
func (r *Rig) Bench(b *testing.B, req Request) {
	b.Helper()
	r.repeat(req, func(serve, wipe func()) {
		serve()
		b.ReportAllocs()
		b.ResetTimer()
		began := processorTime()
		for range b.N {
			serve()
			wipe()
		}
		b.ReportMetric(float64(processorTime()-began)/float64(b.N), "cpu-ns/op")
	})
}

// processorTime is what the process has used, in nanoseconds.
func processorTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// repeat calls f on the loop with what serves a request once, and what wipes the stream
// after it.
func (r *Rig) repeat(req Request, f func(serve, wipe func())) {
	r.t.Helper()
	a := &allocs{resp: &header.Map{}}
	chain := r.chain(a)
	lines := req.lines()
	var s stream.Stream
	var head header.Map
	serve := func(t *engine.Task) {
		head.Reset()
		s.Begin(t, &a.owner)
		for _, l := range lines {
			head.Add(l.name, l.value)
		}
		s.Request = stream.Message{Header: &head}
		s.Info.Request = &head
		s.Route()
		chain.Serve(&s)
		chain.End(&s)
	}
	a.owner.rig = r
	err := r.loop.Do(func(t *engine.Task) {
		f(func() { serve(t) }, s.Wipe)
		s.Wipe() // What the filters keep is theirs no more.
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// allocs is the fake upstream of Allocs.
type allocs struct {
	owner owner
	resp  *header.Map
}

func (a *allocs) Request(s *stream.Stream) error {
	a.resp.Reset()
	a.resp.Set(header.Status, "200")
	s.Response = stream.Message{Header: a.resp}
	s.Info.Response = a.resp
	return nil
}

func (*allocs) Response(*stream.Stream) error { return nil }

// owner is the connection manager's part.
type owner struct {
	rig      *Rig
	informed []Lines
}

func (o *owner) Match(s *stream.Stream) *route.Route {
	if o.rig.table == nil {
		return nil
	}
	return o.rig.table.Match(&route.Request{Header: s.Request.Header, Info: &s.Info, Random: s.Random})
}

func (o *owner) Inform(_ *stream.Stream, h *header.Map) error {
	o.informed = append(o.informed, linesOf(h))
	return nil
}

func (*owner) Explain(error) *stream.Error { return nil }

func (*owner) Localise(*stream.Stream) {}

// Again implements stream.Owner.
func (*owner) Again(s *stream.Stream) { s.Renew() }

// Canonical implements stream.Owner.
func (*owner) Canonical(path []byte) ([]byte, bool) { return path, true }

// Lines are header fields as "name: value", pseudo-header fields included.
type Lines []string

func linesOf(h *header.Map) Lines {
	var l Lines
	for n, v := range h.All() {
		l = append(l, fmt.Sprintf("%s: %s", n, v))
	}
	return l
}

// Get returns the values of a field, joined by ", "; "" if there is none.
func (l Lines) Get(name string) string {
	out := ""
	for _, line := range l {
		f := split(line)
		if f.name.String() != name {
			continue
		}
		if out != "" {
			out += ", "
		}
		out += f.value
	}
	return out
}

// Has reports whether there is a field of a name.
func (l Lines) Has(name string) bool {
	for _, line := range l {
		if split(line).name.String() == name {
			return true
		}
	}
	return false
}
