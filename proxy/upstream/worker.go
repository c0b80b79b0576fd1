// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"weir.dev/weir/proxy/codec/h2"
)

// A view is one host set with a balancer of one loop.
type view struct {
	set      *PrioritySet
	balancer Balancer
	// membership changes when a host came or left, not when health or weights changed.
	membership uint64
}

// A Worker is one loop's view of a cluster. Its methods are called on the loop only,
// except where they say otherwise.
type Worker struct {
	// Stats are the loop's statistics of the cluster.
	Stats *Stats
	// HTTP2 are those of its HTTP/2 connections, nil unless the cluster may speak it.
	HTTP2 *h2.Stats
	// Budgets and Sizes are nil unless the cluster tracks them.
	Budgets *BudgetStats
	Sizes   *SizeStats
	// Kept is what the pools of the loop keep to use it again; nil until one does.
	Kept any

	cluster *Cluster
	loop    int
	next    atomic.Pointer[view] // the newest view, stored by the cluster
	cur     *view
	rand    *rand.Rand
	// busy counts what still uses the cluster on this loop; retired, once set, is
	// called when that is nothing any more.
	busy     int
	retired  func()
	watchers []MemberWatcher
	ahead    []*Host      // picked for requests to come
	nobody   *PickContext // for picks ahead
	meters   *meters      // of load reports; nil until one is wanted
}

// A MemberWatcher is told that hosts left a cluster, for what is kept of them
// outside of their pools.
type MemberWatcher interface {
	// HostsLeft runs on the worker's loop, perhaps within Pick, when hosts left the
	// cluster; if the cluster itself was replaced or removed, all have.
	HostsLeft(w *Worker)
}

// Watch has m told of hosts that leave.
func (w *Worker) Watch(m MemberWatcher) { w.watchers = append(w.watchers, m) }

// Unwatch ends Watch.
func (w *Worker) Unwatch(m MemberWatcher) {
	w.watchers = slices.DeleteFunc(slices.Clone(w.watchers), func(x MemberWatcher) bool { return x == m })
}

// hostsLeft tells the watchers, who may end their watch.
func (w *Worker) hostsLeft() {
	for _, m := range w.watchers {
		m.HostsLeft(w)
	}
}

// Hold notes that something on the loop uses the cluster: a replaced cluster keeps
// its statistics until the last has called Drop.
func (w *Worker) Hold() { w.busy++ }

// Drop ends a Hold.
func (w *Worker) Drop() {
	w.busy--
	w.settle()
}

// retire has f called once nothing uses the cluster on this loop.
func (w *Worker) retire(f func()) {
	w.retired = f
	w.settle()
}

func (w *Worker) settle() {
	if f := w.retired; f != nil && w.busy == 0 {
		w.retired = nil
		f()
	}
}

// Cluster returns the cluster.
func (w *Worker) Cluster() *Cluster { return w.cluster }

// Random returns a number of at least 0 and below 1.
func (w *Worker) Random() float64 { return w.rand.Float64() }

// Loop returns the loop's number.
func (w *Worker) Loop() int { return w.loop }

// Home returns the worker of the cluster that a host is of: a balancer of an aggregate
// cluster picks hosts of others.
func (w *Worker) Home(h *Host) *Worker {
	if h.Cluster == nil || h.Cluster == w.cluster {
		return w
	}
	return h.Cluster.Worker(w.loop)
}

// Set returns the newest host set, never nil. It may be called from any goroutine.
func (w *Worker) Set() *PrioritySet { return w.next.Load().set }

// Pick chooses a host for a request or a connection. It takes no lock and allocates
// nothing. c must not be nil.
func (w *Worker) Pick(c *PickContext) (*Host, Failure) {
	h, f := w.pick(c)
	if h != nil && h.Cluster != nil && len(h.Cluster.LoadMetrics) > 0 {
		c.Reports = w.Home(h).metered(c.Reports)
	}
	return h, f
}

func (w *Worker) pick(c *PickContext) (*Host, Failure) {
	c.Attempt, c.Reports = 0, nil
	v := w.adopt()
	for i := range v.set.Drops {
		if d := &v.set.Drops[i]; w.rand.Float64() < d.Share {
			w.Stats.RqDropOverload.Inc()
			return nil, DroppedOverload
		}
	}
	if len(c.Override) > 0 {
		if h := w.override(v.set, c); h != nil {
			return h, NoFailure
		}
		if c.OverrideStrict {
			return nil, NoHealthyUpstream
		}
	}
	h := w.choose(v, c)
	if h == nil {
		return nil, NoHealthyUpstream
	}
	skips, passes := 0, 0
	if c.Skip != nil {
		skips = max(1, c.MaxAttempts)
	}
	for {
		switch {
		case skips > 0 && c.Skip(h):
			skips--
		case passes < maxPassedOver && h.outdated():
			passes++
		case passes < maxPassedOver && h.passOver():
			passes++
			w.Stats.LBConnectBackoff.Inc()
		default:
			return h, NoFailure
		}
		c.Attempt++
		other := w.choose(v, c)
		if other == nil {
			return h, NoFailure
		}
		h = other
	}
}

// outdated tells that the host has become unhealthy since the newest host set was made:
// changes of health are gathered for a while (update_merge_window), but need not cost a
// request.
func (h *Host) outdated() bool {
	if h.Flags()&unhealthyFlags == 0 || h.Cluster == nil || h.Cluster.Sticky {
		return false
	}
	inPanic := h.Cluster.newest.Load().Panic
	return h.Priority < len(inPanic) && !inPanic[h.Priority]
}

// choose returns the host that was picked ahead, or asks the balancer.
func (w *Worker) choose(v *view, c *PickContext) *Host {
	if len(w.ahead) > 0 && c.Priorities == nil {
		h := w.ahead[0]
		w.ahead = slices.Delete(w.ahead, 0, 1)
		return h
	}
	return v.balancer.Pick(c)
}

// PickAhead chooses the host of a request to come: the picks that follow return the
// hosts chosen so, in order, unless the host set changes before. It returns nil if the
// policy goes by the request, or if as many as there are hosts were chosen.
func (w *Worker) PickAhead() *Host {
	v := w.adopt()
	if !w.cluster.Blind || len(w.ahead) >= len(v.set.Hosts) {
		return nil
	}
	if w.nobody == nil {
		w.nobody = new(PickContext)
	}
	h := v.balancer.Pick(w.nobody)
	if h != nil {
		w.ahead = append(w.ahead, h)
	}
	return h
}

// Choose asks the cluster's balancer alone, for the policy of an aggregate cluster.
func (w *Worker) Choose(c *PickContext) *Host { return w.adopt().balancer.Pick(c) }

func (w *Worker) override(set *PrioritySet, c *PickContext) *Host {
	for _, a := range c.Override {
		h := set.ByAddress(a)
		if h == nil {
			continue
		}
		status := h.Status
		switch h.Health() {
		case Unhealthy:
			status = StatusUnhealthy
			if h.Status == StatusDraining || h.Status == StatusTimeout {
				status = h.Status
			}
		case Degraded:
			status = StatusDegraded
		case Healthy:
			if status != StatusUnknown {
				status = StatusHealthy
			}
		}
		if w.cluster.OverrideStatuses&(1<<status) != 0 {
			return h
		}
	}
	return nil
}

// adopt takes the newest view over. Pools of hosts that left are drained here, on
// their loop.
func (w *Worker) adopt() *view {
	v := w.next.Load()
	if v == w.cur {
		return v
	}
	old := w.cur
	w.cur, w.ahead = v, w.ahead[:0]
	if old == nil || old.membership == v.membership {
		return v
	}
	for _, h := range old.set.Hosts {
		if !h.InCluster() || w.cluster.CloseOnHostSetChange {
			w.drain(h)
		}
	}
	w.hostsLeft()
	return v
}

func (w *Worker) drain(h *Host) {
	if l := h.local[w.loop].Load(); l != nil && l.Pool != nil {
		l.Pool.Drain()
	}
}
