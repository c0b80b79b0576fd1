// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/orca"
)

// LoadMetrics are what the host's load reports have said since it appeared, by the name of
// the metric; nil if none counts. See Settings.LoadMetrics.
func (s *HostState) LoadMetrics() map[string]orca.Sum {
	var out map[string]orca.Sum
	for i := range s.local {
		l := s.local[i].Load()
		if l == nil {
			continue
		}
		if m := l.metrics.Load(); m != nil {
			out = m.AddTo(out)
		}
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
		sums = &orca.Sums{}
		l.metrics.Store(sums)
	}
	took := sums.Take(m.w.cluster.LoadMetrics, fields)
	if m.then != nil {
		took = m.then.Report(h, fields) || took
	}
	return took
}
