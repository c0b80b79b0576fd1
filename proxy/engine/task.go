// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"iter"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// ErrClosed is what waits return once their loop is closing.
var ErrClosed = errors.New("loop closed")

// A Runner is a piece of work for a task.
type Runner interface {
	Run(t *Task)
}

// A Task is a coroutine of one loop. It is taken from a pool and given back
// when its Runner returns, so it must not be kept after that.
type Task struct {
	loop  *Loop
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
	job   Runner

	index    int   // in the loop's list of all
	intr     error // delivered by the next wait
	deadline Timer
	timeout  error
	parked   bool // waiting, may be interrupted
	queued   bool // in the loop's run queue
	foreign  bool // waiting for a goroutine; nothing else wakes it
	ops      int  // reads and writes since it last let others run

	// at names what runs now, for the watchdog.
	at atomic.Pointer[string]
}

// Loop returns the task's loop.
func (t *Task) Loop() *Loop { return t.loop }

// At says what the task is doing from now on, such as the name of a filter, so
// that a stall can be named. name must not change.
func (t *Task) At(name *string) { t.at.Store(name) }

// Interrupt makes the task's present or next wait return err, once. It does
// nothing to a task that does not wait again.
func (t *Task) Interrupt(err error) {
	t.intr = err
	if t.parked {
		t.loop.ready(t)
	}
}

// Pending returns the interrupt that the next wait would return, nil if there is
// none.
func (t *Task) Pending() error { return t.intr }

// Clear forgets an interrupt that no wait has returned yet.
func (t *Task) Clear() { t.intr = nil }

// SetDeadline makes waits return err once d nanoseconds have passed; a second
// call replaces the first, and d <= 0 takes it away.
func (t *Task) SetDeadline(d int64, err error) {
	if d <= 0 {
		t.deadline.Stop()
		return
	}
	t.timeout = err
	t.deadline.Set(d)
}

// Wait suspends the task until something wakes it: callers loop over their
// condition. It returns the error of an interrupt.
func (t *Task) Wait() error {
	if t.intr == nil && !t.loop.closing {
		t.parked = true
		t.suspend()
		t.parked = false
	}
	if err := t.intr; err != nil {
		t.intr = nil
		return &Interrupted{err}
	}
	if t.loop.closing {
		return &Interrupted{ErrClosed}
	}
	return nil
}

// Interrupted is the error of a wait that ended because of the task and not of
// what it waited for.
type Interrupted struct{ Err error }

// Error returns the cause.
func (i *Interrupted) Error() string { return i.Err.Error() }

// Unwrap returns the cause.
func (i *Interrupted) Unwrap() error { return i.Err }

// Wake makes a waiting task run again, soon. On the task's loop only.
func (t *Task) Wake() {
	if t.parked {
		t.loop.ready(t)
	}
}

// Yield lets the loop's other work run before the task goes on.
func (t *Task) Yield() {
	t.loop.ready(t)
	t.suspend()
}

// Sleep waits for d, or until interrupted.
func (t *Task) Sleep(d time.Duration) error {
	var tm Timer
	done := false
	tm.Init(t.loop, func() { done = true; t.Wake() })
	tm.Set(int64(d))
	defer tm.Release()
	for !done {
		if err := t.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// Foreign runs f on a goroutine of its own while the task waits and the loop
// serves others. It returns when f has; f must be bounded by its own time-out.
func (t *Task) Foreign(f func()) {
	l := t.loop
	l.goroutines.Add(1)
	t.foreign = true
	go func() {
		defer l.goroutines.Done()
		defer l.Post(func() { t.foreign = false; l.ready(t) })
		f()
	}()
	for t.foreign {
		t.suspend()
	}
}

func (t *Task) suspend() {
	t.ops = 0
	t.yield(struct{}{})
}

// maxOps is how many reads and writes a task may make without waiting before
// it lets others run.
const maxOps = 64

// spend counts one operation and yields when a task has had its share.
func (t *Task) spend() {
	if t.ops++; t.ops > maxOps {
		t.Yield()
	}
}

// newTask makes a task whose coroutine runs one job after the other.
func (l *Loop) newTask() *Task {
	t := &Task{loop: l, index: len(l.all)}
	l.all = append(l.all, t)
	t.deadline.Init(l, func() { t.Interrupt(t.timeout) })
	t.next, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		t.yield = yield
		for t.job != nil {
			t.runJob()
			t.finish()
			if !yield(struct{}{}) {
				return
			}
		}
	})
	return t
}

// runJob keeps a panic from taking the loop down: the job's connection is lost,
// its Runner's own deferred calls have closed it, and the owner is told.
func (t *Task) runJob() {
	defer func() {
		if v := recover(); v != nil {
			t.loop.panicked(v, debug.Stack())
		}
	}()
	t.job.Run(t)
}

func (t *Task) finish() {
	l := t.loop
	t.job = nil
	t.intr = nil
	t.deadline.Stop()
	t.at.Store(nil)
	l.tasks--
	if len(l.free) < maxFreeTasks {
		l.free = append(l.free, t)
	} else {
		l.spent = append(l.spent, t)
	}
}

// maxFreeTasks bounds the stacks kept for reuse.
const maxFreeTasks = 1024
