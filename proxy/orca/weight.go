// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"sync/atomic"
	"time"
)

// A Weight is the weight that follows from what a host tells of its load. Its
// methods may be called from any goroutine.
type Weight struct {
	weight        atomic.Uint32
	first, latest atomic.Int64 // Unix nanoseconds; first is 0 without reports
}

// Update notes the weight of a report.
func (l *Weight) Update(weight uint32, now time.Time) {
	l.weight.Store(weight)
	l.latest.Store(now.UnixNano())
	l.first.CompareAndSwap(0, now.UnixNano())
}

// Current returns the weight unless the reports are too new to be relied on, which they
// are for the blackout, or too old. With old ones the blackout begins anew.
func (l *Weight) Current(now time.Time, blackout, expiration time.Duration) (uint32, bool) {
	first := l.first.Load()
	if first == 0 || now.Sub(time.Unix(0, first)) < blackout {
		return 0, false
	}
	if now.Sub(time.Unix(0, l.latest.Load())) > expiration {
		l.first.CompareAndSwap(first, 0)
		return 0, false
	}
	return l.weight.Load(), true
}
