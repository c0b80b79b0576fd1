// SPDX-License-Identifier: Apache-2.0

// Package tokenbucket is a limit on how often something happens: each time takes a
// token, of which some are added in every interval. It knows no clock: whoever takes
// says what time it is.
package tokenbucket

import (
	"sync"
	"time"
)

// Rate is how a bucket fills.
type Rate struct {
	// Most is how many tokens a bucket holds, Fill how many are added each Every.
	Most, Fill uint64
	// Every is positive.
	Every time.Duration
}

// Bucket holds tokens for all loops.
type Bucket struct {
	mu     sync.Mutex // held for some additions only
	rate   Rate
	tokens uint64
	filled int64 // when the last fill was due
}

// New returns a full bucket. Now, here and below, is in nanoseconds of a clock that
// does not go back, such as engine.Nano.
func New(r Rate, now int64) *Bucket { return &Bucket{rate: r, tokens: r.Most, filled: now} }

// Set changes the rate. Tokens beyond the new maximum are lost.
func (b *Bucket) Set(r Rate, now int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rate, b.tokens, b.filled = r, min(b.tokens, r.Most), now
}

// Take adds what was due by now, takes a token and reports whether there was one.
func (b *Bucket) Take(now int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := (now - b.filled) / int64(b.rate.Every); n > 0 {
		b.filled += n * int64(b.rate.Every)
		if need := b.rate.Most - b.tokens; b.rate.Fill > 0 && uint64(n) > need/b.rate.Fill {
			b.tokens = b.rate.Most
		} else {
			b.tokens += uint64(n) * b.rate.Fill
		}
	}
	if b.tokens == 0 {
		return false
	}
	b.tokens--
	return true
}
