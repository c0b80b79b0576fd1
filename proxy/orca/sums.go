// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"strings"
	"sync"

	"weir.dev/weir/proxy/header"
)

// A Sum is what load reports have said of one metric.
type Sum struct {
	// Reports is how many reports had the metric, Total the sum of what they said.
	Reports uint64
	Total   float64
}

// maxNames bounds how many metrics are added up: who reports may call them as he likes.
const maxNames = 1000

// Sums adds up the metrics of load reports. Its methods may be called from any goroutine.
type Sums struct {
	mu     sync.Mutex
	report Report
	sums   map[string]Sum
}

// Take adds the report of a response, of which the metrics called names count; "*" after a
// dot stands for all of a group. It reports whether there was one that could be read.
func (s *Sums) Take(names []string, fields *header.Map) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report.Parse(fields) != nil {
		return false
	}
	if s.sums == nil {
		s.sums = map[string]Sum{}
	}
	for _, n := range names {
		switch n {
		case "cpu_utilization":
			s.add(n, s.report.CPU)
		case "mem_utilization":
			s.add(n, s.report.Mem)
		case "application_utilization":
			s.add(n, s.report.Application)
		case "eps":
			s.add(n, s.report.EPS)
		case "rps_fractional":
			s.add(n, s.report.RPS)
		default:
			group, all := strings.CutSuffix(n, "*")
			for i := range s.report.Metrics {
				if x := &s.report.Metrics[i]; x.Name == n || all && strings.HasPrefix(x.Name, group) {
					s.add(x.Name, x.Value)
				}
			}
		}
	}
	return true
}

func (s *Sums) add(name string, v float64) {
	x, is := s.sums[name]
	if !is && len(s.sums) >= maxNames {
		return
	}
	s.sums[name] = Sum{x.Reports + 1, x.Total + v}
}

// AddTo adds what there is by now to out, which is made if it is nil and there is anything,
// and returns it.
func (s *Sums) AddTo(out map[string]Sum) map[string]Sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, x := range s.sums {
		if out == nil {
			out = map[string]Sum{}
		}
		y := out[name]
		out[name] = Sum{x.Reports + y.Reports, x.Total + y.Total}
	}
	return out
}
