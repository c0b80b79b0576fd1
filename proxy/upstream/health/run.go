// SPDX-License-Identifier: Apache-2.0

package health

import (
	"errors"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/upstream"
)

// What a check is interrupted with.
var (
	errTimeout = errors.New("health check timeout")
	errGone    = errors.New("the host is not checked any more")
)

// patient is one host and its runs, which all belong to one loop.
type patient struct {
	checks  *Checks
	host    *upstream.Host // of the newest set; guarded by the checks' mu
	loop    *engine.Loop
	runs    []*run
	initial bool // its first checks are waited for

	gone bool // guarded by the checks' mu

	flags   atomic.Uint32 // what the cluster is to be told
	told    atomic.Bool   // it waits for that
	checked atomic.Bool   // all runs have ended their first checks
}

// run is what one checker has to do with one host.
type run struct {
	of       *patient
	config   *Config
	counters *counters
	probe    *Probe
	session  Session
	timer    engine.Timer
	task     *engine.Task // of the check at hand
	course   course
	gone     bool
}

// start begins the checks; on the loop.
func (r *run) start() {
	r.session = r.config.Checker.Session(r.probe)
	r.timer.Init(r.of.loop, r.begin)
	if d := r.config.first(r.of.checks.o.Runtime); d > 0 {
		r.timer.Set(int64(d))
		return
	}
	r.begin()
}

func (r *run) begin() { r.of.loop.Go(r) }

// stop ends the checks; on the loop.
func (r *run) stop() {
	if r.gone {
		return
	}
	r.gone = true
	r.timer.Release()
	if !r.course.failed {
		r.counters.Healthy.Dec()
	}
	if r.course.degraded {
		r.counters.Degraded.Dec()
	}
	if r.task != nil {
		r.task.Interrupt(errGone)
		return
	}
	r.session.Close()
}

// Run makes one check.
func (r *run) Run(t *engine.Task) {
	if r.gone {
		return
	}
	r.counters.Attempt.Inc()
	r.task = t
	res, err := Result{}, errors.New("the check has panicked")
	defer func() {
		r.task = nil
		t.SetDeadline(0, nil)
		t.Clear()
		if r.gone {
			r.session.Close()
			return
		}
		r.ended(res, err)
	}()
	t.SetDeadline(int64(r.config.Timeout), errTimeout)
	res, err = r.session.Check(t)
}

// ended takes the outcome of a check and sets the time of the next.
func (r *run) ended(res Result, err error) {
	switch {
	case errors.Is(err, errTimeout), errors.Is(err, engine.ErrDialTimeout):
		res = Result{Verdict: TimedOut}
	case err != nil:
		res = Result{Verdict: Unreachable}
	}
	tr := r.note(res)
	passed := res.Verdict <= PassedDegraded
	r.timer.Set(int64(r.config.next(passed, tr, r.of.checks.traffic(), r.of.checks.o.Runtime)))
}

// note has a result change the host's course, counts it and tells of it.
func (r *run) note(res Result) transition {
	c, was := &r.course, r.course
	var tr transition
	if res.Verdict <= PassedDegraded {
		r.counters.Success.Inc()
		tr = c.pass(res.Verdict == PassedDegraded, r.config.HealthyThreshold)
	} else {
		r.countFailure(res.Verdict)
		tr = c.fail(res.Verdict, r.config.UnhealthyThreshold)
		c.excluded = c.excluded || res.Exclude
	}
	if was.failed != c.failed {
		if c.failed {
			r.counters.Healthy.Dec()
		} else {
			r.counters.Healthy.Inc()
		}
	}
	if was.degraded != c.degraded {
		if c.degraded {
			r.counters.Degraded.Inc()
		} else {
			r.counters.Degraded.Dec()
		}
	}
	r.tell(&was, res)
	r.of.apply(!was.begun, res.Verdict <= PassedDegraded)
	return tr
}

func (r *run) countFailure(v Verdict) {
	r.counters.Failure.Inc()
	switch v {
	case Unreachable, TimedOut:
		r.counters.NetworkFailure.Inc()
	case Passive:
		r.counters.PassiveFailure.Inc()
	default:
	}
}

// tell tells of a result what the configuration wants to be told.
func (r *run) tell(was *course, res Result) {
	if len(r.config.Events) == 0 {
		return
	}
	c, first := &r.course, !was.begun
	if res.Verdict <= PassedDegraded {
		switch {
		case was.failed && !c.failed:
			r.event(&Event{Type: AddHealthy, First: first})
		case r.config.LogSuccesses:
			r.event(&Event{Type: Success})
		}
		switch {
		case c.degraded && !was.degraded:
			r.event(&Event{Type: Degraded})
		case !c.degraded && was.degraded:
			r.event(&Event{Type: NoLongerDegraded})
		}
		return
	}
	e := Event{Failure: res.Verdict, Status: res.Status, First: first}
	if c.failed && !was.failed {
		eject := e
		eject.Type = EjectUnhealthy
		r.event(&eject)
	}
	if first || r.config.LogFailures {
		e.Type = Failure
		r.event(&e)
	}
}

func (r *run) event(e *Event) {
	e.Kind, e.Host, e.Time = r.config.Kind, r.probe.Host(), time.Now()
	for _, f := range r.config.Events {
		f(e)
	}
}

// managed are the flags that active checks set and clear.
const managed = upstream.FailedActiveHC | upstream.DegradedActiveHC | upstream.PendingActiveHC |
	upstream.ActiveHCTimeout | upstream.ExcludedViaImmediateHCFail

// apply sums up what the runs amount to and hands it to the cluster. A host is well only
// if all checkers find it so. first tells that a run has ended its first check.
func (p *patient) apply(first, passed bool) {
	var flags upstream.HealthFlags
	begun := true
	for _, r := range p.runs {
		c := &r.course
		begun = begun && c.begun
		if c.failed {
			flags |= upstream.FailedActiveHC
		}
		if c.late {
			flags |= upstream.ActiveHCTimeout
		}
		if c.degraded {
			flags |= upstream.DegradedActiveHC
		}
		if c.excluded {
			flags |= upstream.ExcludedViaImmediateHCFail
		}
	}
	if !begun && p.checks.cluster.HostSets.IgnoreNewHosts {
		flags |= upstream.PendingActiveHC
	}
	if first && begun {
		p.checked.Store(true)
	}
	p.checks.apply(p, flags, first && begun)
	if passed && flags&upstream.FailedActiveHC == 0 {
		p.runs[0].probe.Host().Outlier.CheckPassed()
	}
}
