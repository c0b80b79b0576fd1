// SPDX-License-Identifier: Apache-2.0

// Package hist is a histogram of durations with a bounded relative error, after the idea of HdrHistogram: buckets
// whose width grows with the value, so that recording is a few instructions and never allocates.
package hist

import (
	"math/bits"
	"time"
)

const (
	// subBits gives 64 buckets per power of two: a value is known to 1/64, or 1.6 %.
	subBits  = 6
	subCount = 1 << subBits
	// groups covers all of an int64 of nanoseconds.
	groups = 64 - subBits
)

// A Histogram counts durations. The zero value is empty and ready. It is used by one goroutine.
type Histogram struct {
	counts [groups * subCount]uint64
	total  uint64
	max    time.Duration
}

// Record counts d; a negative d counts as zero.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[index(uint64(d))]++
	h.total++
	h.max = max(h.max, d)
}

// Count says how many durations were recorded.
func (h *Histogram) Count() uint64 { return h.total }

// Max is the largest duration recorded, exactly; zero if there is none.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile is the smallest value that at least the fraction q (0 to 1) of the recorded durations do not exceed,
// rounded up by at most 1/64 and never above Max. It is zero for an empty histogram.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	want := uint64(q * float64(h.total))
	if float64(want) < q*float64(h.total) {
		want++
	}
	want = min(max(want, 1), h.total)
	var seen uint64
	for i, n := range h.counts {
		seen += n
		if seen >= want {
			return min(time.Duration(upper(i)), h.max)
		}
	}
	return h.max
}

// Reset empties the histogram.
func (h *Histogram) Reset() { *h = Histogram{} }

// index is the bucket of v: values below 2*subCount have a bucket each, above that a bucket is v's top bits.
func index(v uint64) int {
	shift := max(bits.Len64(v)-subBits-1, 0)
	return shift*subCount + int(v>>shift)
}

// upper is the largest value of bucket i.
func upper(i int) uint64 {
	if i < 2*subCount {
		return uint64(i)
	}
	shift := i/subCount - 1
	return uint64(i-shift*subCount+1)<<shift - 1
}
