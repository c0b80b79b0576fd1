// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"sync/atomic"

	"weir.dev/weir/proxy/stats"
)

// ResourcePriority is the routing priority whose circuit breakers count a request.
type ResourcePriority uint8

// Resource priorities.
const (
	DefaultPriority ResourcePriority = iota
	HighPriority
)

// String is the name as in statistics: circuit_breakers.default.cx_open.
func (p ResourcePriority) String() string {
	if p == HighPriority {
		return "high"
	}
	return "default"
}

// Thresholds are the limits of one priority's circuit breakers.
type Thresholds struct {
	MaxConnections     uint64 // 1024
	MaxPendingRequests uint64 // 1024
	MaxRequests        uint64 // 1024
	MaxRetries         uint64 // 3; unused with a Budget
	MaxConnectionPools uint64 // no limit
	Budget             *RetryBudget
	// TrackRemaining publishes the remaining_* gauges.
	TrackRemaining bool
}

// RetryBudget limits retries to a share of the requests under way.
type RetryBudget struct {
	// Percent of active and pending requests, 20 by default.
	Percent float64
	// MinConcurrency is allowed in any case, 3 by default.
	MinConcurrency uint64
}

// Resources counts what one priority of a cluster uses, over all loops.
type Resources struct {
	Connections, Pending, Requests, Retries, ConnectionPools Resource
}

// A Resource is one counted and limited thing. Its methods may be called from any
// goroutine and do not block.
type Resource struct {
	n     atomic.Int64
	limit uint64
	// budget, if set, computes the limit.
	budget    *RetryBudget
	parent    *Resources
	open      *stats.Gauge
	remaining *stats.Gauge // nil if not tracked
}

// TryAcquire takes one if the limit allows; otherwise nothing is taken and the
// breaker's open gauge shows 1.
func (r *Resource) TryAcquire() bool {
	ok := r.n.Add(1) <= int64(min(r.Limit(), 1<<62))
	if !ok {
		r.n.Add(-1)
	}
	r.show()
	return ok
}

// Acquire takes one whatever the limit, as Envoy does for the first connection to a
// host: no host is starved by connections to others.
func (r *Resource) Acquire() {
	r.n.Add(1)
	r.show()
}

// Release gives one back.
func (r *Resource) Release() {
	r.n.Add(-1)
	r.show()
}

// CanAcquire tells whether TryAcquire would succeed at this moment.
func (r *Resource) CanAcquire() bool { return uint64(max(0, r.n.Load())) < r.Limit() }

// Count is how many are taken.
func (r *Resource) Count() int64 { return r.n.Load() }

// Limit is how many may be taken, at this moment if there is a retry budget.
func (r *Resource) Limit() uint64 {
	if r.budget == nil {
		return r.limit
	}
	busy := float64(r.parent.Requests.Count() + r.parent.Pending.Count())
	return max(uint64(busy*r.budget.Percent/100), r.budget.MinConcurrency)
}

// show brings the gauges up to date. Two loops may write them in the wrong order, so
// whoever wrote looks again; the tries are bounded because whoever disturbs also shows.
func (r *Resource) show() {
	// What happens for nearly every request: far from the limit, nothing to show.
	if r.remaining == nil && r.budget == nil && r.n.Load() < int64(min(r.limit, 1<<62)) && r.open.Value() == 0 {
		return
	}
	for range 16 {
		n := r.n.Load()
		limit := int64(min(r.Limit(), 1<<62))
		open := int64(0)
		if n >= limit {
			open = 1
		}
		// The gauges are shared by the loops: they are written only when they change.
		if r.open.Value() != open {
			r.open.Set(open)
		}
		if left := max(0, limit-n); r.remaining != nil && r.remaining.Value() != left {
			r.remaining.Set(left)
		}
		if r.n.Load() == n {
			return
		}
	}
}

// newResources puts the breakers' gauges into a scope such as
// "cluster.<name>.circuit_breakers.default.".
func newResources(t Thresholds, at *stats.Scope) *Resources {
	r := &Resources{}
	set := func(x *Resource, limit uint64, open, remaining string) {
		x.limit, x.parent, x.open = limit, r, at.Gauge(open)
		if t.TrackRemaining {
			x.remaining = at.Gauge(remaining)
		}
	}
	set(&r.Connections, t.MaxConnections, "cx_open", "remaining_cx")
	set(&r.ConnectionPools, t.MaxConnectionPools, "cx_pool_open", "remaining_cx_pools")
	set(&r.Pending, t.MaxPendingRequests, "rq_pending_open", "remaining_pending")
	set(&r.Requests, t.MaxRequests, "rq_open", "remaining_rq")
	set(&r.Retries, t.MaxRetries, "rq_retry_open", "remaining_retries")
	r.Retries.budget = t.Budget
	for _, x := range []*Resource{&r.Connections, &r.ConnectionPools, &r.Pending, &r.Requests, &r.Retries} {
		x.show()
	}
	return r
}
