// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"strings"
	"testing"
	"time"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", Extension().Config)
}

const all = `"percentage":{"numerator":100}`

func TestAbort(t *testing.T) {
	fixed := `{"abort":{"http_status":503,` + all + `}}`
	grpc := `{"abort":{"grpc_status":8,` + all + `}}`
	byHeader := `{"abort":{"header_abort":{},` + all + `}}`
	tests := []struct {
		name    string
		config  string
		route   streamtest.Route
		runtime map[string]string
		header  []string
		status  int // 200 is not aborted
	}{
		{"fixed", fixed, streamtest.Route{}, nil, nil, 503},
		{"none", `{"abort":{"http_status":503}}`, streamtest.Route{}, nil, nil, 200},
		{"nothing configured", `{}`, streamtest.Route{}, nil, nil, 200},
		{"by header", byHeader, streamtest.Route{}, nil, []string{"x-envoy-fault-abort-request: 429"}, 429},
		{"by header, absent", byHeader, streamtest.Route{}, nil, nil, 200},
		{"by header, bad", byHeader, streamtest.Route{}, nil, []string{"x-envoy-fault-abort-request: 99"}, 200},
		{"by header, no number", byHeader, streamtest.Route{}, nil, []string{"x-envoy-fault-abort-request: 4x"}, 200},
		{"by header, for none", byHeader, streamtest.Route{}, nil, []string{"x-envoy-fault-abort-request: 429", "x-envoy-fault-abort-request-percentage: 0"}, 200},
		{"a header cannot raise the share", `{"abort":{"header_abort":{}}}`, streamtest.Route{}, nil, []string{"x-envoy-fault-abort-request: 429", "x-envoy-fault-abort-request-percentage: 100"}, 200},
		{"a fixed share is not the client's", fixed, streamtest.Route{}, nil, []string{"x-envoy-fault-abort-request-percentage: 0"}, 503},
		{"cluster", `{"upstream_cluster":"backend","abort":{"http_status":503,` + all + `}}`, streamtest.Route{}, nil, nil, 503},
		{"other cluster", `{"upstream_cluster":"other","abort":{"http_status":503,` + all + `}}`, streamtest.Route{}, nil, nil, 200},
		{"node", `{"downstream_nodes":["a","b"],"abort":{"http_status":503,` + all + `}}`, streamtest.Route{}, nil, []string{"x-envoy-downstream-service-node: b"}, 503},
		{"other node", `{"downstream_nodes":["a","b"],"abort":{"http_status":503,` + all + `}}`, streamtest.Route{}, nil, nil, 200},
		{"headers", `{"headers":[{"name":"x-try","present_match":true}],"abort":{"http_status":503,` + all + `}}`, streamtest.Route{}, nil, []string{"x-try: 1"}, 503},
		{"other headers", `{"headers":[{"name":"x-try","present_match":true}],"abort":{"http_status":503,` + all + `}}`, streamtest.Route{}, nil, nil, 200},
		{"for a route", `{}`, streamtest.Route{Entry: `{"abort":{"http_status":404,` + all + `}}`}, nil, nil, 404},
		{"not for a route", fixed, streamtest.Route{Entry: `{"abort":{"http_status":404}}`}, nil, nil, 200},
		{"runtime percent", fixed, streamtest.Route{}, map[string]string{"fault.http.abort.abort_percent": "0"}, nil, 200},
		{"runtime percent by another key", `{"abort_percent_runtime":"my.key","abort":{"http_status":503}}`, streamtest.Route{}, map[string]string{"my.key": "100"}, nil, 503},
		{"runtime status", fixed, streamtest.Route{}, map[string]string{"fault.http.abort.http_status": "500"}, nil, 500},
		{"runtime status is nonsense", fixed, streamtest.Route{}, map[string]string{"fault.http.abort.http_status": "7"}, nil, 503},
		{"runtime by cluster", fixed, streamtest.Route{}, map[string]string{"fault.http.shop.abort.abort_percent": "0"}, []string{"x-envoy-downstream-service-cluster: shop"}, 200},
		{"runtime status by cluster", fixed, streamtest.Route{}, map[string]string{"fault.http.shop.abort.http_status": "501"}, []string{"x-envoy-downstream-service-cluster: shop"}, 501},
		{"too many faults", `{"max_active_faults":0,"abort":{"http_status":503,` + all + `}}`, streamtest.Route{}, nil, nil, 200},
		{"too many faults by runtime", fixed, streamtest.Route{}, map[string]string{"fault.http.max_active_faults": "0"}, nil, 200},
		{"grpc for http", grpc, streamtest.Route{}, nil, nil, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), tt.config)
			tt.route.Filter = Extension()
			rig.Route(tt.route)
			rig.SetRuntime(tt.runtime)
			res := rig.Run(streamtest.Request{Header: tt.header}, streamtest.Upstream{})
			if res.Status != tt.status {
				t.Fatalf("status %d, want %d", res.Status, tt.status)
			}
			aborted := tt.status != 200 || tt.config == grpc
			if res.Called == aborted {
				t.Errorf("upstream called: %v", res.Called)
			}
			n := rig.Counter("http.test.fault.aborts_injected")
			if aborted && (n != 1 || res.Body != "fault filter abort" || res.Info.StatusDetails != "fault_filter_abort" || res.Info.Flags != streaminfo.FaultInjected) {
				t.Errorf("%d aborts, %+v", n, res)
			}
			if !aborted && n != 0 {
				t.Errorf("%d aborts", n)
			}
			if strings.HasPrefix(tt.name, "too many") && rig.Counter("http.test.fault.faults_overflow") != 1 {
				t.Error("faults_overflow is not 1")
			}
			if n := rig.Counter("http.test.fault.active_faults"); n != 0 {
				t.Errorf("%d faults are still active", n)
			}
		})
	}
}

func TestGRPCAbort(t *testing.T) {
	for _, tt := range []struct{ config, header, want string }{
		{`{"abort":{"grpc_status":8,` + all + `,"response_body":"out"}}`, "x: y", "8"},
		{`{"abort":{"header_abort":{},` + all + `,"response_body":"out"}}`, "x-envoy-fault-abort-grpc-request: 5", "5"},
		{`{"abort":{"http_status":503,` + all + `,"response_body":"out"}}`, "x: y", "14"},
	} {
		rig := streamtest.New(t)
		rig.Add(Extension(), tt.config)
		res := rig.Run(streamtest.Request{Method: "POST", Header: []string{"content-type: application/grpc", tt.header}}, streamtest.Upstream{})
		if res.Status != 200 || res.Header.Get("grpc-status") != tt.want || res.Header.Get("grpc-message") != "out" {
			t.Errorf("%s: %v", tt.config, res.Header)
		}
	}
}

func TestDelay(t *testing.T) {
	fixed := `"delay":{"fixed_delay":"0.03s",` + all + `}`
	tests := []struct {
		name    string
		config  string
		runtime map[string]string
		header  []string
		delay   time.Duration
		status  int
	}{
		{"fixed", `{` + fixed + `}`, nil, nil, 30 * time.Millisecond, 200},
		{"then aborted", `{` + fixed + `,"abort":{"http_status":503,` + all + `}}`, nil, nil, 30 * time.Millisecond, 503},
		{"by header", `{"delay":{"header_delay":{},` + all + `}}`, nil, []string{"x-envoy-fault-delay-request: 20"}, 20 * time.Millisecond, 200},
		{"by header, absent", `{"delay":{"header_delay":{},` + all + `}}`, nil, nil, 0, 200},
		{"by header, for none", `{"delay":{"header_delay":{},` + all + `}}`, nil, []string{"x-envoy-fault-delay-request: 20", "x-envoy-fault-delay-request-percentage: 0"}, 0, 200},
		{"runtime percent", `{` + fixed + `}`, map[string]string{"fault.http.delay.fixed_delay_percent": "0"}, nil, 0, 200},
		{"runtime duration", `{` + fixed + `}`, map[string]string{"fault.http.delay.fixed_duration_ms": "10"}, nil, 10 * time.Millisecond, 200},
		{"runtime duration 0", `{` + fixed + `}`, map[string]string{"fault.http.delay.fixed_duration_ms": "0"}, nil, 0, 200},
		{"runtime duration by cluster", `{` + fixed + `}`, map[string]string{"fault.http.shop.delay.fixed_duration_ms": "15"}, []string{"x-envoy-downstream-service-cluster: shop"}, 15 * time.Millisecond, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), tt.config)
			rig.SetRuntime(tt.runtime)
			start := time.Now()
			res := rig.Run(streamtest.Request{Header: tt.header}, streamtest.Upstream{})
			if d := time.Since(start); d < tt.delay {
				t.Errorf("took %v", d)
			}
			if res.Status != tt.status {
				t.Errorf("status %d", res.Status)
			}
			delayed := res.Info.Flags&streaminfo.DelayInjected != 0
			if want := tt.delay > 0; delayed != want || rig.Counter("http.test.fault.delays_injected") == 1 != want {
				t.Errorf("delayed: %v", delayed)
			}
			if n := rig.Counter("http.test.fault.active_faults"); n != 0 {
				t.Errorf("%d faults are still active", n)
			}
		})
	}
}

func TestDelayKeepsNobodyElseWaiting(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"delay":{"header_delay":{},`+all+`}}`)
	slow := rig.Start(streamtest.Request{Header: []string{"x-envoy-fault-delay-request: 3600000"}}, streamtest.Upstream{})
	if res := rig.Run(streamtest.Request{}, streamtest.Upstream{}); res.Status != 200 {
		t.Errorf("status %d", res.Status)
	}
	if n := rig.Counter("http.test.fault.active_faults"); n != 1 {
		t.Errorf("%d active faults", n)
	}
	slow.Cancel()
	if res := slow.Wait(); res.Called || res.Status != 0 {
		t.Errorf("a client that left: %+v", res)
	}
	if n := rig.Counter("http.test.fault.active_faults"); n != 0 {
		t.Errorf("%d faults are still active", n)
	}
}

func TestResponseRate(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"response_rate_limit":{"fixed_limit":{"limit_kbps":10},`+all+`}}`)
	body := strings.Repeat("x", 2048) // A fifth of a second's worth, of which an interval's is free.
	start := time.Now()
	res := rig.Run(streamtest.Request{}, streamtest.Upstream{Body: streamtest.Pieces(body[:1500], body[1500:])})
	if d := time.Since(start); d < 140*time.Millisecond {
		t.Errorf("took %v", d)
	}
	// Late, it sends what it might have sent meanwhile at once, but no more than there is.
	if res.Body != body || len(res.Pieces) < 3 || len(res.Pieces[0]) != 512 {
		t.Errorf("%d bytes in %d pieces", len(res.Body), len(res.Pieces))
	}
	if rig.Counter("http.test.fault.response_rl_injected") != 1 || rig.Counter("http.test.fault.active_faults") != 0 {
		t.Error("statistics are wrong")
	}
}

func TestResponseRateByHeader(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"response_rate_limit":{"header_limit":{},`+all+`}}`)
	for _, tt := range []struct {
		header string
		want   int64
	}{{"x-envoy-fault-throughput-response: 1000", 1}, {"x-envoy-fault-throughput-response: 0", 1}, {"x: y", 1}, {"x-envoy-fault-throughput-response: 9999999999999999", 2}} {
		res := rig.Run(streamtest.Request{Header: []string{tt.header}}, streamtest.Upstream{Body: streamtest.Pieces("a", "b"), Trailer: []string{"x-t: 1"}})
		if res.Body != "ab" || res.Trailer.Get("x-t") != "1" || rig.Counter("http.test.fault.response_rl_injected") != tt.want {
			t.Errorf("%s: %q", tt.header, res.Body)
		}
	}
}

func TestClusterStatsAndMetadata(t *testing.T) {
	for _, off := range []string{"false", "true"} {
		rig := streamtest.New(t)
		rig.Add(Extension(), `{"filter_metadata":{"why":"test"},"disable_downstream_cluster_stats":`+off+`,"abort":{"http_status":503,`+all+`},"delay":{"fixed_delay":"0.001s",`+all+`}}`)
		res := rig.Run(streamtest.Request{Header: []string{"x-envoy-downstream-service-cluster: shop"}}, streamtest.Upstream{})
		want := int64(1)
		if off == "true" {
			want = 0
		}
		if a, d := rig.Counter("http.test.fault.shop.aborts_injected"), rig.Counter("http.test.fault.shop.delays_injected"); a != want || d != want {
			t.Errorf("aborts %d, delays %d", a, d)
		}
		if v, _ := res.Info.Metadata.Lookup(Name, "why"); v != "test" {
			t.Errorf("metadata: %v", res.Info.Metadata)
		}
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	for _, bad := range []string{
		`{"abort":{}}`, `{"abort":{"http_status":100}}`, `{"delay":{}}`, `{"delay":{"fixed_delay":"0s"}}`,
		`{"response_rate_limit":{}}`, `{"response_rate_limit":{"fixed_limit":{"limit_kbps":0}}}`, `{"headers":[{"name":""}]}`,
	} {
		if _, err := rig.Compile(Extension(), bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	for _, config := range []string{`{}`, `{"upstream_cluster":"backend","abort":{"http_status":503},"delay":{"fixed_delay":"1s"}}`} {
		rig := streamtest.New(t)
		rig.Add(Extension(), config)
		if n := rig.Allocs(streamtest.Request{}); n != 0 {
			t.Errorf("%s: %v allocations", config, n)
		}
	}
}
