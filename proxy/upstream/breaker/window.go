// SPDX-License-Identifier: Apache-2.0

package breaker

import (
	"sync/atomic"
	"time"
)

// granularity is the number of parts that a window's time is cut into: what it counts
// is up to one part too old.
const granularity = 16

// A window counts what happened within the last while. Its methods may be called from
// any goroutine and do not block.
type window struct {
	part  time.Duration
	start time.Time
	parts [granularity + 1]slice
}

// slice is one part of the time; number tells which one it counts for.
type slice struct{ number, n atomic.Int64 }

func newWindow(length time.Duration) *window {
	return &window{part: max(length/granularity, 1), start: time.Now()}
}

// at is the number of the present part of the time, counted from 1.
func (w *window) at() int64 { return int64(time.Since(w.start)/w.part) + 1 }

func (w *window) add() {
	at := w.at()
	s := &w.parts[at%int64(len(w.parts))]
	// Who finds a slice of an earlier time empties it; one that counts for it at the
	// same moment may be lost, which a budget does not mind.
	if old := s.number.Load(); old != at && s.number.CompareAndSwap(old, at) {
		s.n.Store(0)
	}
	s.n.Add(1)
}

func (w *window) count() (sum int64) {
	at := w.at()
	for i := range w.parts {
		if s := &w.parts[i]; s.number.Load() > at-int64(len(w.parts)) {
			sum += s.n.Load()
		}
	}
	return sum
}
