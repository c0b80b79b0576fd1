// SPDX-License-Identifier: Apache-2.0

package healthcheck

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

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", Extension().Config) }

const path = `"headers":[{"name":":path","string_match":{"exact":"/healthz"}}]`

func healthz(t *testing.T, rig *streamtest.Rig, up streamtest.Upstream) *streamtest.Result {
	t.Helper()
	return rig.Run(streamtest.Request{Path: "/healthz"}, up)
}

func TestAnswersByItself(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"pass_through_mode":false,`+path+`}`)
	res := healthz(t, rig, streamtest.Upstream{})
	if res.Called || res.Status != 200 || !res.Info.HealthCheck || res.Info.StatusDetails != "health_check_ok" || res.Header.Get("x-envoy-upstream-healthchecked-cluster") != "edge" {
		t.Errorf("%+v", res)
	}
	res = rig.Run(streamtest.Request{}, streamtest.Upstream{})
	if !res.Called || res.Info.HealthCheck || res.Header.Has("x-envoy-upstream-healthchecked-cluster") || res.Header.Has("x-envoy-immediate-health-check-fail") {
		t.Errorf("another request: %+v", res)
	}
	res = rig.Run(streamtest.Request{Path: "/healthz", Body: streamtest.Pieces("a", "b")}, streamtest.Upstream{})
	if res.Called || res.Status != 200 {
		t.Errorf("with a body: %+v", res)
	}
}

func TestFailed(t *testing.T) {
	for _, mode := range []string{"true", "false"} {
		rig := streamtest.New(t)
		rig.Add(Extension(), `{"pass_through_mode":`+mode+`,`+path+`}`)
		rig.Services.Health.Fail(true)
		res := healthz(t, rig, streamtest.Upstream{})
		if res.Called || res.Status != 503 || res.Info.StatusDetails != "health_check_failed" || res.Info.Flags != streaminfo.FailedLocalHealthCheck || res.Header.Get("x-envoy-immediate-health-check-fail") != "true" {
			t.Errorf("%+v", res)
		}
		res = rig.Run(streamtest.Request{}, streamtest.Upstream{})
		if res.Status != 200 || res.Header.Get("x-envoy-immediate-health-check-fail") != "true" {
			t.Errorf("another request: %+v", res)
		}
		rig.Services.Health.Fail(false)
		if res := healthz(t, rig, streamtest.Upstream{}); res.Status != 200 || res.Header.Has("x-envoy-immediate-health-check-fail") {
			t.Errorf("passing again: %+v", res)
		}
	}
}

func TestPassesThrough(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"pass_through_mode":true,`+path+`}`)
	for range 2 {
		if res := healthz(t, rig, streamtest.Upstream{Status: 204}); !res.Called || res.Status != 204 || !res.Info.HealthCheck {
			t.Errorf("%+v", res)
		}
	}
}

func TestCache(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"pass_through_mode":true,"cache_time":"3600s",`+path+`}`)
	if res := healthz(t, rig, streamtest.Upstream{Status: 500, Header: []string{"x-envoy-degraded: 1"}}); !res.Called || res.Status != 500 {
		t.Errorf("%+v", res)
	}
	res := healthz(t, rig, streamtest.Upstream{})
	if res.Called || res.Status != 500 || res.Info.StatusDetails != "health_check_cached" || !res.Header.Has("x-envoy-degraded") || res.Info.Flags != streaminfo.FailedLocalHealthCheck {
		t.Errorf("%+v", res)
	}
	if res := rig.Run(streamtest.Request{}, streamtest.Upstream{}); !res.Called {
		t.Error("another request is answered from the cache")
	}
}

func TestCacheEnds(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"pass_through_mode":true,"cache_time":"0.02s",`+path+`}`)
	start := time.Now()
	healthz(t, rig, streamtest.Upstream{Status: 500})
	for healthz(t, rig, streamtest.Upstream{Status: 204}).Status == 500 {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the cache does not end")
		}
	}
	if d := time.Since(start); d < 15*time.Millisecond {
		t.Errorf("it ended after %v", d)
	}
}

func TestClusters(t *testing.T) {
	type cluster struct{ total, available uint64 }
	tests := []struct {
		name     string
		min      string
		clusters map[string]cluster
		status   int
		details  string
	}{
		{"enough", `"a":{"value":50}`, map[string]cluster{"a": {4, 2}}, 200, "health_check_ok_cluster_healthy"},
		{"cut to whole percents", `"a":{"value":50.9}`, map[string]cluster{"a": {4, 2}}, 200, "health_check_ok_cluster_healthy"},
		{"too few", `"a":{"value":51}`, map[string]cluster{"a": {4, 2}}, 503, "health_check_failed_cluster_unhealthy"},
		{"one of two", `"a":{"value":50},"b":{"value":50}`, map[string]cluster{"a": {4, 2}, "b": {4, 1}}, 503, "health_check_failed_cluster_unhealthy"},
		{"missing", `"a":{"value":0}`, nil, 503, "health_check_failed_no_cluster_found"},
		{"empty", `"a":{"value":1}`, map[string]cluster{"a": {}}, 503, "health_check_failed_cluster_empty"},
		{"empty is enough", `"a":{"value":0}`, map[string]cluster{"a": {}}, 200, "health_check_ok_cluster_healthy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			f, err := rig.Compile(Extension(), `{"pass_through_mode":false,`+path+`,"cluster_min_healthy_percentages":{`+tt.min+`}}`)
			if err != nil {
				t.Fatal(err)
			}
			if tt.clusters != nil {
				f.(*Filter).members = func(name string) (total, available uint64, ok bool) {
					c, ok := tt.clusters[name]
					return c.total, c.available, ok
				}
			}
			rig.AddFilter(Name, f)
			if res := healthz(t, rig, streamtest.Upstream{}); res.Status != tt.status || res.Info.StatusDetails != tt.details {
				t.Errorf("%d %s", res.Status, res.Info.StatusDetails)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	for json, want := range map[string]string{
		`{}`: "PassThroughMode",
		`{"pass_through_mode":false,"cache_time":"1s"}`:                                        "cache_time has no effect",
		`{"pass_through_mode":true,"cluster_min_healthy_percentages":{"a":{"value":1}}}`:       "cluster_min_healthy_percentages has no effect",
		`{"pass_through_mode":true,"headers":[{"name":"a","safe_regex_match":{"regex":"("}}]}`: "headers",
	} {
		if _, err := rig.Compile(Extension(), json); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", json, err)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"pass_through_mode":false,`+path+`}`)
	if n := rig.Allocs(streamtest.Request{}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
