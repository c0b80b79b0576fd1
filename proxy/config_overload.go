// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"sync"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/proxy/overload"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds"
)

// makeOverload compiles the overload manager, if the bootstrap has one.
func (p *Proxy) makeOverload() error {
	p.limits = &listener.Limits{Max: func() int64 {
		n, _ := p.runtime.Int("overload.global_downstream_max_connections")
		return n
	}}
	cfg := p.opts.Bootstrap.GetOverloadManager()
	if cfg == nil {
		return nil
	}
	m, problems := overload.Compile(cfg, "overload_manager", &overload.Context{
		Monitor: p.opts.Extensions.Monitors.Compile,
		Sources: &overload.Sources{Runtime: p.runtime, Connections: p.limits.Active},
		Stats:   p.store, Log: p.log("overload"), Trim: p.trim,
	})
	if problems = p.opts.Positions.Locate(problems); xds.HasErrors(problems) {
		return xds.Err(problems)
	}
	if n, ok := m.MaxConnections(); ok {
		p.limits.Max = func() int64 { return n }
	}
	p.limits.Reject, p.limits.Accept = m.Action(overload.RejectIncomingConnections), m.Point(overload.AcceptTCP)
	p.limits.Connect = m.Timeout(overload.TransportConnect)
	p.overload = m
	return nil
}

// startOverload has the overload manager act from now on.
func (p *Proxy) startOverload() {
	m := p.overload
	if m == nil {
		return
	}
	m.OnChange(overload.StopAcceptingConnections, func(float64) { p.acceptAll() })
	m.OnTimeouts(func() {
		for _, l := range p.streamListeners() {
			l.Rescale()
		}
	})
	m.WhileActive(overload.ResetHighMemoryStream, p.shedStreams)
	m.Start()
}

// overloadFor is the overload manager as a listener has it.
func (p *Proxy) overloadFor(bypassed bool, in *extension.Network) {
	if !bypassed {
		in.Overload = p.overload
	}
}

// acceptAll has the listeners take connections, or not, as the overload manager says.
func (p *Proxy) acceptAll() {
	for _, l := range p.streamListeners() {
		p.accept(l)
	}
}

// accept is acceptAll for one listener.
func (p *Proxy) accept(l *listener.Listener) {
	p.accepting.Lock()
	defer p.accepting.Unlock()
	l.SetAccepting(!p.overload.Action(overload.StopAcceptingConnections).Saturated())
}

// streamListeners are those of connections, also the ones that come to their end.
func (p *Proxy) streamListeners() []*listener.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*listener.Listener
	add := func(r *running) {
		if l, ok := r.l.(*listener.Listener); ok {
			out = append(out, l)
		}
	}
	for _, r := range p.listeners {
		add(r)
	}
	for r := range p.retiring {
		add(r)
	}
	return out
}

// mostShed is how many streams a loop breaks off at a time, as in Envoy.
const mostShed = 50

// shedStreams breaks off the streams that hold most memory: at a higher level also those
// that hold less.
func (p *Proxy) shedStreams(level float64) {
	classes := p.overload.Classes()
	from := classes.From(level)
	count := p.store.Scope("overload." + overload.ResetHighMemoryStream).Counter("count")
	all := p.streamListeners()
	p.onLoops(func(loop *engine.Loop) {
		heavy := make([][]conn.Stream, classes.Last()+1)
		for _, l := range all {
			l.Streams(loop, func(s conn.Stream) {
				if class := classes.Of(s.Held()); class >= from {
					heavy[class] = append(heavy[class], s)
				}
			})
		}
		shed(heavy, count)
	})
}

// shed breaks off the heaviest streams, within the limit.
func shed(heavy [][]conn.Stream, count *stats.Counter) {
	n := 0
	for class := len(heavy) - 1; class >= 0; class-- {
		for _, s := range heavy[class] {
			if n == mostShed {
				return
			}
			s.Shed()
			count.Inc()
			n++
		}
	}
}

// trim has the loops give up what they keep for use again.
func (p *Proxy) trim() { p.onLoops((*engine.Loop).Trim) }

// onLoops runs f on every loop and waits.
func (p *Proxy) onLoops(f func(*engine.Loop)) {
	var wg sync.WaitGroup
	for _, l := range p.loops {
		wg.Add(1)
		if !l.Post(func() { defer wg.Done(); f(l) }) {
			wg.Done()
		}
	}
	wg.Wait()
}
