// SPDX-License-Identifier: Apache-2.0

package engine

import "time"

// A Stall is a loop that has been busy with one batch for too long, because
// code on it computes or blocks.
type Stall struct {
	Loop int
	// For is how long the loop has not come back.
	For time.Duration
	// At is what the running task said it was doing, or "".
	At string
}

type heart struct {
	beat  uint64
	since int64
	told  bool
}

// watch looks at each loop's heartbeat and tells once of each stall.
func (e *Engine) watch(o Options) {
	tick := time.NewTicker(o.StallAfter)
	defer tick.Stop()
	hearts := make([]heart, len(e.loops))
	for {
		select {
		case <-e.stop:
			return
		case <-tick.C:
			for i, l := range e.loops {
				hearts[i].look(l, o)
			}
		}
	}
}

func (h *heart) look(l *Loop, o Options) {
	now := Nano()
	beat := l.beat.Load()
	if beat != h.beat || beat%2 == 0 {
		*h = heart{beat: beat, since: now}
		return
	}
	if d := time.Duration(now - h.since); d >= o.StallAfter && !h.told {
		h.told = true
		s := Stall{Loop: l.id, For: d}
		if t := l.running.Load(); t != nil {
			if at := t.at.Load(); at != nil {
				s.At = *at
			}
		}
		o.OnStall(s)
	}
}
