// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	orcav3 "github.com/cncf/xds/go/xds/data/orca/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/header"
)

func TestForms(t *testing.T) {
	m := &orcav3.OrcaLoadReport{
		CpuUtilization: 0.5, MemUtilization: 0.25, ApplicationUtilization: 0.75, Eps: 1, RpsFractional: 100.5,
		NamedMetrics: map[string]float64{"queue": 7}, Utilization: map[string]float64{"disk": 0.9},
	}
	m.ProtoReflect().SetUnknown([]byte{0x78, 1}) // A field that is not known yet.
	bin, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	m.ProtoReflect().SetUnknown(nil)
	js, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	text := "cpu_utilization=0.5, mem_utilization=0.25,application_utilization=0.75,eps=1,rps_fractional=100.5,named_metrics.queue=7,utilization.disk=0.9"
	want := Report{CPU: 0.5, Mem: 0.25, Application: 0.75, EPS: 1, RPS: 100.5, Metrics: []Metric{{"named_metrics.queue", 7}, {"utilization.disk", 0.9}}}
	for _, tt := range []struct{ name, value string }{
		{"endpoint-load-metrics", text},
		{"endpoint-load-metrics", "TEXT " + text},
		{"endpoint-load-metrics", strings.ReplaceAll(text, "=", ":")},
		{"endpoint-load-metrics", "JSON " + string(js)},
		{"endpoint-load-metrics-json", string(js)},
		{"endpoint-load-metrics", "BIN " + base64.StdEncoding.EncodeToString(bin)},
		{"endpoint-load-metrics-bin", base64.RawStdEncoding.EncodeToString(bin)},
	} {
		var h header.Map
		h.Add(header.NewName(tt.name), tt.value)
		got := Report{CPU: 9}
		if err := got.Parse(&h); err != nil {
			t.Errorf("%s %.20q: %v", tt.name, tt.value, err)
			continue
		}
		slices.SortFunc(got.Metrics, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s %.20q (-want +got):\n%s", tt.name, tt.value, d)
		}
	}
	if got := want.Max([]string{"utilization.*", "named_metrics.none"}); got != 0.9 {
		t.Errorf("the greatest utilization is %v, want 0.9", got)
	}
}

func TestRefused(t *testing.T) {
	for _, v := range []string{"cpu_utilization", "cpu_utilization=x", "cpu_utilization=NaN", "eps=Inf", "color=1", "named_metrics.=1", "JSON {", "BIN !", "BIN CQ=="} {
		var h header.Map
		h.Add(field, v)
		if err := new(Report).Parse(&h); err == nil {
			t.Errorf("%q is taken", v)
		}
	}
	var h header.Map
	if err := new(Report).Parse(&h); err != ErrNone {
		t.Errorf("without a field: %v", err)
	}
	h.Add(field, "eps=1")
	h.Add(fieldBinary, "")
	if err := new(Report).Parse(&h); err != ErrSeveral {
		t.Errorf("with two forms: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"TEXT cpu_utilization=1", `JSON {"eps":1,"named_metrics":{"a":1}}`, "BIN CQAAAAAAAPA/", "named_metrics.a:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var h header.Map
		h.Add(field, s)
		var r Report
		if r.Parse(&h) == nil && len(r.Metrics) > maxMetrics {
			t.Errorf("%d metrics are kept", len(r.Metrics))
		}
	})
}
