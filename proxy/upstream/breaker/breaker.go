// SPDX-License-Identifier: Apache-2.0

// Package breaker counts what a cluster uses (connections, requests that wait,
// requests, retries, pools) and limits it: Envoy's circuit breakers. The counts are
// over all loops and cost one atomic addition each; the limits may be changed by the
// runtime while they hold.
//
// It does not know what is counted, and fails nothing by itself.
package breaker

import (
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
)

// Priority is the routing priority whose circuit breakers count a request.
type Priority uint8

// Priorities.
const (
	Default Priority = iota
	High
)

// String is the name as in statistics: circuit_breakers.default.cx_open.
func (p Priority) String() string {
	if p == High {
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
	Budget             *Budget
	// TrackRemaining publishes the remaining_* gauges.
	TrackRemaining bool
}

// Budget limits retries to a share of the requests under way.
type Budget struct {
	// Percent of active and pending requests, 20 by default.
	Percent float64
	// MinConcurrency is allowed in any case, 3 by default.
	MinConcurrency uint64
	// Interval, if not 0, makes the share one of the requests that began within it.
	Interval time.Duration
}

// A Runtime has values that overrule the configured limits; Generation changes when
// they may have.
type Runtime interface {
	match.Runtime
	Generation() uint64
}

// Options are where a Set shows its gauges and what may change its limits.
type Options struct {
	Thresholds
	// Scope is such as "cluster.<name>.circuit_breakers.default.".
	Scope *stats.Scope
	// Runtime may be nil. Its keys are Prefix and the name of the field, such as
	// "circuit_breakers.<cluster>.default." and "max_requests".
	Runtime Runtime
	Prefix  string
}

// A Set counts what one priority of a cluster uses, over all loops.
type Set struct {
	Connections, Pending, Requests, Retries, ConnectionPools Limit

	options Options
	now     atomic.Pointer[limits]
	begun   *window // of requests; nil unless a budget asks for it
	open    openStats
	detach  []func()
}

// openStats tell which limits are reached.
type openStats struct {
	Connections     stats.Gauge `stat:"cx_open"`
	Pending         stats.Gauge `stat:"rq_pending_open"`
	Requests        stats.Gauge `stat:"rq_open"`
	Retries         stats.Gauge `stat:"rq_retry_open"`
	ConnectionPools stats.Gauge `stat:"cx_pool_open"`
}

// remainingStats tell how far away they are.
type remainingStats struct {
	Connections     stats.Gauge `stat:"remaining_cx"`
	Pending         stats.Gauge `stat:"remaining_pending"`
	Requests        stats.Gauge `stat:"remaining_rq"`
	Retries         stats.Gauge `stat:"remaining_retries"`
	ConnectionPools stats.Gauge `stat:"remaining_cx_pools"`
}

// kind is the place of a limit in a Set.
type kind uint8

const (
	connections kind = iota
	pending
	requests
	retries
	pools
	kinds
)

// keys are the runtime's names of limits, after the prefix.
var keys = [kinds]string{
	connections: "max_connections",
	pending:     "max_pending_requests",
	requests:    "max_requests",
	retries:     "max_retries",
	pools:       "max_connection_pools",
}

// limits are those of a Set in force at one generation of the runtime.
type limits struct {
	generation uint64
	most       [kinds]uint64
	budget     *Budget // nil if retries are limited by their number
}

// A Limit is one counted and limited thing. Its methods may be called from any
// goroutine and do not block.
type Limit struct {
	n         atomic.Int64
	of        *Set
	kind      kind
	open      *stats.Gauge
	remaining *stats.Gauge // nil if not tracked
}

// TryAcquire takes one if the limit allows; otherwise nothing is taken and the
// breaker's open gauge shows 1.
func (l *Limit) TryAcquire() bool {
	ok := l.n.Add(1) <= int64(min(l.Limit(), 1<<62))
	switch {
	case !ok:
		l.n.Add(-1)
	case l.kind == requests && l.of.begun != nil:
		l.of.begun.add()
	}
	l.show()
	return ok
}

// Acquire takes one whatever the limit, as Envoy does for the first connection to a
// host: no host is starved by connections to others.
func (l *Limit) Acquire() {
	l.n.Add(1)
	l.show()
}

// Release gives one back.
func (l *Limit) Release() {
	l.n.Add(-1)
	l.show()
}

// CanAcquire tells whether TryAcquire would succeed at this moment.
func (l *Limit) CanAcquire() bool { return uint64(max(0, l.n.Load())) < l.Limit() }

// Count is how many are taken.
func (l *Limit) Count() int64 { return l.n.Load() }

// Limit is how many may be taken, at this moment if there is a retry budget.
func (l *Limit) Limit() uint64 {
	in := l.of.inForce()
	if l.kind != retries || in.budget == nil {
		return in.most[l.kind]
	}
	return max(uint64(float64(l.of.busy())*in.budget.Percent/100), in.budget.MinConcurrency)
}

// busy is how many requests a retry budget is a share of.
func (s *Set) busy() int64 {
	if s.begun != nil {
		return s.begun.count()
	}
	return s.Requests.Count() + s.Pending.Count()
}

// show brings the gauges up to date. Two loops may write them in the wrong order, so
// whoever wrote looks again; the tries are bounded because whoever disturbs also shows.
func (l *Limit) show() {
	in := l.of.inForce()
	budget := l.kind == retries && in.budget != nil
	// What happens for nearly every request: far from the limit, nothing to show.
	if l.remaining == nil && !budget && l.n.Load() < int64(min(in.most[l.kind], 1<<62)) && l.open.Value() == 0 {
		return
	}
	for range 16 {
		n := l.n.Load()
		limit := int64(min(l.Limit(), 1<<62))
		open := int64(0)
		if n >= limit {
			open = 1
		}
		// The gauges are shared by the loops: they are written only when they change.
		if l.open.Value() != open {
			l.open.Set(open)
		}
		left := max(0, limit-n)
		if budget {
			left = 0 // As in Envoy: it depends on what else goes on.
		}
		if l.remaining != nil && l.remaining.Value() != left {
			l.remaining.Set(left)
		}
		if l.n.Load() == n {
			return
		}
	}
}

// Shows tells whether the gauges of a Set say anything before it is used: the remaining_*
// gauges, or that a limit of none is reached.
func (t *Thresholds) Shows() bool {
	return t.TrackRemaining || t.Budget != nil ||
		min(t.MaxConnections, t.MaxPendingRequests, t.MaxRequests, t.MaxRetries, t.MaxConnectionPools) == 0
}

// idle are the gauges of all Sets that are not there yet. Nobody writes to them.
var idle openStats

// ShowIdle puts the gauges of a Set into scope that nothing is in use of, until hide is
// called.
func ShowIdle(scope *stats.Scope) (hide func()) { return stats.Attach(scope, &idle) }

// New makes a Set and puts its gauges into o.Scope, until it is closed.
func New(o *Options) *Set {
	s := &Set{options: *o}
	s.detach = append(s.detach, stats.Attach(o.Scope, &s.open))
	s.Connections = Limit{of: s, kind: connections, open: &s.open.Connections}
	s.Pending = Limit{of: s, kind: pending, open: &s.open.Pending}
	s.Requests = Limit{of: s, kind: requests, open: &s.open.Requests}
	s.Retries = Limit{of: s, kind: retries, open: &s.open.Retries}
	s.ConnectionPools = Limit{of: s, kind: pools, open: &s.open.ConnectionPools}
	if o.TrackRemaining {
		r := new(remainingStats)
		s.detach = append(s.detach, stats.Attach(o.Scope, r))
		s.Connections.remaining, s.Pending.remaining, s.Requests.remaining = &r.Connections, &r.Pending, &r.Requests
		s.Retries.remaining, s.ConnectionPools.remaining = &r.Retries, &r.ConnectionPools
	}
	if o.Budget != nil && o.Budget.Interval > 0 {
		s.begun = newWindow(o.Budget.Interval)
	}
	s.refresh()
	for _, l := range []*Limit{&s.Connections, &s.Pending, &s.Requests, &s.Retries, &s.ConnectionPools} {
		l.show()
	}
	return s
}

// Close takes the gauges away. What is counted goes on.
func (s *Set) Close() {
	for _, detach := range s.detach {
		detach()
	}
}

// inForce returns the limits as the runtime has them now.
func (s *Set) inForce() *limits {
	in := s.now.Load()
	if s.options.Runtime == nil || s.options.Runtime.Generation() == in.generation {
		return in
	}
	return s.refresh()
}

// refresh asks the runtime. Two loops that do so at once come to the same.
func (s *Set) refresh() *limits {
	o := &s.options
	in := &limits{
		most: [kinds]uint64{
			connections: o.MaxConnections, pending: o.MaxPendingRequests, requests: o.MaxRequests, retries: o.MaxRetries,
			pools: o.MaxConnectionPools,
		},
		budget: o.Budget,
	}
	if rt := o.Runtime; rt != nil {
		in.generation = rt.Generation() // Before the values: one that changes meanwhile is read again.
		for i, key := range keys {
			if v, ok := rt.Int(o.Prefix + key); ok {
				in.most[i] = uint64(v)
			}
		}
		in.budget = budgetOf(o.Budget, rt, o.Prefix+"retry_budget.")
	}
	s.now.Store(in)
	return in
}

// budgetOf lays the runtime's values over a configured budget. Either of them makes
// one where none is configured.
func budgetOf(b *Budget, rt Runtime, prefix string) *Budget {
	percent, p := rt.Double(prefix + "budget_percent")
	least, l := rt.Int(prefix + "min_retry_concurrency")
	if !p && !l {
		return b
	}
	out := Budget{Percent: DefaultPercent, MinConcurrency: DefaultMinConcurrency}
	if b != nil {
		out = *b
	}
	if p {
		out.Percent = max(percent, 0)
	}
	if l {
		out.MinConcurrency = uint64(least)
	}
	return &out
}

// What a budget is by default.
const (
	DefaultPercent        = 20
	DefaultMinConcurrency = 3
)
