// SPDX-License-Identifier: Apache-2.0

package call

import (
	"errors"
	"io"
	"net/http"
	"time"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/grpcframe"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/trace"
	"weir.dev/weir/proxy/upstream/pool"
)

// A Listener is told of what comes on a Stream. It is called on the stream's loop, never
// after its Ended.
type Listener interface {
	// Received is given a message, which is valid until it returns. It may wait, on t;
	// meanwhile no more is read. An error ends the stream.
	Received(t *engine.Task, message []byte) error
	// Sent tells that messages which were queued have left: see [Stream.Queued].
	Sent()
	// Ended tells that the call is over: nil is gRPC's status OK.
	Ended(err error)
}

// A Stream is a gRPC call in which both sides send messages when they like. It belongs to
// one loop and runs there on a task of its own. The service's timeout does not bound it.
type Stream struct {
	call     *Call
	loop     *engine.Loop
	listener Listener
	out      outbox
	task     *engine.Task // nil before it runs and after
	sending  sending
	timer    engine.Timer
	running  bool
	over     bool // cancelled
	heard    bool // the service has answered
}

var errCancelled = errors.New("nobody wants more of the call")

// BeginStream readies a call of a method such as "/package.Service/Method".
func (c *Client) BeginStream(method string) *Stream {
	s := &Stream{call: c.beginGRPC(method)}
	s.call.stream, s.call.Timeout = s, 0
	return s
}

// Request returns the head of the request, to be added to before Start.
func (s *Stream) Request() *header.Map { return &s.call.Request }

// Tell adds the service's metadata to the head, as [Call.Tell] does.
func (s *Stream) Tell(info *streaminfo.Stream) { s.call.Tell(info) }

// Trace has the call be part of the trace of a span, as [Call.Trace] does.
func (s *Stream) Trace(of *trace.Span) { s.call.Trace(of) }

// Start makes the call. A message may be of at most limit bytes, where the service has no
// limit of its own; 0 is DefaultLimit.
func (s *Stream) Start(loop *engine.Loop, limit int, l Listener) {
	if s.call.client.service.Limit == 0 && limit > 0 {
		s.call.Limit = limit
	}
	s.call.Limit += grpcframe.HeadSize
	s.loop, s.listener, s.running = loop, l, true
	s.out.s = s
	s.timer.Init(loop, s.Cancel)
	loop.Go(s)
}

// Send queues a message, which f appends. It does not wait. After CloseSend, or once the
// call is over, it does nothing.
func (s *Stream) Send(f func(dst []byte) []byte) {
	if s.out.closed || !s.running {
		return
	}
	o := &s.out
	at := len(o.pending)
	o.pending = f(append(o.pending, framesHead[:]...))
	grpcframe.Seal(o.pending, at, 0)
	o.wake()
}

// Queued returns how many bytes of messages have not yet left. Who sends much waits until
// it is little: the service, or the way to it, is slow.
func (s *Stream) Queued() int { return len(s.out.pending) + s.out.leaving }

// CloseSend tells the service that no more messages come, once those queued have left.
func (s *Stream) CloseSend() {
	s.out.closed = true
	s.out.wake()
}

// Running reports whether the call is not over.
func (s *Stream) Running() bool { return s.running }

// Cancel breaks the call off, soon.
func (s *Stream) Cancel() {
	s.over = true
	if s.task != nil {
		s.task.Interrupt(errCancelled)
	}
}

// Stop breaks the call off and waits on t until it is over.
func (s *Stream) Stop(t *engine.Task) {
	for s.running {
		s.Cancel()
		t.Yield()
	}
}

// Linger leaves the call to end by itself, at most for a time: what was queued is still
// sent. Its listener is told of nothing more.
func (s *Stream) Linger(most time.Duration) {
	s.listener = deaf{}
	if !s.running {
		return
	}
	s.CloseSend()
	s.timer.Set(int64(most))
}

// deaf listens to nothing.
type deaf struct{}

func (deaf) Received(*engine.Task, []byte) error { return nil }
func (deaf) Sent()                               {}
func (deaf) Ended(error)                         {}

// Run makes the call.
func (s *Stream) Run(t *engine.Task) {
	s.task = t
	err := error(&engine.Interrupted{Err: errCancelled})
	k := s.call
	if !s.over {
		err = k.Do(t)
	}
	if err == nil {
		if err = k.outcome(); k.Status != http.StatusOK {
			_, err = k.message()
		}
	}
	s.task, s.running = nil, false
	s.timer.Release()
	k.stream = nil
	k.End()
	s.call = nil
	s.listener.Ended(err)
}

// repeatable reports whether the call may be made again: the service has said nothing, and
// all that was sent is still here.
func (s *Stream) repeatable() bool { return !s.heard && !s.over && !s.out.lost }

// converse sends messages on one task and receives them on this one.
func (s *Stream) converse(t *engine.Task, x pool.Exchange) (sent bool, err error) {
	k := s.call
	k.Trailer.Reset()
	s.out.rewind()
	request := stream.Message{Header: &k.Request, Body: &s.out, Length: -1}
	if err := x.Open(&request, &codec.Request{}); err != nil {
		return false, err
	}
	s.sending = sending{x: x, m: &request, running: true}
	s.loop.Go(&s.sending)
	defer s.sending.stop(t)
	var resp stream.Message
	if err := codec.ReadFinal(x, &resp, &k.Response); err != nil {
		return false, err
	}
	k.Status = x.Head().Status
	k.Response.Own()
	if resp.Body == nil || k.Status != http.StatusOK {
		return false, nil
	}
	if err := s.receive(t, resp.Body); err != nil {
		return false, err
	}
	if resp.Trailer != nil {
		resp.Trailer.CopyTo(&k.Trailer)
	}
	return s.sending.done, nil
}

// receive hands the messages of a response to the listener.
func (s *Stream) receive(t *engine.Task, b stream.Body) error {
	d := grpcframe.Decoder{Max: s.call.Limit}
	for {
		p, err := b.Next()
		for len(p) > 0 {
			f, n, ok, bad := d.Next(p)
			if bad != nil {
				return ErrTooLarge
			}
			p = p[n:]
			if !ok {
				continue
			}
			s.heard = true
			s.out.forget()
			if f.Flags != 0 {
				return &StatusError{codeInternal, "a message is compressed, which nobody asked for"}
			}
			if err := s.listener.Received(t, f.Data); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF && d.Partial():
			return &StatusError{codeInternal, "the last message is not whole"}
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// sending sends what is queued, on a task of its own.
type sending struct {
	x             pool.Exchange
	m             *stream.Message
	task          *engine.Task
	running, done bool
	stopped       bool
}

// Run sends until there is no more. An error is seen by who receives.
func (w *sending) Run(t *engine.Task) {
	w.task = t
	if !w.stopped {
		w.done = w.x.SendBody(w.m) == nil
	}
	w.task, w.running = nil, false
}

// stop waits until nothing is sent any more.
func (w *sending) stop(t *engine.Task) {
	for w.running {
		w.stopped = true
		if w.task != nil {
			w.task.Interrupt(errCancelled)
		}
		t.Yield()
	}
}

// maxAgain bounds how much is kept to be sent again, in bytes.
const maxAgain = 64 << 10

// outbox is the body of the request: messages as they are queued.
type outbox struct {
	s       *Stream
	pending []byte       // not handed out
	out     []byte       // was handed out last
	leaving int          // bytes of it that have not left
	kept    []byte       // all that was handed out, until the service answers
	lost    bool         // not all of it
	closed  bool         // no more is queued
	task    *engine.Task // waits for more
}

func (o *outbox) wake() {
	if o.task != nil {
		o.task.Wake()
	}
}

// rewind has all be sent again that was.
func (o *outbox) rewind() {
	if len(o.kept) > 0 {
		o.pending = append(o.kept, o.pending...)
		o.kept, o.leaving = nil, 0
	}
}

// forget keeps no more: the service has it.
func (o *outbox) forget() { o.kept, o.lost = nil, true }

// Next implements stream.Body.
func (o *outbox) Next() ([]byte, error) {
	if o.leaving > 0 {
		o.leaving = 0
		o.s.listener.Sent()
	}
	for len(o.pending) == 0 {
		if o.closed {
			return nil, io.EOF
		}
		t := o.s.loop.Task()
		o.task = t
		err := t.Wait()
		o.task = nil
		if err != nil {
			return nil, err
		}
	}
	if cap(o.out) > maxKept {
		o.out = nil
	}
	o.out, o.pending = o.pending, o.out[:0]
	o.leaving = len(o.out)
	switch {
	case o.lost:
	case len(o.kept)+len(o.out) > maxAgain:
		o.forget()
	default:
		o.kept = append(o.kept, o.out...)
	}
	return o.out, nil
}

// Ready implements stream.Body.
func (o *outbox) Ready() bool { return len(o.pending) > 0 || o.closed }
