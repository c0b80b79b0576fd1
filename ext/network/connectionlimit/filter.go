// SPDX-License-Identifier: Apache-2.0

// Package connectionlimit limits how many connections a filter chain has at once
// (envoy.filters.network.connection_limit).
package connectionlimit

import (
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
)

// Filter counts connections, over all loops.
type Filter struct {
	limit   uint64
	delay   time.Duration
	enabled match.RuntimeFlag
	runtime match.Runtime
	stats   *stats.Sharded[Stats]
	active  atomic.Uint64
}

// Stats are the filter's statistics (connection_limit.STAT_PREFIX.*).
type Stats struct {
	Active  stats.Gauge   `stat:"active_connections"`
	Limited stats.Counter `stat:"limited_connections"`
}

// Accept counts the connection in, or has it closed, after the delay.
func (f *Filter) Accept(t *engine.Task, c *conn.Conn) error {
	if !f.enabled.Enabled(f.runtime) {
		return nil
	}
	st := f.stats.At(c.Socket.Loop().ID())
	if f.active.Add(1) > f.limit {
		f.active.Add(^uint64(0))
		st.Limited.Inc()
		c.Delay(t, f.delay)
		return c.Refuse("over_connection_limit")
	}
	st.Active.Inc()
	c.OnClose(func() {
		f.active.Add(^uint64(0))
		st.Active.Dec()
	})
	return nil
}
