// SPDX-License-Identifier: Apache-2.0

package adaptiveconcurrency

import (
	"math/bits"
	"sync/atomic"
)

// A histogram counts latencies in microseconds, to within 1/16: one loop adds, any
// goroutine takes.
type histogram struct {
	buckets [numBuckets]atomic.Uint32
	_       [64]byte // The next loop's is on another cache line.
}

const (
	stepBits   = 4 // each power of two has 2^stepBits buckets
	steps      = 1 << stepBits
	numBuckets = (33 - stepBits) * steps // up to 2^32 microseconds, over an hour
)

func (h *histogram) add(us uint64) { h.buckets[bucketOf(us)].Add(1) }

func bucketOf(us uint64) int {
	us = min(us, 1<<32-1)
	if us < steps {
		return int(us)
	}
	exp := bits.Len64(us) - 1 - stepBits
	return exp*steps + int(us>>exp)
}

// middleOf is the latency in the middle of a bucket.
func middleOf(i int) float64 {
	if i < 2*steps {
		return float64(i)
	}
	exp := i/steps - 1
	low := float64(uint64(i-exp*steps) << exp)
	return low + float64(uint64(1)<<exp-1)/2
}

// take empties the histograms and returns the latency at a quantile, from 0 to 1, and
// how many there were.
func take(hs []histogram, quantile float64) (us float64, n uint64) {
	var counts [numBuckets]uint64
	for i := range hs {
		for b := range hs[i].buckets {
			if hs[i].buckets[b].Load() == 0 {
				continue // Most are; a swap costs more.
			}
			c := uint64(hs[i].buckets[b].Swap(0))
			counts[b] += c
			n += c
		}
	}
	if n == 0 {
		return 0, 0
	}
	rank, seen := quantile*float64(n), uint64(0)
	for b, c := range counts {
		if seen += c; c > 0 && float64(seen) >= rank {
			return middleOf(b), n
		}
	}
	return middleOf(numBuckets - 1), n
}
