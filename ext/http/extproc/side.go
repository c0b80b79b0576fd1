// SPDX-License-Identifier: Apache-2.0

package extproc

import (
	"errors"
	"net/http"
	"time"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// side is one direction of a session: the request, or the response.
type side struct {
	x       *session
	request bool
	mode    mode
	m       *stream.Message // nil before it is processed

	started bool
	done    bool // nothing more is asked
	// What the processor has yet to answer: the head, a body that was sent as a whole, and
	// the trailers. Pieces of a body are those pending.
	awaitHead, awaitWhole, awaitTrailers bool
	replaced                             bool // the processor has replaced all of the message
	whole                                []byte
	attributed                           bool
	timer                                engine.Timer
	extended                             bool // the processor has asked for more time already
	asked                                int64

	body  stream.Bytes
	piped pipe
	pump  pump
	// pending are the pieces that were sent and not yet answered, ready those that go on.
	pending, ready queue
	streams        bool  // the body passes in pieces
	ended          bool  // no more becomes ready
	read           bool  // the source has ended
	err            error // or is broken
	// handed tells of a full-duplex body that the processor has some of it, which nobody else
	// has; finished, that it has given back all.
	handed, finished bool
}

func (d *side) init(x *session, request bool, m mode) {
	d.x, d.request, d.mode = x, request, m
	d.piped.d, d.pump.d = d, d
	d.timer.Init(x.loop, x.late)
}

// idle reports whether nothing is asked of this direction.
func (d *side) idle() bool { return !d.started && d.mode == (mode{}) }

// figures are those that logs are told.
func (d *side) figures() *figures {
	if d.request {
		return &d.x.noted.requests
	}
	return &d.x.noted.replies
}

// process has the processor see a message. It waits until the head may go on.
func (d *side) process(m *stream.Message) error {
	x := d.x
	if x.over || d.mode == (mode{}) {
		d.started, d.done = true, true
		x.settle()
		return nil
	}
	d.m, d.started = m, true
	hasBody := d.hasBody()
	switch {
	case x.c.observe:
		d.observe(hasBody)
		return nil
	case x.c.http != nil:
		return d.askHTTP(!hasBody)
	}
	if err := d.processHead(hasBody); err != nil || x.over || d.done {
		return err
	}
	switch {
	case !hasBody:
	case d.mode.body == bodyBuffered:
		return d.processWhole()
	case d.mode.body == bodyPartial:
		return d.processPart()
	case d.mode.body != bodyNone:
		d.stream()
		return nil
	case d.mode.trailers && m.Trailer != nil:
		m.Body = &trailing{d: d, src: m.Body}
		return nil
	}
	d.finish()
	return nil
}

// processHead sends the head, if the processor is to see it, and waits for the answer.
func (d *side) processHead(hasBody bool) error {
	if !d.mode.headers {
		return nil
	}
	d.awaitHead = true
	d.x.ask(d, &question{kind: headers, fields: d.m.Header, end: !hasBody})
	if hasBody && (d.mode.body == bodyDuplex || d.mode.body == bodyStreamed && d.x.c.eager) {
		d.stream()
		d.pump.start()
	}
	return d.await(func() bool { return !d.awaitHead })
}

// await waits on the task that runs until there is no more to wait for.
func (d *side) await(done func() bool) error {
	x := d.x
	t := x.loop.Task()
	for !done() && !x.over {
		if err := x.wait(t); err != nil {
			return err
		}
	}
	if x.fail != nil {
		return x.fail
	}
	return nil
}

// finish notes that nothing more is asked of this direction.
func (d *side) finish() {
	d.done = true
	d.arm()
	d.x.settle()
}

// arm sets the clock if the processor owes an answer, and stops it if not.
func (d *side) arm() {
	if d.mode.body != bodyDuplex && (d.awaitHead || d.awaitWhole || d.awaitTrailers || d.pending.len() > 0) {
		d.timer.Set(int64(max(d.x.c.timeout, time.Millisecond)))
		return
	}
	d.timer.Stop()
}

// processWhole reads all of the body and has the processor see it.
func (d *side) processWhole() error {
	m, x := d.m, d.x
	if !d.mode.headers && !x.c.keepLength {
		d.noLength()
	}
	whole, buf, err := m.Whole(nil, x.limit())
	switch {
	case errors.Is(err, stream.ErrTooLarge):
		return d.tooLarge()
	case err != nil:
		return err
	}
	if buf == nil { // A view, valid as long as the source is not asked again.
		whole = append([]byte(nil), whole...)
	}
	hasTrailers := m.Trailer != nil && m.Trailer.Len() > 0
	d.whole, d.awaitWhole = whole, true
	x.ask(d, &question{kind: body, body: whole, end: !hasTrailers})
	if err := d.await(func() bool { return !d.awaitWhole }); err != nil {
		return err
	}
	m.Length = int64(len(d.whole))
	if m.Header.Has(header.ContentLength) {
		m.Header.SetInt(header.ContentLength, m.Length)
	} else if hasTrailers {
		m.Length = -1 // HTTP/1 has no trailers after a length.
	}
	d.body = *stream.NewBytes(d.whole)
	m.Body = &d.body
	if err := d.processTrailers(hasTrailers); err != nil {
		return err
	}
	if !x.over {
		d.finish()
	}
	return nil
}

// processTrailers has the processor see trailers that are there, and waits.
func (d *side) processTrailers(have bool) error {
	if !have || !d.mode.trailers || d.x.over {
		return nil
	}
	d.askTrailers()
	return d.await(func() bool { return !d.awaitTrailers })
}

func (d *side) askTrailers() {
	d.awaitTrailers = true
	d.x.ask(d, &question{kind: trailers, fields: d.m.Trailer})
}

// processPart reads as much of the body as may be kept, has the processor see it, and lets
// the rest pass.
func (d *side) processPart() error {
	m, x := d.m, d.x
	if !x.c.keepLength {
		d.noLength()
	}
	var part []byte
	var err error
	for len(part) < x.limit() && err == nil {
		var p []byte
		p, err = m.Body.Next()
		part = append(part, p...)
	}
	ended := err != nil
	if ended && !isEnd(err) {
		return err
	}
	hasTrailers := ended && m.Trailer != nil && m.Trailer.Len() > 0
	d.whole, d.awaitWhole = part, true
	x.ask(d, &question{kind: body, body: part, end: ended && !hasTrailers})
	if err := d.await(func() bool { return !d.awaitWhole }); err != nil {
		return err
	}
	d.declare()
	if !ended {
		rest := m.Body
		m.Body = stream.NewPrefixed(d.whole, rest)
		if d.mode.trailers && m.Trailer != nil && !x.over {
			m.Body = &trailing{d: d, src: m.Body}
		} else if !x.over {
			d.finish()
		}
		return nil
	}
	d.body = *stream.NewBytes(d.whole)
	m.Body = &d.body
	if err := d.processTrailers(hasTrailers); err != nil {
		return err
	}
	if !x.over {
		d.finish()
	}
	return nil
}

// tooLarge is the answer to a body that is longer than may be kept.
func (d *side) tooLarge() error {
	if d.request {
		r := stream.TooLarge()
		return &stream.Error{Status: r.Status, Body: r.Body, Details: r.Details}
	}
	return &stream.Error{Status: http.StatusInternalServerError, Body: "Internal Server Error", Details: "response_payload_too_large"}
}

// noLength has the head tell no length: the body will have another.
func (d *side) noLength() {
	d.m.Header.Del(header.ContentLength)
	d.m.Length = -1
}

// declare takes the length that the head tells, where it may tell one.
func (d *side) declare() {
	d.m.Length = -1
	if v := d.m.Header.Get(header.ContentLength); v != nil {
		if n, ok := codec.ParseLength(v); ok && d.m.Header.Count(header.ContentLength) == 1 {
			d.m.Length = n
			return
		}
		d.m.Header.Del(header.ContentLength)
	}
}

// answered does what the processor answers. The error errSpurious tells that nothing asked
// for it, any other that it cannot be done.
func (d *side) answered(a *answer) error {
	g, took := d.figures(), time.Duration(d.x.loop.Now()-d.asked)
	switch {
	case a.kind == headers && d.awaitHead:
		g.headers = took
		return d.headAnswered(a)
	case a.kind == body && d.awaitWhole:
		g.body, g.pieces = g.body+took, g.pieces+1
		return d.wholeAnswered(a)
	case a.kind == body && d.streams && !d.awaitHead && !d.finished:
		g.body, g.pieces = g.body+took, g.pieces+1
		return d.pieceAnswered(a)
	case a.kind == trailers && d.awaitTrailers && d.pending.len() == 0 && !d.awaitHead:
		g.trailers = took
		return d.trailersAnswered(a)
	}
	return errSpurious
}

func (d *side) headAnswered(a *answer) error {
	d.awaitHead = false
	if err := d.mutateHead(a, d.lengthOpen()); err != nil {
		return err
	}
	if a.replaceAll {
		return d.replace(a)
	}
	if d.streams {
		d.declared()
	} else if !d.hasBody() || d.mode.body == bodyNone && !(d.mode.trailers && d.m.Trailer != nil) {
		d.finish() // Before the next message is read: one that comes is late.
	}
	d.arm()
	return nil
}

// hasBody reports whether the message has a body that is one of HTTP.
func (d *side) hasBody() bool { return d.m.Body != nil && !d.x.s.Upgrade }

// lengthOpen reports whether the processor may say how long the body is: where that is
// checked against what the body is in the end.
func (d *side) lengthOpen() bool {
	if d.m.Body == nil {
		return false
	}
	return d.mode.body == bodyBuffered && d.mode.headers || d.mode.body != bodyNone && d.x.c.keepLength
}

func (d *side) mutateHead(a *answer, length bool) error {
	if a.mutates {
		t := &target{h: d.m.Header, length: length, replacing: a.replaceAll && d.request, canonical: d.x.s.Canonical}
		if !d.request {
			t.part = responseHead
		}
		if err := d.x.mutate(t, a); err != nil {
			return err
		}
		if !d.request {
			d.status()
		}
	}
	d.clearRoute(a)
	return nil
}

// status keeps what logs are told of the response in step with its head.
func (d *side) status() {
	if n, ok := codec.ParseLength(d.m.Header.Get(header.Status)); ok {
		d.x.s.Info.Status = int(n)
	}
}

// clearRoute has the route be matched anew, if that is asked for and may be.
func (d *side) clearRoute(a *answer) {
	x := d.x
	switch {
	case !d.request:
	case x.f.upstream:
		if a.clearRoute {
			x.stats.ClearRouteUpstream.Inc()
		}
	case !a.mutates:
		if a.clearRoute {
			x.stats.ClearRouteIgnored.Inc()
		}
	case x.c.routeCache == routeRetained:
		if a.clearRoute {
			x.stats.ClearRouteDisabled.Inc()
		}
	case x.c.routeCache == routeCleared || a.clearRoute:
		x.s.ClearRoute()
	}
}

// replace makes the message what the processor says. It sees no more of it.
func (d *side) replace(a *answer) error {
	d.mode.trailers, d.awaitTrailers = false, false
	if !a.replaces || d.x.s.Upgrade {
		if d.lost() {
			return errSpurious
		}
		d.release()
		d.finish()
		return nil
	}
	d.pump.abandon()
	m := d.m
	m.Header.Del(header.ContentLength)
	m.Body, m.Trailer, m.Length = nil, nil, int64(len(a.body))
	if len(a.body) > 0 {
		d.body = *stream.NewBytes(a.body)
		m.Body = &d.body
	}
	d.streams, d.replaced = false, true
	d.pending.clear()
	d.finish()
	return nil
}

func (d *side) wholeAnswered(a *answer) error {
	if a.streamed {
		return errSpurious
	}
	d.awaitWhole = false
	if err := d.mutateHead(a, d.lengthOpen()); err != nil {
		return err
	}
	if a.replaces {
		if v := d.m.Header.Get(header.ContentLength); v != nil && d.mode.body == bodyBuffered {
			if n, ok := codec.ParseLength(v); !ok || n != int64(len(a.body)) {
				return errors.New("mismatch between content length and the length of the mutated body")
			}
		}
		d.whole = a.body
	}
	if a.replaceAll {
		d.mode.trailers = false
	}
	if t := d.m.Trailer; d.mode.body == bodyBuffered && (!d.mode.trailers || t == nil || t.Len() == 0) {
		d.finish()
	}
	d.arm()
	return nil
}

func (d *side) trailersAnswered(a *answer) error {
	d.awaitTrailers = false
	if a.mutates {
		if err := d.x.mutate(&target{h: d.m.Trailer, part: trailerPart}, a); err != nil {
			return err
		}
	}
	if d.streams {
		d.finished, d.ended = true, true
		d.finish()
	}
	d.arm()
	return nil
}
