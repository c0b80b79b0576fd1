// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"fmt"
	"sync"
	"time"

	"weir.dev/weir/proxy/streaminfo"
)

// Bucket is a token bucket that all event loops share, for the
// process_ratelimit filter: a record costs one token. It begins full.
type Bucket struct {
	now func() time.Time

	mu       sync.Mutex
	tokens   uint64
	max      uint64
	perFill  uint64
	interval time.Duration
	filled   time.Time
}

// NewBucket returns a bucket of at most the given number of tokens, to which
// perFill are added every interval. Each of them must be positive. A nil now is
// [time.Now].
func NewBucket(most, perFill uint32, interval time.Duration, now func() time.Time) (*Bucket, error) {
	if now == nil {
		now = time.Now
	}
	b := &Bucket{now: now}
	if err := b.Set(most, perFill, interval); err != nil {
		return nil, err
	}
	b.tokens = uint64(most)
	return b, nil
}

// Set changes the bucket, as when its resource is updated. Tokens beyond the
// new maximum are lost.
func (b *Bucket) Set(most, perFill uint32, interval time.Duration) error {
	if most == 0 || perFill == 0 || interval <= 0 {
		return fmt.Errorf("a token bucket of %d tokens, %d each %v: all must be positive", most, perFill, interval)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.max, b.perFill, b.interval = uint64(most), uint64(perFill), interval
	b.tokens = min(b.tokens, b.max)
	b.filled = b.now()
	return nil
}

// Take takes a token and reports whether there was one.
func (b *Bucket) Take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.now().Sub(b.filled) / b.interval; n > 0 {
		b.filled = b.filled.Add(n * b.interval)
		// No more fills count than make the bucket full.
		b.tokens = min(b.max, b.tokens+min(uint64(n), b.max)*b.perFill)
	}
	if b.tokens == 0 {
		return false
	}
	b.tokens--
	return true
}

// Counter counts events.
type Counter interface{ Add(n uint64) }

func limited(b *Bucket, allowed, denied Counter) Filter {
	return func(*streaminfo.Stream, Type) bool {
		ok := b.Take()
		if c := allowed; ok && c != nil {
			c.Add(1)
		}
		if c := denied; !ok && c != nil {
			c.Add(1)
		}
		return ok
	}
}
