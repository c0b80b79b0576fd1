// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"math/rand/v2"

	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/engine"
)

// keepAlive asks the peer for a sign of life by PING.
type keepAlive struct {
	c       *conn
	next    engine.Timer // the next PING
	timeout engine.Timer // its answer
	last    int64        // loop time at which something arrived
	on      bool
}

// The payloads of PINGs: an answer to one is not taken for an answer to the other.
var (
	keepPing  = [8]byte{'w', 'e', 'i', 'r', 'k', 'e', 'e', 'p'}
	drainPing = [8]byte{'w', 'e', 'i', 'r', 'g', 'o', 'n', 'e'}
)

func (k *keepAlive) init(c *conn) {
	k.c = c
	k.last = c.loop.Now()
	o := &c.lim.KeepAlive
	if o.Timeout <= 0 || o.Interval <= 0 && o.IdleInterval <= 0 {
		return
	}
	k.on = true
	k.next.Init(c.loop, k.ask)
	k.timeout.Init(c.loop, k.late)
	k.arm()
}

func (k *keepAlive) arm() {
	d := int64(k.c.lim.KeepAlive.Interval)
	if d <= 0 {
		return
	}
	if j := k.c.lim.KeepAlive.Jitter; j > 0 {
		d += int64(rand.Float64() * j / 100 * float64(d))
	}
	k.next.Set(d)
}

// ask sends a PING, unless one is not answered yet.
func (k *keepAlive) ask() {
	c := k.c
	if c.err != nil || k.timeout.Active() {
		return
	}
	c.sendPing(keepPing)
	k.timeout.Set(int64(c.lim.KeepAlive.Timeout))
}

// heard notes that something has arrived: a peer that sends is alive, though its
// answer may be far behind what it sends.
func (k *keepAlive) heard() {
	k.last = k.c.loop.Now()
	if k.on && k.timeout.Active() {
		k.timeout.Set(int64(k.c.lim.KeepAlive.Timeout))
	}
}

func (k *keepAlive) answered() {
	if k.on && k.timeout.Active() {
		k.timeout.Stop()
		k.arm()
	}
}

// late ends a connection whose peer is silent.
func (k *keepAlive) late() {
	k.c.st.KeepAliveTimeout.Inc()
	k.c.close(ErrKeepAlive)
}

// opening asks with a new stream if nothing has arrived for long.
func (k *keepAlive) opening() {
	d := k.c.lim.KeepAlive.IdleInterval
	if k.on && d > 0 && k.c.loop.Now()-k.last > int64(d) {
		k.ask()
	}
}

func (k *keepAlive) stop() {
	if k.on {
		k.next.Release()
		k.timeout.Release()
	}
}

func (c *conn) sendPing(data [8]byte) {
	b := c.out.reserve(frame.HeaderLen + 8)
	c.out.commit(frame.AppendPing(b, data, false))
	c.kick()
}
