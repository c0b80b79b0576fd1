// SPDX-License-Identifier: Apache-2.0

// Package pump carries bytes between two connections, both ways, until both sides
// have ended.
//
// A pair that is quiet has no task and no buffer. Between two plain sockets what is
// small is moved without a task, through a buffer of the loop, and what comes in bulk
// by the kernel (splice). A direction gets a task while its bytes come in bulk, where
// its destination must be waited for, and where a side is encrypted. What has been
// read is written before more is read, so a slow reader stops the sender and never
// costs more than one buffer or one pipe.
//
// The package owns neither connection: who does closes them when the pair has ended.
package pump

import (
	"io"

	"weir.dev/weir/proxy/engine"
)

// A Transport is what a pump needs of a connection; its methods wait on the calling
// task.
type Transport interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	// Ready reports whether a Read would return without waiting.
	Ready() bool
	// CloseWrite tells the peer that nothing more is sent.
	CloseWrite() error
}

// An End is one of the two connections.
type End struct {
	Socket    *engine.Conn
	Transport Transport
}

func (e *End) plain() bool { return e.Transport == Transport(e.Socket) }

// An Owner is told what happens to a pair. Its methods run on the loop, not always on
// a task.
type Owner interface {
	// Moved tells that n more bytes were delivered; upload that they came from the
	// near end.
	Moved(upload bool, n int)
	// Stalled tells that a destination takes no more for now, or takes more again.
	Stalled(upload, on bool)
	// Ended tells, once, that the pair is over. The owner closes the connections.
	Ended(e Ending)
}

// An Ending is how a pair ended. The zero Ending is that of both sides.
type Ending struct {
	// Reset tells that one side was reset: the far one if Far is set.
	Reset bool
	Far   bool
	// Err is why a transport failed otherwise.
	Err error
	// Last tells that the bytes after Finish was called have passed.
	Last bool
}

// A Pair is two connections, the near one and the far one.
type Pair struct {
	loop          *engine.Loop
	owner         Owner
	forward, back direction
	over          bool
	last          bool
}

// Init readies a pair. Nothing moves before Begin.
func (p *Pair) Init(l *engine.Loop, o Owner, near, far End) {
	p.loop, p.owner, p.over, p.last = l, o, false, false
	p.forward = direction{p: p, src: near, dst: far, upload: true}
	p.back = direction{p: p, src: far, dst: near}
	plain := near.plain() && far.plain()
	p.forward.plain, p.back.plain = plain, plain
}

// Send delivers bytes that were read before, to the far end or to the near one. It
// waits on the calling task.
func (p *Pair) Send(upload bool, b []byte) error {
	d := &p.back
	if upload {
		d = &p.forward
	}
	if len(b) == 0 {
		return nil
	}
	return d.write(b)
}

// Begin moves bytes from now on.
func (p *Pair) Begin() {
	p.back.begin()
	p.forward.begin()
}

// Finish ends the pair after its next bytes.
func (p *Pair) Finish() { p.last = true }

// Stop ends the pair; its owner is not told. The connections are to be closed next.
func (p *Pair) Stop() { p.over = true }

// Bytes returns how many bytes were delivered to the far end and to the near one.
func (p *Pair) Bytes() (sent, received uint64) { return p.forward.bytes, p.back.bytes }

func (p *Pair) end(e Ending) {
	if !p.over {
		p.over = true
		p.owner.Ended(e)
	}
}

// direction is one direction of a pair. It has a task while bytes flow that need one;
// between them its source is idle.
type direction struct {
	p        *Pair
	src, dst End
	bytes    uint64
	upload   bool  // from the near end to the far one
	plain    bool  // both ends are plain sockets
	bulk     bool  // the last bytes came in bulk
	done     bool  // the source's end was passed on, or nothing more can be
	broken   bool  // the destination was reset
	failed   error // of a read without a task
	refused  error // of a write without a task
	held     []byte
	heldFrom int // what of held was written
}

func (d *direction) other() *direction {
	if d.upload {
		return &d.p.back
	}
	return &d.p.forward
}

// begin waits for the source, or starts if it is ready.
func (d *direction) begin() {
	if d.p.over || d.done {
		return
	}
	if d.src.Transport.Ready() || !d.src.Socket.Idle(d) {
		d.p.loop.Go(d)
	}
}

// Ready moves what can be read, on a task if it must.
func (d *direction) Ready(*engine.Conn) {
	if !d.p.over && !d.hop() {
		d.p.loop.Go(d)
	}
}

// hop moves without a task what is there, if it is little and the destination takes
// it. It reports false if a task is to go on.
func (d *direction) hop() bool {
	if !d.plain || d.bulk {
		return false
	}
	loop := d.p.loop
	b := loop.Buffer()
	n, err := d.src.Socket.TryRead(b)
	d.failed = err
	if n > 0 {
		var m int
		m, d.refused = d.dst.Socket.TryWrite(b[:n])
		if d.refused != nil || m < n {
			d.held, d.heldFrom = b[:n], m
			return false
		}
		d.Moved(n)
	}
	loop.PutBuffer(b)
	switch {
	case d.p.over:
		return true
	case err != nil, n == len(b):
		return false
	case d.p.last && n > 0:
		d.p.end(Ending{Last: true})
		return true
	}
	return d.src.Socket.Idle(d)
}

// Run moves bytes until there are none for the moment, or for good.
func (d *direction) Run(*engine.Task) {
	p, fine := d.p, false
	defer func() {
		if !fine { // A panic came between.
			p.end(Ending{})
		}
	}()
	for !p.over && !d.done {
		before := d.bytes
		read, write := d.move()
		switch {
		case p.over:
		case write != nil:
			d.stop(write)
		case read == io.EOF:
			d.finish()
		case read != nil:
			d.fail(read)
		case p.last && d.bytes > before:
			p.end(Ending{Last: true})
		case !d.src.Transport.Ready() && d.src.Socket.Idle(d):
			fine = true
			return
		}
	}
	fine = true
}

// finish passes the end of the source on. The other direction goes on.
func (d *direction) finish() {
	d.done = true
	switch {
	case d.other().broken: // The end of a reset.
		d.p.end(Ending{Reset: true, Far: !d.upload})
	case d.other().done:
		d.p.end(Ending{})
	default:
		// If the destination is gone already, the other direction finds out.
		_ = d.dst.Transport.CloseWrite()
	}
}

// fail ends the pair because the source failed.
func (d *direction) fail(err error) {
	d.done = true
	if engine.IsReset(err) || d.other().broken {
		d.p.end(Ending{Reset: true, Far: !d.upload})
		return
	}
	d.p.end(Ending{Err: err, Far: !d.upload})
}

// stop ends the direction because its destination takes no more. What the
// destination had sent before it went is still delivered.
func (d *direction) stop(err error) {
	d.done = true
	switch {
	case !engine.IsReset(err):
		d.p.end(Ending{Err: err, Far: d.upload})
	case d.other().done:
		d.p.end(Ending{Reset: true, Far: d.upload})
	default:
		d.broken = true
	}
}

// bulkBytes is how much must move at once for the kernel to move the next.
const bulkBytes = 2 * engine.BufferSize

// move carries what can be read now. It waits for the destination; for the source
// only where encryption hides whether a whole record has come.
func (d *direction) move() (read, write error) {
	if read, write = d.settle(); read != nil || write != nil {
		return read, write
	}
	before := d.bytes
	if d.plain && d.bulk {
		read, write = d.dst.Socket.SpliceReady(d.src.Socket, d)
	} else {
		read, write = d.copy()
	}
	d.bulk = d.bytes-before >= bulkBytes
	return read, write
}

// settle goes on with what was begun without a task.
func (d *direction) settle() (read, write error) {
	if b := d.held; b != nil {
		if write = d.refused; write == nil {
			d.Stalled(true)
			_, write = d.dst.Transport.Write(b[d.heldFrom:])
			d.Stalled(false)
		}
		d.held, d.refused = nil, nil
		d.p.loop.PutBuffer(b)
		if write != nil {
			return nil, write
		}
		d.Moved(len(b))
	}
	read, d.failed = d.failed, nil
	return read, nil
}

func (d *direction) copy() (read, write error) {
	loop := d.p.loop
	b := loop.Buffer()
	defer loop.PutBuffer(b)
	for d.src.Transport.Ready() {
		var n int
		if d.src.plain() {
			n, read = d.src.Socket.TryRead(b)
		} else {
			n, read = d.src.Transport.Read(b)
		}
		if n > 0 {
			if write = d.write(b[:n]); write != nil {
				return nil, write
			}
		}
		switch {
		case read != nil, n == 0:
			return read, nil
		case n == len(b) && d.plain:
			return d.dst.Socket.SpliceReady(d.src.Socket, d)
		}
	}
	return nil, nil
}

// write writes all of b, and notes whether it had to wait.
func (d *direction) write(b []byte) error {
	n := 0
	if d.dst.plain() {
		var err error
		if n, err = d.dst.Socket.TryWrite(b); err != nil {
			return err
		}
		if n == len(b) {
			d.Moved(n)
			return nil
		}
		d.Stalled(true)
		defer d.Stalled(false)
	}
	if _, err := d.dst.Transport.Write(b[n:]); err != nil {
		return err
	}
	d.Moved(len(b))
	return nil
}

// Moved counts bytes that were delivered.
func (d *direction) Moved(n int) {
	d.bytes += uint64(n)
	d.p.owner.Moved(d.upload, n)
}

// Stalled tells of the times that a source was not read because of a slow
// destination.
func (d *direction) Stalled(on bool) { d.p.owner.Stalled(d.upload, on) }
