// SPDX-License-Identifier: Apache-2.0

// Package rbac lets in the connections that its rules allow
// (envoy.filters.network.rbac). What the rules are is in proxy/rbac.
//
// A connection is judged before anything is read of it or connected to for it;
// Envoy waits for its first bytes, and lets the upstream speak before. With
// CONTINUOUS it is judged again with each piece the client sends.
package rbac

import (
	"errors"
	"time"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/rbac"
	"weir.dev/weir/proxy/stats"
)

// Filter judges connections.
type Filter struct {
	enforced, shadow *rbac.Engine // nil: no rules
	delay            time.Duration
	continuous       bool
	shadowPrefix     string
	stats            *stats.Sharded[Stats]
	shadowStats      *stats.Sharded[ShadowStats]
}

// Stats are the filter's statistics (STAT_PREFIX.rbac.*).
type Stats struct {
	Allowed stats.Counter `stat:"allowed"`
	Denied  stats.Counter `stat:"denied"`
}

// ShadowStats count what the shadow rules would do.
type ShadowStats struct {
	Allowed stats.Counter `stat:"shadow_allowed"`
	Denied  stats.Counter `stat:"shadow_denied"`
}

// Accept has a connection closed that the rules deny.
func (f *Filter) Accept(t *engine.Task, c *conn.Conn) error {
	if err := f.judge(c); err != nil {
		c.Delay(t, f.delay)
		return err
	}
	if f.continuous {
		c.Transport = &judged{c.Transport, f, c}
	}
	return nil
}

// Names of the dynamic metadata that the filter writes.
const (
	namespace       = "envoy.filters.network.rbac"
	commonNamespace = "envoy.common"
)

func (f *Filter) judge(c *conn.Conn) error {
	d := match.Data{Conn: c.Info}
	loop := c.Socket.Loop().ID()
	if f.shadow != nil {
		got, st := f.shadow.Decide(d), f.shadowStats.At(loop)
		result, n := "allowed", &st.Allowed
		if !got.Allowed {
			result, n = "denied", &st.Denied
		}
		n.Inc()
		if got.Policy != "" {
			c.SetMetadata(namespace, f.shadowPrefix+"shadow_effective_policy_id", got.Policy)
		}
		c.SetMetadata(namespace, f.shadowPrefix+"shadow_engine_result", result)
	}
	if f.enforced == nil {
		return nil
	}
	got, st := f.enforced.Decide(d), f.stats.At(loop)
	if f.enforced.Logs() || got.Log {
		c.SetMetadata(commonNamespace, "access_log_hint", got.Log)
	}
	if got.Allowed {
		st.Allowed.Inc()
		return nil
	}
	st.Denied.Inc()
	_ = c.Refuse("rbac_deny_close")
	return errors.New(got.Details())
}

// judged judges the connection with all that is read of it.
type judged struct {
	conn.Transport
	f *Filter
	c *conn.Conn
}

// Read reads, unless the connection is not allowed any more.
func (j *judged) Read(p []byte) (int, error) {
	n, err := j.Transport.Read(p)
	if n > 0 {
		if denied := j.f.judge(j.c); denied != nil {
			j.c.Info.Termination = denied.Error()
			return 0, denied
		}
	}
	return n, err
}
