// SPDX-License-Identifier: Apache-2.0

// Package bell runs a function away from those who want it run: whenever it is rung, and
// when the time comes that the function asked for.
//
// It costs no goroutine while nothing happens, and who rings neither waits nor takes
// memory. It deliberately knows nothing of what there is to do: that stands in whatever
// the function looks at.
package bell

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Bell has one function, which never runs twice at once.
type Bell struct {
	f     func() time.Duration
	rung  atomic.Bool
	over  atomic.Bool
	done  chan struct{}
	once  sync.Once
	mu    sync.Mutex // held while f runs
	timer *time.Timer
}

// New returns a bell that runs f after first, and again after the time that f returns
// each time, but sooner if it is rung; a negative time is not to run unless rung. It
// must be closed.
func New(first time.Duration, f func() time.Duration) *Bell {
	b := &Bell{f: f, done: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer = time.AfterFunc(orNever(first), b.run)
	return b
}

const never = 1<<63 - 1

func orNever(d time.Duration) time.Duration {
	if d < 0 {
		return never
	}
	return d
}

// Ring has the function run soon, after what the caller has done so far. It may be
// called from any goroutine. After Close it does nothing.
func (b *Bell) Ring() {
	if !b.rung.Swap(true) && !b.over.Load() {
		b.timer.Reset(0)
	}
}

// Close waits until the function has run for the last time. It must not be called by
// the function itself, nor with a lock held that the function takes. A second Close
// does nothing.
func (b *Bell) Close() {
	b.mu.Lock()
	b.over.Store(true)
	b.timer.Reset(0)
	b.mu.Unlock()
	<-b.done
}

func (b *Bell) run() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over.Load() {
		b.once.Do(func() { close(b.done) })
		return
	}
	b.rung.Store(false)
	b.timer.Reset(orNever(b.f()))
	if b.rung.Load() { // Perhaps before the timer was set anew.
		b.timer.Reset(0)
	}
}
