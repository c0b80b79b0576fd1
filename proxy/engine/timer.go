// SPDX-License-Identifier: Apache-2.0

package engine

import "math/bits"

// A Timer runs a function on its loop at some time. It costs nearly nothing to
// set anew for each request: while it is queued for an earlier moment than
// asked, only the time is noted, and the queue is touched when that moment
// comes. The zero Timer is ready after Init. Resolution is one millisecond; a
// timer never fires early.
type Timer struct {
	loop       *Loop
	fire       func()
	when       int64 // nanoseconds; 0 when stopped
	tick       uint64
	next, prev *Timer // in the wheel's slot, or nil
	level, idx uint8  // which slot
	queued     bool
}

// Init binds the timer to its loop and function; once, before Set.
func (t *Timer) Init(l *Loop, fire func()) { t.loop, t.fire = l, fire }

// Set makes the timer fire d nanoseconds from the loop's present time. A
// second Set moves it.
func (t *Timer) Set(d int64) {
	t.when = t.loop.now + max(d, 1) // Never the present tick, or a timer that sets itself would spin.
	tick := uint64(t.when+tickSize-1) / tickSize
	if t.queued {
		if t.tick <= tick {
			return // It stands early enough; see wheel.advance.
		}
		t.loop.wheel.remove(t)
	}
	t.tick = tick
	t.loop.wheel.insert(t)
}

// Stop keeps the timer from firing. It may stay queued, silent, until its
// moment passes, so its memory must live on; see Release.
func (t *Timer) Stop() { t.when = 0 }

// Active reports whether the timer is set.
func (t *Timer) Active() bool { return t.when != 0 }

// Release stops the timer and takes it from the queue: before its memory is
// given up.
func (t *Timer) Release() {
	t.when = 0
	if t.queued {
		t.loop.wheel.remove(t)
	}
}

const (
	tickSize = 1_000_000 // nanoseconds
	levels   = 7         // 64^7 ms is 139 years
	slots    = 64
)

// wheel is a hierarchical timing wheel: level k's slots span 64^k ticks. Set,
// stop and expiry cost the same however many timers there are.
type wheel struct {
	elapsed  uint64 // ticks handled
	occupied [levels]uint64
	heads    [levels][slots]Timer // list heads
	count    int
}

func (w *wheel) insert(t *Timer) {
	when := max(t.tick, w.elapsed)
	level := 0
	if diff := w.elapsed ^ when; diff >= slots {
		level = (63 - bits.LeadingZeros64(diff)) / 6
		if level >= levels {
			level = levels - 1
		}
	}
	idx := when >> (6 * level) & (slots - 1)
	h := &w.heads[level][idx]
	if h.next == nil {
		h.next, h.prev = h, h
	}
	t.queued, t.level, t.idx = true, uint8(level), uint8(idx)
	t.prev, t.next = h.prev, h
	h.prev.next = t
	h.prev = t
	w.occupied[level] |= 1 << idx
	w.count++
}

func (w *wheel) remove(t *Timer) {
	t.prev.next, t.next.prev = t.next, t.prev
	if h := &w.heads[t.level][t.idx]; h.next == h {
		w.occupied[t.level] &^= 1 << t.idx
	}
	t.next, t.prev, t.queued = nil, nil, false
	w.count--
}

// next returns the slot that expires next and the tick when it does.
func (w *wheel) next() (level, idx int, tick uint64, ok bool) {
	for level = range levels {
		occ := w.occupied[level]
		if occ == 0 {
			continue
		}
		shift := 6 * level
		now := int(w.elapsed>>shift) & (slots - 1)
		ahead := bits.TrailingZeros64(bits.RotateLeft64(occ, -now))
		idx = (now + ahead) & (slots - 1)
		base := w.elapsed &^ (1<<(shift+6) - 1)
		tick = base + uint64(idx)<<shift
		if idx < now {
			tick += 1 << (shift + 6)
		}
		return level, idx, max(tick, w.elapsed), true
	}
	return 0, 0, 0, false
}

// advance fires every timer due at now.
func (w *wheel) advance(now int64) {
	target := uint64(now) / tickSize
	for w.count > 0 {
		level, idx, tick, ok := w.next()
		if !ok || tick > target {
			break
		}
		w.elapsed = tick
		h := &w.heads[level][idx]
		for n := w.count; n > 0 && h.next != h; n-- {
			t := h.next
			w.remove(t)
			switch {
			case t.when == 0: // Stopped.
			case t.when > now: // Set anew for later, or due lower down.
				t.tick = uint64(t.when+tickSize-1) / tickSize
				w.insert(t)
			default:
				t.when = 0
				t.fire()
			}
		}
	}
	w.elapsed = max(w.elapsed, target)
}

// until returns how many nanoseconds may pass before advance should be called
// again; -1 if nothing is queued.
func (w *wheel) until(now int64) int64 {
	_, _, tick, ok := w.next()
	if !ok {
		return -1
	}
	return max(int64(tick)*tickSize-now, 0)
}
