// SPDX-License-Identifier: Apache-2.0

// Package overload keeps the process from falling over (Envoy's overload manager): it
// measures resources again and again, holds their pressure against the triggers of
// actions and load shed points, and tells how far each of these goes. Those who act ask
// a [Level], or are told of its changes.
//
// It owns the goroutines that measure, and what shrinks the heap. It knows no connections
// and no requests: listeners, connection managers, the router and pools ask it.
package overload

import (
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"weir.dev/weir/proxy/stats"
)

// A Manager is a compiled OverloadManager. A nil Manager is where none is configured, or
// where it is bypassed: it has no levels. It measures from Start on until Close.
type Manager struct {
	interval  time.Duration
	resources []*resource
	actions   []*gate
	points    []*gate
	timeouts  [timers]*Timeout
	reducing  []*gate // the actions that shorten time limits
	limiter   Limiter
	classes   *Classes
	shrink    *shrinker

	delay   *stats.Histogram
	log     *slog.Logger
	results chan result
	stop    chan struct{}
	done    sync.WaitGroup
	once    sync.Once
}

// resource is one that is measured.
type resource struct {
	name    string
	monitor Monitor
	ask     chan struct{}

	pressure        *stats.Gauge
	failed, skipped *stats.Counter

	// What follows belongs to the goroutine that decides.
	pending bool
	ill     bool // it could not be measured the last time
}

type result struct {
	resource *resource
	pressure float64
	err      error
}

// Action returns the level of an overload action; nil if it is not configured.
func (m *Manager) Action(name string) *Level {
	if g := m.action(name); g != nil {
		return &g.level
	}
	return nil
}

func (m *Manager) action(name string) *gate {
	if m == nil {
		return nil
	}
	return find(m.actions, name)
}

// Point returns the level of a load shed point; nil if it is not configured.
func (m *Manager) Point(name string) *Level {
	if m == nil {
		return nil
	}
	if g := find(m.points, name); g != nil {
		return &g.level
	}
	return nil
}

func find(gates []*gate, name string) *gate {
	for _, g := range gates {
		if g.name == name {
			return g
		}
	}
	return nil
}

// Timeout returns what shortens a kind of time limits; nil if nothing does.
func (m *Manager) Timeout(t Timer) *Timeout {
	if m == nil {
		return nil
	}
	return m.timeouts[t]
}

// MaxConnections returns how many downstream connections the process is to have at most,
// and whether there is such a limit.
func (m *Manager) MaxConnections() (int64, bool) {
	if m == nil || m.limiter == nil {
		return 0, false
	}
	return m.limiter.MaxConnections(), true
}

// Classes are by how much memory they hold streams are told apart; nil without
// buffer_factory_config.
func (m *Manager) Classes() *Classes {
	if m == nil {
		return nil
	}
	return m.classes
}

// OnChange has f called with the new level whenever that of an action changes. It is
// called before Start; f runs on a goroutine of the manager's, which measures nothing
// meanwhile, and not any more once Close has returned.
func (m *Manager) OnChange(action string, f func(level float64)) {
	if g := m.action(action); g != nil {
		g.changed = append(g.changed, f)
	}
}

// WhileActive is OnChange for what is to be done each time that resources are measured
// while the level is above 0.
func (m *Manager) WhileActive(action string, f func(level float64)) {
	if g := m.action(action); g != nil {
		g.while = append(g.while, f)
	}
}

// OnTimeouts has f called whenever time limits become shorter or longer; see OnChange.
func (m *Manager) OnTimeouts(f func()) {
	for _, g := range m.reducing {
		g.changed = append(g.changed, func(float64) { f() })
	}
}

// Start begins to measure, at once and then each refresh_interval.
func (m *Manager) Start() {
	m.results = make(chan result)
	m.stop = make(chan struct{})
	for _, r := range m.resources {
		r.ask = make(chan struct{}, 1)
		m.done.Go(func() { m.measure(r) })
	}
	m.done.Go(m.decide)
	if m.shrink != nil {
		m.done.Go(func() { m.shrink.run(m.stop) })
	}
}

// Close ends what Start began and waits for it.
func (m *Manager) Close() {
	if m == nil || m.stop == nil {
		return
	}
	m.once.Do(func() { close(m.stop) })
	m.done.Wait()
}

// measure asks one monitor whenever it is to.
func (m *Manager) measure(r *resource) {
	for {
		select {
		case <-m.stop:
			return
		case <-r.ask:
		}
		p, err := r.monitor.Pressure()
		if err == nil && (math.IsNaN(p) || p < 0) {
			err = errNoPressure
		}
		select {
		case <-m.stop:
			return
		case m.results <- result{r, p, err}:
		}
	}
}

var errNoPressure = errors.New("the monitor returned no pressure")

// decide asks for measurements and draws the conclusions.
func (m *Manager) decide() {
	tick := time.NewTicker(m.interval)
	defer tick.Stop()
	last := time.Now()
	m.ask()
	for {
		select {
		case <-m.stop:
			return
		case res := <-m.results:
			m.see(res)
		case <-tick.C:
			now := time.Now()
			m.delay.Record(uint64(now.Sub(last).Milliseconds()))
			last = now
			m.ask()
			m.goOn()
		}
	}
}

func (m *Manager) ask() {
	for _, r := range m.resources {
		if r.pending {
			r.skipped.Inc()
			continue
		}
		r.pending = true
		r.ask <- struct{}{}
	}
}

// see takes a measurement. Where there is none, what was last seen goes on.
func (m *Manager) see(res result) {
	r := res.resource
	r.pending = false
	if res.err != nil {
		r.failed.Inc()
		if !r.ill {
			m.log.Warn("a resource cannot be measured: its last pressure goes on", "resource", r.name, "error", res.err)
		}
		r.ill = true
		return
	}
	if r.ill {
		m.log.Info("a resource can be measured again", "resource", r.name)
	}
	r.ill = false
	r.pressure.Set(int64(100 * res.pressure))
	for _, g := range m.actions {
		was := g.level.Saturated()
		if !g.see(r, res.pressure) {
			continue
		}
		if is := g.level.Saturated(); is != was {
			m.told(g, r, is)
		}
		for _, f := range g.changed {
			f(g.level.Value())
		}
	}
	for _, g := range m.points {
		g.see(r, res.pressure)
	}
}

func (m *Manager) told(g *gate, r *resource, saturated bool) {
	if saturated {
		m.log.Warn("overloaded: an action is on", "action", g.name, "resource", r.name, "pressure_percent", r.pressure.Value())
		return
	}
	m.log.Info("no longer overloaded as much: an action is off, or on in part", "action", g.name, "level", g.level.Value())
}

// goOn does what is to be done as long as an action is on.
func (m *Manager) goOn() {
	for _, g := range m.actions {
		v := g.level.Value()
		if v == 0 {
			continue
		}
		for _, f := range g.while {
			f(v)
		}
	}
}
