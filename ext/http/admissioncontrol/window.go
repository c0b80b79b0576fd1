// SPDX-License-Identifier: Apache-2.0

package admissioncontrol

import "time"

// A Window counts the requests of the last seconds. It belongs to one loop.
type Window struct {
	bins           []bin // a ring, one for each second
	newest         int64 // the second of the newest bin
	oldest         int64 // the second of the first request that still counts
	total, success uint64
	_              [64]byte // The next loop's is on another cache line.
}

type bin struct{ total, success uint32 }

// Init makes an empty window of so many seconds.
func (w *Window) Init(seconds int) { w.bins = make([]bin, seconds) }

// Record counts a request that ended at now, in nanoseconds.
func (w *Window) Record(now int64, success bool) {
	w.advance(now)
	if w.total == 0 {
		w.oldest = w.newest
	}
	b := w.at(w.newest)
	b.total++
	w.total++
	if success {
		b.success++
		w.success++
	}
}

// Counts returns the requests of the window and how many of them were successes.
func (w *Window) Counts(now int64) (total, success uint64) {
	w.advance(now)
	return w.total, w.success
}

// Rate returns the requests per second since the first that counts.
func (w *Window) Rate(now int64) float64 {
	w.advance(now)
	if w.total == 0 {
		return 0
	}
	return float64(w.total) / float64(max(w.newest-w.oldest, 1))
}

func (w *Window) at(second int64) *bin { return &w.bins[second%int64(len(w.bins))] }

// advance forgets what is older than the window.
func (w *Window) advance(now int64) {
	second := now / int64(time.Second)
	if second <= w.newest {
		return
	}
	n := int64(len(w.bins))
	for s := max(w.newest+1, second-n+1); s <= second; s++ {
		b := w.at(s)
		w.total -= uint64(b.total)
		w.success -= uint64(b.success)
		*b = bin{}
	}
	w.newest = second
	if first := second - n + 1; w.oldest < first {
		w.oldest = first
		for w.total > 0 && w.oldest < second && w.at(w.oldest).total == 0 {
			w.oldest++
		}
	}
}
