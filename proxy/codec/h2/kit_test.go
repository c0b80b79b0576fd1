// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/codec"
	downstream "weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for anything.
const patience = 10 * time.Second

// A rig is an engine of one loop on which servers and clients run.
type rig struct {
	tb   testing.TB
	eng  *engine.Engine
	loop *engine.Loop
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	e, err := engine.New(engine.Options{Loops: 1, OnPanic: func(v any, stack []byte) {
		tb.Errorf("panic: %v\n%s", v, stack)
	}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(e.Close)
	return &rig{tb: tb, eng: e, loop: e.Loops()[0]}
}

// on runs f on the loop's task and waits.
func (r *rig) on(f func(t *engine.Task)) {
	r.tb.Helper()
	if err := r.loop.Do(f); err != nil {
		r.tb.Fatal(err)
	}
}

// A site is a server for tests: it answers by its serve function.
type site struct {
	*rig
	opts  Options
	stats Stats
	serve func(t *engine.Task, s *ServerStream)
	ln    *engine.Listener
	addr  string
	conns []*siteConn
	gone  []string
	free  []*siteJob
	// counts, on the loop
	requests, most, active int
}

func (r *rig) site(o Options, serve func(t *engine.Task, s *ServerStream)) *site {
	r.tb.Helper()
	x := &site{rig: r, opts: o, serve: serve}
	fd, err := engine.Listen(address.IP(netip.MustParseAddrPort("127.0.0.1:0")), &engine.ListenOptions{})
	if err != nil {
		r.tb.Fatal(err)
	}
	bound, err := engine.SocketAddr(fd)
	if err != nil {
		r.tb.Fatal(err)
	}
	x.addr = bound.String()
	r.on(func(*engine.Task) { x.ln, err = r.loop.Listen(fd, x) })
	if err != nil {
		r.tb.Fatal(err)
	}
	return x
}

func (x *site) Accept(c *engine.Conn, _ address.Addr) {
	k := &siteConn{site: x}
	cc := downstream.New(c, &streaminfo.Connection{}, x)
	k.conn = cc
	k.srv = NewServer(codec.Ends{Transport: cc.Transport, Socket: c, Loop: x.loop}, &x.opts, &x.stats, k)
	x.conns = append(x.conns, k)
	cc.Attach(k)
}

func (x *site) AcceptFailed(err error) { x.tb.Error(err) }

// A siteConn is one connection of a site.
type siteConn struct {
	*site
	conn   *downstream.Conn
	srv    *Server
	quiet  int
	closed bool
}

func (k *siteConn) Serve(t *engine.Task, c *downstream.Conn) bool {
	if k.srv.Serve(t) {
		return true
	}
	c.Linger(t, time.Second)
	return false
}

func (k *siteConn) Drain(*downstream.Conn)  { k.srv.Drain() }
func (k *siteConn) Closed(*downstream.Conn) { k.closed = true; k.srv.Close(io.EOF) }
func (k *siteConn) Quiet()                  { k.quiet++ }
func (k *siteConn) Over(error)              { k.conn.Close() }

func (k *siteConn) Request(s *ServerStream) {
	x := k.site
	x.requests++
	x.active++
	x.most = max(x.most, x.active)
	var j *siteJob
	if n := len(x.free); n > 0 {
		j = x.free[n-1]
		x.free = x.free[:n-1]
	} else {
		j = new(siteJob)
	}
	*j = siteJob{site: x, s: s}
	s.SetOwner(j)
	x.loop.Go(j)
}

func (k *siteConn) Gone(s *ServerStream, err error) {
	k.gone = append(k.gone, err.Error())
	j := s.Owner().(*siteJob)
	if j.gone = true; j.task != nil {
		j.task.Interrupt(stream.ErrDownstreamGone)
	}
}

// A siteJob serves one request.
type siteJob struct {
	site *site
	s    *ServerStream
	task *engine.Task
	gone bool
}

func (j *siteJob) Run(t *engine.Task) {
	j.task = t
	defer func() {
		x := j.site
		j.s.Release()
		x.active--
		*j = siteJob{}
		x.free = append(x.free, j)
	}()
	if e := j.s.Refusal(); e != nil {
		_ = reply(j.s, e.Status, "") // Nobody may be there to be told.
		return
	}
	if !j.gone {
		j.site.serve(t, j.s)
	}
}

// Gone makes a site the owner of its connections.
func (x *site) Gone(*downstream.Conn) {}

// reply answers with a status and a body.
func reply(s *ServerStream, status int, body string, fields ...string) error {
	var h header.Map
	h.AddInt(header.Status, int64(status))
	for i := 0; i+1 < len(fields); i += 2 {
		h.Add(header.NewName(fields[i]), fields[i+1])
	}
	m := stream.Message{Header: &h}
	if body != "" {
		m.Body, m.Length = stream.NewBytes([]byte(body)), int64(len(body))
	}
	_, err := s.WriteResponse(&m, status, &codec.Response{})
	return err
}

// echo answers with the request's body.
func echo(_ *engine.Task, s *ServerStream) {
	m := s.Message()
	var h header.Map
	h.Add(header.Status, "200")
	h.AddBytes(header.ContentType, m.Header.Get(header.ContentType))
	// An error has ended the stream.
	_, _ = s.WriteResponse(&stream.Message{Header: &h, Body: m.Body, Length: m.Length, Trailer: m.Trailer}, 200, &codec.Response{})
}

func hello(_ *engine.Task, s *ServerStream) { _ = reply(s, 200, "hello", "content-type", "text/plain") }

var pathName = header.Path
