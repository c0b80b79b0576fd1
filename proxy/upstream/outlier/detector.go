// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"weir.dev/weir/internal/bell"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
)

// Options are what a Detector needs of its cluster.
type Options struct {
	Config *Config
	// Cluster is the name that events have.
	Cluster string
	// Loops is the number of event loops that count.
	Loops int
	// Stats is the cluster's scope ("cluster.<name>.").
	Stats *stats.Scope
	// Runtime may override the configuration; nil does not.
	Runtime match.Runtime
	// Events are told of each ejection and its end; nil does not want to know.
	Events func(*Event)
	// Rand draws enforcement and jitter; nil is unpredictable.
	Rand func() uint64
}

// An Event is an ejection, or its end.
type Event struct {
	Cluster, URL string
	Time         time.Time
	// SinceLast is the time since the host last came back or, of an end, since it was
	// ejected; negative if it never did.
	SinceLast time.Duration
	// Eject is false for the end of an ejection, of which no kind is told.
	Eject bool
	Kind  Kind
	// Ejections counts those of the host.
	Ejections uint32
	// Enforced is false if chance, or the runtime, kept the host.
	Enforced bool
	// Rate is the host's success rate, of kinds that are about rates; Average and
	// Threshold are the cluster's.
	Rate, Average, Threshold float64
}

// A Detector judges the hosts of one cluster. Its methods may be called from any
// goroutine.
type Detector struct {
	o     Options
	set   *stats.Sharded[counters]
	stats *counters

	list  atomic.Pointer[[]*Monitor] // the newest hosts
	queue atomic.Pointer[Monitor]    // who has events
	norms [origins]norm
	bell  *bell.Bell

	// What follows belongs to run.
	next   time.Time // when the interval ends
	hosts  []*Monitor
	taken  *[]*Monitor // the list that hosts are of
	active int         // ejections
}

// norm is what hosts are compared with, kept for who asks.
type norm struct{ average, threshold atomic.Uint64 }

// counters are Envoy's, under their names there.
type counters struct {
	Active        stats.Gauge   `stat:"ejections_active"`
	Overflow      stats.Counter `stat:"ejections_overflow"`
	EnforcedTotal stats.Counter `stat:"ejections_enforced_total"`

	Detected5xx             stats.Counter `stat:"ejections_detected_consecutive_5xx"`
	DetectedGateway         stats.Counter `stat:"ejections_detected_consecutive_gateway_failure"`
	DetectedRate            stats.Counter `stat:"ejections_detected_success_rate"`
	DetectedLocal           stats.Counter `stat:"ejections_detected_consecutive_local_origin_failure"`
	DetectedLocalRate       stats.Counter `stat:"ejections_detected_local_origin_success_rate"`
	DetectedPercentage      stats.Counter `stat:"ejections_detected_failure_percentage"`
	DetectedLocalPercentage stats.Counter `stat:"ejections_detected_local_origin_failure_percentage"`

	Enforced5xx             stats.Counter `stat:"ejections_enforced_consecutive_5xx"`
	EnforcedGateway         stats.Counter `stat:"ejections_enforced_consecutive_gateway_failure"`
	EnforcedRate            stats.Counter `stat:"ejections_enforced_success_rate"`
	EnforcedLocal           stats.Counter `stat:"ejections_enforced_consecutive_local_origin_failure"`
	EnforcedLocalRate       stats.Counter `stat:"ejections_enforced_local_origin_success_rate"`
	EnforcedPercentage      stats.Counter `stat:"ejections_enforced_failure_percentage"`
	EnforcedLocalPercentage stats.Counter `stat:"ejections_enforced_local_origin_failure_percentage"`

	// Of old, kept as Envoy keeps them.
	Total          stats.Counter `stat:"ejections_total"`
	Consecutive5xx stats.Counter `stat:"ejections_consecutive_5xx"`
	SuccessRate    stats.Counter `stat:"ejections_success_rate"`
}

// of returns the counters of a kind.
func (c *counters) of(k Kind) (detected, enforced *stats.Counter) {
	pairs := [...][2]*stats.Counter{
		Consecutive5xx:                {&c.Detected5xx, &c.Enforced5xx},
		ConsecutiveGatewayFailure:     {&c.DetectedGateway, &c.EnforcedGateway},
		SuccessRate:                   {&c.DetectedRate, &c.EnforcedRate},
		ConsecutiveLocalOriginFailure: {&c.DetectedLocal, &c.EnforcedLocal},
		SuccessRateLocalOrigin:        {&c.DetectedLocalRate, &c.EnforcedLocalRate},
		FailurePercentage:             {&c.DetectedPercentage, &c.EnforcedPercentage},
		FailurePercentageLocalOrigin:  {&c.DetectedLocalPercentage, &c.EnforcedLocalPercentage},
	}
	return pairs[k][0], pairs[k][1]
}

// New starts a detector that has no hosts yet. It must be closed.
func New(o Options) *Detector {
	if o.Runtime == nil {
		o.Runtime = match.NoRuntime{}
	}
	if o.Rand == nil {
		o.Rand = rand.Uint64
	}
	d := &Detector{o: o, taken: new([]*Monitor)}
	d.set = stats.Register[counters](o.Stats.Scope("outlier_detection"), 1)
	d.stats = d.set.At(0)
	d.stats.Active.Set(0)
	for i := range d.norms {
		d.norms[i].set(-1, -1)
	}
	d.list.Store(d.taken)
	wait := d.interval()
	d.next = time.Now().Add(wait)
	d.bell = bell.New(wait, d.run)
	return d
}

// Update tells which hosts there are. It does not wait.
func (d *Detector) Update(hosts []*Monitor) {
	d.list.Store(&hosts)
	d.bell.Ring()
}

// Close ends the judgement and waits until no Host is told of anything any more.
func (d *Detector) Close() {
	d.bell.Close()
	d.set.Close()
}

// Norm returns the average success rate in percent that hosts are compared with, and
// the threshold of outliers; -1 if there were too few.
func (d *Detector) Norm(localOrigin bool) (average, threshold float64) {
	if d == nil {
		return -1, -1
	}
	o := external
	if localOrigin {
		o = local
	}
	return d.norms[o].get()
}

// run hears and judges, and returns when to do so again.
func (d *Detector) run() time.Duration {
	now := time.Now()
	d.adopt()
	d.hear(now)
	if !now.Before(d.next) {
		d.judge(now)
		d.next = now.Add(d.interval())
	}
	return d.next.Sub(now)
}

func (d *Detector) interval() time.Duration {
	return max(d.duration(keyInterval, d.o.Config.Interval), time.Millisecond)
}

// adopt takes the newest hosts over.
func (d *Detector) adopt() {
	list := d.list.Load()
	if list == d.taken {
		return
	}
	for _, m := range d.hosts {
		m.present = false
	}
	for _, m := range *list {
		m.present = true
	}
	for _, m := range d.hosts {
		if !m.present && m.ejected.Load() {
			d.active--
		}
	}
	d.hosts, d.taken = *list, list
	d.stats.Active.Set(int64(d.active))
}

// hear handles what the monitors tell, in their order.
func (d *Detector) hear(now time.Time) {
	var all []*Monitor
	for m := d.queue.Swap(nil); m != nil; {
		next := m.next
		m.next = nil
		all = append(all, m)
		m = next
	}
	slices.Reverse(all)
	for _, m := range all {
		m.queued.Store(false) // What is told from now on queues it again.
		events := m.events.Swap(0)
		if !m.present {
			continue
		}
		d.runOf(m, events&runGateway, ConsecutiveGatewayFailure, &m.gateway, now)
		d.runOf(m, events&run5xx, Consecutive5xx, &m.any5xx, now)
		d.runOf(m, events&runLocal, ConsecutiveLocalOriginFailure, &m.local, now)
		if events&seenDegraded != 0 && !m.degraded.Load() {
			d.degrade(m, now)
		}
		if events&checkPassed != 0 && m.ejected.Load() {
			d.uneject(m, now)
		}
	}
}

// runOf handles a run of failures that has reached its length. The next begins at 0.
func (d *Detector) runOf(m *Monitor, event uint32, k Kind, run *atomic.Uint32, now time.Time) {
	if event == 0 || m.ejected.Load() {
		return
	}
	d.outlier(m, k, now)
	if k == Consecutive5xx {
		d.stats.Consecutive5xx.Inc()
	}
	run.Store(0)
}

// outlier ejects a host if that is allowed and enforced.
func (d *Detector) outlier(m *Monitor, k Kind, now time.Time) {
	detected, enforced := d.stats.of(k)
	detected.Inc()
	if m.ejected.Load() {
		return // Of two reasons the first is enough.
	}
	most := min(d.number(keyMaxPercent, d.o.Config.MaxPercent), 100)
	if 100*float64(d.active+1)/float64(len(d.hosts)) > float64(most) && (!d.o.Config.AlwaysOne || d.active > 0) {
		d.stats.Overflow.Inc()
		return
	}
	if k == Consecutive5xx || k == SuccessRate {
		d.stats.Total.Inc()
	}
	if !d.enforce(k) {
		d.report(m, k, false, now)
		return
	}
	enforced.Inc()
	d.stats.EnforcedTotal.Inc()
	d.active++
	d.stats.Active.Set(int64(d.active))
	m.ejections++
	m.ejected.Store(true)
	d.begin(&m.ejection, now)
	m.host.Eject(true)
	d.report(m, k, true, now)
}

func (d *Detector) uneject(m *Monitor, now time.Time) {
	d.active--
	d.stats.Active.Set(int64(d.active))
	m.ejected.Store(false)
	// A few new errors are not to eject it again at once.
	for _, run := range []*atomic.Uint32{&m.any5xx, &m.gateway, &m.local} {
		run.Store(0)
	}
	m.ejection.ended = now
	m.host.Eject(false)
	d.event(&Event{URL: m.host.URL(), Time: now, SinceLast: now.Sub(m.ejection.begun), Ejections: m.ejections})
}

// degrade marks a host that says it is degraded, for as long as an ejection would last.
func (d *Detector) degrade(m *Monitor, now time.Time) {
	m.degraded.Store(true)
	d.begin(&m.demotion, now)
	m.host.Degrade(true)
	d.event(&Event{
		URL: m.host.URL(), Time: now, SinceLast: since(m.demotion.ended, now), Eject: true, Kind: Degraded,
		Ejections: m.ejections, Enforced: true,
	})
}

func (d *Detector) restore(m *Monitor, now time.Time) {
	m.degraded.Store(false)
	m.demotion.ended = now
	m.host.Degrade(false)
	d.event(&Event{URL: m.host.URL(), Time: now, SinceLast: now.Sub(m.demotion.begun), Kind: Degraded, Ejections: m.ejections})
}

func (d *Detector) times() (base, most time.Duration) {
	return d.duration(keyBaseEjection, d.o.Config.BaseEjection), d.duration(keyMaxEjection, d.o.Config.MaxEjection)
}

// begin begins a sentence; the next is longer by the base time, up to the most.
func (d *Detector) begin(s *sentence, now time.Time) {
	base, most := d.times()
	s.begun = now
	s.jitter = 0
	if j := d.duration(keyJitter, d.o.Config.Jitter); j > 0 {
		s.jitter = time.Duration(d.o.Rand()%uint64(j/time.Millisecond+1)) * time.Millisecond
	}
	if time.Duration(s.times)*base < most+base {
		s.times++
	}
}

// served reports whether a sentence is over.
func (d *Detector) served(s *sentence, now time.Time) bool {
	base, most := d.times()
	return min(base*time.Duration(s.times), most)+s.jitter <= now.Sub(s.begun)
}

// forgive makes the next sentence shorter if the last ended an interval ago or more.
func (s *sentence) forgive(now time.Time, interval time.Duration) {
	if !s.ended.IsZero() && now.Sub(s.ended) >= interval && s.times > 0 {
		s.times--
	}
}

func since(t, now time.Time) time.Duration {
	if t.IsZero() {
		return -1
	}
	return now.Sub(t)
}

// report tells of an outlier.
func (d *Detector) report(m *Monitor, k Kind, enforced bool, now time.Time) {
	e := &Event{
		URL: m.host.URL(), Time: now, SinceLast: since(m.ejection.ended, now),
		Eject: true, Kind: k, Ejections: m.ejections, Enforced: enforced,
	}
	localOrigin := k == SuccessRateLocalOrigin || k == FailurePercentageLocalOrigin
	e.Rate = m.SuccessRate(localOrigin)
	e.Average, e.Threshold = d.Norm(localOrigin)
	d.event(e)
}

func (d *Detector) event(e *Event) {
	if d.o.Events != nil {
		e.Cluster = d.o.Cluster
		d.o.Events(e)
	}
}
