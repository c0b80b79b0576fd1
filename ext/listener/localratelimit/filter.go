// SPDX-License-Identifier: Apache-2.0

// Package localratelimit is the listener filter that closes connections above a
// rate, before anything is read from them
// (envoy.filters.listener.local_ratelimit).
package localratelimit

import (
	"errors"
	"sync"
	"time"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/stats"
)

// Stats are the filter's statistics (listener_local_ratelimit.STAT_PREFIX.*).
type Stats struct {
	RateLimited stats.Counter `stat:"rate_limited"`
}

type filter struct {
	bucket  *bucket
	enabled func() bool
	stats   *stats.Sharded[Stats]
}

var errLimited = errors.New("local_ratelimit: too many connections")

// Accept takes a token or closes the connection.
func (f *filter) Accept(t *engine.Task, _ *conn.Conn) error {
	if !f.enabled() || f.bucket.take(engine.Nano()) {
		return nil
	}
	f.stats.At(t.Loop().ID()).RateLimited.Inc()
	return errLimited
}

// bucket holds at most max tokens and gets fill more each interval. All loops
// share it, so it is locked, for some nanoseconds.
type bucket struct {
	max, fill uint64
	interval  time.Duration

	mu     sync.Mutex
	tokens uint64
	filled int64 // when tokens were last added, in nanoseconds
}

func (b *bucket) take(now int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := (now - b.filled) / int64(b.interval); n > 0 {
		b.filled += n * int64(b.interval)
		// fill is below 2^32 and n intervals fill any bucket long before n is.
		b.tokens = min(b.max, b.tokens+min(uint64(n), 1<<31)*b.fill)
	}
	if b.tokens == 0 {
		return false
	}
	b.tokens--
	return true
}
