// SPDX-License-Identifier: Apache-2.0

package tcpproxy

import (
	"io"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
)

// pump is one direction of a session. It has a task while bytes flow; between
// them its source is idle.
type pump struct {
	s        *session
	src, dst end
	bytes    uint64 // of payload
	upload   bool   // from the client to the upstream
	splice   bool   // both ends are plain sockets
	bulk     bool   // the last bytes came in bulk
	done     bool   // the source's end was passed on, or nothing more can be
	broken   bool   // the destination was reset
}

// end is one side of a pump.
type end struct {
	sock *engine.Conn
	conn.Transport
}

func (e end) plain() bool { return e.Transport == conn.Transport(e.sock) }

func (p *pump) init(s *session, upload bool) {
	down, up := end{s.conn.Socket, s.conn.Transport}, end{s.up.Socket, s.up.Transport}
	p.s, p.upload = s, upload
	if upload {
		p.src, p.dst = down, up
	} else {
		p.src, p.dst = up, down
	}
	p.splice = p.src.plain() && p.dst.plain()
}

func (p *pump) other() *pump {
	if p.upload {
		return &p.s.back
	}
	return &p.s.forward
}

// begin waits for the source, or starts if it is ready.
func (p *pump) begin() {
	if p.s.over || p.done {
		return
	}
	if p.src.Ready() || !p.src.sock.Idle(p) {
		p.s.w.loop.Go(p)
	}
}

// Ready starts a task when the source can be read.
func (p *pump) Ready(*engine.Conn) {
	if !p.s.over {
		p.s.w.loop.Go(p)
	}
}

// Run moves bytes until there are none for the moment, or for good.
func (p *pump) Run(*engine.Task) {
	s, fine := p.s, false
	defer func() {
		if !fine { // A panic came between.
			s.end("")
		}
	}()
	for !s.over && !p.done {
		read, write := p.move()
		switch {
		case s.over:
		case write != nil:
			p.stop(write)
		case read == io.EOF:
			p.finish()
		case read != nil:
			p.fail(read)
		case s.draining:
			s.w.stats.CxDrainClose.Inc()
			s.end("tcp_proxy_drain_close")
		case !p.src.Ready() && p.src.sock.Idle(p):
			fine = true
			return
		}
	}
	fine = true
}

// finish passes the end of the source on. The other direction goes on.
func (p *pump) finish() {
	p.done = true
	switch {
	case p.other().broken: // The end of a reset.
		p.s.reset(!p.upload)
	case p.other().done:
		p.s.end("")
	default:
		// If the destination is gone already, the other direction finds out.
		_ = p.dst.CloseWrite()
	}
}

// fail ends the session because the source failed.
func (p *pump) fail(err error) {
	p.done = true
	if engine.IsReset(err) || p.other().broken {
		p.s.reset(!p.upload)
		return
	}
	p.s.note(err)
	p.s.end("")
}

// stop ends the direction because its destination takes no more. What the
// destination had sent before it went is still delivered.
func (p *pump) stop(err error) {
	p.done = true
	switch {
	case !engine.IsReset(err):
		p.s.note(err)
		p.s.end("")
	case p.other().done:
		p.s.reset(p.upload)
	default:
		p.broken = true
	}
}

// bulkBytes is how much must move at once for the kernel to move the next.
const bulkBytes = 2 * engine.BufferSize

// move carries what can be read now. It waits for the destination; for the source
// only where encryption hides whether a whole record has come.
func (p *pump) move() (read, write error) {
	before := p.bytes
	if p.splice && p.bulk {
		read, write = p.dst.sock.SpliceReady(p.src.sock, p)
	} else {
		read, write = p.copy()
	}
	p.bulk = p.bytes-before >= bulkBytes
	return read, write
}

func (p *pump) copy() (read, write error) {
	loop := p.s.w.loop
	b := loop.Buffer()
	defer loop.PutBuffer(b)
	for p.src.Ready() {
		var n int
		if p.src.plain() {
			n, read = p.src.sock.TryRead(b)
		} else {
			n, read = p.src.Read(b)
		}
		if n > 0 {
			if write = p.write(b[:n]); write != nil {
				return nil, write
			}
		}
		switch {
		case read != nil, n == 0:
			return read, nil
		case n == len(b) && p.splice:
			return p.dst.sock.SpliceReady(p.src.sock, p)
		}
	}
	return nil, nil
}

// write writes all of b, and notes whether it had to wait.
func (p *pump) write(b []byte) error {
	n := 0
	if p.dst.plain() {
		var err error
		if n, err = p.dst.sock.TryWrite(b); err != nil {
			return err
		}
		if n == len(b) {
			p.Moved(n)
			return nil
		}
		p.Stalled(true)
		defer p.Stalled(false)
	}
	if _, err := p.dst.Write(b[n:]); err != nil {
		return err
	}
	p.Moved(len(b))
	return nil
}

// Moved counts bytes that were delivered.
func (p *pump) Moved(n int) {
	s := p.s
	p.bytes += uint64(n)
	if p.upload {
		s.w.stats.CxRxBytes.Add(uint64(n))
	} else {
		s.w.stats.CxTxBytes.Add(uint64(n))
	}
	if !s.over {
		s.up.Account()
		s.touch()
	}
}

// Stalled counts the times that a source was not read because of a slow
// destination.
func (p *pump) Stalled(on bool) {
	st, cl := p.s.w.stats, p.s.cluster.Stats
	switch {
	case p.upload && on:
		st.Paused.Inc()
		cl.FlowControlBackedUpTotal.Inc()
	case p.upload:
		st.Resumed.Inc()
		cl.FlowControlDrainedTotal.Inc()
	case on:
		cl.FlowControlPausedReadingTotal.Inc()
	default:
		cl.FlowControlResumedReadingTotal.Inc()
	}
}
