// SPDX-License-Identifier: Apache-2.0

package adaptiveconcurrency

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/engine"
)

// settings of a controller.
type settings struct {
	percentile float64 // of the samples of a window, from 0 to 1
	min, max   int64   // of the limit
	update     time.Duration
	interval   time.Duration // between measurements of the minimal latency; 0 is never
	fixed      time.Duration // the minimal latency if it is not measured
	requests   int64         // that a measurement takes
	jitter     float64       // of interval, a share
	measuring  int64         // the limit while the minimal latency is measured
	buffer     float64       // added to the minimal latency, a share
}

// controller finds how many requests may be at work at once: as many as do not make
// those that wait longer than when there are few. It is shared by all loops.
type controller struct {
	settings
	limit       atomic.Int64
	outstanding atomic.Int64
	latencies   []histogram // by loop

	// epoch is when the latest measurement of the minimal latency began: samples of
	// requests from before do not count. It is 0 before the first.
	epoch atomic.Int64
	// missing is how many samples the measurement at hand still takes; not above 0
	// while there is none.
	missing atomic.Int64

	mu       sync.Mutex // of what follows
	stats    *Stats
	minimal  float64 // microseconds
	before   int64   // the limit to go on with after the measurement at hand
	measured bool    // a measurement is at hand
	atMin    int     // windows in a row in which the limit stayed at its minimum
	// again has measure called after a while; it replaces what it was asked before.
	again func(after time.Duration)
}

// remeasureAfter is how many windows in a row the limit may stay at its minimum before
// the minimal latency is taken to be wrong.
const remeasureAfter = 5

func newController(s settings, loops int, st *Stats) *controller {
	c := &controller{settings: s, latencies: make([]histogram, loops), stats: st, again: func(time.Duration) {}}
	c.setLimit(s.measuring)
	if s.fixed > 0 {
		c.setMinimal(float64(s.fixed.Microseconds()))
	}
	return c
}

// run keeps the controller going on a loop until stop is called.
func (c *controller) run(l *engine.Loop) (stop func()) {
	var window, measure engine.Timer
	stopped := false // on the loop
	window.Init(l, func() {
		c.update()
		window.Set(int64(c.settings.update))
	})
	measure.Init(l, func() { c.measure(l.Now()) })
	c.mu.Lock()
	c.again = func(after time.Duration) {
		l.Post(func() {
			if !stopped { // Requests that began before may end after.
				measure.Set(int64(after))
			}
		})
	}
	c.mu.Unlock()
	l.Post(func() {
		if c.interval > 0 {
			c.measure(l.Now())
		}
		window.Set(int64(c.settings.update))
	})
	return func() {
		l.Post(func() {
			stopped = true
			window.Release()
			measure.Release()
		})
	}
}

// begin counts a request in, or reports that there are too many. As in Envoy the limit
// may be passed by one for each loop.
func (c *controller) begin() bool {
	if c.outstanding.Load() >= c.limit.Load() {
		return false
	}
	c.outstanding.Add(1)
	return true
}

// cancel counts a request out of which the latency does not tell anything.
func (c *controller) cancel() { c.outstanding.Add(-1) }

// done counts a request out that was at work from begun to now, on a loop.
func (c *controller) done(loop int, begun, now int64) {
	c.outstanding.Add(-1)
	if begun < c.epoch.Load() {
		return
	}
	c.latencies[loop].add(uint64(max(now-begun, 0)) / uint64(time.Microsecond))
	if c.missing.Load() > 0 && c.missing.Add(-1) == 0 {
		c.finish()
	}
}

// measure begins to measure the minimal latency, with few requests at a time.
func (c *controller) measure(now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.measured {
		return
	}
	c.measured, c.before = true, c.limit.Load()
	c.stats.Measuring.Set(1)
	c.setLimit(c.measuring)
	take(c.latencies, c.percentile) // Those from before tell nothing.
	c.epoch.Store(now)
	c.missing.Store(c.requests)
}

// finish ends the measurement at hand.
func (c *controller) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if us, n := take(c.latencies, c.percentile); n > 0 {
		c.setMinimal(us)
	}
	c.setLimit(c.before)
	c.measured, c.before, c.atMin = false, 0, 0
	c.stats.Measuring.Set(0)
	jitter := 0.0
	if c.jitter > 0 {
		jitter = rand.Float64() * c.jitter
	}
	c.again(c.interval + time.Duration(float64(c.interval)*jitter))
}

// update ends a window of samples and sets the limit anew.
func (c *controller) update() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.measured {
		return
	}
	sample, n := take(c.latencies, c.percentile)
	if n == 0 {
		return
	}
	c.stats.Sample.Set(int64(sample / 1000))
	old := c.limit.Load()
	next := c.next(old, sample)
	c.setLimit(next)
	if old != c.min || next != c.min {
		c.atMin = 0
		return
	}
	if c.atMin++; c.atMin >= remeasureAfter && c.interval > 0 {
		c.atMin = 0
		c.again(0)
	}
}

// next is the limit after one under which the latency was sample.
func (c *controller) next(limit int64, sample float64) int64 {
	gradient := min(max(c.minimal*(1+c.buffer)/max(sample, 1), 0.5), 2)
	scaled := float64(limit) * gradient
	headroom := math.Sqrt(scaled)
	c.stats.Gradient.Set(int64(gradient * 1000))
	c.stats.Burst.Set(int64(headroom))
	return min(max(int64(scaled+headroom), c.min), c.max)
}

func (c *controller) setLimit(n int64) {
	c.limit.Store(n)
	c.stats.Limit.Set(n)
}

func (c *controller) setMinimal(us float64) {
	c.minimal = us
	c.stats.Minimal.Set(int64(us / 1000))
}
