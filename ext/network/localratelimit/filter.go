// SPDX-License-Identifier: Apache-2.0

// Package localratelimit limits how many connections a filter chain takes in a
// time (envoy.filters.network.local_ratelimit).
package localratelimit

import (
	"sync"
	"time"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
)

// Filter takes a token for each connection.
type Filter struct {
	bucket  *bucket
	enabled bool
	key     string // of the runtime; "" is none
	runtime match.Runtime
	stats   *stats.Sharded[Stats]
}

// Stats are the filter's statistics (local_rate_limit.STAT_PREFIX.*).
type Stats struct {
	Limited stats.Counter `stat:"rate_limited"`
}

// Accept has a connection closed for which there is no token.
func (f *Filter) Accept(_ *engine.Task, c *conn.Conn) error {
	if !f.on() || f.bucket.take(engine.Nano()) {
		return nil
	}
	f.stats.At(c.Socket.Loop().ID()).Limited.Inc()
	return c.Refuse("local_ratelimit_close_over_limit")
}

func (f *Filter) on() bool {
	if f.key != "" && f.runtime != nil {
		if v, ok := f.runtime.Bool(f.key); ok {
			return v
		}
	}
	return f.enabled
}

// rate is how a bucket fills.
type rate struct {
	most, fill uint64
	every      time.Duration
}

// bucket holds tokens for connections of all loops.
type bucket struct {
	rate
	mu     sync.Mutex // held for some additions only
	tokens uint64
	filled int64 // when the last fill was due, in engine.Nano's time
}

func newBucket(r rate) *bucket { return &bucket{rate: r, tokens: r.most, filled: engine.Nano()} }

// take takes a token, after it has added what was due by now.
func (b *bucket) take(now int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := (now - b.filled) / int64(b.every); n > 0 {
		b.filled += n * int64(b.every)
		if need := b.most - b.tokens; uint64(n) >= need || uint64(n)*b.fill >= need {
			b.tokens = b.most
		} else {
			b.tokens += uint64(n) * b.fill
		}
	}
	if b.tokens == 0 {
		return false
	}
	b.tokens--
	return true
}

// sharedBuckets are those that several filters share: by key and rate, as long as
// one of the filters is there.
type sharedBuckets struct {
	mu sync.Mutex
	m  map[shareKey]*sharedBucket
}

type shareKey struct {
	key string
	rate
}

type sharedBucket struct {
	*bucket
	users int
}

func (s *sharedBuckets) get(key string, r rate) (b *bucket, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := shareKey{key, r}
	e := s.m[k]
	if e == nil {
		if s.m == nil {
			s.m = map[shareKey]*sharedBucket{}
		}
		e = &sharedBucket{bucket: newBucket(r)}
		s.m[k] = e
	}
	e.users++
	return e.bucket, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if e.users--; e.users == 0 {
			delete(s.m, k)
		}
	}
}
