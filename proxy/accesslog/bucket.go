// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"fmt"
	"time"

	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/tokenbucket"
)

// Bucket is a token bucket that all event loops share, for the
// process_ratelimit filter: a record costs one token. It begins full.
type Bucket struct {
	tokens *tokenbucket.Bucket
	now    func() time.Time
	start  time.Time // The bucket's clock counts from here.
}

// NewBucket returns a bucket of at most the given number of tokens, to which
// perFill are added every interval. Each of them must be positive. A nil now is
// [time.Now].
func NewBucket(most, perFill uint32, interval time.Duration, now func() time.Time) (*Bucket, error) {
	if now == nil {
		now = time.Now
	}
	r, err := rate(most, perFill, interval)
	if err != nil {
		return nil, err
	}
	return &Bucket{tokens: tokenbucket.New(r, 0), now: now, start: now()}, nil
}

func rate(most, perFill uint32, interval time.Duration) (tokenbucket.Rate, error) {
	if most == 0 || perFill == 0 || interval <= 0 {
		return tokenbucket.Rate{}, fmt.Errorf("a token bucket of %d tokens, %d each %v: all must be positive", most, perFill, interval)
	}
	return tokenbucket.Rate{Most: uint64(most), Fill: uint64(perFill), Every: interval}, nil
}

// Set changes the bucket, as when its resource is updated. Tokens beyond the
// new maximum are lost.
func (b *Bucket) Set(most, perFill uint32, interval time.Duration) error {
	r, err := rate(most, perFill, interval)
	if err != nil {
		return err
	}
	b.tokens.Set(r, b.elapsed())
	return nil
}

// Take takes a token and reports whether there was one.
func (b *Bucket) Take() bool { return b.tokens.Take(b.elapsed()) }

func (b *Bucket) elapsed() int64 { return int64(b.now().Sub(b.start)) }

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
