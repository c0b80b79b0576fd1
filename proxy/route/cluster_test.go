// SPDX-License-Identifier: Apache-2.0

package route

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/streaminfo"
)

// fakeRuntime has integers only.
type fakeRuntime struct {
	match.NoRuntime
	ints map[string]int64
}

func (r fakeRuntime) Int(key string) (int64, bool) {
	v, ok := r.ints[key]
	return v, ok
}

const weightedJSON = `{"match":{"prefix":"/"},"route":{"metadata_match":{"filter_metadata":{"envoy.lb":{"a":"route","b":"route"}}},
	"hash_policy":[{"header":{"header_name":"user"}}],
	"weighted_clusters":{%SPEC%"clusters":[
	{"name":"a","weight":10,"metadata_match":{"filter_metadata":{"envoy.lb":{"a":"cluster"}}},"request_headers_to_add":[{"header":{"key":"x","value":"a"}}],"host_rewrite_literal":"host-a","typed_per_filter_config":{"f":{"@type":"type.googleapis.com/google.protobuf.StringValue","value":"cluster"}}},
	{"name":"b","weight":20},
	{"cluster_header":"to","weight":70}]}}}`

func weightedTable(t *testing.T, spec string, ctx Context) *Table {
	t.Helper()
	return mustCompileIn(t, oneRoute(strings.Replace(weightedJSON, "%SPEC%", spec, 1)), ctx)
}

func TestWeightedClusters(t *testing.T) {
	rt := testContext()
	rt.Runtime = fakeRuntime{ints: map[string]int64{"w.a": 0, "w.b": 1}}
	tests := []struct {
		name   string
		spec   string
		ctx    Context
		random uint64
		lines  []string
		want   string
	}{
		{"first", "", testContext(), 9, nil, "a"},
		{"second", "", testContext(), 10, nil, "b"},
		{"modulo the sum", "", testContext(), 100 + 29, nil, "b"},
		{"by header", "", testContext(), 30, []string{"to: elsewhere"}, "elsewhere"},
		{"header missing", "", testContext(), 30, nil, ""},
		{"random from header", `"header_name":"r",`, testContext(), 0, []string{"r: 15"}, "b"},
		{"random header is no number", `"header_name":"r",`, testContext(), 5, []string{"r: x"}, "a"},
		{"random header twice", `"header_name":"r",`, testContext(), 5, []string{"r: 15", "r: 15"}, "a"},
		{"runtime weights", `"runtime_key_prefix":"w",`, rt, 0, nil, "b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := request(tt.lines...)
			req.Random = tt.random
			r := weightedTable(t, tt.spec, tt.ctx).Match(req)
			if got := r.Cluster(req).Name; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestWeightedByHash(t *testing.T) {
	table := weightedTable(t, `"use_hash_policy":true,`, testContext())
	seen := map[string]bool{}
	for _, user := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"} {
		req := request("user: "+user, "to: z")
		first := table.Match(req).Cluster(req).Name
		req.Random = 12345
		if got := table.Match(req).Cluster(req).Name; got != first {
			t.Errorf("user %s moved from %s to %s", user, first, got)
		}
		seen[first] = true
	}
	if len(seen) < 2 {
		t.Errorf("all users took %v", seen)
	}
}

func TestWeightedOverrides(t *testing.T) {
	req := request()
	r := weightedTable(t, "", testContext()).Match(req)
	if d := cmp.Diff(map[string]any{"a": "cluster", "b": "route"}, r.Cluster(req).MetadataMatch); d != "" {
		t.Error(d)
	}
	if cfg, _ := r.FilterConfig("f"); cfg != "cluster" {
		t.Errorf("filter config %v", cfg)
	}
	r.FinalizeRequest(req.Header, req.Info, true)
	if d := cmp.Diff(":method=GET\n:scheme=http\n:authority=host-a\n:path=/\nx=a\n", dump(req.Header)); d != "" {
		t.Error(d)
	}
	if r.Weighted().Weight != 10 {
		t.Errorf("weight %d", r.Weighted().Weight)
	}
}

func TestClusterHeader(t *testing.T) {
	table := mustCompile(t, oneRoute(`{"match":{"prefix":"/"},"route":{"cluster_header":"to","cluster_not_found_response_code":"NOT_FOUND"}}`))
	req := request("to: c", "to: d")
	if got := table.Match(req).Cluster(req); got.Name != "c" || !got.FromHeader || got.NotFoundStatus != 404 {
		t.Errorf("%+v", got)
	}
}

func TestFilterConfigs(t *testing.T) {
	str := func(v string) string {
		return `{"@type":"type.googleapis.com/google.protobuf.StringValue","value":"` + v + `"}`
	}
	wrap := func(more string) string {
		return `{"@type":"type.googleapis.com/envoy.config.route.v3.FilterConfig",` + more + `}`
	}
	table := mustCompile(t, `{"typed_per_filter_config":{"a":`+str("table")+`,"d":`+wrap(`"disabled":true`)+`,"f":`+wrap(`"disabled":true`)+`},
		"virtual_hosts":[{"name":"v","domains":["*"],"typed_per_filter_config":{"a":`+str("host")+`,"b":`+str("host")+`,"g":`+str("host")+`},
		"routes":[{"match":{"prefix":"/"},"route":{"cluster":"c"},"typed_per_filter_config":{
			"a":`+wrap(`"config":`+str("route"))+`,"b":`+wrap(`"disabled":true`)+`,"d":`+str("route")+`,
			"f":`+wrap(`"config":{}`)+`,"g":`+wrap(`"config":{}`)+`}}]}]}`)
	r := table.Match(request())
	tests := []struct {
		name     string
		config   any
		disabled bool
		all      []any
		toggle   Toggle
	}{
		{"a", "route", false, []any{"table", "host", "route"}, Enabled},
		{"b", "host", true, []any{"host"}, Disabled},
		{"d", "route", false, []any{"route"}, Enabled},
		{"e", nil, false, nil, Unset},
		{"f", nil, false, nil, Enabled},
		{"g", "host", false, []any{"host"}, Enabled},
	}
	for _, tt := range tests {
		cfg, disabled := r.FilterConfig(tt.name)
		if cfg != tt.config || disabled != tt.disabled {
			t.Errorf("%s: %v %v", tt.name, cfg, disabled)
		}
		if d := cmp.Diff(tt.all, slices.Collect(r.FilterConfigs(tt.name))); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
		if got := r.FilterToggle(tt.name); got != tt.toggle {
			t.Errorf("%s: toggle %d", tt.name, got)
		}
	}
}

func TestHash(t *testing.T) {
	policy := func(p string) HashPolicies {
		return mustCompile(t, oneRoute(`{"match":{"prefix":"/"},"route":{"cluster":"c","hash_policy":[`+p+`]}}`)).Match(request()).Forward.HashPolicy
	}
	remote := func(r *Request) { r.Info.Remote, _ = address.Parse("10.0.0.1:80") }
	xx := func(s string) uint64 { return match.XXH64(s, 0) }
	rot := func(v uint64) uint64 { return v<<1 | v>>63 }
	tests := []struct {
		name, policy string
		lines        []string
		set          func(*Request)
		want         uint64
		ok           bool
	}{
		{"header", `{"header":{"header_name":"u"}}`, []string{"u: a"}, nil, xx("a"), true},
		{"header missing", `{"header":{"header_name":"u"}}`, nil, nil, 0, false},
		{"header rewritten", `{"header":{"header_name":"u","regex_rewrite":{"pattern":{"regex":"-.*"},"substitution":""}}}`, []string{"u: a-b"}, nil, xx("a"), true},
		{"cookie", `{"cookie":{"name":"s"}}`, []string{"cookie: s=1"}, nil, xx("1"), true},
		{"cookie made", `{"cookie":{"name":"s","ttl":"10s"}}`, nil, nil, xx("made"), true},
		{"cookie without ttl is not made", `{"cookie":{"name":"s"}}`, nil, nil, 0, false},
		{"source ip", `{"connection_properties":{"source_ip":true}}`, nil, remote, xx("10.0.0.1"), true},
		{"source ip off", `{"connection_properties":{"source_ip":false}}`, nil, remote, 0, false},
		{"query", `{"query_parameter":{"name":"q"}}`, []string{"/?q=1"}, nil, xx("1"), true},
		{"filter state", `{"filter_state":{"key":"k"}}`, nil, func(r *Request) { r.Info.FilterState = streaminfo.FilterState{"k": {Text: "v"}} }, xx("v"), true},
		{"two", `{"header":{"header_name":"u"}},{"query_parameter":{"name":"q"}}`, []string{"/?q=1", "u: a"}, nil, rot(xx("a")) ^ xx("1"), true},
		{"terminal", `{"header":{"header_name":"u"},"terminal":true},{"query_parameter":{"name":"q"}}`, []string{"/?q=1", "u: a"}, nil, xx("a"), true},
		{"terminal without hash goes on", `{"header":{"header_name":"n"},"terminal":true},{"query_parameter":{"name":"q"}}`, []string{"/?q=1"}, nil, xx("1"), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := request(tt.lines...)
			if tt.set != nil {
				tt.set(req)
			}
			got, ok := policy(tt.policy).Hash(req.Header, req.Info, func(*HashCookie) string { return "made" })
			if got != tt.want || ok != tt.ok {
				t.Errorf("got %x %v, want %x %v", got, ok, tt.want, tt.ok)
			}
		})
	}
	a, b := request("u: 1", "u: 2"), request("u: 2", "u: 1")
	p := policy(`{"header":{"header_name":"u"}}`)
	ha, _ := p.Hash(a.Header, a.Info, nil)
	hb, _ := p.Hash(b.Header, b.Info, nil)
	if ha != hb {
		t.Error("the order of values changes the hash")
	}
}

func TestSetCookie(t *testing.T) {
	c := HashCookie{Name: "s", Path: "/p", TTL: OptDuration{10 * time.Second, true}, Attributes: []CookieAttribute{{"SameSite", "Strict"}, {"Secure", ""}}}
	want := `s="v"; Max-Age=10; Path=/p; SameSite=Strict; Secure; HttpOnly`
	if got := string(c.AppendSetCookie(nil, "v")); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRetry(t *testing.T) {
	on, unknown := ParseRetryOn("5xx, connect-failure,unavailable,,odd")
	if on != Retry5xx|RetryConnectFailure|RetryGRPCUnavailable || unknown != "odd" {
		t.Errorf("%b %q", on, unknown)
	}
	table := mustCompile(t, `{"virtual_hosts":[{"name":"v","domains":["*"],"retry_policy":{"retry_on":"reset","num_retries":5},"routes":[
		{"match":{"prefix":"/own"},"route":{"cluster":"c","retry_policy":{"retry_on":"retriable-status-codes","retriable_status_codes":[418],
			"retry_back_off":{"base_interval":"0.1s"},"rate_limited_retry_back_off":{"reset_headers":[{"name":"retry-after"},{"name":"x-reset","format":"UNIX_TIMESTAMP"}],"max_interval":"60s"}}}},
		{"match":{"prefix":"/"},"route":{"cluster":"c"}}]}]}`)
	if p := table.Match(request("/")).Forward.Retry; p.On != RetryReset || p.NumRetries != 5 || p.BackOffBase != 25*time.Millisecond {
		t.Errorf("inherited: %+v", p)
	}
	p := table.Match(request("/own")).Forward.Retry
	if p.NumRetries != 1 || p.BackOffMax != time.Second || !p.RetriableStatus(418) || p.RetriableStatus(500) {
		t.Errorf("own: %+v", p)
	}
	now := time.Unix(1000, 0)
	tests := []struct {
		lines []string
		want  time.Duration
		ok    bool
	}{
		{[]string{"retry-after: 5"}, 5 * time.Second, true},
		{[]string{"retry-after: 500"}, 0, false},
		{[]string{"retry-after: 500", "x-reset: 1060"}, time.Minute, true},
		{[]string{"retry-after: soon", "x-reset: 1010"}, 10 * time.Second, true},
		{[]string{"x-reset: 999"}, 0, false},
		{[]string{"retry-after: 99999999999999999999"}, 0, false},
		{nil, 0, false},
	}
	for _, tt := range tests {
		if got, ok := p.RateLimited.Interval(request(tt.lines...).Header, now); got != tt.want || ok != tt.ok {
			t.Errorf("%v: %v %v", tt.lines, got, ok)
		}
	}
}

func TestForwardDefaults(t *testing.T) {
	f := mustCompile(t, oneRoute(`{"match":{"prefix":"/"},"route":{"cluster":"c"}}`)).Match(request()).Forward
	if f.Timeout != 15*time.Second || f.ClusterNotFoundStatus != 503 || f.Retry != nil || f.InternalRedirect != nil || f.IdleTimeout.Set {
		t.Errorf("%+v", f)
	}
	f = mustCompile(t, oneRoute(`{"match":{"prefix":"/"},"route":{"cluster":"c","timeout":"0s","idle_timeout":"3s","priority":"HIGH",
		"max_stream_duration":{"grpc_timeout_header_max":"0s"},"internal_redirect_policy":{"redirect_response_codes":[301,302]},
		"upgrade_configs":[{"upgrade_type":"WebSocket"},{"upgrade_type":"CONNECT","enabled":false,"connect_config":{"allow_post":true}}]}}`)).Match(request()).Forward
	if f.Timeout != 0 || f.IdleTimeout.Or(0) != 3*time.Second || !f.HighPriority || !f.GRPCTimeoutMax.Set || !f.UsesMaxStreamDuration {
		t.Errorf("%+v", f)
	}
	if f.Upgrade([]byte("websocket")) != Enabled || f.Upgrade([]byte("Connect")) != Disabled || f.Upgrade([]byte("x")) != Unset || !f.Connect.AllowPost {
		t.Errorf("upgrades: %+v", f.Upgrades)
	}
	if !f.InternalRedirect.Handles(301) || f.InternalRedirect.Handles(303) || f.InternalRedirect.MaxRedirects != 1 {
		t.Errorf("internal redirect: %+v", f.InternalRedirect)
	}
}

func TestVirtualCluster(t *testing.T) {
	vh := mustCompile(t, `{"virtual_hosts":[{"name":"v","domains":["*"],"virtual_clusters":[{"name":"get","headers":[{"name":":method","exact_match":"GET"}]}]}]}`).VirtualHosts[0]
	if got := vh.VirtualCluster(request().Header); got != "get" {
		t.Error(got)
	}
	h := request().Header
	h.Set(header.Method, "PUT")
	if got := vh.VirtualCluster(h); got != "other" {
		t.Error(got)
	}
}
