// SPDX-License-Identifier: Apache-2.0

// Package localratelimit is the listener filter that closes connections above a
// rate, before anything is read from them
// (envoy.filters.listener.local_ratelimit).
package localratelimit

import (
	"errors"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/tokenbucket"
)

// Stats are the filter's statistics (listener_local_ratelimit.STAT_PREFIX.*).
type Stats struct {
	RateLimited stats.Counter `stat:"rate_limited"`
}

type filter struct {
	bucket  *tokenbucket.Bucket
	enabled match.RuntimeFlag
	runtime match.Runtime
	stats   *stats.Sharded[Stats]
}

var errLimited = errors.New("local_ratelimit: too many connections")

// Accept takes a token or closes the connection.
func (f *filter) Accept(t *engine.Task, _ *conn.Conn) error {
	if !f.enabled.Enabled(f.runtime) || f.bucket.Take(engine.Nano()) {
		return nil
	}
	f.stats.At(t.Loop().ID()).RateLimited.Inc()
	return errLimited
}
