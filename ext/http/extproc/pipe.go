// SPDX-License-Identifier: Apache-2.0

package extproc

import (
	"errors"
	"io"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

func isEnd(err error) bool { return errors.Is(err, io.EOF) }

// queue holds pieces of a body in their order.
type queue struct {
	pieces []piece
	size   int // bytes
}

type piece struct {
	data []byte
	end  bool
}

func (q *queue) len() int { return len(q.pieces) }

func (q *queue) push(p piece) {
	q.pieces = append(q.pieces, p)
	q.size += len(p.data)
}

func (q *queue) pop() piece {
	p := q.pieces[0]
	q.pieces[0] = piece{}
	q.pieces = q.pieces[1:]
	q.size -= len(p.data)
	return p
}

func (q *queue) clear() { *q = queue{} }

// stream has the body pass in pieces.
func (d *side) stream() {
	if d.streams {
		return
	}
	d.streams = true
	d.pump.source = d.m.Body
	d.m.Body = &d.piped
	d.declared()
}

// declared settles what the head says of the length of a body that passes in pieces.
func (d *side) declared() {
	if !d.x.c.keepLength {
		d.m.Header.Del(header.ContentLength)
	}
	if !d.awaitHead {
		d.declare()
	}
}

// pump reads a body on a task of its own, and sends it to the processor: one that says
// nothing yet may want to see more first.
type pump struct {
	d       *side
	source  stream.Body
	task    *engine.Task
	begun   bool
	running bool
	stopped bool
}

func (p *pump) start() {
	if !p.begun && !p.stopped {
		p.begun, p.running = true, true
		p.d.x.loop.Go(p)
	}
}

var errStopped = errors.New("nobody reads the body any more")

// abandon stops the pump, soon.
func (p *pump) abandon() {
	p.stopped = true
	if p.task != nil {
		p.task.Interrupt(errStopped)
	}
}

// stop stops the pump and waits until it no longer touches the source.
func (p *pump) stop(t *engine.Task) {
	p.stopped = true
	for p.running {
		p.abandon()
		t.Yield()
	}
}

// Run reads the body to its end.
func (p *pump) Run(t *engine.Task) {
	p.task = t
	for !p.stopped && p.step(t) {
	}
	p.task, p.running = nil, false
	p.d.x.wake()
}

// step reads a piece and sends it. It is false if there is no more to do.
func (p *pump) step(t *engine.Task) bool {
	d, x := p.d, p.d.x
	b, err := p.source.Next()
	if p.stopped || x.fail != nil {
		return false
	}
	if err != nil && !isEnd(err) {
		d.err = err
		return false
	}
	d.carry(append([]byte(nil), b...), err != nil)
	x.wake()
	for err == nil && !p.stopped && x.fail == nil && d.full() {
		if x.wait(t) != nil {
			return false
		}
	}
	return err == nil
}

// carry sends a piece to the processor, or lets it pass if that is asked no more.
func (d *side) carry(data []byte, last bool) {
	d.read = last
	if d.x.over || d.done {
		d.push(data)
		d.ended = d.ended || last
		return
	}
	tail := last && d.m.Trailer != nil && d.m.Trailer.Len() > 0
	if end := last && !tail; len(data) > 0 || end {
		d.hand(piece{data, end})
	}
	switch {
	case tail && d.mode.trailers:
		d.askTrailers()
	case last:
		d.drained()
	}
}

// maxHanded bounds what is kept of a full-duplex body that the processor has, in bytes: as
// long as it has given nothing back, that may take its place.
const maxHanded = 64 << 10

// hand sends a piece to the processor.
func (d *side) hand(p piece) {
	switch {
	case d.mode.body != bodyDuplex:
		d.pending.push(p)
	case d.handed:
	case d.pending.size+len(p.data) > maxHanded:
		d.handed = true
		d.pending.clear()
	default:
		d.pending.push(p)
	}
	d.x.ask(d, &question{kind: body, body: p.data, end: p.end})
}

// full reports whether no more is to be read for now.
func (d *side) full() bool {
	kept := d.ready.size
	if d.x.over || d.done {
		return kept > d.x.limit()
	}
	if d.mode.body != bodyDuplex {
		kept += d.pending.size
	}
	return max(kept, d.x.call.Queued()) > d.x.limit()
}

func (d *side) push(data []byte) {
	if len(data) > 0 {
		d.ready.push(piece{data: data})
	}
}

// pieceAnswered takes the answer to a piece.
func (d *side) pieceAnswered(a *answer) error {
	duplex := d.mode.body == bodyDuplex
	if a.streamed != duplex || !duplex && d.pending.len() == 0 {
		return errSpurious
	}
	if duplex {
		d.handed = true
		d.pending.clear()
		d.push(a.body)
		if a.end {
			d.awaitTrailers, d.finished, d.ended = false, true, true
			d.finish()
		}
		return nil
	}
	p := d.pending.pop()
	if a.replaces {
		p.data = a.body
	}
	d.push(p.data)
	d.drained()
	d.arm()
	return nil
}

// drained ends a body that has passed, if the processor owes nothing of it.
func (d *side) drained() {
	if d.mode.body != bodyDuplex && d.read && d.pending.len() == 0 && !d.awaitTrailers && !d.ended {
		d.ended = true
		d.finish()
	}
}

// lost reports whether the processor has some of the body that nobody else has.
func (d *side) lost() bool { return d.streams && d.handed && !d.finished }

// release lets go on what waits for an answer, as it is.
func (d *side) release() {
	d.timer.Stop()
	d.awaitHead, d.awaitWhole, d.awaitTrailers = false, false, false
	for d.pending.len() > 0 {
		d.push(d.pending.pop().data)
	}
	if d.read {
		d.ended = true
	}
	if d.streams {
		d.declare()
	}
}

// pipe is a body as it comes from the processor.
type pipe struct{ d *side }

// Next implements stream.Body.
func (b *pipe) Next() ([]byte, error) {
	d, x := b.d, b.d.x
	d.pump.start()
	t := x.loop.Task()
	for {
		switch {
		case x.fail != nil:
			return nil, x.fail
		case d.ready.len() > 0:
			p := d.ready.pop()
			x.wake()
			return p.data, nil
		case d.ended:
			return nil, io.EOF
		case d.err != nil:
			return nil, d.err
		}
		if err := x.wait(t); err != nil {
			return nil, err
		}
	}
}

// Ready implements stream.Body.
func (b *pipe) Ready() bool {
	return b.d.x.fail != nil || b.d.ready.len() > 0 || b.d.ended || b.d.err != nil
}

// trailing is a body that the processor does not see, of a message whose trailers it does.
type trailing struct {
	d            *side
	src          stream.Body
	ended, asked bool
}

// Next implements stream.Body.
func (b *trailing) Next() ([]byte, error) {
	d, x := b.d, b.d.x
	if !b.ended {
		p, err := b.src.Next()
		if err == nil || !isEnd(err) {
			return p, err
		}
		b.ended = true
		if len(p) > 0 {
			return p, nil
		}
	}
	if have := d.m.Trailer.Len() > 0; !b.asked && !x.over {
		b.asked = true
		if have {
			d.askTrailers()
		}
	}
	if err := d.await(func() bool { return !d.awaitTrailers }); err != nil {
		return nil, err
	}
	if !d.done && !x.over {
		d.finish()
	}
	return nil, io.EOF
}

// Ready implements stream.Body.
func (b *trailing) Ready() bool { return !b.ended && b.src.Ready() }

// observe has the processor see a message that does not wait for it.
func (d *side) observe(hasBody bool) {
	x := d.x
	if d.mode.headers {
		x.ask(d, &question{kind: headers, fields: d.m.Header, end: !hasBody})
	}
	if !hasBody {
		return
	}
	if streamed := d.mode.body == bodyStreamed; streamed || d.mode.trailers && d.m.Trailer != nil {
		d.m.Body = &observed{d: d, src: d.m.Body, body: streamed}
	}
}

// observed is a body that the processor sees and does not change.
type observed struct {
	d    *side
	src  stream.Body
	body bool
	over bool
}

// Next implements stream.Body. A processor that is slow to take what it sees slows it down.
func (b *observed) Next() ([]byte, error) {
	d, x := b.d, b.d.x
	t := x.loop.Task()
	for !x.over && x.call != nil && x.call.Queued() > x.limit() {
		if err := x.wait(t); err != nil {
			return nil, err
		}
	}
	p, err := b.src.Next()
	if err != nil && !isEnd(err) || x.over || b.over {
		return p, err
	}
	b.over = err != nil
	tail := b.over && d.m.Trailer != nil && d.m.Trailer.Len() > 0
	if end := b.over && !tail; b.body && (len(p) > 0 || end) {
		x.ask(d, &question{kind: body, body: p, end: end})
	}
	if tail && d.mode.trailers {
		x.ask(d, &question{kind: trailers, fields: d.m.Trailer})
	}
	return p, err
}

// Ready implements stream.Body.
func (b *observed) Ready() bool { return b.src.Ready() }
