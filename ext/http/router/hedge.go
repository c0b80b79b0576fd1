// SPDX-License-Identifier: Apache-2.0

package router

import (
	"errors"
	"slices"
	"time"

	"weir.dev/weir/proxy/engine"
)

// hedge is the state of a request whose tries do not wait for one another: one that
// takes too long goes on while the next is made, and the first good response wins.
type hedge struct {
	racing  []*try // in flight, the oldest first; empty if the request is not hedged
	chosen  *try   // whose interim response the client has: only its final one may follow
	pause   engine.Timer
	resting bool // another try is made when the pause is over
	rested  bool // it is over
	late    bool // that try is for one that took too long
}

// racer is what a try has to do with the others of a hedged request.
type racer struct {
	task     *engine.Task // that it runs on, nil before and after
	out      outcome
	done     bool
	off      bool // what comes of it does not matter any more
	late     bool // it has taken longer than a try may
	replaced bool // another was made for it
	blamed   bool // its host is known to have taken too long
}

// errBroken is what is left of a try that did not return.
var errBroken = errors.New("the try broke off")

// hedges reports whether a try that takes too long goes on while another is made. All of
// the request must be there to be sent again, which per-try limits wait for.
func (q *request) hedges() bool {
	l := &q.limits
	return l.hedged && (l.perTry > 0 || l.tryIdle > 0) && q.retry.enabled() && !q.raw && !q.s.Upgrade
}

// race makes tries on tasks of their own and returns how the request ended. The try
// whose outcome that is is then the one at hand, and no other is in flight.
func (q *request) race() outcome {
	h := &q.hedge
	q.launch(q.try)
	for {
		if out, over := q.referee(); over {
			q.callOff(q.try)
			return out
		}
		if err := q.s.Task().Wait(); err != nil {
			if len(h.racing) > 0 {
				q.try = h.racing[0]
			}
			q.callOff(q.try)
			return outcome{err: err, reset: resetStream}
		}
	}
}

// launch sets a try off.
func (q *request) launch(t *try) {
	q.hedge.racing = append(q.hedge.racing, t)
	q.loop.Go(t)
}

// Run makes the try, as one of several.
func (t *try) Run(task *engine.Task) {
	r := &t.racer
	r.task, r.out = task, outcome{err: errBroken, reset: resetTermination}
	defer func() {
		r.task, r.done = nil, true
		t.q.s.Task().Wake()
	}()
	if !r.off {
		r.out = t.attempt()
	}
}

// referee looks at what has come of the tries and makes others; over tells that the
// request has its outcome, that of the try at hand.
func (q *request) referee() (out outcome, over bool) {
	h := &q.hedge
	for i := 0; i < len(h.racing); {
		t := h.racing[i]
		r := &t.racer
		switch {
		case r.done:
			if out, over = q.finished(t); over {
				return out, true
			}
			h.racing = slices.Delete(h.racing, i, i+1)
			q.drop(t)
			continue
		case r.late && !r.replaced && !r.off:
			r.late = false
			q.release()
			if r.replaced = q.grant(); r.replaced {
				q.rest(q.backOff(), true)
			}
		}
		i++
	}
	if h.rested {
		h.rested, h.resting = false, false
		if out := q.next(h.late); out.err != nil {
			return out, true
		}
		q.launch(q.w.takeTry(q))
	}
	return outcome{}, false
}

// finished decides what becomes of a try that is done; over tells that its outcome is
// that of the request. Otherwise it is dropped.
func (q *request) finished(t *try) (out outcome, over bool) {
	r := &t.racer
	if r.off {
		t.countReset(&outcome{reset: resetStream})
		return outcome{}, false
	}
	out = r.out
	if q.s.Replied() { // A filter in front of the host has.
		q.try = t
		return out, true
	}
	wanted := q.wantsAnother(t, &out)
	if !r.replaced {
		retried := q.retry.holding
		q.release()
		switch {
		case wanted && q.grant():
			q.countRetried(t, &out)
			q.rest(q.pause(t, &out), out.reset == resetTry)
			t.drain()
			return out, false
		case !wanted && retried && out.err == nil:
			q.up.Stats.RqRetrySuccess.Inc()
		}
	}
	if wanted && out.err == nil && q.others(t) && q.leads(t, out.status) {
		return out, true // As in Envoy, a redirect that is followed does not wait for anybody.
	}
	if (wanted || out.err != nil) && q.others(t) {
		// Somebody else may do better.
		if out.err == nil {
			t.count(false)
			t.countReset(&outcome{reset: resetStream})
		} else {
			t.countReset(&out)
			t.countAborted(&out)
		}
		return out, false
	}
	q.try = t
	return out, true
}

// others reports whether another try than t may yet have a response.
func (q *request) others(t *try) bool {
	return q.hedge.resting || slices.ContainsFunc(q.hedge.racing, func(o *try) bool { return o != t && !o.racer.off })
}

// rest has another try made after a pause.
func (q *request) rest(pause time.Duration, late bool) {
	q.hedge.resting, q.hedge.late = true, late
	q.hedge.pause.Set(int64(pause))
}

// rested ends the pause.
func (q *request) rested() {
	if q.s != nil && q.hedge.resting {
		q.hedge.rested = true
		q.s.Task().Wake()
	}
}

// choose settles on a try of which the client is about to see an interim response: no
// other may follow.
func (q *request) choose(t *try) {
	q.retry.on = 0
	h := &q.hedge
	if len(h.racing) == 0 || h.chosen == t {
		return
	}
	h.chosen, h.resting, h.rested = t, false, false
	h.pause.Stop()
	for _, o := range h.racing {
		if o != t {
			o.stop()
		}
	}
}

// stop has a try end soon.
func (t *try) stop() {
	t.racer.off = true
	if t.racer.task != nil {
		t.racer.task.Interrupt(errStreamOver)
	}
}

// callOff ends all tries in flight and drops them, but for one.
func (q *request) callOff(but *try) {
	h := &q.hedge
	for _, t := range h.racing {
		for !t.racer.done {
			t.stop()
			q.loop.Task().Yield()
		}
	}
	for _, t := range h.racing {
		if t != but {
			t.countReset(&outcome{reset: resetStream})
			q.drop(t)
		}
	}
	h.racing, h.chosen, h.resting, h.rested = h.racing[:0], nil, false, false
	h.pause.Stop()
}

// drop lets a try go whose outcome is not wanted.
func (q *request) drop(t *try) {
	t.stopUpload()
	t.stopBranch()
	t.endSpan(t.racer.out.flags())
	t.complete = false // Its connection carries no other, but if it was drained.
	t.leave()
	t.endBranch()
	t.stopLimits()
	t.reset()
	if q.try == t {
		q.try = &q.first
	}
	q.w.putTry(t)
}

// takeTry returns the memory of a further try.
func (w *worker) takeTry(q *request) *try {
	t := (*try)(nil)
	if n := len(w.tries); n > 0 {
		t = w.tries[n-1]
		w.tries = w.tries[:n-1]
	} else {
		t = new(try)
		t.init(q.loop)
	}
	t.q = q
	return t
}

// putTry takes it back. The memory of first tries stays with their requests.
func (w *worker) putTry(t *try) {
	if t == &t.q.first {
		return
	}
	t.q = nil
	if len(w.tries) < maxFree {
		w.tries = append(w.tries, t)
		return
	}
	t.releaseTimers()
}
