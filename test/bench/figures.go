// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"time"

	"weir.dev/weir/test/bench/peer"
	"weir.dev/weir/test/bench/report"
	"weir.dev/weir/test/bench/scenario"
)

// A table is a report's table with what each row measures.
type table struct {
	report.Table
	cases []struct {
		proxy   peer.Proxy
		variant scenario.Variant
	}
}

// newTable lays out the rows: every proxy in every variant that it has.
func newTable(s scenario.Scenario, proxies []peer.Proxy) *table {
	t := &table{Table: report.Table{Title: s.Name, About: s.About}}
	switch s.Figure {
	case scenario.PerRequest:
		t.Unit = "CPU us/request"
		t.Others = []string{"requests/s", "% of core"}
	case scenario.PerGiB:
		t.Unit = "CPU ms/GiB"
		t.Others = []string{"MiB/s", "% of core"}
	case scenario.PerConn:
		t.Unit = "KiB/connection"
	case scenario.PerHandshake:
		t.Unit = "CPU us/handshake"
		t.Others = []string{"handshakes/s", "% of core"}
	case scenario.PerMessage:
		t.Unit = "CPU us/message"
		t.Others = []string{"messages/s", "% of core", "messages/CPU s"}
	}
	if s.Load.Rate > 0 {
		t.Others = append(t.Others, "p50 us", "p99 us", "max us", "client late p99 us")
	}
	t.Ratios = []string{"× nginx", "× haproxy"}
	if s.AgainstSelf {
		t.Ratios = []string{"× its first"}
	}
	variants := s.Variants
	if len(variants) == 0 {
		variants = []scenario.Variant{{}}
	}
	name := func(p string, v scenario.Variant) string {
		if v.Name == "" {
			return p
		}
		return p + ", " + v.Name
	}
	for _, p := range proxies {
		if len(s.Peers) > 0 && p.Name != "weir" && !slices.Contains(s.Peers, p.Name) {
			continue
		}
		for _, v := range variants {
			if v.Only != "" && v.Only != p.Name {
				continue
			}
			row := report.Row{Name: name(p.Name, v), Against: []string{"nginx", "haproxy"}, Others: make([][]float64, len(t.Others))}
			if s.AgainstSelf {
				row.Against = []string{name(p.Name, variants[0])}
			}
			t.Rows = append(t.Rows, row)
			t.cases = append(t.cases, struct {
				proxy   peer.Proxy
				variant scenario.Variant
			}{p, v})
		}
	}
	return t
}

// add puts an outcome's figures into its row, in the order that newTable named them.
func (t *table) add(row *report.Row, s scenario.Scenario, o outcome) {
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	cpu, wall := o.ProxyCPU.Seconds(), o.Wall.Seconds()
	var main float64
	var others []float64
	switch s.Figure {
	case scenario.PerRequest, scenario.PerHandshake, scenario.PerMessage:
		main = cpu * 1e6 / float64(o.Answered)
		others = []float64{float64(o.Answered) / wall, 100 * cpu / wall}
		if s.Figure == scenario.PerMessage {
			others = append(others, float64(o.Answered)/cpu)
		}
	case scenario.PerGiB:
		main = cpu * 1e3 / (float64(o.Bytes) / (1 << 30))
		others = []float64{float64(o.Bytes) / (1 << 20) / wall, 100 * cpu / wall}
	case scenario.PerConn:
		main = float64(o.After-o.Before) / (1 << 10) / float64(s.Load.Conns)
	}
	if s.Load.Rate > 0 {
		others = append(others, us(o.P50), us(o.P99), us(o.Max), us(o.LateP99))
	}
	row.Main = append(row.Main, main)
	for i, x := range others {
		row.Others[i] = append(row.Others[i], x)
	}
}

// judge says what makes an outcome less than it seems.
func judge(s scenario.Scenario, o outcome) []string {
	var notes []string
	if o.Reconnects > 0 {
		notes = append(notes, fmt.Sprintf("the proxy closed %d connections between requests", o.Reconnects))
	}
	if s.Figure == scenario.PerConn {
		return notes
	}
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / o.Wall.Seconds() }
	proxy, others := share(o.ProxyCPU), share(o.ProxyCore-o.ProxyCPU)
	if others > 5 {
		notes = append(notes, fmt.Sprintf("something else took %.0f %% of the proxy's core", others))
	}
	if foreign := share(o.LoadCore - o.LoadCPU - o.BackendCPU); foreign > 5 {
		notes = append(notes, fmt.Sprintf("something else took %.0f %% of the client's core", foreign))
	}
	if s.Load.Rate == 0 && proxy+max(others, 0) < 95 {
		notes = append(notes, fmt.Sprintf("not saturated: the proxy used %.0f %% of its core, client %.0f %% and backend %.0f %% of theirs, which were the bottleneck",
			proxy, share(o.LoadCPU), share(o.BackendCPU)))
	}
	if got := float64(o.Answered) / o.Wall.Seconds(); s.Load.Rate > 0 && got < 0.98*s.Load.Rate {
		notes = append(notes, fmt.Sprintf("answered %.0f requests per second of the %.0f that were due", got, s.Load.Rate))
	}
	return notes
}
