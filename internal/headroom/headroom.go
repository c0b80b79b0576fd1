// SPDX-License-Identifier: Apache-2.0

// Package headroom decides how much garbage Go's heap may hold before it is collected.
//
// A fixed percentage of the live heap fits a process badly that lives in a few megabytes: a low one collects a hundred
// times a second as soon as something allocates at each request (a TLS handshake makes tens of kilobytes of garbage),
// and a high one has what is long dead stay resident. So the room follows the garbage: as much as is made in a quarter
// of a second, no more than a bound, and no less than a low percentage, to which the heap returns, and gives its memory
// back, when calm returns. The bound is what it costs in resident memory at most. Pages of the program go then, too, until they
// are run again.
//
// A limit on memory (GOMEMLIMIT, [debug.SetMemoryLimit]) is obeyed as ever: near it the runtime collects sooner.
package headroom

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// window is the time whose garbage there is room for: four collections a second.
	window = 250 * time.Millisecond
	// look is how often a heap with room to spare is looked at.
	look = 250 * time.Millisecond
	// calmLooks is how many looks in a row have to find less garbage before room is taken away.
	calmLooks = 2
	// settled is how long a heap without room to spare is left alone after a collection, for each worthwhile bytes that
	// are alive, until what it keeps for nothing goes back, if that is worth a collection of its own: a large heap, whose
	// collections cost as much more, is not collected twice as often as its garbage asks for.
	settled    = time.Second
	worthwhile = 4 << 20
	// minHeap is the least base of the runtime's percentage (its GOGC/100 × 4 MiB).
	minHeap = 4 << 20
)

// Keep begins to decide, until stop is called. Lean is the percentage of the live heap that garbage may always take, as
// in GOGC, from 1; most bounds in bytes what it may take above that. Keep is for the whole process, as what it sets is:
// at most one may be in force. Between collections, and in a calm process, it does nothing at all.
func Keep(lean int, most uint64) (stop func()) { return keep(lean, most, func(int) {}) }

func keep(lean int, most uint64, changed func(percent int)) (stop func()) {
	k := newKeeper(lean, most)
	k.changed = changed
	k.before = debug.SetGCPercent(lean)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = sample()
	k.arm()
	return k.stop
}

// A keeper is one Keep.
type keeper struct {
	lean   int
	most   uint64
	before int // the percentage that Keep found
	// changed is told of each change of the percentage; for tests.
	changed func(percent int)

	mu      sync.Mutex
	stopped bool
	percent int
	last    reading
	seen    uint64      // collections that had begun by themselves when collected was last called
	timer   *time.Timer // runs while percent is above lean, and once after a collection at lean
	calm    int         // looks in a row that found less garbage
}

func newKeeper(lean int, most uint64) *keeper {
	k := &keeper{lean: lean, most: most, percent: lean}
	k.timer = time.AfterFunc(math.MaxInt64, k.look)
	k.timer.Stop()
	return k
}

// A reading is the heap at one time.
type reading struct {
	at    time.Time
	made  uint64 // bytes allocated since the process began
	marks uint64 // what the percentage is of: the live heap, stacks and globals
	spare uint64 // what the heap has in memory and the last collection found no use for
	cycle uint64 // how many collections have begun by themselves
}

func sample() reading {
	s := [...]metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/cycles/automatic:gc-cycles"},
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(s[:])
	at := func(i int) uint64 { return s[i].Value.Uint64() }
	live, has := at(2), at(5)+at(6)+at(7)
	return reading{at: time.Now(), made: at(0), cycle: at(1), marks: live + at(3) + at(4), spare: has - min(has, live)}
}

// wanted is the percentage that gives room for what was made between two readings.
func (k *keeper) wanted(from, to reading) int {
	d := to.at.Sub(from.at)
	if d <= 0 {
		return k.percent
	}
	room := float64(to.made-from.made) * float64(window) / float64(d)
	room = min(room, float64(k.most))
	return max(k.lean, int(room*100/float64(max(to.marks, minHeap))))
}

// cycle is garbage that shows that a collection is over.
type cycle struct {
	_ *byte // with a pointer it has a block of memory of its own
	_ [16]byte
}

// arm has collected called after the next collection.
func (k *keeper) arm() {
	runtime.AddCleanup(&cycle{}, (*keeper).collected, k)
}

// collected gives more room if there was garbage for it.
func (k *keeper) collected() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped {
		return
	}
	k.arm()
	now := sample()
	if now.cycle == k.seen {
		return // It was asked for, by giveBack as a rule.
	}
	k.seen = now.cycle
	if want := k.wanted(k.last, now); want > k.percent {
		k.set(want)
	}
	k.calm = 0
	if k.percent == k.lean {
		k.last = now // Otherwise look does it: its intervals are long enough to be told from a burst.
		k.timer.Reset(settled * time.Duration(1+now.marks/worthwhile))
	}
}

// look takes room away that is no longer used.
func (k *keeper) look() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped {
		return
	}
	now := sample()
	if k.percent == k.lean {
		if now.spare >= worthwhile {
			k.giveBack()
		}
		return
	}
	want := k.wanted(k.last, now)
	k.last = now
	if want > k.lean && want*2 > k.percent {
		k.calm = 0
	} else if k.calm++; k.calm >= calmLooks {
		k.calm = 0
		k.set(want)
		if want == k.lean {
			k.giveBack()
			return
		}
	}
	k.timer.Reset(look)
}

// giveBack has go what was made in the room that there is no longer: nothing may come that would have it go. What made it
// is often a start or a change of configuration, whose code goes with it.
func (k *keeper) giveBack() {
	debug.FreeOSMemory()
	releaseProgram()
	k.last = sample()
}

// set sets the percentage, and looks again if it is above lean.
func (k *keeper) set(percent int) {
	if percent == k.percent {
		return
	}
	if k.percent == k.lean {
		k.timer.Reset(look)
	}
	k.percent = percent
	debug.SetGCPercent(percent)
	k.changed(percent)
}

// stop sets the percentage that Keep found.
func (k *keeper) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped {
		return
	}
	k.stopped = true
	k.timer.Stop()
	debug.SetGCPercent(k.before)
}
