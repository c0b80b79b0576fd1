// SPDX-License-Identifier: Apache-2.0

package health

import (
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/internal/bell"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
)

// Options are what all checks of a proxy share.
type Options struct {
	Loops   []*engine.Loop
	Runtime match.Runtime
}

// Checks are the active health checks of one cluster. They implement
// [upstream.HealthChecks].
type Checks struct {
	o       *Options
	cluster *upstream.Cluster
	list    []*Config
	stats   []*stats.Sharded[counters] // of each of list
	checked func()                     // called once, when the first hosts have been checked
	used    atomic.Bool                // the cluster has had traffic
	bell    *bell.Bell

	mu      sync.Mutex
	hosts   map[*upstream.HostState]*patient
	next    int // loop
	begun   bool
	waiting int // initial hosts that have not been checked yet
	over    bool

	queue sync.Mutex // of a few instructions, for the loops
	todo  []*patient // whose flags the cluster is to be told
}

// New returns checks that have no hosts yet. checked is called, off the loops, when the
// hosts of the first Update have been checked once. They must be closed.
func New(c *upstream.Cluster, list []*Config, scope *stats.Scope, o *Options, checked func()) *Checks {
	k := &Checks{o: o, cluster: c, list: list, checked: checked, hosts: map[*upstream.HostState]*patient{}}
	for _, cfg := range list {
		at := scope.Scope("health_check")
		if cfg.Name != "" {
			at = at.Scope("name." + cfg.Name)
		}
		k.stats = append(k.stats, stats.Register[counters](at, len(o.Loops)))
	}
	k.bell = bell.New(-1, k.report)
	return k
}

// Update tells which hosts there are. It does not wait.
func (k *Checks) Update(hosts []*upstream.Host) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		return
	}
	there := make(map[*upstream.HostState]struct{}, len(hosts))
	for _, h := range hosts {
		if h.Check.Disabled {
			continue
		}
		there[h.HostState] = struct{}{}
		p := k.hosts[h.HostState]
		if p != nil && p.host.Check.Address != h.Check.Address {
			k.dismiss(p) // What was found out elsewhere does not count.
			p = nil
		}
		if p == nil {
			k.admit(h)
			continue
		}
		if p.host != h {
			p.host = h
			for _, r := range p.runs {
				r.probe.host.Store(h)
			}
		}
	}
	for s, p := range k.hosts {
		if _, ok := there[s]; !ok {
			k.dismiss(p)
		}
	}
	k.begun = true
	k.bell.Ring()
}

// admit begins to check a host. It is called with mu held.
func (k *Checks) admit(h *upstream.Host) {
	loop := k.o.Loops[k.next%len(k.o.Loops)]
	k.next++
	p := &patient{checks: k, host: h, loop: loop, initial: !k.begun}
	for i, cfg := range k.list {
		r := &run{of: p, config: cfg, counters: k.stats[i].At(loop.ID()), course: course{failed: true}}
		r.probe = &Probe{config: cfg, runtime: k.o.Runtime, counters: r.counters}
		r.probe.host.Store(h)
		p.runs = append(p.runs, r)
	}
	if p.initial {
		k.waiting++
	}
	k.hosts[h.HostState] = p
	loop.Post(func() {
		for _, r := range p.runs {
			r.start()
		}
	})
}

// dismiss ends the checks of a host. It is called with mu held.
func (k *Checks) dismiss(p *patient) {
	delete(k.hosts, p.host.HostState)
	p.gone = true
	k.seen(p)
	p.loop.Post(func() {
		for _, r := range p.runs {
			r.stop()
		}
	})
}

// seen notes that a host's first checks are not waited for any more. It is called with
// mu held.
func (k *Checks) seen(p *patient) {
	if p.initial {
		p.initial = false
		k.waiting--
	}
}

// Fail tells that a response of h asked to leave it out (x-envoy-immediate-health-check-fail).
func (k *Checks) Fail(h *upstream.Host) {
	k.mu.Lock()
	p := k.hosts[h.HostState]
	k.mu.Unlock()
	if p == nil {
		return
	}
	p.loop.Post(func() {
		if r := p.runs[0]; !r.gone {
			r.note(Result{Verdict: Passive, Exclude: true})
		}
	})
}

// apply has the cluster told soon what a host's flags are now. checked tells that all
// of the host's first checks have ended. It is called on the host's loop.
func (k *Checks) apply(p *patient, flags upstream.HealthFlags, checked bool) {
	p.flags.Store(uint32(flags))
	if !checked && flags == p.runs[0].probe.Host().Flags()&managed && !p.told.Load() {
		return
	}
	if !p.told.Swap(true) {
		k.queue.Lock()
		k.todo = append(k.todo, p)
		k.queue.Unlock()
	}
	k.bell.Ring()
}

// report tells the cluster what has changed. The bell runs it.
func (k *Checks) report() time.Duration {
	k.queue.Lock()
	todo := k.todo
	k.todo = nil
	k.queue.Unlock()
	for _, p := range todo {
		p.told.Store(false)
		flags := upstream.HealthFlags(p.flags.Load())
		k.mu.Lock()
		h, gone := p.host, p.gone
		k.mu.Unlock()
		if !gone {
			k.cluster.SetHealth(h, flags, managed&^flags)
		}
	}
	k.mu.Lock()
	for _, p := range todo {
		if p.checked.Load() {
			k.seen(p)
		}
	}
	f := k.checked
	done := k.begun && k.waiting == 0
	if done {
		k.checked = nil
	}
	k.mu.Unlock()
	if done && f != nil {
		f()
	}
	return -1
}

// traffic reports whether the cluster has ever been used.
func (k *Checks) traffic() bool {
	if k.used.Load() {
		return true
	}
	if k.cluster.Carried() {
		k.used.Store(true)
		return true
	}
	return false
}

// Close ends all checks. The cluster is told nothing after it has returned.
func (k *Checks) Close() {
	k.mu.Lock()
	if k.over {
		k.mu.Unlock()
		return
	}
	k.over = true
	for _, p := range k.hosts {
		k.dismiss(p)
	}
	k.mu.Unlock()
	k.bell.Close()
	// The loops count until they have ended what they are at.
	var left atomic.Int32
	left.Store(int32(len(k.o.Loops)))
	for _, l := range k.o.Loops {
		l.Post(func() {
			if left.Add(-1) == 0 {
				for _, s := range k.stats {
					s.Close()
				}
			}
		})
	}
}
