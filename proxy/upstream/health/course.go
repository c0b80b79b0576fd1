// SPDX-License-Identifier: Apache-2.0

package health

// A Verdict is what one check has shown.
type Verdict uint8

// Verdicts.
const (
	// Passed: the host is well, PassedDegraded: but to be used only if others do not
	// suffice.
	Passed Verdict = iota
	PassedDegraded
	// Failed: the host has answered that it is not well, FailedRetriable: but it counts
	// only if it says so several times.
	Failed
	FailedRetriable
	// Unreachable: the host could not be asked, or did not answer as the protocol asks.
	// TimedOut: it did not answer in time. Both count only if they happen several times.
	Unreachable
	TimedOut
	// Passive: a response to an ordinary request said that the host is to be left out.
	Passive
)

// transition is what a check has changed.
type transition uint8

const (
	unchanged transition = iota
	// pending: if it goes on like this the host's health changes.
	pending
	changed
)

// A course is a host's way through the checks of one checker.
type course struct {
	// failed tells that the host counts as unhealthy, as it does until its first check.
	failed bool
	// begun tells that a check has ended.
	begun bool
	// good counts successes while failed, bad failures while not.
	good, bad uint32
	// late tells that the last failure of a failed host was a time-out.
	late bool
	// excluded tells that the host itself asked to be left out.
	excluded bool
	degraded bool
}

// pass notes a success; of those that have failed, healthy in a row are needed, but the
// first check decides alone.
func (c *course) pass(degraded bool, healthy uint32) transition {
	first := !c.begun
	c.begun, c.bad = true, 0
	tr := unchanged
	if c.failed {
		c.good++
		tr = pending
		if first || c.good >= healthy {
			c.failed, c.late, c.excluded, c.good = false, false, false, 0
			tr = changed
		}
	}
	if degraded != c.degraded {
		c.degraded = degraded
		if tr == unchanged {
			tr = changed
		}
	}
	return tr
}

// fail notes a failure; those that may pass by count when there are unhealthy in a row.
func (c *course) fail(v Verdict, unhealthy uint32) transition {
	c.begun, c.good = true, 0
	tr := unchanged
	if !c.failed {
		c.bad++
		tr = pending
		if v == Failed || v == Passive || c.bad >= unhealthy {
			c.failed, c.bad = true, 0
			tr = changed
		}
	}
	c.late = c.failed && v == TimedOut
	return tr
}
