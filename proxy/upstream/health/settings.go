// SPDX-License-Identifier: Apache-2.0

package health

import (
	"math/rand/v2"
	"time"

	"weir.dev/weir/proxy/match"
)

// Config is one compiled HealthCheck.
type Config struct {
	// Name tells a checker from others of its cluster; "" if there is one.
	Name string
	// Kind is what events call the checker.
	Kind Kind
	// Timeout is how long one check may take.
	Timeout time.Duration
	// Interval is the time between checks of a cluster that has had traffic, and of
	// hosts whose health does not change. The others are for hosts that are unhealthy
	// (default Interval), for those that may become so (UnhealthyEdge, default Unhealthy)
	// or healthy (HealthyEdge, default Interval), and for clusters without traffic
	// (NoTraffic, 60 s), of hosts that are healthy (NoTrafficHealthy, default NoTraffic).
	Interval, Unhealthy, UnhealthyEdge, HealthyEdge, NoTraffic, NoTrafficHealthy time.Duration
	// InitialJitter delays the first check by up to that; Jitter, and JitterPercent of the
	// interval, the others.
	InitialJitter, Jitter time.Duration
	JitterPercent         uint32
	// UnhealthyThreshold and HealthyThreshold are how many checks in a row change a
	// host's health.
	UnhealthyThreshold, HealthyThreshold uint32
	// AltPort is asked in place of a host's port; 0 is the host's.
	AltPort uint16
	// Reuse keeps connections from check to check; true by default.
	Reuse bool
	// ALPN are the protocols to offer in place of the transport socket's.
	ALPN []string
	// Match chooses among the cluster's transport socket matches, in place of the
	// host's metadata; nil does not.
	Match map[string]any
	// Events are told of what checks find. LogFailures and LogSuccesses ask for those
	// that change nothing as well.
	Events                    []func(*Event)
	LogFailures, LogSuccesses bool

	Checker Checker
}

// A Kind is a kind of checker, as Envoy's HealthCheckerType numbers them.
type Kind uint8

// Kinds.
const (
	HTTP Kind = iota
	TCP
	GRPC
)

// next returns the time to the next check, after one that passed or not.
func (c *Config) next(passed bool, tr transition, traffic bool, rt match.Runtime) time.Duration {
	d := c.Interval
	switch {
	case !traffic && passed && tr != pending:
		d = c.NoTrafficHealthy
	case !traffic:
		d = c.NoTraffic
	case passed && tr == pending:
		d = c.HealthyEdge
	case !passed && tr == pending:
		d = c.UnhealthyEdge
	case !passed:
		d = c.Unhealthy
	}
	return bounded(d+random(time.Duration(c.JitterPercent)*d/100)+random(c.Jitter), rt)
}

// first returns the time to the first check.
func (c *Config) first(rt match.Runtime) time.Duration {
	if c.InitialJitter <= 0 {
		return 0
	}
	return bounded(random(c.InitialJitter), rt)
}

// bounded applies the runtime's bounds, which are in milliseconds. It is never 0.
func bounded(d time.Duration, rt match.Runtime) time.Duration {
	const most = 1 << 40
	if n, ok := rt.Int("health_check.max_interval"); ok {
		d = min(d, time.Duration(min(n, most))*time.Millisecond)
	}
	if n, ok := rt.Int("health_check.min_interval"); ok {
		d = max(d, time.Duration(min(n, most))*time.Millisecond)
	}
	return max(d, time.Millisecond)
}

func random(below time.Duration) time.Duration {
	if below <= 0 {
		return 0
	}
	return rand.N(below)
}
