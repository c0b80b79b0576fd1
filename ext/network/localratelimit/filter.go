// SPDX-License-Identifier: Apache-2.0

// Package localratelimit limits how many connections a filter chain takes in a
// time (envoy.filters.network.local_ratelimit).
package localratelimit

import (
	"sync"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/tokenbucket"
)

// Filter takes a token for each connection.
type Filter struct {
	bucket  *tokenbucket.Bucket
	enabled match.RuntimeFlag
	runtime match.Runtime
	stats   *stats.Sharded[Stats]
}

// Stats are the filter's statistics (local_rate_limit.STAT_PREFIX.*).
type Stats struct {
	Limited stats.Counter `stat:"rate_limited"`
}

// Accept has a connection closed for which there is no token.
func (f *Filter) Accept(_ *engine.Task, c *conn.Conn) error {
	if !f.enabled.Enabled(f.runtime) || f.bucket.Take(engine.Nano()) {
		return nil
	}
	f.stats.At(c.Socket.Loop().ID()).Limited.Inc()
	return c.Refuse("local_ratelimit_close_over_limit")
}

// sharedBuckets are those that several filters share: by key and rate, as long as
// one of the filters is there.
type sharedBuckets struct {
	mu sync.Mutex
	m  map[shareKey]*sharedBucket
}

type shareKey struct {
	key string
	tokenbucket.Rate
}

type sharedBucket struct {
	*tokenbucket.Bucket
	users int
}

func (s *sharedBuckets) get(key string, r tokenbucket.Rate) (b *tokenbucket.Bucket, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := shareKey{key, r}
	e := s.m[k]
	if e == nil {
		if s.m == nil {
			s.m = map[shareKey]*sharedBucket{}
		}
		e = &sharedBucket{Bucket: tokenbucket.New(r, engine.Nano())}
		s.m[k] = e
	}
	e.users++
	return e.Bucket, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if e.users--; e.users == 0 {
			delete(s.m, k)
		}
	}
}
