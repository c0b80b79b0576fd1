// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"fmt"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/stats/sink"
	"weir.dev/weir/xds"
)

// makeSinks compiles the sinks of statistics. They send nothing yet.
func (p *Proxy) makeSinks() ([]sink.Sink, error) {
	var out []sink.Sink
	var problems []xds.Problem
	for i, m := range p.opts.Bootstrap.GetStatsSinks() {
		s, err := p.services.StatsSink(m)
		if err == nil {
			out = append(out, s)
			continue
		}
		problem := p.located("", m.GetName(), fmt.Sprintf("stats_sinks[%d]", i), err)
		if errors.Is(err, extension.ErrNoSink) {
			problem.Severity = xds.Warning
			p.log("stats").Warn(problem.Error())
			continue
		}
		problems = append(problems, problem)
	}
	return out, xds.Err(problems)
}

// startFlusher has statistics read and sent from now on. Without sinks it keeps the
// histograms' intervals and the server's gauges up to date.
func (p *Proxy) startFlusher(sinks []sink.Sink) {
	b := p.opts.Bootstrap
	f := sink.Start(sink.Options{
		Store: p.store, Sinks: sinks, Before: p.measure,
		Interval: b.GetStatsFlushInterval().AsDuration(), OnAsk: b.GetStatsFlushOnAdmin(),
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flusher = f
}

// askFlusher is called by the admin, which is there before the flusher.
func (p *Proxy) askFlusher() {
	p.mu.Lock()
	f := p.flusher
	p.mu.Unlock()
	f.Ask()
}
