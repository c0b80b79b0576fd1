// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"io"
	"net/netip"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// A caller is a client connection for tests, and its owner.
type caller struct {
	*rig
	*Client
	sock   *engine.Conn
	stats  Stats
	closed bool
	err    error
	events []string
	runs   int
}

// call connects a client to addr.
func (r *rig) call(addr string, o Options) *caller {
	r.tb.Helper()
	u := &caller{rig: r}
	r.on(func(t *engine.Task) {
		c, err := t.Dial(address.IP(netip.MustParseAddrPort(addr)), &engine.DialOptions{})
		if err != nil {
			r.tb.Error(err)
			return
		}
		u.sock = c
		u.Client = NewClient(codec.Ends{Transport: c, Socket: c, Loop: r.loop}, &o, &u.stats, u)
		if !c.Idle(u) {
			r.loop.Go(u)
		}
	})
	if r.tb.Failed() {
		r.tb.FailNow()
	}
	return u
}

func (u *caller) Ready(*engine.Conn) { u.loop.Go(u) }

func (u *caller) Run(t *engine.Task) {
	u.runs++
	for {
		if u.closed || !u.Client.Serve(t) {
			u.sock.Close()
			return
		}
		if u.sock.Idle(u) {
			return
		}
	}
}

func (u *caller) Available(*Client) { u.events = append(u.events, "available") }
func (u *caller) GoingAway(*Client) { u.events = append(u.events, "going away") }
func (u *caller) Quiet(*Client)     { u.events = append(u.events, "quiet") }
func (u *caller) Closed(_ *Client, err error) {
	if u.closed {
		u.tb.Error("closed twice")
	}
	u.closed, u.err = true, err
	u.sock.Close()
}

// request makes a request's head.
func request(h *header.Map, method, path string, fields ...string) {
	h.Add(header.Method, method)
	h.Add(header.Scheme, "http")
	h.Add(header.Authority, "test")
	h.Add(header.Path, path)
	for i := 0; i+1 < len(fields); i += 2 {
		h.Add(header.NewName(fields[i]), fields[i+1])
	}
}

// An answer is what came back.
type answer struct {
	status  int
	interim []int
	body    string
	fields  map[string]string
	trailer map[string]string
}

func fieldsOf(m *header.Map) map[string]string {
	f := map[string]string{}
	for n, v := range m.All() {
		if !n.IsPseudo() {
			f[n.String()] = string(v)
		}
	}
	return f
}

// exchange sends a request and reads the response, on a task.
func (u *caller) exchange(m *stream.Message) (answer, error) {
	s := u.Client.Open()
	if s == nil {
		return answer{}, io.ErrClosedPipe
	}
	defer s.Release()
	return converse(s, m)
}

func converse(s *ClientStream, m *stream.Message) (answer, error) {
	if err := s.Open(m, &codec.Request{}); err != nil {
		return answer{}, err
	}
	if m.Body == nil {
		if err := s.Flush(); err != nil {
			return answer{}, err
		}
	} else if done, err := s.SendReady(m, 64<<10); err != nil {
		return answer{}, err
	} else if !done {
		up := &uploader{s: s, m: m}
		defer up.stop()
		s.c.loop.Go(up)
	}
	return readAnswer(s)
}

func readAnswer(s *ClientStream) (answer, error) {
	var a answer
	var h header.Map
	var res stream.Message
	for {
		h.Reset()
		if err := s.ReadResponse(&res, &h); err != nil {
			return a, err
		}
		if a.status = s.Head().Status; a.status >= 200 || a.status == 101 {
			break
		}
		a.interim = append(a.interim, a.status)
	}
	a.fields = fieldsOf(&h)
	if res.Body != nil {
		b, err := stream.Collect(res.Body, nil, 64<<20)
		a.body = string(b)
		if err != nil {
			return a, err
		}
	}
	if res.Trailer != nil {
		a.trailer = fieldsOf(res.Trailer)
	}
	return a, nil
}

// An uploader sends a body on a task of its own.
type uploader struct {
	s    *ClientStream
	m    *stream.Message
	task *engine.Task
	done bool
	err  error
}

func (u *uploader) Run(t *engine.Task) {
	u.task = t
	u.err = u.s.SendBody(u.m)
	u.task, u.done = nil, true
}

func (u *uploader) stop() {
	for !u.done {
		if u.task != nil {
			u.task.Interrupt(io.ErrClosedPipe)
		}
		u.s.c.loop.Task().Yield()
	}
}

// post sends a POST with a body.
func (u *caller) post(path, body string, fields ...string) (a answer, err error) {
	u.tb.Helper()
	u.on(func(*engine.Task) {
		var h header.Map
		request(&h, "POST", path, fields...)
		a, err = u.exchange(&stream.Message{Header: &h, Body: stream.NewBytes([]byte(body)), Length: int64(len(body))})
	})
	return a, err
}
