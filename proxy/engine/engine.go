// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"runtime"
	"sync"
	"time"
)

// Options configure an Engine.
type Options struct {
	// Loops is the number of event loops; 0 is one per processor.
	Loops int
	// OnPanic is told of a panic on a task, with its stack; the task's
	// connection is lost, the loop goes on.
	OnPanic func(v any, stack []byte)
	// OnStall is told of a loop that has not come back for longer than
	// StallAfter, with the name of what was running.
	OnStall func(Stall)
	// StallAfter defaults to 200 ms (Envoy's watchdog miss_timeout).
	StallAfter time.Duration
}

// An Engine is a set of loops and the watchdog over them.
type Engine struct {
	loops []*Loop
	stop  chan struct{}
	wg    sync.WaitGroup
	once  sync.Once
}

// New starts the loops.
func New(o Options) (*Engine, error) {
	if o.Loops <= 0 {
		o.Loops = runtime.GOMAXPROCS(0)
	}
	if o.StallAfter <= 0 {
		o.StallAfter = 200 * time.Millisecond
	}
	e := &Engine{stop: make(chan struct{})}
	for i := range o.Loops {
		l, err := newLoop(i, o.OnPanic)
		if err != nil {
			for _, l := range e.loops {
				l.shut()
			}
			return nil, err
		}
		e.loops = append(e.loops, l)
	}
	// A loop that waits raw holds its processor, so there must be a spare one
	// for the collector and for everything that is not a loop.
	if procs := o.Loops + 1; e.loops[0].raw && runtime.GOMAXPROCS(0) < procs {
		runtime.GOMAXPROCS(procs)
	}
	for _, l := range e.loops {
		e.wg.Go(l.run)
	}
	if o.OnStall != nil {
		e.wg.Go(func() { e.watch(o) })
	}
	return e, nil
}

// Loops returns the loops.
func (e *Engine) Loops() []*Loop { return e.loops }

// Close ends every task and connection and waits for the loops.
func (e *Engine) Close() {
	e.once.Do(func() {
		close(e.stop)
		for _, l := range e.loops {
			l.Post(l.startClose)
		}
		e.wg.Wait()
		for _, l := range e.loops {
			l.goroutines.Wait()
		}
	})
}
