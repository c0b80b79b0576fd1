// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", &clusterv3.OutlierDetection{}) }

func compile(t *testing.T, text string) *Config {
	t.Helper()
	m := &clusterv3.OutlierDetection{}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	c, problems := Compile(m)
	if c == nil {
		t.Fatal(problems)
	}
	return c
}

// host is a Host that notes what it is told.
type host struct {
	name string
	mu   sync.Mutex
	told []string
}

func (h *host) note(s string, on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, fmt.Sprintf("%s=%v", s, on))
}

func (h *host) Eject(on bool)   { h.note("ejected", on) }
func (h *host) Degrade(on bool) { h.note("degraded", on) }
func (h *host) URL() string     { return h.name }

func (h *host) last() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.told) == 0 {
		return ""
	}
	return h.told[len(h.told)-1]
}

// values is a runtime of numbers.
type values map[string]int64

func (v values) Fraction(k string) (match.Fraction, bool) {
	n, ok := v[k]
	return match.Fraction{N: uint32(n)}, ok
}
func (v values) Int(k string) (int64, bool)    { n, ok := v[k]; return n, ok }
func (values) Double(string) (float64, bool)   { return 0, false }
func (values) Bool(string) (truth, isSet bool) { return false, false }

// rig is a detector with hosts.
type rig struct {
	t      *testing.T
	d      *Detector
	store  *stats.Store
	hosts  []*host
	m      []*Monitor
	mu     sync.Mutex
	events []string
}

func newRig(t *testing.T, n int, config string, rt match.Runtime) *rig {
	t.Helper()
	r := &rig{t: t, store: stats.NewStore()}
	r.d = New(Options{
		Config: compile(t, config), Cluster: "web", Loops: 2, Stats: r.store.Scope("cluster.web"), Runtime: rt,
		Rand: func() uint64 { return 50 },
		Events: func(e *Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, string(e.Append(nil)))
		},
	})
	for i := range n {
		h := &host{name: fmt.Sprintf("10.0.0.%d:80", i+1)}
		r.hosts, r.m = append(r.hosts, h), append(r.m, r.d.Monitor(h))
	}
	r.d.Update(r.m)
	synctest.Wait()
	t.Cleanup(r.d.Close)
	return r
}

// serve has a host answer n times, on both loops in turn.
func (r *rig) serve(host, status, n int) {
	for i := range n {
		r.m[host].Response(i%2, status)
	}
	synctest.Wait()
}

func (r *rig) outcomes(host int, o Outcome, status, n int) {
	for i := range n {
		r.m[host].Outcome(i%2, o, status)
	}
	synctest.Wait()
}

// sleep lets the bubble's time pass and the detector work.
func (r *rig) sleep(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// out lists the ejected hosts.
func (r *rig) out() []int {
	var out []int
	for i, h := range r.hosts {
		if h.last() == "ejected=true" {
			out = append(out, i)
		}
	}
	return out
}

func (r *rig) want(hosts ...int) {
	r.t.Helper()
	if got := r.out(); !slices.Equal(got, hosts) {
		r.t.Errorf("ejected are %v, want %v", got, hosts)
	}
	if got := r.value("ejections_active"); got != int64(len(hosts)) {
		r.t.Errorf("ejections_active is %d, want %d", got, len(hosts))
	}
}

func (r *rig) value(name string) int64 {
	var text strings.Builder
	if err := r.store.WriteText(&text, stats.Options{}); err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		var n int64
		if _, err := fmt.Sscanf(line, "cluster.web.outlier_detection."+name+": %d", &n); err == nil {
			return n
		}
	}
	r.t.Errorf("there is no %s", name)
	return -1
}

func TestRuns(t *testing.T) {
	tests := []struct {
		name, config string
		do           func(r *rig)
		out          []int
		stat         string
	}{
		{"five in a row", `{"max_ejection_percent":50}`, func(r *rig) { r.serve(0, 500, 5) }, []int{0}, "consecutive_5xx"},
		{"four in a row", `{"max_ejection_percent":50}`, func(r *rig) { r.serve(0, 500, 4) }, nil, ""},
		{"a success between", `{"max_ejection_percent":50}`, func(r *rig) { r.serve(0, 500, 4); r.serve(0, 404, 1); r.serve(0, 500, 4) }, nil, ""},
		{"switched off", `{"max_ejection_percent":50,"consecutive_5xx":0,"consecutive_gateway_failure":0}`, func(r *rig) { r.serve(0, 503, 50) }, nil, ""},
		{"600 is no error of servers", `{"max_ejection_percent":50}`, func(r *rig) { r.serve(0, 600, 50) }, nil, ""},
		{
			"gateway failures", `{"max_ejection_percent":50,"consecutive_5xx":0,"consecutive_gateway_failure":3,"enforcing_consecutive_gateway_failure":100}`,
			func(r *rig) { r.serve(1, 502, 2); r.serve(1, 500, 1); r.serve(0, 503, 3) }, []int{0}, "consecutive_gateway_failure",
		},
		{"by default gateway failures are only seen", `{"max_ejection_percent":50,"consecutive_5xx":0}`, func(r *rig) { r.serve(0, 503, 5) }, nil, ""},
		{"connections that fail are 503", `{"max_ejection_percent":50}`, func(r *rig) { r.outcomes(1, Failed, 0, 5) }, []int{1}, "consecutive_5xx"},
		{"time-outs are 504", `{"max_ejection_percent":50}`, func(r *rig) { r.outcomes(1, TimedOut, 0, 5) }, []int{1}, "consecutive_5xx"},
		{"time-outs answered otherwise are that", `{"max_ejection_percent":50}`, func(r *rig) { r.outcomes(1, TimedOut, 204, 50) }, nil, ""},
		{"a connection decides nothing", `{"max_ejection_percent":50}`, func(r *rig) { r.serve(0, 500, 4); r.outcomes(0, Connected, 0, 1); r.serve(0, 500, 1) }, []int{0}, "consecutive_5xx"},
		{"of TCP it does", `{"max_ejection_percent":50}`, func(r *rig) {
			r.outcomes(0, Failed, 0, 4)
			r.outcomes(0, ConnectedFinal, 0, 1)
			r.outcomes(0, Failed, 0, 4)
		}, nil, ""},
		{
			"local errors apart", `{"max_ejection_percent":50,"split_external_local_origin_errors":true,"consecutive_local_origin_failure":3}`,
			func(r *rig) { r.outcomes(0, Failed, 0, 2); r.serve(0, 500, 4); r.outcomes(0, TimedOut, 504, 1) }, []int{0}, "consecutive_local_origin_failure",
		},
		{
			"a connection ends a run of them", `{"max_ejection_percent":50,"split_external_local_origin_errors":true,"consecutive_local_origin_failure":3}`,
			func(r *rig) { r.outcomes(0, Failed, 0, 2); r.outcomes(0, Connected, 0, 1); r.outcomes(0, Failed, 0, 2) }, nil, "",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 4, test.config, nil)
				test.do(r)
				r.want(test.out...)
				if test.stat != "" {
					for _, name := range []string{"ejections_enforced_" + test.stat, "ejections_detected_" + test.stat, "ejections_enforced_total"} {
						if got := r.value(name); got != int64(len(test.out)) {
							t.Errorf("%s is %d", name, got)
						}
					}
				}
			})
		})
	}
}

func TestHowManyMayGo(t *testing.T) {
	tests := []struct {
		name   string
		hosts  int
		config string
		want   int
	}{
		{"none of nine at 10 %", 9, `{}`, 0},
		{"one of ten", 10, `{}`, 1},
		{"one of nine, if one in any case", 9, `{"always_eject_one_host":true}`, 1},
		{"half of five", 5, `{"max_ejection_percent":50}`, 2},
		{"all", 5, `{"max_ejection_percent":100}`, 5},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, test.hosts, test.config, nil)
				for i := range r.hosts {
					r.serve(i, 500, 5)
				}
				if got := len(r.out()); got != test.want {
					t.Errorf("%d are out, want %d", got, test.want)
				}
				if got := r.value("ejections_overflow"); got != int64(test.hosts-test.want) {
					t.Errorf("ejections_overflow is %d", got)
				}
			})
		})
	}
}

func TestSentencesGrowAndShrink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, `{"max_ejection_percent":50,"interval":"1s","base_ejection_time":"10s","max_ejection_time":"25s"}`, nil)
		// Hosts are looked at each full second: one ejected a tenth after is back a tenth
		// before the second after its sentence, at the latest.
		r.sleep(100 * time.Millisecond)
		for _, seconds := range []int{10, 20, 25, 25} {
			r.serve(0, 500, 5)
			r.sleep(time.Duration(seconds)*time.Second + 800*time.Millisecond)
			r.want(0)
			r.sleep(200 * time.Millisecond)
			r.want()
		}
		// Each good second takes one time off.
		r.sleep(10 * time.Second)
		r.serve(0, 500, 5)
		r.sleep(11 * time.Second)
		r.want()
	})
}

func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The random number is 50: 50 ms.
		r := newRig(t, 2, `{"max_ejection_percent":50,"interval":"0.01s","base_ejection_time":"1s","max_ejection_time_jitter":"0.100s"}`, nil)
		r.serve(0, 500, 5)
		r.sleep(1040 * time.Millisecond)
		r.want(0)
		r.sleep(30 * time.Millisecond)
		r.want()
	})
}

func TestSuccessRates(t *testing.T) {
	const rates = `{"max_ejection_percent":50,"consecutive_5xx":0,"interval":"1s"}`
	tests := []struct {
		name, config string
		do           func(r *rig)
		out          []int
	}{
		{"one is worse than four", rates, func(r *rig) {
			for i := range 5 {
				r.serve(i, 200, 100)
			}
			r.serve(2, 500, 100)
		}, []int{2}},
		{"too few requests", rates, func(r *rig) {
			for i := range 5 {
				r.serve(i, 200, 99)
			}
			r.serve(2, 500, 99)
		}, nil},
		{"all are alike", rates, func(r *rig) {
			for i := range 5 {
				r.serve(i, 200, 97)
				r.serve(i, 500, 13)
			}
		}, nil},
		{"by percentage", `{"max_ejection_percent":50,"consecutive_5xx":0,"interval":"1s","enforcing_success_rate":0,"enforcing_failure_percentage":100,"failure_percentage_threshold":50,"failure_percentage_minimum_hosts":3}`, func(r *rig) {
			r.serve(0, 200, 26)
			r.serve(0, 500, 25)
			r.serve(1, 200, 25)
			r.serve(1, 500, 25)
			r.serve(2, 200, 50)
		}, []int{1}},
		{"of connections", `{"max_ejection_percent":50,"interval":"1s","split_external_local_origin_errors":true,"consecutive_local_origin_failure":0,"enforcing_failure_percentage_local_origin":100}`, func(r *rig) {
			for i := range 5 {
				r.outcomes(i, Connected, 0, 100)
			}
			r.outcomes(3, Failed, 0, 600)
		}, []int{3}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 5, test.config, nil)
				test.do(r)
				r.sleep(1100 * time.Millisecond)
				r.want(test.out...)
			})
		})
	}
}

func TestRatesAreOfTheLastInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 5, `{"interval":"1s"}`, nil)
		rate := func() float64 { return r.m[0].SuccessRate(false) }
		if rate() != -1 {
			t.Errorf("the rate is %v before there is one", rate())
		}
		r.serve(0, 200, 75)
		r.serve(0, 404, 25)
		r.serve(0, 500, 4)
		r.sleep(1100 * time.Millisecond)
		if got := rate(); got < 96.1 || got > 96.2 {
			t.Errorf("the rate is %v", got)
		}
		if a, th := r.d.Norm(false); a != -1 || th != -1 {
			t.Errorf("one host is compared: %v %v", a, th)
		}
		r.sleep(time.Second)
		if rate() != -1 {
			t.Errorf("the rate is %v an interval later", rate())
		}
	})
}

func TestRuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := values{"outlier_detection.consecutive_5xx": 2, "outlier_detection.max_ejection_percent": 100, "outlier_detection.base_ejection_time_ms": 500, "outlier_detection.interval_ms": 100}
		r := newRig(t, 2, `{}`, rt)
		r.serve(0, 500, 2)
		r.want(0)
		r.sleep(700 * time.Millisecond)
		r.want()
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, `{"max_ejection_percent":50}`, values{"outlier_detection.enforcing_consecutive_5xx": 50})
		r.serve(0, 500, 5)
		r.want() // 50 is not below 50.
		if r.value("ejections_detected_consecutive_5xx") != 1 || r.value("ejections_total") != 1 || r.value("ejections_enforced_total") != 0 {
			t.Error("what was not enforced is not counted as that")
		}
	})
}

func TestDegraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, `{"detect_degraded_hosts":true,"interval":"1s","base_ejection_time":"10s"}`, nil)
		r.m[0].Degraded()
		synctest.Wait()
		if got := r.hosts[0].last(); got != "degraded=true" {
			t.Fatal(got)
		}
		r.sleep(12 * time.Second)
		if got := r.hosts[0].last(); got != "degraded=false" {
			t.Fatal(got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, `{}`, nil)
		r.m[0].Degraded()
		synctest.Wait()
		if got := r.hosts[0].last(); got != "" {
			t.Fatal(got)
		}
	})
}

func TestPassedChecksBringBack(t *testing.T) {
	for _, config := range []string{`{"max_ejection_percent":50}`, `{"max_ejection_percent":50,"successful_active_health_check_uneject_host":false}`} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 2, config, nil)
			r.serve(0, 500, 5)
			r.want(0)
			r.m[0].CheckPassed()
			synctest.Wait()
			if strings.Contains(config, "false") {
				r.want(0)
			} else {
				r.want()
			}
		})
	}
}

func TestHostsThatLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4, `{"max_ejection_percent":50}`, nil)
		r.serve(0, 500, 5)
		r.serve(1, 500, 5)
		r.want(0, 1)
		r.d.Update(r.m[1:])
		synctest.Wait()
		if got := r.value("ejections_active"); got != 1 {
			t.Errorf("ejections_active is %d after one of two left", got)
		}
		r.m[0].CheckPassed() // Nobody is told of it any more.
		synctest.Wait()
		if got := r.hosts[0].last(); got != "ejected=true" {
			t.Errorf("a host that has left was told %s", got)
		}
	})
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 5, `{"max_ejection_percent":50,"interval":"1s","base_ejection_time":"3s","consecutive_gateway_failure":0,"failure_percentage_threshold":40}`, nil)
		r.serve(0, 500, 5)
		r.sleep(5 * time.Second)
		for i := range 5 {
			r.serve(i, 200, 100)
		}
		for range 50 {
			r.serve(1, 500, 2)
			r.serve(1, 200, 1)
		}
		r.sleep(time.Second)
		want := []map[string]any{
			{
				"type": "CONSECUTIVE_5XX", "timestamp": "2000-01-01T00:00:00Z", "cluster_name": "web", "upstream_url": "10.0.0.1:80",
				"action": "EJECT", "num_ejections": 1.0, "enforced": true, "eject_consecutive_event": map[string]any{},
			},
			{
				"type": "CONSECUTIVE_5XX", "timestamp": "2000-01-01T00:00:03Z", "secs_since_last_action": "3", "cluster_name": "web",
				"upstream_url": "10.0.0.1:80", "action": "UNEJECT", "num_ejections": 1.0, "enforced": false,
			},
			{
				"type": "SUCCESS_RATE", "timestamp": "2000-01-01T00:00:06Z", "cluster_name": "web", "upstream_url": "10.0.0.2:80",
				"action": "EJECT", "num_ejections": 1.0, "enforced": true,
				"eject_success_rate_event": map[string]any{
					"host_success_rate": 60.0, "cluster_average_success_rate": 92.0, "cluster_success_rate_ejection_threshold": 61.0,
				},
			},
		}
		if len(r.events) != len(want) {
			t.Fatalf("%d events: %v", len(r.events), r.events)
		}
		for i, text := range r.events {
			var got map[string]any
			if err := json.Unmarshal([]byte(text), &got); err != nil || !strings.HasSuffix(text, "}\n") || strings.Contains(text, ": ") {
				t.Errorf("event %d: %v: %q", i, err, text)
			}
			if diff := cmp.Diff(want[i], got); diff != "" {
				t.Errorf("event %d: %s", i, diff)
			}
		}
	})
}

func TestMaxBelowBase(t *testing.T) {
	m := &clusterv3.OutlierDetection{}
	if err := protojson.Unmarshal([]byte(`{"base_ejection_time":"10s","max_ejection_time":"5s"}`), m); err != nil {
		t.Fatal(err)
	}
	c, problems := Compile(m)
	if c != nil || len(problems) != 1 || problems[0].Path != "max_ejection_time" {
		t.Errorf("%v %v", c, problems)
	}
}

// TestManyAtOnce has loops tell of failures while hosts come and go, for the race detector.
func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 20, `{"max_ejection_percent":100,"interval":"0.001s","base_ejection_time":"0.001s","detect_degraded_hosts":true}`, nil)
		var wg sync.WaitGroup
		for loop := range 2 {
			wg.Go(func() {
				for i := range 5000 {
					m := r.m[i%len(r.m)]
					m.Response(loop, 200+300*(i%7%2))
					m.Degraded()
					m.CheckPassed()
				}
			})
		}
		for i := range 20 {
			r.d.Update(r.m[i:])
			time.Sleep(time.Millisecond)
		}
		wg.Wait()
	})
}

func TestNoMonitor(t *testing.T) {
	var m *Monitor
	m.Response(0, 500)
	m.Outcome(0, Failed, 0)
	m.Degraded()
	m.CheckPassed()
	var d *Detector
	if a, th := d.Norm(true); a != -1 || th != -1 || m.SuccessRate(false) != -1 {
		t.Error("figures without outlier detection")
	}
}

func TestCountingCostsNoMemory(t *testing.T) {
	d := New(Options{Config: compile(t, `{}`), Loops: 1, Stats: stats.NewStore().Scope("cluster.web")})
	defer d.Close()
	m := d.Monitor(&host{})
	if n := testing.AllocsPerRun(1000, func() { m.Response(0, 200); m.Response(0, 503); m.Outcome(0, Connected, 0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
