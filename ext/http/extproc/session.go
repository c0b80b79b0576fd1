// SPDX-License-Identifier: Apache-2.0

package extproc

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream/call"
)

// session is what one stream has with the processor. All of it happens on the stream's
// loop: on its own task, on those that read bodies, and on the call's.
type session struct {
	f     *Filter
	c     *Settings
	stats *Stats
	plan  plan
	s     *stream.Stream
	loop  *engine.Loop
	call  *call.Stream // nil before the first message
	in    side
	out   side
	noted *noted

	over   bool          // the processor is asked no more
	closed bool          // and was told so
	fail   *stream.Error // what ends the stream, if anything
	// waiting are the tasks that wait for something to happen here.
	waiting []*engine.Task
}

func newSession(f *Filter, s *stream.Stream, p plan) *session {
	x := &session{f: f, c: f.own, plan: p, s: s, loop: s.Task().Loop(), stats: f.stats.At(s.Task().Loop().ID()), noted: f.note(s)}
	x.in.init(x, true, p.modes.request)
	x.out.init(x, false, p.modes.response)
	return x
}

// wait waits on t until something happens.
func (x *session) wait(t *engine.Task) error {
	x.waiting = append(x.waiting, t)
	err := t.Wait()
	x.waiting = slices.DeleteFunc(x.waiting, func(w *engine.Task) bool { return w == t })
	return err
}

// wake has all who wait look again.
func (x *session) wake() {
	for _, t := range x.waiting {
		t.Wake()
	}
}

// limit is how much of a body is kept at once, in bytes.
func (x *session) limit() int { return x.s.BufferLimit() }

// Bounds on a message of the processor, in bytes, where the service has none: what clients
// of gRPC take, or what is kept of a body and room for the rest.
const (
	maxMessage  = 4 << 20
	messageRoom = 64 << 10
)

// open begins the call, if it has not begun.
func (x *session) open() {
	if x.call != nil {
		return
	}
	x.call = x.plan.client.BeginStream(processMethod)
	x.call.Tell(&x.s.Info)
	for _, h := range x.plan.metadata {
		x.call.Request().Set(header.NewName(h[0]), h[1])
	}
	switch {
	case x.plan.spans:
		x.call.Trace(x.s.Span)
	case x.s.Span != nil:
		x.s.Span.Inject(x.call.Request())
	}
	x.call.Start(x.loop, max(maxMessage, x.limit()+messageRoom), x)
	x.stats.StreamsStarted.Inc()
}

// ask sends a message.
func (x *session) ask(d *side, q *question) {
	q.request, q.observe = d.request, x.c.observe
	d.complete(q)
	first := x.call == nil
	x.open()
	if first {
		q.protocol = &protocol{x.plan.modes.request.body, x.plan.modes.response.body, x.c.eager}
	}
	x.call.Send(func(dst []byte) []byte { return x.c.append(dst, q) })
	x.stats.MessagesSent.Inc()
	if !x.c.observe {
		d.extended = false
		d.asked = x.loop.Now()
		d.arm()
	}
}

// complete adds what a message tells beside its subject.
func (d *side) complete(q *question) {
	x := d.x
	i := &x.s.Info
	var ofConn streaminfo.Metadata
	if i.Conn != nil {
		ofConn = i.Conn.Metadata
	}
	q.metadata = merged(x.plan.forward, i.Metadata, ofConn)
	for ns, v := range merged(x.plan.forwardClusters, i.ClusterMetadata) {
		if q.metadata == nil {
			q.metadata = map[string]map[string]any{}
		}
		if q.metadata[ns] == nil {
			q.metadata[ns] = v
		}
	}
	if d.attributed {
		return
	}
	d.attributed = true
	list := x.c.responseAttributes
	if d.request {
		list = x.c.requestAttributes
	}
	q.attributes = evaluate(list, match.Data{Request: x.s.Request.Header, Stream: i})
}

var (
	errSpurious = errors.New("spurious message")
	errDone     = &engine.Interrupted{Err: errors.New("the processor is asked no more")}
)

// Received implements call.Listener.
func (x *session) Received(t *engine.Task, p []byte) error {
	if x.over || x.c.observe {
		return x.done()
	}
	a, err := parse(p)
	if err != nil {
		return err
	}
	x.take(a)
	// A processor that sends more than is taken waits.
	for !x.over && (x.in.ready.size > x.limit() || x.out.ready.size > x.limit()) {
		if err := x.wait(t); err != nil {
			return err
		}
	}
	return x.done()
}

// done ends the call that nobody listens to, unless it was closed in good order.
func (x *session) done() error {
	if x.over && !x.closed && !x.c.observe {
		return errDone
	}
	return nil
}

// Sent implements call.Listener.
func (x *session) Sent() { x.wake() }

// Ended implements call.Listener.
func (x *session) Ended(err error) {
	switch {
	case x.over:
	case err == nil:
		x.stats.StreamsClosed.Inc()
		x.release()
	default:
		x.stats.StreamsFailed.Inc()
		code := call.Code(err)
		x.broken(x.c.statusOnError, fmt.Sprintf("ext_proc_error_gRPC_error_%d{%s}", code, err))
	}
	x.wake()
}

// take does what a message says.
func (x *session) take(a *answer) {
	defer x.wake()
	if a.extends {
		x.extend(a.timeout)
		return
	}
	d := &x.out
	if a.request || a.kind == immediate {
		d = &x.in
	}
	if err := x.adopt(a); err != nil {
		x.refuse(err)
		return
	}
	var err error
	switch {
	case a.kind == immediate && x.c.noImmediate:
		// As the field says: no reply, and the processor is asked no more.
		x.stats.Spurious.Inc()
		x.release()
		x.cancel()
		return
	case a.kind == immediate:
		x.receive(a)
		x.stats.MessagesReceived.Inc()
		x.reply(a)
		return
	case a.kind == unknown && a.override != nil && x.in.awaitHead && x.c.override:
		x.stats.MessagesReceived.Inc()
		return
	default:
		err = d.answered(a)
	}
	if err != nil {
		x.refuse(err)
		return
	}
	x.receive(a)
	x.stats.MessagesReceived.Inc()
	x.settle()
}

// refuse ends what cannot go on as the processor says.
func (x *session) refuse(err error) {
	if errors.Is(err, errSpurious) {
		x.stats.Spurious.Inc()
		x.f.log.Debug("the external processor sent a message that nothing asked for", "filter", x.f.name)
		x.broken(http.StatusInternalServerError, "ext_proc_error_spurious_message")
		return
	}
	x.stats.MessagesReceived.Inc()
	x.f.log.Debug("what the external processor asks for cannot be done", "filter", x.f.name, "reason", err)
	x.finish(x.errorOf(http.StatusInternalServerError, err.Error()))
}

// adopt takes the modes that the processor asks for, if it may.
func (x *session) adopt(a *answer) error {
	c := x.c
	waiting := x.in.awaitHead || x.out.awaitHead
	if a.override == nil || !c.override || c.eager || !waiting ||
		x.plan.modes.request.body == bodyDuplex || x.plan.modes.response.body == bodyDuplex {
		return nil
	}
	next := x.plan.modes.with(a.override)
	if len(c.overrides) > 0 && !slices.ContainsFunc(c.overrides, next.same) {
		return nil
	}
	if next.check() != nil {
		return errSpurious
	}
	x.in.mode.body, x.in.mode.trailers = next.request.body, next.request.trailers
	x.out.mode = next.response
	return nil
}

// extend gives the processor more time.
func (x *session) extend(d time.Duration) {
	if d < time.Millisecond || d > x.c.maxTimeout {
		x.stats.ExtensionsIgnored.Inc()
		return
	}
	for _, side := range []*side{&x.in, &x.out} {
		if side.timer.Active() && !side.extended {
			side.extended = true
			side.timer.Set(int64(d))
			x.stats.ExtensionsReceived.Inc()
			return
		}
	}
	x.stats.ExtensionsIgnored.Inc()
}

// receive takes the metadata that the processor may leave.
func (x *session) receive(a *answer) {
	i := &x.s.Info
	for ns, v := range a.metadata {
		m, ok := v.(map[string]any)
		if !ok || !slices.Contains(x.plan.receive, ns) {
			continue
		}
		if i.Metadata == nil {
			i.Metadata = streaminfo.Metadata{}
		}
		if i.Metadata[ns] == nil {
			i.Metadata[ns] = map[string]any{}
		}
		for k, field := range m {
			i.Metadata[ns][k] = field
		}
	}
}

// reply answers in place of the upstream.
func (x *session) reply(a *answer) {
	status := a.status
	if status < 200 || status > 599 {
		status = http.StatusOK
	}
	e := &stream.Error{Status: status, Body: string(a.body), Details: strings.Join(strings.Fields(a.details), "_")}
	if a.hasGRPC {
		e.GRPCStatus = stream.GRPC(a.grpcStatus)
	}
	if a.mutates {
		e.Header = func(h *header.Map) {
			if err := x.mutate(&target{h: h, part: responseHead}, a); err != nil {
				x.f.log.Debug("the fields of an immediate response cannot be", "filter", x.f.name, "reason", err)
			}
		}
	}
	x.stats.ImmediateSent.Inc()
	x.finish(e)
}

func (x *session) errorOf(status int, details string) *stream.Error {
	return &stream.Error{Status: status, Details: strings.Join(strings.Fields(details), "_")}
}

// late ends a message that takes too long.
func (x *session) late() {
	if x.over {
		return
	}
	x.stats.Timeouts.Inc()
	x.broken(http.StatusGatewayTimeout, "ext_proc_error_per-message_timeout_exceeded")
}

// broken ends the stream, or lets it go on without the processor.
func (x *session) broken(status int, details string) {
	if x.plan.failOpen && !x.in.lost() && !x.out.lost() {
		x.stats.FailureAllowed.Inc()
		x.noted.failed = true
		x.release()
		x.cancel()
		return
	}
	x.finish(x.errorOf(status, details))
}

// release lets the messages go on as they are: the processor is asked no more.
func (x *session) release() {
	if x.in.lost() || x.out.lost() {
		x.finish(x.errorOf(x.c.statusOnError, "ext_proc_error_stream_closed_within_a_body"))
		return
	}
	x.over = true
	x.in.release()
	x.out.release()
	x.wake()
}

// finish ends the stream with an error, or the reply that it is.
func (x *session) finish(e *stream.Error) {
	x.over, x.fail = true, e
	x.in.timer.Stop()
	x.out.timer.Stop()
	x.cancel()
	// Who waits here is told when it goes on; elsewhere it learns of it so.
	if t := x.s.Task(); t != x.loop.Task() && !slices.Contains(x.waiting, t) {
		t.Interrupt(e)
	}
	x.wake()
}

// cancel breaks the call off.
func (x *session) cancel() {
	if x.call != nil {
		x.call.Cancel()
	}
}

// settle closes the call once nothing more is to be asked.
func (x *session) settle() {
	if x.over || x.in.started && !x.in.done || !x.out.done && !x.out.idle() {
		return
	}
	x.over, x.closed = true, true
	if x.call != nil {
		x.call.CloseSend()
		x.stats.StreamsClosed.Inc()
	}
}

// stop ends the tasks that read bodies.
func (x *session) stop() {
	t := x.loop.Task()
	x.in.pump.stop(t)
	x.out.pump.stop(t)
}

// lingering is how long a processor that was told of the end may take to end the call.
const lingering = time.Second

// end ends the session.
func (x *session) end() {
	x.stop()
	x.over = true
	x.in.timer.Release()
	x.out.timer.Release()
	if k := x.call; k != nil && k.Running() {
		switch {
		case x.c.observe:
			k.Linger(x.c.deferred)
		case x.closed:
			k.Linger(lingering)
		default:
			x.stats.StreamsClosed.Inc()
			k.Stop(x.loop.Task())
		}
	}
	if t := x.s.Task(); x.fail != nil && t.Pending() == error(x.fail) {
		t.Clear()
	}
}
