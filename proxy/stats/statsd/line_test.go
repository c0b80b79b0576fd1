// SPDX-License-Identifier: Apache-2.0

package statsd

import (
	"strconv"
	"strings"
	"testing"

	"weir.dev/weir/proxy/stats"
)

func lines(f Format, m *stats.Metric) []string {
	var out []string
	NewWriter(f).Lines(m, func(b []byte) { out = append(out, string(b)) })
	return out
}

func TestLines(t *testing.T) {
	tagged := stats.Metric{
		Name: "cluster.web.rq", Extracted: "cluster.rq", Kind: stats.KindCounter, Count: 70, Delta: 7,
		Tags: []stats.Tag{{Name: "envoy.cluster_name", Value: "web"}, {Name: "zone", Value: "a;b"}},
	}
	hostile := stats.Metric{
		Name: "a:1|c\nb.c d", Extracted: "a:1|c\nb", Kind: stats.KindCounter, Delta: 1,
		Tags: []stats.Tag{{Name: "k,:=", Value: "v|#,;:\x00"}},
	}
	gauge := stats.Metric{Name: "g", Kind: stats.KindGauge, Level: 12, Delta: 3}
	negative := stats.Metric{Name: "g", Kind: stats.KindGauge, Level: -1}
	text := stats.Metric{Name: "t", Kind: stats.KindText, Text: "x"}
	timer := stats.Metric{Name: "h", Extracted: "h", Kind: stats.KindHistogram, Unit: stats.Microseconds, Tags: []stats.Tag{{Name: "k", Value: "v"}}, Interval: stats.Buckets{
		{Lower: 0, Count: 1}, {Lower: 7, Width: 0.1, Count: 2}, {Lower: 42, Width: 1, Count: 1}, {Lower: 1200, Width: 100, Count: 1},
	}}
	quiet := stats.Metric{Name: "h", Kind: stats.KindHistogram, Cumulative: stats.Buckets{{Lower: 1, Count: 1}}}
	for _, tt := range []struct {
		name   string
		format Format
		m      stats.Metric
		want   string
	}{
		{"plain", Format{}, tagged, "envoy.cluster.web.rq:7|c"},
		{"a prefix", Format{Prefix: "edge"}, tagged, "edge.cluster.web.rq:7|c"},
		{"DogStatsD", Format{Tagging: AfterValue}, tagged, "envoy.cluster.rq:7|c|#envoy.cluster_name:web,zone:a;b"},
		{"Graphite", Format{Tagging: AfterName}, tagged, "envoy.cluster.rq;envoy.cluster_name=web;zone=a_b:7|c"},
		{"no tags", Format{Tagging: AfterValue, Prefix: "x"}, stats.Metric{Name: "a", Extracted: "a", Kind: stats.KindCounter, Delta: 1}, "x.a:1|c"},
		{"a gauge", Format{}, gauge, "envoy.g:12|g"},
		{"a gauge below zero", Format{}, negative, "envoy.g:0|g"},
		{"a text", Format{}, text, ""},
		{"values", Format{}, timer, "envoy.h:0|ms envoy.h:7|ms envoy.h:7|ms envoy.h:42|ms envoy.h:1250|ms"},
		{"values, scaled", Format{Scaled: true, Tagging: AfterValue}, timer, "envoy.h:0|ms|#k:v envoy.h:0.007|ms|#k:v envoy.h:0.007|ms|#k:v envoy.h:0.042|ms|#k:v envoy.h:1.25|ms|#k:v"},
		{"no values", Format{}, quiet, ""},
		{"hostile", Format{}, hostile, "envoy.a_1_c_b.c_d:1|c"},
		{"hostile tags", Format{Tagging: AfterValue}, hostile, "envoy.a_1_c_b:1|c|#k__=:v_#_;:_"},
		{"hostile tags of Graphite", Format{Tagging: AfterName}, hostile, "envoy.a_1_c_b;k,__=v_#,___:1|c"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(lines(tt.format, &tt.m), " "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestRates: however many values there are, those that are told stand for as many, and for each part of them.
func TestRates(t *testing.T) {
	for _, counts := range [][2]uint64{{60, 40}, {60, 41}, {1, 100}, {1 << 40, 1 << 20}, {123456, 654321}, {1000, 1}} {
		m := stats.Metric{Name: "h", Kind: stats.KindHistogram, Interval: stats.Buckets{{Lower: 1, Width: 0.1, Count: counts[0]}, {Lower: 50, Width: 1, Count: counts[1]}}}
		got := lines(Format{}, &m)
		total := counts[0] + counts[1]
		if len(got) != int(min(total, MostValues)) {
			t.Errorf("%v: %d lines", counts, len(got))
		}
		var sum, low float64
		for _, l := range got {
			weight := 1.0
			if _, rate, ok := strings.Cut(l, "|@"); ok {
				r, err := strconv.ParseFloat(rate, 64)
				if err != nil {
					t.Fatal(err)
				}
				weight = 1 / r
			}
			sum += weight
			if strings.HasPrefix(l, "envoy.h:1|ms") {
				low += weight
			}
		}
		if off := sum - float64(total); off > 0.01*float64(len(got)) || off < -0.01*float64(len(got)) {
			t.Errorf("%v: %f values", counts, sum)
		}
		if off := low - float64(counts[0]); off > float64(total)/MostValues || off < -float64(total)/MostValues {
			t.Errorf("%v: %f low values", counts, low)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	m := stats.Metric{Name: "cluster.web.rq", Extracted: "cluster.rq", Kind: stats.KindCounter, Delta: 7, Tags: []stats.Tag{{Name: "a", Value: "b"}}}
	w := NewWriter(Format{Tagging: AfterValue})
	w.Lines(&m, func([]byte) {})
	w.Lines(&m, func(b []byte) { w.line = b })
	if n := testing.AllocsPerRun(100, func() { w.Lines(&m, func([]byte) {}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzLines: whatever a name holds, a line is one line of one name, value and type.
func FuzzLines(f *testing.F) {
	f.Add("a.b", "k", "v")
	f.Add("a:1|c\n", "k:=;,|", "v\r\n|@")
	f.Fuzz(func(t *testing.T, name, key, value string) {
		m := stats.Metric{Name: name, Extracted: name, Kind: stats.KindCounter, Delta: 5, Tags: []stats.Tag{{Name: key, Value: value}}}
		for tagging, parts := range map[Tagging]string{Untagged: ":5|c", AfterValue: ":5|c|#", AfterName: ":5|c"} {
			got := lines(Format{Tagging: tagging}, &m)
			if len(got) != 1 {
				t.Fatalf("%d lines", len(got))
			}
			l := got[0]
			if strings.ContainsAny(l, "\n\r") || strings.Count(l, "|") != strings.Count(parts, "|") || !strings.Contains(l, parts) || !strings.HasPrefix(l, "envoy.") {
				t.Errorf("%q", l)
			}
			if before, _, _ := strings.Cut(l, "|"); strings.Count(before, ":") != 1 {
				t.Errorf("%q has several colons", before)
			}
		}
	})
}
