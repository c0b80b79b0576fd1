// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/engine"
)

// output is what waits to be written. Streams and the reading side append frames;
// one task at a time, the flusher, writes them, all that are there at once.
type output struct {
	loop *engine.Loop
	bufs [][]byte // the last is being filled
	n    int      // bytes in them
	// flying is what the flusher writes now.
	flying  int
	frames  int // that wait or fly
	control int // of them SETTINGS, PING and RST_STREAM
	// gen changes whenever the flusher takes what there is: a frame appended since
	// can still be changed.
	gen    uint64
	active bool // there is a flusher
	spare  [][]byte
}

// outMost is how much may wait to be written before streams have to wait.
const outMost = 64 << 10

// frameMost is the largest payload that is sent. Every peer takes as much, and
// with larger ones streams would wait longer for each other.
const frameMost = frame.MinMaxFrameSize

// full reports whether streams have to wait.
func (c *conn) full() bool {
	return c.out.n+c.out.flying >= outMost || c.out.frames >= int(c.lim.MaxOutboundFrames)
}

// pending reports whether anything is still to be written.
func (o *output) pending() bool { return o.n > 0 || o.active }

// reserve returns the buffer being filled, with room for n more bytes in one
// piece. What was appended to it is handed to commit.
func (o *output) reserve(n int) []byte {
	if k := len(o.bufs); k > 0 && cap(o.bufs[k-1])-len(o.bufs[k-1]) >= n {
		return o.bufs[k-1]
	}
	var b []byte
	if n <= engine.BufferSize {
		b = o.loop.Buffer()[:0]
	} else {
		b = make([]byte, 0, n)
	}
	o.bufs = append(o.bufs, b)
	return b
}

// commit takes what was appended to the result of reserve.
func (o *output) commit(b []byte) {
	k := len(o.bufs) - 1
	o.n += len(b) - len(o.bufs[k])
	o.bufs[k] = b
	o.frames++
}

// fill appends bytes of a frame that was committed.
func (o *output) fill(p []byte) {
	o.n += len(p)
	for len(p) > 0 {
		b := o.reserve(1)
		n := min(len(p), cap(b)-len(b))
		o.bufs[len(o.bufs)-1] = append(b, p[:n]...)
		p = p[n:]
	}
}

// A mark is a frame that was appended last.
type mark struct {
	flags *byte
	gen   uint64
}

// mark remembers the frame that begins at b[at:].
func (o *output) mark(b []byte, at int) mark { return mark{&b[at+4], o.gen} }

// endStream sets END_STREAM on a frame, if it has not left.
func (o *output) endStream(m mark) bool {
	if m.flags == nil || m.gen != o.gen {
		return false
	}
	*m.flags |= byte(frame.EndStream)
	return true
}

// control counts a control frame that was appended: a peer that asks for answers
// and does not take them is left.
func (c *conn) control() {
	o := &c.out
	o.control++
	switch {
	case o.control > int(c.lim.MaxOutboundControlFrames):
		if c.err == nil {
			c.st.ControlFlood.Inc()
		}
		c.fail(errPings)
	case o.frames > int(c.lim.MaxOutboundFrames)+int(c.lim.MaxOutboundControlFrames):
		if c.err == nil {
			c.st.Flood.Inc()
		}
		c.fail(errFrames)
	}
	c.kick()
}

// kick has what waits written, soon: by a task that runs after those that are
// ready now, so that what they send leaves with it. While frames are handled it
// waits for the last of them.
func (c *conn) kick() {
	if c.out.active || c.serving || c.out.n == 0 || c.wErr != nil {
		return
	}
	c.out.active = true
	c.loop.Go((*flusher)(c))
}

// flusher is a connection as the task that writes.
type flusher conn

// Run writes until nothing waits.
func (f *flusher) Run(*engine.Task) {
	c := (*conn)(f)
	o := &c.out
	defer func() {
		o.active = false
		if c.err != nil {
			c.wakeEnd()
		}
	}()
	for o.n > 0 && c.wErr == nil {
		bufs, n, frames, control := o.bufs, o.n, o.frames, o.control
		o.bufs = o.spare[:0]
		o.n, o.flying = 0, n
		o.gen++
		c.st.PendingSendBytes.Add(int64(n))
		c.st.OutboundFrames.Add(int64(frames))
		c.st.OutboundControl.Add(int64(control))
		err := c.write(bufs)
		c.st.PendingSendBytes.Add(-int64(n))
		c.st.OutboundFrames.Add(-int64(frames))
		c.st.OutboundControl.Add(-int64(control))
		for i, b := range bufs {
			c.loop.PutBuffer(b)
			bufs[i] = nil
		}
		o.spare = bufs[:0]
		o.flying = 0
		o.frames -= frames
		o.control -= control
		if err != nil {
			c.writeFailed(err)
			return
		}
		c.grant()
	}
}

// write writes buffers, two in one call.
func (c *conn) write(bufs [][]byte) error {
	for len(bufs) > 1 {
		if err := c.ends.Transport.Write2(bufs[0], bufs[1]); err != nil {
			return err
		}
		bufs = bufs[2:]
	}
	if len(bufs) == 1 {
		_, err := c.ends.Transport.Write(bufs[0])
		return err
	}
	return nil
}

// writeFailed ends a connection that cannot be written to.
func (c *conn) writeFailed(err error) {
	if c.wErr == nil {
		c.wErr = err
	}
	c.lost(err)
}

// abandon gives up what waits.
func (o *output) abandon() {
	for i, b := range o.bufs {
		o.loop.PutBuffer(b)
		o.bufs[i] = nil
	}
	o.bufs = o.bufs[:0]
	o.n = 0
}
