// SPDX-License-Identifier: Apache-2.0

// Package stream is one request and its response as filters see it: two
// messages, what is known of them, the route, and the loop over the filters.
//
// Code here runs on a task of the connection's event loop and waits
// blocking-style. The package knows no wire format (see codec) and no upstream:
// only the router, which is a filter like any other, joins the two sides.
package stream

import (
	"context"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/trace"
)

// A Message is one direction of a stream.
type Message struct {
	// Header holds the head, pseudo-header fields included.
	Header *header.Map
	// Body is nil if there is none.
	Body Body
	// Length is the body's length in bytes as the head tells it, or -1 if it
	// does not. A filter that changes the body sets it.
	Length int64
	// Trailer, if not nil, is filled in by the time Body has ended.
	Trailer *header.Map
	// Spelling, if not nil, knows how the peer wrote the names of fields, for a
	// codec that writes them on as they came.
	Spelling Spelling
	// bound are fields that go no further than where the request is led now.
	bound []header.Name
}

// A Destination is a host of the cluster that the first try of a request is to go to.
type Destination struct {
	// Address is the host's; the zero Addr is none.
	Address address.Addr
	// Strict refuses the request, with Status (0 is 503), if the cluster has no such
	// host that may be used; otherwise another is taken.
	Strict bool
	Status int
}

// Spelling tells how field names were written.
type Spelling interface {
	// Of returns the name as it was written, nil if it was not.
	Of(n header.Name) []byte
}

// A Stream is one request and its response.
type Stream struct {
	Request  Message
	Response Message
	Info     streaminfo.Stream
	// Random is drawn once for the stream: for weighted clusters, runtime
	// fractions and the like.
	Random uint64
	// Upgrade tells that the request asks to leave HTTP (Upgrade, CONNECT) and
	// may: its Body is what follows once the response grants it.
	Upgrade bool
	// Destination is the host that a filter asks for (stateful sessions).
	Destination Destination
	// Span is that of the request; of a branch, that of the attempt. It is nil where
	// nothing is traced.
	Span *trace.Span

	// Tunnel is set by the terminal filter where its response grants the upgrade.
	Tunnel Tunnel

	task   *engine.Task
	owner  Owner
	parent *Stream // of a branch
	route  *route.Route
	// routed tells that route is settled, be it nil.
	routed bool

	replied bool // a filter or the proxy itself answered
	kind    kind // of the request as the client sent it
	next    *Message
	reply   header.Map
	kept    header.Map
	body    Bytes
	text    []byte // the local reply's body

	state []resetter
}

// A Tunnel is the terminal filter's part in a stream that leaves HTTP. Who sends the
// response calls Upload before and Wait after it, or neither if it carries both
// directions by itself.
type Tunnel interface {
	// Upload sends the request's body upstream from now on, while the response's
	// comes back.
	Upload()
	// Wait waits until all of it was sent: each side of a tunnel ends by itself.
	Wait() error
}

// An Owner is the connection manager's part in a stream.
type Owner interface {
	// Match finds the route of the request as it stands, or nil.
	Match(s *Stream) *route.Route
	// Inform sends an interim (1xx) response at once.
	Inform(s *Stream, h *header.Map) error
	// Explain says what an error of the owner's own limits or protocol means for
	// the client; nil if it knows nothing of it.
	Explain(err error) *Error
	// Localise changes a reply made here as the configuration asks, before it
	// passes the filters.
	Localise(s *Stream)
	// Again is told that the request goes through the filters once more, as another
	// (see [Stream.Again]): the owner logs what was and calls [Stream.Renew].
	Again(s *Stream)
	// Canonical brings a path that did not come from the client into the form in
	// which routes see those that do; false means that it would be refused.
	Canonical(path []byte) ([]byte, bool)
}

// A Seeker is an Owner that can fetch, when a request comes, what that has a route in.
type Seeker interface {
	// Seek waits until what the request may have a route in is there, or is known not to
	// be, or ctx ends. It reports whether there was anything to fetch.
	Seek(ctx context.Context, s *Stream) bool
	// Rebind has the request be routed by the configuration that there is now.
	Rebind()
}

// Seek fetches what the request, which has no route, may have one in, and waits for it,
// no longer than limit. It reports whether the request may have a route now.
func (s *Stream) Seek(limit time.Duration) (bool, error) {
	o, ok := s.owner.(Seeker)
	if !ok {
		return false, nil
	}
	sought := false
	err := s.Await(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		sought = o.Seek(ctx, s)
	})
	if err != nil || !sought {
		return false, err
	}
	o.Rebind()
	s.ClearRoute()
	return true, nil
}

// Begin readies a new or wiped stream for a request on task t.
func (s *Stream) Begin(t *engine.Task, o Owner) { s.task, s.owner = t, o }

// Wipe forgets a request that is over; memory is kept for the next.
func (s *Stream) Wipe() {
	for _, r := range s.state {
		if r != nil {
			r.reset()
		}
	}
	s.Request = Message{}
	s.Response = Message{}
	attempted := s.Info.Upstream.HostsAttempted[:0]
	s.Info = streaminfo.Stream{}
	s.Info.Upstream.HostsAttempted = attempted
	s.Random, s.Upgrade, s.Tunnel, s.Destination = 0, false, nil, Destination{}
	s.task, s.owner, s.next, s.Span = nil, nil, nil, nil
	s.kept.Reset()
	s.route, s.routed, s.replied = nil, false, false
	s.kind = 0
}

// Task returns the task that the stream runs on: the one to interrupt.
func (s *Stream) Task() *engine.Task { return s.task }

// Running returns the task that runs now. It is the stream's own, or the one on
// which the terminal filter sends the request's body while the response comes
// back. What waits inside a Body waits on it.
func (s *Stream) Running() *engine.Task { return s.task.Loop().Task() }

// Route returns the request's route, matching it the first time it is asked
// for; nil if there is none.
func (s *Stream) Route() *route.Route {
	if !s.routed {
		s.routed = true
		s.route = s.owner.Match(s)
	}
	return s.route
}

// ClearRoute forgets the route, so that it is matched anew: after a filter has
// changed what the match depends on.
func (s *Stream) ClearRoute() { s.routed, s.route = false, nil }

// SetRoute settles the route without a match.
func (s *Stream) SetRoute(r *route.Route) { s.routed, s.route = true, r }

// Again has next take the request's place and go through all filters, by the route
// that it then has: once the terminal filter has returned, which leaves no response, or
// a filter that has seen the request as well, from its Response. The request that was
// has to be there whole. What filters keep for the stream is wiped, their filter state
// is not.
func (s *Stream) Again(next *Message) { s.next = next }

// Renew makes the stream that of the request which [Stream.Again] was given. It is
// for the owner.
func (s *Stream) Renew() {
	for _, r := range s.state {
		if r != nil {
			r.reset()
		}
	}
	s.Request, s.next = *s.next, nil
	s.Response, s.Tunnel, s.Destination, s.replied = Message{}, nil, Destination{}, false
	s.ClearRoute()
	i := &s.Info
	s.Info = streaminfo.Stream{
		Conn: i.Conn, Protocol: i.Protocol, Remote: i.Remote, ID: i.ID, Internal: i.Internal, HealthCheck: i.HealthCheck,
		FilterState: i.FilterState,
		Request:     s.Request.Header, RequestTrailer: s.Request.Trailer,
		Upstream: streaminfo.Upstream{HostsAttempted: i.Upstream.HostsAttempted[:0]},
	}
	s.kept.Reset()
}

// MatchAs returns the route that a request with this head would have, without taking
// it.
func (s *Stream) MatchAs(h *header.Map) *route.Route {
	head, info := s.Request.Header, s.Info
	s.Request.Header, s.Info.Request = h, h
	defer func() { s.Request.Header, s.Info = head, info }()
	return s.owner.Match(s)
}

// Canonical brings a path that was found here into the form in which routes see those
// of clients; false means that it would be refused.
func (s *Stream) Canonical(path []byte) ([]byte, bool) { return s.owner.Canonical(path) }

// Keep takes over the response's head, whose memory its owner needs, so that the log
// still has it when the stream ends.
func (s *Stream) Keep(h *header.Map) {
	if s.Info.Response != h {
		return
	}
	s.kept, *h = *h, s.kept
	s.Info.Response = &s.kept
	if s.Response.Header == h {
		s.Response.Header = &s.kept
	}
}

// Inform sends an interim response, such as 103, to the client at once.
func (s *Stream) Inform(h *header.Map) error { return s.owner.Inform(s, h) }

// Replied reports whether the response was made here rather than upstream.
func (s *Stream) Replied() bool { return s.replied }

// Foreign runs f, which may block, on a goroutine while the event loop serves
// others, and returns when f has; f must be bounded in time. Only the calling
// task waits: f may use the stream if it is called from Request or Response,
// but not from within a Body, for the other direction may be moving.
func (s *Stream) Foreign(f func()) { s.Running().Foreign(f) }

// Await is Foreign for what may take long: f runs on a goroutine and the calling
// task waits until it has returned. If the task is interrupted meanwhile, as it
// is when the stream ends, the context is cancelled, upon which f must return
// soon, and the interrupt's error is returned.
func (s *Stream) Await(f func(ctx context.Context)) error {
	t := s.Running()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := false
	go func() {
		defer t.Loop().Post(func() { done = true; t.Wake() })
		f(ctx)
	}()
	var interrupt error
	for !done {
		err := t.Wait()
		if err == nil {
			continue
		}
		if interrupt == nil {
			interrupt = err
			cancel()
		}
		t.Yield() // A loop that is closing does not suspend who waits.
	}
	return interrupt
}

// A Slot is the place of a filter in its chain.
type Slot int

type resetter interface{ reset() }

type box[T any] struct{ v T }

func (b *box[T]) reset() {
	var zero T
	b.v = zero
}

// State returns what the filter at slot keeps for this stream: a zero T the
// first time. It is wiped, and its memory used again, when the stream ends.
func State[T any](s *Stream, slot Slot) *T {
	for int(slot) >= len(s.state) {
		s.state = append(s.state, nil)
	}
	b, ok := s.state[slot].(*box[T])
	if !ok {
		b = new(box[T])
		s.state[slot] = b
	}
	return &b.v
}

// RouteConfig returns the most specific per-route configuration of the filter
// called name, and whether there is any.
func RouteConfig[T any](s *Stream, name string) (T, bool) {
	var zero T
	r := s.Route()
	if r == nil {
		return zero, false
	}
	v, _ := r.FilterConfig(name)
	c, ok := v.(T)
	return c, ok
}
