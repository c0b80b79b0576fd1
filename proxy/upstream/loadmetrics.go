// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"strings"
	"sync"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/orca"
)

// A MetricSum is what a host's load reports (ORCA) have said of one metric.
type MetricSum struct {
	// Reports is how many reports had the metric, Total the sum of what they said.
	Reports uint64
	Total   float64
}

// maxMetricNames bounds how many metrics are added up of one host and loop: hosts may
// call them as they like.
const maxMetricNames = 1000

// loadMetrics adds up what one host tells one loop. The loop writes; who reports load reads.
type loadMetrics struct {
	mu     sync.Mutex
	report orca.Report
	sums   map[string]MetricSum
}

// take adds a report, of which the metrics called names count; "*" after a dot stands for
// all of a group. It reports whether there was one that could be read.
func (m *loadMetrics) take(names []string, fields *header.Map) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.report.Parse(fields) != nil {
		return false
	}
	if m.sums == nil {
		m.sums = map[string]MetricSum{}
	}
	for _, n := range names {
		switch n {
		case "cpu_utilization":
			m.add(n, m.report.CPU)
		case "mem_utilization":
			m.add(n, m.report.Mem)
		case "application_utilization":
			m.add(n, m.report.Application)
		case "eps":
			m.add(n, m.report.EPS)
		case "rps_fractional":
			m.add(n, m.report.RPS)
		default:
			group, all := strings.CutSuffix(n, "*")
			for i := range m.report.Metrics {
				if x := &m.report.Metrics[i]; x.Name == n || all && strings.HasPrefix(x.Name, group) {
					m.add(x.Name, x.Value)
				}
			}
		}
	}
	return true
}

func (m *loadMetrics) add(name string, v float64) {
	s, is := m.sums[name]
	if !is && len(m.sums) >= maxMetricNames {
		return
	}
	m.sums[name] = MetricSum{s.Reports + 1, s.Total + v}
}

// LoadMetrics are what the host's load reports have said since it appeared, by the name of
// the metric; nil if none counts. See Settings.LoadMetrics.
func (s *HostState) LoadMetrics() map[string]MetricSum {
	var out map[string]MetricSum
	for i := range s.local {
		l := s.local[i].Load()
		if l == nil {
			continue
		}
		m := l.metrics.Load()
		if m == nil {
			continue
		}
		m.mu.Lock()
		for name, x := range m.sums {
			if out == nil {
				out = map[string]MetricSum{}
			}
			y := out[name]
			out[name] = MetricSum{x.Reports + y.Reports, x.Total + y.Total}
		}
		m.mu.Unlock()
	}
	return out
}

// meters adds load reports up on one loop, and gives them to the balancer, if that wants
// them.
type meters struct {
	w    *Worker
	then Reporter
}

// metered is who wants the report of a host: the balancer's reporter, and the cluster's own
// if that tells a server of loads what hosts say.
func (w *Worker) metered(then Reporter) Reporter {
	if w.meters == nil || w.meters.then != then {
		w.meters = &meters{w, then} // A balancer has one reporter.
	}
	return w.meters
}

// Report implements Reporter.
func (m *meters) Report(h *Host, fields *header.Map) bool {
	if !orca.Has(fields) {
		return false
	}
	l := h.Local(m.w.loop)
	sums := l.metrics.Load()
	if sums == nil {
		sums = &loadMetrics{}
		l.metrics.Store(sums)
	}
	took := sums.take(m.w.cluster.LoadMetrics, fields)
	if m.then != nil {
		took = m.then.Report(h, fields) || took
	}
	return took
}
