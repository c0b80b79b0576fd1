// SPDX-License-Identifier: Apache-2.0

package overload

import (
	"math/rand/v2"
	"sync/atomic"

	"weir.dev/weir/proxy/stats"
)

// full is the state of a level that is saturated.
const full = 1 << 31

// A Level is how far an overload action or a load shed point goes at present: from 0,
// which is not at all, to 1, which is always. Asking it costs one atomic read. What is not
// configured is a nil Level, at 0 for ever. The zero Level is at 0.
type Level struct {
	state atomic.Uint32 // of full
	sheds *stats.Counter
}

// Hits decides, by chance, whether the action is to be taken this time: the level is its
// probability. A load shed point counts each time that it is.
func (l *Level) Hits() bool {
	if l == nil {
		return false
	}
	v := l.state.Load()
	if v == 0 || v < full && rand.Uint32()>>1 >= v {
		return false
	}
	if l.sheds != nil {
		l.sheds.Inc()
	}
	return true
}

// Value returns the level, from 0 to 1.
func (l *Level) Value() float64 {
	if l == nil {
		return 0
	}
	return float64(l.state.Load()) / full
}

// Saturated reports whether the level is 1.
func (l *Level) Saturated() bool { return l != nil && l.state.Load() == full }

// Set brings the level to v, from 0 to 1. The manager does so; nobody else but a test.
func (l *Level) Set(v float64) { l.state.Store(uint32(v * full)) }

// A Timeout shortens one kind of time limits, as reduce_timeouts asks. Nil shortens none.
type Timeout struct{ by []reduction }

// reduction is what one action does to a kind of time limits.
type reduction struct {
	level *Level
	// least is what a saturated level leaves, in nanoseconds, or share, where that is set,
	// of the limit.
	least  int64
	share  float64
	shares bool
}

// Of returns what is left of a limit of d nanoseconds: d while no action is on, never
// more, and never 0, which would be no limit. 0 stays 0.
func (t *Timeout) Of(d int64) int64 {
	if t == nil || d <= 0 {
		return d
	}
	left := d
	for i := range t.by {
		r := &t.by[i]
		v := r.level.Value()
		if v == 0 {
			continue
		}
		least := min(r.least, d)
		if r.shares {
			least = int64(float64(d) * r.share)
		}
		left = min(left, d-int64(float64(d-least)*v))
	}
	return max(left, 1)
}
