// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/test/bench/load"
	"weir.dev/weir/test/bench/peer"
	"weir.dev/weir/test/bench/scenario"
)

func TestFigures(t *testing.T) {
	o := outcome{
		Result:   load.Result{Answered: 100_000, Bytes: 2 << 30, Wall: 2 * time.Second, P50: time.Millisecond},
		ProxyCPU: 1500 * time.Millisecond, Before: 10 << 20, After: 20 << 20,
	}
	for _, tc := range []struct {
		name   string
		s      scenario.Scenario
		main   float64
		others [][]float64
	}{
		{"per request", scenario.Scenario{}, 15, [][]float64{{50_000}, {75}}},
		{"per GiB", scenario.Scenario{Figure: scenario.PerGiB}, 750, [][]float64{{1024}, {75}}},
		{"per connection", scenario.Scenario{Figure: scenario.PerConn, Load: load.Spec{Conns: 10_240}}, 1, [][]float64{}},
		{"open loop", scenario.Scenario{Load: load.Spec{Rate: 1}}, 15, [][]float64{{50_000}, {75}, {1000}, {0}, {0}, {0}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tab := newTable(tc.s, peer.All("weir")[:1])
			tab.add(&tab.Rows[0], tc.s, o)
			if d := cmp.Diff([]float64{tc.main}, tab.Rows[0].Main); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tc.others, tab.Rows[0].Others); d != "" {
				t.Error(d)
			}
			if len(tab.Others) != len(tc.others) {
				t.Errorf("%d columns for %d figures", len(tab.Others), len(tc.others))
			}
		})
	}
}

func TestRowsOfVariants(t *testing.T) {
	s := scenario.Scenario{AgainstSelf: true, Variants: []scenario.Variant{{Name: "x"}, {Name: "y", Only: "haproxy"}}}
	var got []string
	for _, r := range newTable(s, peer.All("weir")[1:3]).Rows {
		got = append(got, r.Name+" against "+strings.Join(r.Against, ", "))
	}
	want := []string{"nginx, x against nginx, x", "haproxy, x against haproxy, x", "haproxy, y against haproxy, x"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestJudge(t *testing.T) {
	clean := outcome{
		Result:   load.Result{Answered: 10_000, Wall: time.Second},
		ProxyCPU: time.Second, ProxyCore: time.Second, LoadCPU: 400 * time.Millisecond,
		BackendCPU: 300 * time.Millisecond, LoadCore: 700 * time.Millisecond,
	}
	for _, tc := range []struct {
		name   string
		rate   float64
		change func(*outcome)
		want   string
	}{
		{"clean", 0, func(*outcome) {}, ""},
		{"bottleneck elsewhere", 0, func(o *outcome) { o.ProxyCPU, o.ProxyCore = time.Second/2, time.Second/2 }, "not saturated"},
		{"open loop is never saturated", 10_000, func(o *outcome) { o.ProxyCPU, o.ProxyCore = time.Second/2, time.Second/2 }, ""},
		{"too slow for the rate", 11_000, func(*outcome) {}, "answered 10000 requests per second of the 11000"},
		{"core shared", 0, func(o *outcome) { o.ProxyCPU = 800 * time.Millisecond }, "20 % of the proxy's core"},
		{"client's core shared", 0, func(o *outcome) { o.LoadCore = time.Second }, "30 % of the client's core"},
		{"closed between", 0, func(o *outcome) { o.Reconnects = 3 }, "closed 3 connections"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := clean
			tc.change(&o)
			got := strings.Join(judge(scenario.Scenario{Load: load.Spec{Rate: tc.rate}}, o), "; ")
			if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
				t.Errorf("notes %q, want %q", got, tc.want)
			}
		})
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-only", "idle-10k", "-proxies", "nginx,haproxy", "-seconds", "0.5"})
	if err != nil || o.Only != "idle-10k" || len(o.Proxies) != 2 || o.Rounds != 3 || seconds(o.Seconds) != time.Second/2 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range [][]string{{"-only", "x"}, {"-proxies", "squid"}, {"-rounds", "0"}, {"-seconds", "-1"}, {"x"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
