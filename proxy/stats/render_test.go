// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"bufio"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// filled is a store with one of each kind. Its histogram has one value in the last interval and two in all.
func filled() *Store {
	s := NewStore()
	c := s.Scope("cluster.web")
	c.Counter("upstream_rq_503").Add(7)
	c.Counter("upstream_rq_5xx").Add(7)
	c.Counter("upstream_rq_total")
	c.Gauge("membership_healthy").Set(2)
	c.Text("version").Set(`v"1\`)
	h := s.Scope("http.in").Histogram("downstream_rq_time", Milliseconds)
	h.Record(200)
	s.Flush()
	h.Record(5)
	s.Scope("http.in").Histogram("unused", Milliseconds)
	return s
}

func render(t *testing.T, s *Store, format string, o Options) string {
	t.Helper()
	var b strings.Builder
	write := map[string]func() error{
		"text":       func() error { return s.WriteText(&b, o) },
		"json":       func() error { return s.WriteJSON(&b, o) },
		"prometheus": func() error { return s.WritePrometheus(&b, o) },
	}[format]
	if err := write(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWriteText(t *testing.T) {
	gauges := KindGauge
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"all", Options{}, `cluster.web.version: "v"1\"
cluster.web.membership_healthy: 2
cluster.web.upstream_rq_503: 7
cluster.web.upstream_rq_5xx: 7
cluster.web.upstream_rq_total: 0
http.in.downstream_rq_time: P0(200,5) P25(202.5,5.05) P50(205,5.1) P75(207.5,205) P90(209,208) P95(209.5,209) P99(209.9,209.8) P99.5(209.95,209.9) P99.9(209.99,209.98) P100(210,210)
http.in.unused: No recorded values
`},
		{"used", Options{UsedOnly: true, Filter: regexp.MustCompile("rq_")}, `cluster.web.upstream_rq_503: 7
cluster.web.upstream_rq_5xx: 7
http.in.downstream_rq_time: P0(200,5) P25(202.5,5.05) P50(205,5.1) P75(207.5,205) P90(209,208) P95(209.5,209) P99(209.9,209.8) P99.5(209.95,209.9) P99.9(209.99,209.98) P100(210,210)
`},
		{"type", Options{Only: &gauges}, "cluster.web.membership_healthy: 2\n"},
		{"cumulative", Options{UsedOnly: true, Filter: regexp.MustCompile("time"), Histograms: Cumulative}, "http.in.downstream_rq_time: B0.5(0,0) B1(0,0) B5(0,0) B10(0,1) B25(0,1) B50(0,1) B100(0,1) B250(1,2) B500(1,2) B1000(1,2) B2500(1,2) B5000(1,2) B10000(1,2) B30000(1,2) B60000(1,2) B300000(1,2) B600000(1,2) B1.8e+06(1,2) B3.6e+06(1,2)\n"},
		{"disjoint", Options{UsedOnly: true, Filter: regexp.MustCompile("time"), Histograms: Disjoint}, "http.in.downstream_rq_time: B0.5(0,0) B1(0,0) B5(0,0) B10(0,1) B25(0,0) B50(0,0) B100(0,0) B250(1,1) B500(0,0) B1000(0,0) B2500(0,0) B5000(0,0) B10000(0,0) B30000(0,0) B60000(0,0) B300000(0,0) B600000(0,0) B1.8e+06(0,0) B3.6e+06(0,0)\n"},
		{"detailed", Options{UsedOnly: true, Filter: regexp.MustCompile("time"), Histograms: Detailed}, "http.in.downstream_rq_time:\n  totals=5,0.1:1, 200,10:1\n  intervals=200,10:1\n  summary=P0(200,5) P25(202.5,5.05) P50(205,5.1) P75(207.5,205) P90(209,208) P95(209.5,209) P99(209.9,209.8) P99.5(209.95,209.9) P99.9(209.99,209.98) P100(210,210)\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, render(t, filled(), "text", tt.o)); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestTextBeforeFirstFlush(t *testing.T) {
	s := NewStore()
	s.Scope("").Histogram("h", Unspecified).Record(0)
	const want = "h: P0(nan,0) P25(nan,0) P50(nan,0) P75(nan,0) P90(nan,0) P95(nan,0) P99(nan,0) P99.5(nan,0) P99.9(nan,0) P100(nan,0)\n"
	if got := render(t, s, "text", Options{}); got != want {
		t.Errorf("got %s", got)
	}
}

func TestWriteJSON(t *testing.T) {
	only := regexp.MustCompile("503|version|time")
	const head = `{"stats":[{"name":"cluster.web.version","value":"v\"1\\"},{"name":"cluster.web.upstream_rq_503","value":7},`
	tests := []struct {
		name string
		mode HistogramMode
		want string
	}{
		{"quantiles", Quantiles, `{"histograms":{"supported_quantiles":[0,25,50,75,90,95,99,99.5,99.9,100],"computed_quantiles":[{"name":"http.in.downstream_rq_time","values":[{"cumulative":5,"interval":200},{"cumulative":5.05,"interval":202.5},{"cumulative":5.1,"interval":205},{"cumulative":205,"interval":207.5},{"cumulative":208,"interval":209},{"cumulative":209,"interval":209.5},{"cumulative":209.8,"interval":209.9},{"cumulative":209.9,"interval":209.95},{"cumulative":209.98,"interval":209.99},{"cumulative":210,"interval":210}]}]}}]}`},
		{"detailed", Detailed, `{"histograms":{"supported_percentiles":[0,25,50,75,90,95,99,99.5,99.9,100],"details":[{"name":"http.in.downstream_rq_time","totals":[{"lower_bound":5,"width":0.1,"count":1},{"lower_bound":200,"width":10,"count":1}],"intervals":[{"lower_bound":200,"width":10,"count":1}],"percentiles":[{"cumulative":5,"interval":200},{"cumulative":5.05,"interval":202.5},{"cumulative":5.1,"interval":205},{"cumulative":205,"interval":207.5},{"cumulative":208,"interval":209},{"cumulative":209,"interval":209.5},{"cumulative":209.8,"interval":209.9},{"cumulative":209.9,"interval":209.95},{"cumulative":209.98,"interval":209.99},{"cumulative":210,"interval":210}]}]}}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := render(t, filled(), "json", Options{Filter: only, Histograms: tt.mode})
			if d := cmp.Diff(head+tt.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestWriteJSONBuckets(t *testing.T) {
	s := filled()
	c, err := ParseConfig(bucketsConfig("http.", 10, 250))
	if err != nil {
		t.Fatal(err)
	}
	s.Configure(c)
	for mode, want := range map[HistogramMode]string{
		Cumulative: `{"stats":[{"histograms":[{"name":"http.in.downstream_rq_time","buckets":[{"upper_bound":10,"interval":0,"cumulative":1},{"upper_bound":250,"interval":1,"cumulative":2}]}]}]}`,
		Disjoint:   `{"stats":[{"histograms":[{"name":"http.in.downstream_rq_time","buckets":[{"upper_bound":10,"interval":0,"cumulative":1},{"upper_bound":250,"interval":1,"cumulative":1}]}]}]}`,
	} {
		if got := render(t, s, "json", Options{Filter: regexp.MustCompile("time"), Histograms: mode}); got != want {
			t.Errorf("mode %d: got %s", mode, got)
		}
	}
}

func TestJSONOfNothing(t *testing.T) {
	s := NewStore()
	if got := render(t, s, "json", Options{}); got != `{"stats":[]}` {
		t.Errorf("got %s", got)
	}
	s.Scope("").Histogram("h", Unspecified)
	if got := render(t, s, "json", Options{}); !strings.Contains(got, `{"cumulative":null,"interval":null}`) || !json.Valid([]byte(got)) {
		t.Errorf("got %s", got)
	}
}

func TestWritePrometheus(t *testing.T) {
	s := filled()
	c, err := ParseConfig(bucketsConfig("http.", 0.5, 10, 3600000))
	if err != nil {
		t.Fatal(err)
	}
	s.Configure(c)
	s.Scope("cluster.api").Counter("upstream_rq_503").Inc()
	got := render(t, s, "prometheus", Options{UsedOnly: true, TextReadouts: true})
	const want = `# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{envoy_response_code="503",envoy_cluster_name="api"} 1
envoy_cluster_upstream_rq{envoy_response_code="503",envoy_cluster_name="web"} 7
# TYPE envoy_cluster_upstream_rq_xx counter
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="web"} 7
# TYPE envoy_cluster_membership_healthy gauge
envoy_cluster_membership_healthy{envoy_cluster_name="web"} 2
# TYPE envoy_cluster_version gauge
envoy_cluster_version{envoy_cluster_name="web",text_value="v\"1\\"} 0
# TYPE envoy_http_downstream_rq_time histogram
envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="in",le="0.5"} 0
envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="in",le="10"} 1
envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="in",le="3600000"} 2
envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="in",le="+Inf"} 2
envoy_http_downstream_rq_time_sum{envoy_http_conn_manager_prefix="in"} 210.05000000000001136868377216160
envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix="in"} 2
`
	// 210.05 to 32 digits ends in zeros, which %g leaves out.
	if d := cmp.Diff(strings.Replace(want, "7216160\n", "721616\n", 1), got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestPrometheusSummaryIsTheInterval(t *testing.T) {
	got := render(t, filled(), "prometheus", Options{UsedOnly: true, Filter: regexp.MustCompile("time"), Histograms: Summary})
	for _, want := range []string{
		"# TYPE envoy_http_downstream_rq_time summary\n",
		`envoy_http_downstream_rq_time{envoy_http_conn_manager_prefix="in",quantile="0.5"} 205` + "\n",
		`envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix="in"} 1` + "\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %s in\n%s", want, got)
		}
	}
}

func FuzzRender(f *testing.F) {
	f.Add("cluster.a:b", "x\"\\\n")
	f.Add("http..", "\xff")
	f.Add("listener.[::1]_80", "__name__")
	line := regexp.MustCompile(`^(# TYPE envoy_[a-zA-Z0-9_]* gauge|envoy_[a-zA-Z0-9_]*\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\[\\"n])*",?)*\} -?\d+)$`)
	f.Fuzz(func(t *testing.T, name, text string) {
		if strings.ContainsAny(Sanitize(name), ":\x00") {
			t.Fatalf("Sanitize(%q) = %q", name, Sanitize(name))
		}
		s := NewStore()
		s.Scope(name).Gauge("g").Inc()
		s.Scope("t").Text(name).Set(text)
		s.Scope("cluster").Scope(text).Gauge(name).Dec()
		js := render(t, s, "json", Options{})
		if !json.Valid([]byte(js)) {
			t.Fatalf("not JSON: %s", js)
		}
		lines := bufio.NewScanner(strings.NewReader(render(t, s, "prometheus", Options{TextReadouts: true})))
		lines.Buffer(nil, 1<<24)
		for lines.Scan() {
			if !line.MatchString(lines.Text()) {
				t.Fatalf("not an exposition: %q", lines.Text())
			}
		}
	})
}
