// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"weir.dev/weir/proxy/codec/h2/frame"
)

// drainWait is how long the answer to the PING of a drain is waited for, in
// nanoseconds.
const drainWait = 1_000_000_000

// drain announces the end (RFC 9113 §6.8): at first with the highest stream number
// there is, so that no request that is on its way is lost, and once a PING has gone
// there and back with the last one.
func (c *conn) drain() {
	if c.goAway.draining || c.err != nil {
		return
	}
	c.goAway.draining = true
	if c.client {
		c.endIfIdle()
		return
	}
	c.goAway.graceful = true
	c.st.GoAwayGraceful.Inc()
	c.writeGoAway(frame.MaxWindow, frame.NoError, "")
	c.sendPing(drainPing)
	c.goAway.timer.Set(drainWait)
}

// drained sends the last GOAWAY; the connection ends with its last stream.
func (c *conn) drained() {
	if c.err != nil || c.goAway.sent {
		return
	}
	c.goAway.graceful = false
	c.goAway.timer.Stop()
	c.sendGoAway(c.last, frame.NoError, "")
	c.endIfIdle()
}

// sendGoAway sends the final GOAWAY: streams above last are not taken.
func (c *conn) sendGoAway(last uint32, code frame.Code, debug string) {
	c.goAway.sent, c.goAway.draining = true, true
	if !c.client {
		c.goAway.last = last
	}
	c.writeGoAway(last, code, debug)
}

func (c *conn) writeGoAway(last uint32, code frame.Code, debug string) {
	c.st.GoAwaySent.Inc()
	c.sendSettings()
	b := c.out.reserve(frame.HeaderLen + 8 + len(debug))
	c.out.commit(frame.AppendGoAway(b, last, code, debug))
	c.kick()
}

// terminate ends the connection with a code that says why.
func (c *conn) terminate(code frame.Code, debug string) {
	if c.err != nil {
		return
	}
	if code == frame.NoError {
		c.goAway.draining = true
		if c.client {
			c.endIfIdle()
		} else {
			c.drained()
		}
		return
	}
	c.leave(&ConnectionError{Code: code, Reason: debug})
}

// leave ends the connection with an error while no frame is being handled.
func (c *conn) leave(e *ConnectionError) {
	c.fail(e)
	if c.within && !c.serving {
		c.wakeEnd()
	}
}

// endIfIdle ends a connection that takes no more streams and has none.
func (c *conn) endIfIdle() {
	if c.live > 0 || c.err != nil || !c.goAway.sent && !(c.client && c.goAway.draining) {
		return
	}
	if c.client && !c.goAway.sent && !c.goAway.remote {
		c.sendGoAway(0, frame.NoError, "") // 0 is the last of the server's, which has none.
	}
	c.lost(ErrClosed)
	c.kick()
	if c.within && !c.serving {
		c.wakeEnd()
	} else {
		c.settle()
	}
}

// maxLinger bounds the bytes read and thrown away while lingering.
const maxLinger = 1 << 20

// linger waits for the client to take what was sent and to close, as Serve's caller
// does where Serve ends the connection: a socket that is closed with bytes unread is
// reset, and the last answer may be lost with it.
func (c *conn) linger() {
	if c.client || c.lingering || c.loop.Task() == nil || c.ends.Transport.CloseWrite() != nil {
		c.finish(false)
		return
	}
	c.lingering = true
	c.rest.Set(lastWords)
}

// discard throws away what arrives while the connection lingers.
func (c *conn) discard() bool {
	for c.ends.Transport.Ready() {
		b := c.loop.Buffer()
		n, err := c.ends.Transport.Read(b)
		c.loop.PutBuffer(b)
		if c.discarded += n; err != nil || c.discarded > maxLinger {
			c.finish(true)
			return false
		}
	}
	return true
}

// trim gives up memory that an idle connection does not need.
func (c *conn) trim() {
	if c.lingering {
		c.finish(false)
		return
	}
	if c.live > 0 {
		return
	}
	if c.out.pending() { // A last word, or a PING, written in this very moment.
		c.rest.Set(trimAfter)
		return
	}
	c.table.trim()
	c.resets = recent{}
	c.out.bufs, c.out.spare = nil, nil
	if len(c.in.carry) == 0 {
		c.in.carry = nil
	}
	c.read.crumbs, c.read.arena = nil, nil
	c.role.trim()
}

// trimAfter is how long a connection is idle before it gives memory up, in
// nanoseconds.
const trimAfter = 1_000_000_000
