// SPDX-License-Identifier: Apache-2.0

// Package clientsideweightedroundrobin is the load balancing policy that weighs hosts by
// what they tell of their load with each response (ORCA): requests per second over
// utilization, less for errors. It is Envoy's
// envoy.load_balancing_policies.client_side_weighted_round_robin and gRPC's
// weighted_round_robin (gRFC A58).
package clientsideweightedroundrobin

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/orca"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/schedule"
)

// Config is the policy's configuration.
type Config struct {
	// Blackout is how long reports must have come before they count, 10 s by default;
	// Expiration how long one counts, 3 min by default.
	Blackout, Expiration time.Duration
	// Update is how often weights follow reports, 1 s by default, at least 100 ms.
	Update time.Duration
	// Penalty is what errors per request add to utilization.
	Penalty float64
	// Metrics are what stands for utilization if the host tells no
	// application_utilization: the greatest of them. Without any it is that of the CPU.
	Metrics   []string
	SlowStart schedule.SlowStart
	Layers    upstream.LayerOptions
}

// New returns the policy. Zero durations are the defaults, but that a negative Blackout
// is none.
func New(c Config) upstream.Policy {
	c.Blackout, c.Expiration = cmp.Or(c.Blackout, 10*time.Second), cmp.Or(c.Expiration, 3*time.Minute)
	c.Update = max(cmp.Or(c.Update, time.Second), 100*time.Millisecond)
	return upstream.Layered(list{c}, c.Layers)
}

type list struct{ Config }

// BuildList implements upstream.ListPolicy.
func (l list) BuildList(hosts []*upstream.Host) upstream.Table {
	t := &table{Config: l.Config, hosts: hosts, weights: make([]atomic.Uint32, len(hosts)), valid: make([]uint32, 0, len(hosts))}
	for i := range t.weights {
		t.weights[i].Store(1)
	}
	t.next.Store(math.MinInt64) // The clock of a test may begin before the process did.
	t.refresh(engine.Nano())
	return t
}

// table has the weights of a list, for all loops. One of them brings them up to date
// when it is time; that looks at every host.
type table struct {
	Config
	hosts   []*upstream.Host
	weights []atomic.Uint32 // of hosts
	next    atomic.Int64    // when weights are to be looked at again, in engine.Nano's time
	busy    atomic.Bool
	valid   []uint32 // scratch of who is busy
	// mean of the weights, in the bits of a float64: the schedule's steps must not change
	// their scale when the first reports come.
	mean atomic.Uint64
}

// refresh takes the weights that hosts tell. Who tells none weighs as the median.
func (t *table) refresh(at int64) {
	if at < t.next.Load() || !t.busy.CompareAndSwap(false, true) {
		return
	}
	t.next.Store(at + int64(t.Update))
	t.valid = t.valid[:0]
	now := time.Now()
	for i, h := range t.hosts {
		w, ok := h.Load.Current(now, t.Blackout, t.Expiration)
		if ok {
			t.valid = append(t.valid, w)
		} else {
			w = 0
		}
		t.weights[i].Store(w)
	}
	median := uint32(1)
	if n := len(t.valid); n > 0 {
		slices.Sort(t.valid)
		median = t.valid[n/2]
	}
	sum := 0.0
	for i := range t.weights {
		w := &t.weights[i]
		w.CompareAndSwap(0, max(1, median))
		sum += float64(w.Load())
	}
	t.mean.Store(math.Float64bits(sum / float64(len(t.weights))))
	t.busy.Store(false)
}

// Balancer implements upstream.Table.
func (t *table) Balancer(env *upstream.Env) upstream.Balancer {
	b := &balancer{table: t}
	b.order = schedule.New(t.hosts, b.weight, env.Rand().Uint64())
	return b
}

type balancer struct {
	*table
	order  *schedule.Scheduler
	report orca.Report
}

func (b *balancer) weight(i int, h *upstream.Host) float64 {
	w := float64(max(1, b.weights[i].Load())) / math.Float64frombits(b.mean.Load())
	if b.SlowStart.Window > 0 {
		w *= b.SlowStart.Factor(h, time.Now())
	}
	return w
}

// Pick implements upstream.Balancer.
func (b *balancer) Pick(c *upstream.PickContext) *upstream.Host {
	b.refresh(engine.Nano())
	c.Reports = b
	return b.order.Next()
}

// Report implements upstream.Reporter. Reports that make no sense change nothing.
func (b *balancer) Report(h *upstream.Host, fields *header.Map) bool {
	if !orca.Has(fields) || b.report.Parse(fields) != nil {
		return false
	}
	if w, ok := b.weigh(&b.report); ok {
		h.Load.Update(w, time.Now())
	}
	return true
}

// weigh makes a weight of a report: requests per second over utilization.
func (c *Config) weigh(r *orca.Report) (uint32, bool) {
	if r.RPS <= 0 {
		return 0, false
	}
	u := r.Application
	if u <= 0 {
		u = r.Max(c.Metrics)
	}
	if u <= 0 {
		u = r.CPU
	}
	if u += c.Penalty * r.EPS / r.RPS; u <= 0 {
		return 0, false
	}
	return uint32(min(r.RPS/u, math.MaxUint32)), true
}
