// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"math"
	"sync/atomic"
	"time"
)

// A Host is told what its Monitor's detector decides.
type Host interface {
	// Eject takes the host out, or back. Degrade marks it as one to be used only when
	// others do not suffice. Both are called by the detector, off the event loops, and
	// may take their time.
	Eject(on bool)
	Degrade(on bool)
	// URL is the host as events name it: its address.
	URL() string
}

// An Outcome is what became of a connection to a host, as seen from here.
type Outcome uint8

// Outcomes.
const (
	// Connected: a connection is there, and a request is on its way.
	Connected Outcome = iota
	// ConnectedFinal is Connected where nothing is known of requests, as in TCP.
	ConnectedFinal
	// Failed: no connection could be made, or it ended before the response.
	Failed
	// TimedOut: there was no response in time.
	TimedOut
)

// origin is who made the error: the host by its response, or what lies on the way to it.
type origin uint8

const (
	external origin = iota
	local
	origins
)

// counts are one loop's of a host. Only that loop adds to them.
type counts struct {
	total, good [origins]atomic.Uint64
	_           [128 - 2*int(origins)*8]byte // Two loops share no cache line.
}

// events are what a detector has yet to be told of a host, as bits.
const (
	run5xx = 1 << iota
	runGateway
	runLocal
	seenDegraded
	checkPassed
)

// A Monitor counts what becomes of the requests to one host. Its methods may be called
// from any goroutine, take no lock and no memory, and do nothing on a nil Monitor: there
// is no outlier detection.
type Monitor struct {
	d    *Detector
	host Host

	// Runs of failures, over all loops. They are written to only while a host fails.
	gateway, any5xx, local atomic.Uint32
	loops                  []counts

	ejected, degraded atomic.Bool
	rates             [origins]atomic.Uint64 // float64s, of the last interval; -1 is none

	// events waits for the detector, in whose queue the monitor stands once.
	events atomic.Uint32
	queued atomic.Bool
	next   *Monitor

	state // the detector's own
}

// state is what the detector knows of a host.
type state struct {
	present   bool // in the newest list
	seen      [origins]tally
	ejections uint32
	ejection  sentence
	demotion  sentence
}

// tally is what was counted up to the last interval.
type tally struct{ total, good uint64 }

// sentence is how long a host is out, which grows with each time.
type sentence struct {
	times  uint32 // that count for the next
	jitter time.Duration
	begun  time.Time
	ended  time.Time // zero before the first end
}

// Monitor returns a monitor for a host. It counts from now on, and is judged when
// Update lists it.
func (d *Detector) Monitor(h Host) *Monitor {
	m := &Monitor{d: d, host: h, loops: make([]counts, d.o.Loops)}
	for i := range m.rates {
		m.rates[i].Store(math.Float64bits(-1))
	}
	return m
}

// Response counts the status of a response; of gRPC, the status that HTTP has for it.
func (m *Monitor) Response(loop, status int) {
	if m == nil {
		return
	}
	c := &m.loops[loop]
	c.total[external].Add(1)
	if status < 500 || status > 599 {
		c.good[external].Add(1)
		end(&m.any5xx)
		end(&m.gateway)
		return
	}
	if status >= 502 && status <= 504 {
		m.reach(&m.gateway, keyGatewayFailure, m.d.o.Config.GatewayFailures, runGateway)
	} else {
		end(&m.gateway)
	}
	m.reach(&m.any5xx, key5xx, m.d.o.Config.Failures5xx, run5xx)
}

// Outcome counts what became of a connection. status is what the client is answered for
// a failure, 0 if that is not known.
func (m *Monitor) Outcome(loop int, o Outcome, status int) {
	if m == nil {
		return
	}
	if m.d.o.Config.Split {
		m.localOutcome(loop, o == Connected || o == ConnectedFinal)
		return
	}
	switch {
	case o == Connected: // How the request ends is still to come.
	case o == ConnectedFinal:
		m.Response(loop, 200)
	case status != 0:
		m.Response(loop, status)
	case o == TimedOut:
		m.Response(loop, 504)
	default:
		m.Response(loop, 503)
	}
}

func (m *Monitor) localOutcome(loop int, ok bool) {
	c := &m.loops[loop]
	c.total[local].Add(1)
	if ok {
		c.good[local].Add(1)
		end(&m.local)
		return
	}
	m.reach(&m.local, keyLocalFailure, m.d.o.Config.LocalFailures, runLocal)
}

// end ends a run of failures. It is written to only if there is one.
func end(run *atomic.Uint32) {
	if run.Load() != 0 {
		run.Store(0)
	}
}

// reach makes a run longer, and tells the detector when it has its length; 0 is never.
func (m *Monitor) reach(run *atomic.Uint32, k key, length uint32, event uint32) {
	if n := run.Add(1); n == m.d.number(k, length) {
		m.tell(event)
	}
}

// Degraded tells that a response said that its host is degraded (x-envoy-degraded).
func (m *Monitor) Degraded() {
	if m != nil && m.d.o.Config.DetectDegraded && !m.degraded.Load() {
		m.tell(seenDegraded)
	}
}

// CheckPassed tells that an active health check has succeeded on a host that passes
// them: one that is ejected comes back, unless the configuration says otherwise.
func (m *Monitor) CheckPassed() {
	if m != nil && m.d.o.Config.UnejectOnCheck && m.ejected.Load() {
		m.tell(checkPassed)
	}
}

// SuccessRate returns the percentage of successes in the last interval, -1 if there
// were too few requests; with localOrigin that of connections.
func (m *Monitor) SuccessRate(localOrigin bool) float64 {
	if m == nil {
		return -1
	}
	o := external
	if localOrigin {
		o = local
	}
	return math.Float64frombits(m.rates[o].Load())
}

// tell wakes the detector, with m in its queue.
func (m *Monitor) tell(event uint32) {
	m.events.Or(event)
	if !m.queued.Swap(true) {
		for {
			m.next = m.d.queue.Load()
			if m.d.queue.CompareAndSwap(m.next, m) {
				break
			}
		}
	}
	m.d.bell.Ring()
}

// read adds up what the loops have counted since the last time.
func (m *Monitor) read(o origin) tally {
	var now tally
	for i := range m.loops {
		// Successes first: there are never more of them than requests.
		now.good += m.loops[i].good[o].Load()
		now.total += m.loops[i].total[o].Load()
	}
	since := tally{total: now.total - m.seen[o].total, good: now.good - m.seen[o].good}
	m.seen[o] = now
	return since
}

func (t tally) rate() float64 { return 100 * float64(min(t.good, t.total)) / float64(t.total) }
