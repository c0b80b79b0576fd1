// SPDX-License-Identifier: Apache-2.0

// Package tokenbucket is a limit on how often something happens: each time takes a
// token, and tokens come back as time goes by, evenly. It knows no clock: whoever
// takes says what time it is.
package tokenbucket

import (
	"math"
	"sync/atomic"
	"time"
)

// Rate is how a bucket fills.
type Rate struct {
	// Most is how many tokens a bucket holds, Fill how many come back in each Every.
	Most, Fill uint64
	// Every is positive.
	Every time.Duration
}

// PerSecond is how many tokens come back in a second.
func (r Rate) PerSecond() float64 { return float64(r.Fill) / r.Every.Seconds() }

// spacing is the time between two tokens in nanoseconds. A bucket that does not fill
// has a very long one.
func (r Rate) spacing() float64 {
	if r.Fill == 0 {
		return math.MaxInt64
	}
	return float64(r.Every) / float64(r.Fill)
}

// Bucket holds tokens for all loops, without a lock: all that there is to know is when
// it was empty, or would have been had it no bottom.
type Bucket struct {
	rate  atomic.Pointer[Rate]
	empty atomic.Uint64 // the bits of that moment, a float64 of nanoseconds
}

// slack keeps what rounding takes away from a token from being missed.
const slack = 1e-6

// New returns a full bucket. Now, here and below, is in nanoseconds of a clock that
// does not go back, such as engine.Nano.
func New(r Rate, now int64) *Bucket {
	b := &Bucket{}
	b.rate.Store(&r)
	b.empty.Store(math.Float64bits(float64(now) - float64(r.Most)*r.spacing()))
	return b
}

// Rate returns how the bucket fills.
func (b *Bucket) Rate() Rate { return *b.rate.Load() }

// Set changes the rate. Tokens beyond the new maximum are lost. What is taken
// meanwhile may count by either rate.
func (b *Bucket) Set(r Rate, now int64) {
	left := min(b.Tokens(now), float64(r.Most))
	b.rate.Store(&r)
	b.empty.Store(math.Float64bits(float64(now) - left*r.spacing()))
}

// Tokens returns how many tokens there are, with what is there of the next.
func (b *Bucket) Tokens(now int64) float64 {
	r := b.rate.Load()
	return tokens(r, b.empty.Load(), now)
}

func tokens(r *Rate, empty uint64, now int64) float64 {
	n := (float64(now) - math.Float64frombits(empty)) / r.spacing()
	return max(0, min(n, float64(r.Most)))
}

// Take takes a token and reports whether there was one.
func (b *Bucket) Take(now int64) bool { return b.TakeN(now, 1) }

// TakeN takes n tokens, or none if there are fewer, and reports which.
func (b *Bucket) TakeN(now int64, n float64) bool {
	for {
		r, empty := b.rate.Load(), b.empty.Load()
		left := tokens(r, empty, now) - n
		if left < -slack {
			return false
		}
		if b.swap(r, empty, now, left) {
			return true
		}
	}
}

// Give puts n tokens back, up to the maximum.
func (b *Bucket) Give(now int64, n float64) {
	for {
		r, empty := b.rate.Load(), b.empty.Load()
		if b.swap(r, empty, now, min(tokens(r, empty, now)+n, float64(r.Most))) {
			return
		}
	}
}

func (b *Bucket) swap(r *Rate, empty uint64, now int64, left float64) bool {
	return b.empty.CompareAndSwap(empty, math.Float64bits(float64(now)-left*r.spacing()))
}

// Wait returns how long it is until there is a token; 0 if there is one.
func (b *Bucket) Wait(now int64) time.Duration {
	r := b.rate.Load()
	if missing := 1 - tokens(r, b.empty.Load(), now); missing > slack {
		return time.Duration(math.Round(missing * r.spacing()))
	}
	return 0
}
