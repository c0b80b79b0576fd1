// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/engine"
)

// A backOff is what a host keeps of connections that could not be made. While there was
// none since, requests pass the host over, but for one at the end of each back-off. It
// takes no lock. The design is docs/design/0013-connection-back-off.md.
type backOff struct {
	// misses counts the back-offs in a row; gone, once the host has left.
	misses atomic.Uint32
	// until is when the one at hand ends, in engine.Nano's time.
	until atomic.Int64
}

// gone is the misses of a host that has left its cluster, which count nowhere.
const gone = 1<<32 - 1

// The first back-off, of which each further one is twice as long up to maxBackOffs times
// the first; and the key of the runtime for it, in milliseconds, of which 0 is none.
const (
	baseBackOff    = 100 * time.Millisecond
	maxBackOffs    = 10
	baseBackOffKey = "upstream.base_connect_backoff_ms"
)

// maxPassedOver bounds how many hosts one pick passes over.
const maxPassedOver = 8

// SlowConnect is how long a connection may take to be made before its host backs off: as
// long as TCP waits for an answer to its first segment before it sends another
// (RFC 6298 §2.1).
const SlowConnect = time.Second

// Unreachable tells that a connection to the host could not be made, or not within
// SlowConnect. It may be called from any goroutine.
func (h *Host) Unreachable() {
	c := h.Cluster
	if c == nil || c.outlier != nil || c.Sticky {
		return
	}
	base := c.connectBackOff()
	if base <= 0 {
		return
	}
	b, now := &h.backOff, engine.Nano()
	for {
		n := b.misses.Load()
		if n == gone || n > 0 && now < b.until.Load() {
			return // Of several that fail at once one counts; of a trial, its begin has.
		}
		// Before it counts: who sees that it does must not see the end of another.
		b.until.Store(now + backOffTime(base, n+1))
		if b.misses.CompareAndSwap(n, min(n+1, maxBackOffs)) {
			if n == 0 {
				c.backingOff.Add(1)
			}
			return
		}
	}
}

// Reached tells that the host has accepted a connection, or answered on one. It may be
// called from any goroutine and writes nothing if the host was not backing off.
func (h *Host) Reached() {
	for {
		n := h.backOff.misses.Load()
		if n == 0 || n == gone {
			return
		}
		if h.backOff.misses.CompareAndSwap(n, 0) {
			h.Cluster.backingOff.Add(-1)
			return
		}
	}
}

// leave tells that the host is not in the cluster any more.
func (h *Host) leave() {
	h.present.Store(false)
	if n := h.backOff.misses.Swap(gone); n != 0 && n != gone {
		h.Cluster.backingOff.Add(-1)
	}
}

// passOver tells whether a request should go to another host than h for now. Whoever
// gets false once a back-off is over is the trial, and the next back-off begins.
func (h *Host) passOver() bool {
	b := &h.backOff
	n := b.misses.Load()
	if n == 0 || n == gone || h.Cluster.mostBackOff() {
		return false
	}
	now, until := engine.Nano(), b.until.Load()
	if now < until {
		return true
	}
	if !b.until.CompareAndSwap(until, now+backOffTime(h.Cluster.connectBackOff(), n+1)) {
		return true // Another request is the trial.
	}
	b.misses.CompareAndSwap(n, min(n+1, maxBackOffs))
	return false
}

// mostBackOff tells that fewer hosts than the panic threshold do not back off: then none
// is passed over, or the others would get more than they can bear.
func (c *Cluster) mostBackOff() bool {
	set := c.newest.Load()
	return float64(c.backingOff.Load())*100 > (100-set.PanicThreshold)*float64(len(set.Hosts))
}

// connectBackOff is how long the first back-off is, 0 if there is to be none.
func (c *Cluster) connectBackOff() time.Duration {
	if r := c.manager.options.Runtime; r != nil {
		if ms, ok := r.Int(baseBackOffKey); ok {
			return time.Duration(min(max(ms, 0), int64(time.Hour/time.Millisecond))) * time.Millisecond
		}
	}
	return baseBackOff
}

// backOffTime is the length of the back-off with a number, counted from 1: up to a fifth
// more or less, so that proxies do not all try at once.
func backOffTime(base time.Duration, number uint32) int64 {
	d := min(base<<min(number-1, 4), maxBackOffs*base)
	return int64(float64(d) * (0.8 + 0.4*rand.Float64()))
}
