// SPDX-License-Identifier: Apache-2.0

package admissioncontrol

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", Extension().Config) }

func TestProbability(t *testing.T) {
	for _, c := range []struct {
		total, success               uint64
		threshold, aggression, limit float64
		want                         float64
	}{
		{0, 0, .95, 1, .8, 0},
		{100, 100, .95, 1, .8, 0},
		{100, 95, .95, 1, .8, 0},
		{99, 0, .95, 1, 1, .99},
		{99, 0, .95, 1, .8, .8},
		{99, 38, .95, 1, .8, .59},
		{99, 0, .5, 2, 1, math.Sqrt(.99)},
		{99, 25, .5, 2, 1, math.Sqrt(.49)},
		{99, 25, .5, .1, 1, .49}, // Less than 1 is 1.
		{99, 0, 0, 1, 1, 0},
		{100, 60, 0.5, 1, .8, 0},
	} {
		if got := Probability(c.total, c.success, c.threshold, c.aggression, c.limit); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestWindow(t *testing.T) {
	var w Window
	w.Init(3)
	at := func(s float64) int64 { return int64(s * float64(time.Second)) }
	counts := func(now float64, total, success uint64, rate float64) {
		t.Helper()
		if n, ok := w.Counts(at(now)); n != total || ok != success {
			t.Errorf("at %v: %d and %d, want %d and %d", now, n, ok, total, success)
		}
		if got := w.Rate(at(now)); got != rate {
			t.Errorf("at %v: %v per second, want %v", now, got, rate)
		}
	}
	counts(100, 0, 0, 0)
	w.Record(at(100.1), true)
	w.Record(at(100.9), false)
	counts(100.9, 2, 1, 2)
	w.Record(at(102.5), true)
	counts(102.9, 3, 2, 1.5)
	counts(103, 1, 1, 1) // Those of second 100 are too old.
	counts(104.9, 1, 1, .5)
	counts(105, 0, 0, 0)
	w.Record(at(1e6), true)
	w.Record(at(1e6-50), true) // Clocks of loops stand still at times; they never harm.
	counts(1e6, 2, 2, 2)
	counts(1e6+1e5, 0, 0, 0)
}

// sure refuses whatever can be refused once something has failed.
const sure = `"sr_threshold":{"default_value":{"value":100},"runtime_key":"sr"},"max_rejection_probability":{"default_value":{"value":100},"runtime_key":"max"},"aggression":{"default_value":1000,"runtime_key":"aggression"}`

const criteriaOfEnvoy = `,"success_criteria":{}`

// TestJudges: what counts as a success keeps requests coming, what does not refuses them.
func TestJudges(t *testing.T) {
	grpc := []string{"content-type: application/grpc"}
	for _, c := range []struct {
		name, config string
		up           streamtest.Upstream
		success      bool
	}{
		{"200", criteriaOfEnvoy, streamtest.Upstream{}, true},
		{"404", criteriaOfEnvoy, streamtest.Upstream{Status: 404}, true},
		{"500", criteriaOfEnvoy, streamtest.Upstream{Status: 500}, false},
		{"418 by range", `,"success_criteria":{"http_criteria":{"http_success_status":[{"start":418,"end":419},{"start":200,"end":201}]}}`, streamtest.Upstream{Status: 418}, true},
		{"419 by range", `,"success_criteria":{"http_criteria":{"http_success_status":[{"start":418,"end":419}]}}`, streamtest.Upstream{Status: 419}, false},
		{"no answer", criteriaOfEnvoy, streamtest.Upstream{Err: errors.New("gone")}, false},
		{"gRPC, OK", criteriaOfEnvoy, streamtest.Upstream{Header: grpc, Body: streamtest.Pieces("x"), Trailer: []string{"grpc-status: 0"}}, true},
		{"gRPC, UNAVAILABLE", criteriaOfEnvoy, streamtest.Upstream{Header: grpc, Body: streamtest.Pieces("x"), Trailer: []string{"grpc-status: 14"}}, false},
		{"gRPC without a status", criteriaOfEnvoy, streamtest.Upstream{Header: grpc, Body: streamtest.Pieces("x"), Trailer: []string{"x: y"}}, false},
		{"gRPC with a bad status", criteriaOfEnvoy, streamtest.Upstream{Header: grpc, Body: streamtest.Pieces("x"), Trailer: []string{"grpc-status: 77"}}, false},
		{"gRPC, in the head", criteriaOfEnvoy, streamtest.Upstream{Header: append([]string{"grpc-status: 5"}, grpc...)}, true},
		{"gRPC, in the head, DATA_LOSS", criteriaOfEnvoy, streamtest.Upstream{Header: append([]string{"grpc-status: 15"}, grpc...)}, false},
		{"gRPC by list", `,"success_criteria":{"grpc_criteria":{"grpc_success_status":[15]}}`, streamtest.Upstream{Header: append([]string{"grpc-status: 15"}, grpc...)}, true},
		{"gRPC, not on the list", `,"success_criteria":{"grpc_criteria":{"grpc_success_status":[15]}}`, streamtest.Upstream{Header: append([]string{"grpc-status: 0"}, grpc...)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), "{"+sure+c.config+"}")
			for range 40 {
				rig.Run(streamtest.Request{}, c.up)
			}
			rejected := rig.Counter("http.test.admission_control.rq_rejected")
			success, failure := rig.Counter("http.test.admission_control.rq_success"), rig.Counter("http.test.admission_control.rq_failure")
			if c.success && (rejected != 0 || success != 40 || failure != 0) || !c.success && (rejected == 0 || success != 0 || failure+rejected != 40) {
				t.Errorf("%d refused, %d successes, %d failures", rejected, success, failure)
			}
		})
	}
}

func TestRefusal(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), "{"+sure+criteriaOfEnvoy+`,"enabled":{"default_value":true,"runtime_key":"on"},"rps_threshold":{"default_value":0,"runtime_key":"rps"}}`)
	bad := streamtest.Upstream{Status: 500}
	for range 300 {
		rig.Run(streamtest.Request{}, bad)
	}
	refused := func() (n int) {
		for range 100 {
			res := rig.Run(streamtest.Request{}, bad)
			if !res.Called {
				n++
				if res.Status != 503 || res.Info.StatusDetails != "denied_by_admission_control" {
					t.Fatalf("%+v", res)
				}
			}
		}
		return n
	}
	if n := refused(); n < 80 {
		t.Errorf("%d of 100 refused, of which each is all but sure", n)
	}
	for key, value := range map[string]string{"on": "false", "rps": "1000000", "sr": "0", "max": "0"} {
		rig.SetRuntime(map[string]string{key: value})
		if n := refused(); n != 0 {
			t.Errorf("%s=%s: %d refused", key, value, n)
		}
		rig.SetRuntime(map[string]string{key: ""})
	}
}

func TestBadConfig(t *testing.T) {
	rig := streamtest.New(t)
	for config, want := range map[string]string{
		`{"success_criteria":{},"sampling_window":"0.1s"}`:                                               "sampling_window: 100ms",
		`{"success_criteria":{},"sampling_window":"7200s"}`:                                              "to 3600s",
		`{"success_criteria":{"http_criteria":{"http_success_status":[{"start":500,"end":500}]}}}`:       "http_success_status[0]: [500, 500)",
		`{"success_criteria":{"http_criteria":{"http_success_status":[{"start":99,"end":500}]}}}`:        "[99, 500)",
		`{"success_criteria":{"http_criteria":{"http_success_status":[{"start":100,"end":601}]}}}`:       "[100, 601)",
		`{"success_criteria":{"grpc_criteria":{"grpc_success_status":[0,17]}}}`:                          "grpc_success_status[1]: gRPC has no status 17",
		`{"success_criteria":{"http_criteria":{}}}`:                                                      "HttpSuccessStatus",
		`{"success_criteria":{},"sr_threshold":{"default_value":{"value":101},"runtime_key":"x"}}`:       "Value",
		`{"success_criteria":{"http_criteria":{"http_success_status":[{"start":-5,"end":2147483647}]}}}`: "[-5, 2147483647)",
	} {
		if _, err := rig.Compile(Extension(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

func TestAllocations(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"success_criteria":{}}`)
	if n := rig.Allocs(streamtest.Request{}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
