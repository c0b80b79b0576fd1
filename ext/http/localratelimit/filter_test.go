// SPDX-License-Identifier: Apache-2.0

package localratelimit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/ratelimit"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/tokenbucket"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", Extension().Config)
}

const (
	on  = `"filter_enabled":{"default_value":{"numerator":100}},"filter_enforced":{"default_value":{"numerator":100}}`
	two = `"stat_prefix":"web","token_bucket":{"max_tokens":2,"fill_interval":"3600s"}`
)

// run sends requests with a header each, and returns their statuses.
func run(t *testing.T, rig *streamtest.Rig, headers ...string) string {
	t.Helper()
	var out []string
	for _, h := range headers {
		res := rig.Run(streamtest.Request{Header: []string{h}}, streamtest.Upstream{})
		out = append(out, fmt.Sprint(res.Status))
	}
	return strings.Join(out, " ")
}

func TestLimit(t *testing.T) {
	key := func(v string) string {
		return `"entries":[{"key":"user","value":"` + v + `"}],"token_bucket":{"max_tokens":1,"fill_interval":"3600s"}`
	}
	limits := `"rate_limits":[{"actions":[{"request_headers":{"header_name":"x-user","descriptor_key":"user"}}]}]`
	all := `"stat_prefix":"web","token_bucket":{"max_tokens":100,"fill_interval":"3600s"}`
	tests := []struct {
		name, config string
		headers      []string
		want         string
	}{
		{"two", `{` + two + `,` + on + `}`, []string{"a: 1", "a: 1", "a: 1"}, "200 200 429"},
		{"off by default", `{` + two + `}`, []string{"a: 1", "a: 1", "a: 1"}, "200 200 200"},
		{"not enforced by default", `{` + two + `,"filter_enabled":{"default_value":{"numerator":100}}}`, []string{"a: 1", "a: 1", "a: 1"}, "200 200 200"},
		{"none at all", `{"stat_prefix":"web","token_bucket":{"max_tokens":0,"fill_interval":"0.001s"},` + on + `}`, []string{"a: 1"}, "429"},
		{"no bucket", `{"stat_prefix":"web",` + on + `}`, []string{"a: 1"}, "200"},
		{"status", `{` + two + `,"status":{"code":503},` + on + `}`, []string{"a: 1", "a: 1", "a: 1"}, "200 200 503"},
		{"a status that is no error", `{` + two + `,"status":{"code":200},` + on + `}`, []string{"a: 1", "a: 1", "a: 1"}, "200 200 429"},
		{"descriptors", `{` + all + `,` + on + `,` + limits + `,"descriptors":[{` + key("ann") + `}]}`, []string{"x-user: ann", "x-user: ann", "x-user: bob", "x-user: bob"}, "200 429 200 200"},
		{"a descriptor in the shadow", `{` + all + `,` + on + `,` + limits + `,"descriptors":[{"shadow_mode":true,` + key("ann") + `}]}`, []string{"x-user: ann", "x-user: ann"}, "200 200"},
		{"a bucket for each value", `{` + all + `,` + on + `,` + limits + `,"descriptors":[{` + key("") + `}]}`, []string{"x-user: ann", "x-user: bob", "x-user: ann", "x-user: bob"}, "200 200 429 429"},
		{"as many values as may be", `{` + all + `,"max_dynamic_descriptors":1,` + on + `,` + limits + `,"descriptors":[{` + key("") + `}]}`, []string{"x-user: ann", "x-user: bob", "x-user: ann", "x-user: ann"}, "200 200 200 429"},
		{"a value of its own first", `{` + all + `,` + on + `,` + limits + `,"descriptors":[{` + key("") + `},{"entries":[{"key":"user","value":"ann"}],"token_bucket":{"max_tokens":2,"fill_interval":"3600s"}}]}`, []string{"x-user: ann", "x-user: ann", "x-user: ann", "x-user: bob", "x-user: bob"}, "200 200 429 200 429"},
		{"the rest counts too", `{` + two + `,` + on + `,` + limits + `,"descriptors":[{"entries":[{"key":"user","value":"ann"}],"token_bucket":{"max_tokens":9,"fill_interval":"3600s"}}]}`, []string{"x-user: ann", "x-user: ann", "x-user: ann"}, "200 200 429"},
		{"or not", `{` + two + `,"always_consume_default_token_bucket":false,` + on + `,` + limits + `,"descriptors":[{"entries":[{"key":"user","value":"ann"}],"token_bucket":{"max_tokens":3,"fill_interval":"3600s"}}]}`, []string{"x-user: ann", "x-user: ann", "x-user: ann", "x-user: ann", "a: 1"}, "200 200 200 429 200"},
		{"for a connection", `{` + two + `,"local_rate_limit_per_downstream_connection":true,` + on + `}`, []string{"a: 1", "a: 1", "a: 1"}, "200 200 200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), tt.config)
			if got := run(t, rig, tt.headers...); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestReply(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{`+two+`,`+on+`,"enable_x_ratelimit_headers":"DRAFT_VERSION_03","enable_retry_after_header":true,
		"response_headers_to_add":[{"header":{"key":"x-limit","value":"%REQ(x-user)%"}}]}`)
	first := rig.Run(streamtest.Request{}, streamtest.Upstream{})
	if first.Header.Get("x-ratelimit-limit") != "2" || first.Header.Get("x-ratelimit-remaining") != "1" || first.Header.Get("x-ratelimit-reset") != "0" {
		t.Errorf("the first: %v", first.Header)
	}
	rig.Run(streamtest.Request{}, streamtest.Upstream{})
	res := rig.Run(streamtest.Request{Header: []string{"x-user: ann"}}, streamtest.Upstream{})
	if res.Called || res.Status != 429 || res.Body != "local_rate_limited" || res.Info.StatusDetails != "local_rate_limited" || res.Info.Flags != streaminfo.RateLimited {
		t.Errorf("refused: %+v", res)
	}
	if res.Header.Get("x-limit") != "ann" || res.Header.Get("retry-after") != "3600" || res.Header.Get("x-ratelimit-remaining") != "0" || res.Header.Get("x-ratelimit-reset") != "3600" {
		t.Errorf("refused: %v", res.Header)
	}
	for name, want := range map[string]int64{"enabled": 3, "ok": 2, "rate_limited": 1, "enforced": 1} {
		if n := rig.Counter("web.http_local_rate_limit." + name); n != want {
			t.Errorf("%s is %d, want %d", name, n, want)
		}
	}
}

func TestGRPC(t *testing.T) {
	for _, tt := range []struct{ config, want string }{{``, "14"}, {`,"rate_limited_as_resource_exhausted":true`, "8"}} {
		rig := streamtest.New(t)
		rig.Add(Extension(), `{"stat_prefix":"web","token_bucket":{"max_tokens":0,"fill_interval":"1s"},`+on+tt.config+`}`)
		res := rig.Run(streamtest.Request{Method: "POST", Header: []string{"content-type: application/grpc"}}, streamtest.Upstream{})
		if res.Status != 200 || res.Header.Get("grpc-status") != tt.want {
			t.Errorf("%s: %d %v", tt.config, res.Status, res.Header)
		}
	}
}

// TestNotEnforced: what would have been refused is marked for the upstream.
func TestNotEnforced(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"stat_prefix":"web","token_bucket":{"max_tokens":0,"fill_interval":"1s"},"filter_enabled":{"default_value":{"numerator":100},"runtime_key":"rl.on"},
		"filter_enforced":{"default_value":{"numerator":0},"runtime_key":"rl.enforced"},"request_headers_to_add_when_not_enforced":[{"header":{"key":"x-over","value":"yes"}}]}`)
	if res := rig.Run(streamtest.Request{}, streamtest.Upstream{}); res.Status != 200 || res.Upstream.Header.Get("x-over") != "yes" {
		t.Errorf("%d %v", res.Status, res.Upstream.Header)
	}
	rig.SetRuntime(map[string]string{"rl.enforced": "100"})
	if res := rig.Run(streamtest.Request{}, streamtest.Upstream{}); res.Status != 429 {
		t.Errorf("enforced by runtime: %d", res.Status)
	}
	rig.SetRuntime(map[string]string{"rl.on": "0"})
	if res := rig.Run(streamtest.Request{}, streamtest.Upstream{}); res.Status != 200 || res.Upstream.Header.Has("x-over") {
		t.Errorf("disabled by runtime: %d %v", res.Status, res.Upstream.Header)
	}
}

// TestRoute: a route's limit replaces the filter's, and has buckets of its own.
func TestRoute(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"stat_prefix":"web"}`)
	rig.Route(streamtest.Route{Filter: Extension(), Entry: `{"stat_prefix":"route","token_bucket":{"max_tokens":1,"fill_interval":"3600s"},` + on + `}`})
	if got := run(t, rig, "a: 1", "a: 1"); got != "200 429" {
		t.Error(got)
	}
	if n := rig.Counter("route.http_local_rate_limit.rate_limited"); n != 1 {
		t.Errorf("rate_limited is %d", n)
	}
}

// TestPeers: each of several proxies lets its share through.
func TestPeers(t *testing.T) {
	l := (&Limits{rest: &tokenbucket.Rate{Most: 10, Fill: 10, Every: time.Second}, always: true}).fresh(0)
	count := func(now time.Duration) int {
		n := 0
		for l.take(int64(now), nil, 5).allowed {
			n++
		}
		return n
	}
	if a, b := count(0), count(time.Second); a != 2 || b != 2 {
		t.Errorf("%d at once and %d a second later, want 2 of 10 each", a, b)
	}
}

// TestOrder: a bucket that refuses costs the others nothing, if they fill faster.
func TestOrder(t *testing.T) {
	entry := func(v string) []ratelimit.Entry { return []ratelimit.Entry{{Key: "k", Value: []byte(v)}} }
	l := (&Limits{rules: []Rule{
		{entries: entry("fast"), rate: tokenbucket.Rate{Most: 100, Fill: 100, Every: time.Second}},
		{entries: entry("slow"), rate: tokenbucket.Rate{Most: 1, Fill: 1, Every: time.Second}},
	}}).fresh(0)
	both := []ratelimit.Descriptor{{Entries: entry("fast")}, {Entries: entry("slow")}}
	if v := l.take(0, both, 1); !v.allowed || v.by != l.rules[1].bucket {
		t.Errorf("the first: %+v", v)
	}
	if v := l.take(0, both, 1); v.allowed || v.by != l.rules[1].bucket {
		t.Errorf("the second: %+v", v)
	}
	if n := l.rules[0].bucket.bucket.Tokens(0); n != 99 {
		t.Errorf("%v tokens are left of the faster", n)
	}
	five := []ratelimit.Descriptor{{Entries: entry("fast"), Hits: 5, Counted: true}}
	l.take(0, five, 1)
	if n := l.rules[0].bucket.bucket.Tokens(0); n != 94 {
		t.Errorf("%v tokens are left after 5", n)
	}
	five[0].Negative = true
	l.take(0, five, 1)
	if n := l.rules[0].bucket.bucket.Tokens(0); n != 99 {
		t.Errorf("%v tokens are left after 5 came back", n)
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	rig.Services.Clusters = upstream.NewManager(upstream.Options{Stats: rig.Services.Stats.Scope("")})
	defer rig.Services.Clusters.Close()
	for _, tt := range []struct{ config, want string }{
		{`{}`, "StatPrefix"},
		{`{"stat_prefix":"a","token_bucket":{"max_tokens":1,"fill_interval":"0.01s"}}`, "token_bucket.fill_interval"},
		{`{"stat_prefix":"a","descriptors":[{"entries":[{"key":"a","value":"b"}],"token_bucket":{"max_tokens":1,"fill_interval":"0.01s"}}]}`, "descriptors[0].token_bucket.fill_interval"},
		{`{"stat_prefix":"a","descriptors":[{"entries":[{"key":"a","value":"b"}],"token_bucket":{"max_tokens":1,"fill_interval":"1s"}},{"entries":[{"key":"a","value":"b"}],"token_bucket":{"max_tokens":1,"fill_interval":"1s"}}]}`, "same entries as descriptors[0]"},
		{`{"stat_prefix":"a","local_rate_limit_per_downstream_connection":true,"descriptors":[{"entries":[{"key":"a"}],"token_bucket":{"max_tokens":1,"fill_interval":"1s"}}]}`, "descriptors[0]: the value of a is empty"},
		{`{"stat_prefix":"a","local_cluster_rate_limit":{}}`, "local_cluster_name"},
		{`{"stat_prefix":"a","rate_limits":[{"stage":1,"actions":[{"remote_address":{}}]}]}`, "rate_limits[0].stage"},
		{`{"stat_prefix":"a","rate_limits":[{"actions":[{}]}]}`, "Action"},
	} {
		if _, err := rig.Compile(Extension(), tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.config, err, tt.want)
		}
	}
	if _, err := rig.CompileRoute(Extension(), `{"stat_prefix":"a"}`); err == nil || !strings.Contains(err.Error(), "token_bucket is missing") {
		t.Errorf("a route without a bucket: %v", err)
	}
}

func TestNoAllocation(t *testing.T) {
	for _, config := range []string{
		`{"stat_prefix":"web","token_bucket":{"max_tokens":1000000,"fill_interval":"1s"},` + on + `}`,
		`{"stat_prefix":"web","token_bucket":{"max_tokens":1000000,"fill_interval":"1s"},` + on + `,"rate_limits":[{"actions":[{"request_headers":{"header_name":":path","descriptor_key":"p"}}]}],
			"descriptors":[{"entries":[{"key":"p"}],"token_bucket":{"max_tokens":1000000,"fill_interval":"1s"}}]}`,
	} {
		rig := streamtest.New(t)
		rig.Add(Extension(), config)
		if n := rig.Allocs(streamtest.Request{}); n != 0 {
			t.Errorf("%s: %v allocations", config, n)
		}
	}
}
