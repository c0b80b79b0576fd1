// SPDX-License-Identifier: Apache-2.0

package ratelimit

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/ratelimit"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	x := Extension()
	ledgertest.Run(t, "fields.txt", x.Config, x.Route)
}

// service is a limiter that says what a test asks for, and writes down what it is asked.
type service struct {
	mu     sync.Mutex
	answer ratelimit.Answer
	later  bool // answer from another goroutine
	never  bool
	asked  []string
	done   sync.WaitGroup
}

func (s *service) Limit(q *ratelimit.Question, answered func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, d := range q.Descriptors {
		var parts []string
		for _, e := range d.Entries {
			parts = append(parts, e.Key+"="+string(e.Value))
		}
		if d.Counted {
			parts = append(parts, fmt.Sprintf("hits %d", d.Hits))
		}
		list = append(list, strings.Join(parts, ","))
	}
	s.asked = append(s.asked, fmt.Sprintf("%s %d %s", q.Domain, q.Hits, strings.Join(list, "; ")))
	if s.never {
		return false
	}
	a := s.answer
	a.Statuses = append(q.Statuses[:0], a.Statuses...)
	if !s.later {
		q.Answer = a
		return true
	}
	s.done.Go(func() {
		q.Answer = a
		answered()
	})
	return false
}

func (s *service) wait(t *testing.T) []string {
	t.Helper()
	s.done.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

const (
	local  = `"domain":"web","rate_limit_service":{"transport_api_version":"V3","grpc_service":{"envoy_grpc":{"cluster_name":"weir.limiter"}}}`
	byUser = `"rate_limits":[{"actions":[{"request_headers":{"header_name":"x-user","descriptor_key":"user"}}]}]`
)

func rig(t *testing.T, s *service, config string) *streamtest.Rig {
	t.Helper()
	r := streamtest.New(t)
	r.Services.Limiter = s
	r.Add(Extension(), config)
	t.Cleanup(s.done.Wait)
	return r
}

var (
	over  = ratelimit.Status{Over: true, Limited: true, Requests: 3, Window: time.Hour, Reset: 416 * time.Second}
	under = ratelimit.Status{Limited: true, Requests: 1000, Window: time.Minute, Remaining: 7, Reset: 20 * time.Second, Name: `a"b`}
	nine  = ratelimit.Status{Limited: true, Requests: 9, Window: time.Second, Remaining: 9, Reset: time.Second}
)

func TestAnswers(t *testing.T) {
	tests := []struct {
		name, config string
		answer       ratelimit.Answer
		want         string // status, and some fields
		stat         string
	}{
		{"ok", "", ratelimit.Answer{Statuses: []ratelimit.Status{under}}, "200", "ok"},
		{"over", "", ratelimit.Answer{Over: true, Statuses: []ratelimit.Status{over}}, "429 x-envoy-ratelimited=true", "over_limit"},
		{"over, told to nobody", `,"disable_x_envoy_ratelimited_header":true`, ratelimit.Answer{Over: true}, "429", "over_limit"},
		{"another status", `,"rate_limited_status":{"code":503}`, ratelimit.Answer{Over: true}, "503 x-envoy-ratelimited=true", "over_limit"},
		{"a status that is no error", `,"rate_limited_status":{"code":200}`, ratelimit.Answer{Over: true}, "429 x-envoy-ratelimited=true", "over_limit"},
		{"not enforced", `,"filter_enforced":{"default_value":{"numerator":0}}`, ratelimit.Answer{Over: true}, "200", "over_limit"},
		{"not enabled", `,"filter_enabled":{"default_value":{"numerator":0}}`, ratelimit.Answer{Over: true}, "200", ""},
		{"headers of the draft", `,"enable_x_ratelimit_headers":"DRAFT_VERSION_03"`, ratelimit.Answer{Statuses: []ratelimit.Status{nine, under}},
			`200 x-ratelimit-limit=1000, 9;w=1, 1000;w=60;name="a\"b" x-ratelimit-remaining=7 x-ratelimit-reset=20`, "ok"},
		{"headers of the draft, over", `,"enable_x_ratelimit_headers":"DRAFT_VERSION_03"`, ratelimit.Answer{Over: true, Statuses: []ratelimit.Status{over}},
			`429 x-ratelimit-limit=3, 3;w=3600 x-ratelimit-remaining=0 x-ratelimit-reset=416 x-envoy-ratelimited=true`, "over_limit"},
		{"no limit to tell of", `,"enable_x_ratelimit_headers":"DRAFT_VERSION_03"`, ratelimit.Answer{Statuses: []ratelimit.Status{{}}}, "200", "ok"},
		{"retry-after", `,"enable_retry_after_header":true`, ratelimit.Answer{Over: true, Statuses: []ratelimit.Status{under, over}}, "429 retry-after=416 x-envoy-ratelimited=true", "over_limit"},
		{"retry-after of the service", `,"enable_retry_after_header":true`, ratelimit.Answer{Over: true, Statuses: []ratelimit.Status{over}, ResponseHeaders: []ratelimit.Field{{Name: "Retry-After", Value: "7"}}}, "429 retry-after=7 x-envoy-ratelimited=true", "over_limit"},
		{"retry-after of another status", `,"enable_retry_after_header":true,"rate_limited_status":{"code":503}`, ratelimit.Answer{Over: true, Statuses: []ratelimit.Status{over}}, "503 x-envoy-ratelimited=true", "over_limit"},
		{"added to refusals", `,"response_headers_to_add":[{"header":{"key":"x-why","value":"%RESPONSE_CODE%"}}]`, ratelimit.Answer{Over: true, Body: []byte("slow down")}, "429 x-why=429 x-envoy-ratelimited=true slow down", "over_limit"},
		{"not added to others", `,"response_headers_to_add":[{"header":{"key":"x-why","value":"over"}}]`, ratelimit.Answer{}, "200", "ok"},
		{"an error", "", ratelimit.Answer{Err: errors.New("gone")}, "200", "failure_mode_allowed"},
		{"an error that refuses", `,"failure_mode_deny":true`, ratelimit.Answer{Err: errors.New("gone")}, "500", "error"},
		{"an error with a status", `,"failure_mode_deny":true,"status_on_error":{"code":503}`, ratelimit.Answer{Err: errors.New("gone")}, "503", "error"},
		{"an error that refuses none", `,"failure_mode_deny":true,"failure_mode_deny_percent":{"default_value":{"numerator":0}}`, ratelimit.Answer{Err: errors.New("gone")}, "200", "failure_mode_allowed"},
	}
	for _, tt := range tests {
		for _, later := range []bool{false, true} {
			s := &service{answer: tt.answer, later: later}
			r := rig(t, s, `{"timeout":"10s",`+local+tt.config+`,`+byUser+`}`)
			res := r.Run(streamtest.Request{Header: []string{"x-user: ann"}}, streamtest.Upstream{})
			got := []string{fmt.Sprint(res.Status)}
			for _, name := range []string{"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after", "x-why", "x-envoy-ratelimited"} {
				if v := res.Header.Get(name); v != "" {
					got = append(got, name+"="+v)
				}
			}
			if res.Status != 200 && res.Body != "" {
				got = append(got, res.Body)
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("%s, later %v: %s, want %s", tt.name, later, text, tt.want)
			}
			if tt.stat != "" && r.Counter("cluster.backend.ratelimit."+tt.stat) != 1 {
				t.Errorf("%s: %s is not counted", tt.name, tt.stat)
			}
		}
	}
}

func TestGRPC(t *testing.T) {
	for config, want := range map[string]string{"": "14", `,"rate_limited_as_resource_exhausted":true`: "8"} {
		r := rig(t, &service{answer: ratelimit.Answer{Over: true}}, `{`+local+config+`,`+byUser+`}`)
		res := r.Run(streamtest.Request{Header: []string{"x-user: ann", "content-type: application/grpc"}}, streamtest.Upstream{})
		if got := res.Header.Get("grpc-status"); res.Status != 200 || got != want {
			t.Errorf("%s: %d with grpc-status %s, want %s", config, res.Status, got, want)
		}
	}
}

// TestAdds: what the service adds to the request and to metadata is added.
func TestAdds(t *testing.T) {
	s := &service{answer: ratelimit.Answer{
		RequestHeaders: []ratelimit.Field{{Name: "X-Plan", Value: "free"}}, ResponseHeaders: []ratelimit.Field{{Name: "x-quota", Value: "9"}},
		Metadata: map[string]any{"a": "b"},
	}}
	for config, namespace := range map[string]string{"": Name, `,"metadata_namespace":"limits"`: "limits"} {
		r := rig(t, s, `{`+local+config+`,`+byUser+`}`)
		res := r.Run(streamtest.Request{Header: []string{"x-user: ann"}}, streamtest.Upstream{})
		if got := res.Upstream.Header.Get("x-plan"); got != "free" {
			t.Errorf("the host got x-plan %q", got)
		}
		if got := res.Header.Get("x-quota"); got != "9" {
			t.Errorf("the client got x-quota %q", got)
		}
		if got := fmt.Sprint(res.Info.Metadata[namespace]); got != "map[a:b]" {
			t.Errorf("metadata %s", got)
		}
	}
}

// TestAsks: what is asked, by where rate_limits stand.
func TestAsks(t *testing.T) {
	key := func(v string) string { return `{"actions":[{"generic_key":{"descriptor_value":"` + v + `"}}]}` }
	limits := func(v string) string { return `{"rate_limits":[` + key(v) + `]}` }
	tests := []struct {
		name, config string
		route        streamtest.Route
		header       string
		want         string
	}{
		{"the filter's", `,"rate_limits":[` + key("own") + `]`, streamtest.Route{EntryLimits: limits("entry")}, "", "web 0 generic_key=own"},
		{"the route's", "", streamtest.Route{EntryLimits: limits("entry"), HostLimits: limits("host")}, "", "web 0 generic_key=entry"},
		{"both", "", streamtest.Route{EntryLimits: limits("entry"), HostLimits: limits("host"), Entry: `{"vh_rate_limits":"INCLUDE"}`}, "", "web 0 generic_key=entry; generic_key=host"},
		{"the host's, ignored", "", streamtest.Route{HostLimits: limits("host"), Entry: `{"vh_rate_limits":"IGNORE"}`}, "", ""},
		{"of the route's configuration", `,"rate_limits":[` + key("own") + `]`, streamtest.Route{EntryLimits: limits("entry"), Entry: `{"domain":"shop","rate_limits":[` + key("special") + `]}`}, "", "shop 0 generic_key=special"},
		{"disabled", `,"rate_limits":[` + key("own") + `]`, streamtest.Route{Entry: streamtest.Disabled}, "", ""},
		{"another stage", `,"stage":1`, streamtest.Route{EntryLimits: limits("entry")}, "", ""},
		{"a key that is off", "", streamtest.Route{EntryLimits: `{"rate_limits":[{"disable_key":"off",` + key("a")[1:] + `,{"disable_key":"on",` + key("b")[1:] + `]}`}, "", "web 0 generic_key=b"},
		{"a direct response", `,"rate_limits":[` + key("own") + `]`, streamtest.Route{Direct: 200}, "", ""},
		{"not internal", `,"request_type":"internal","rate_limits":[` + key("own") + `]`, streamtest.Route{}, "", ""},
		{"external", `,"request_type":"external","rate_limits":[` + key("own") + `]`, streamtest.Route{}, "", "web 0 generic_key=own"},
		{"at the end, too", "", streamtest.Route{EntryLimits: `{"rate_limits":[` + key("a") + `,{"apply_on_stream_done":true,"hits_addend":{"format":"%RESP(x-cost)%"},` + key("b")[1:] + `]}`}, "", "web 0 generic_key=a | web 0 generic_key=b,hits 42"},
	}
	for _, tt := range tests {
		s := &service{}
		r := rig(t, s, `{`+local+tt.config+`}`)
		tt.route.Filter = Extension()
		r.Route(tt.route)
		r.SetRuntime(map[string]string{"ratelimit.off.http_filter_enabled": "0"})
		r.Run(streamtest.Request{}, streamtest.Upstream{Header: []string{"x-cost: 42"}})
		r.Run(streamtest.Request{Path: "/after"}, streamtest.Upstream{Header: []string{"x-cost: 42"}}) // What counts at the end was asked by then.
		asked := s.wait(t)
		if got := strings.Join(asked[:len(asked)/2], " | "); got != tt.want && !strings.HasPrefix(strings.Join(asked, " | "), tt.want) || tt.want == "" && len(asked) > 0 {
			t.Errorf("%s: %q, want %q twice", tt.name, asked, tt.want)
		}
	}
}

// TestTimeout: who does not answer in time is not waited for.
func TestTimeout(t *testing.T) {
	r := rig(t, &service{never: true}, `{`+local+`,"timeout":"0.001s","failure_mode_deny":true,`+byUser+`}`)
	for range 3 {
		if res := r.Run(streamtest.Request{Header: []string{"x-user: ann"}}, streamtest.Upstream{}); res.Status != 500 {
			t.Errorf("status %d", res.Status)
		}
	}
	if n := r.Counter("cluster.backend.ratelimit.error"); n != 3 {
		t.Errorf("%d errors", n)
	}
}

// TestHitsState: filter state says what a request counts for.
func TestHitsState(t *testing.T) {
	info := &streaminfo.Stream{FilterState: streaminfo.FilterState{hitsState: {Text: "5"}}}
	if n := hits(info); n != 5 {
		t.Errorf("%d hits", n)
	}
}

func TestRefused(t *testing.T) {
	for config, want := range map[string]string{
		`{"rate_limit_service":{}}`: "Domain",
		`{"domain":"web"}`:          "RateLimitService: value is required",
		`{"domain":"web","rate_limit_service":{"grpc_service":{"google_grpc":{"target_uri":"x","stat_prefix":"y"}}}}`:                        "google_grpc",
		`{"domain":"web","timeout":"-1s","rate_limit_service":{"grpc_service":{"envoy_grpc":{"cluster_name":"weir.limiter"}}}}`:              "timeout: -1s is negative",
		`{"domain":"web","rate_limit_service":{"transport_api_version":"V2","grpc_service":{"envoy_grpc":{"cluster_name":"weir.limiter"}}}}`: "V2 is no more: use V3",
		`{"domain":"web","rate_limit_service":{"grpc_service":{"envoy_grpc":{"cluster_name":"nowhere"}}}}`:                                   `there is no cluster "nowhere"`,
		`{` + local + `,"rate_limits":[{"stage":1,"actions":[{"remote_address":{}}]}]}`:                                                      "rate_limits[0].stage: has no meaning here",
		`{` + local + `,"request_type":"some"}`: "RequestType",
	} {
		r := streamtest.New(t)
		r.Services.Limiter = &service{}
		r.Services.HasCluster = func(name string) bool { return name == "backend" }
		if _, err := r.Compile(Extension(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", config, err, want)
		}
	}
	r := streamtest.New(t)
	if _, err := r.Compile(Extension(), `{`+local+`}`); err == nil || !strings.Contains(err.Error(), "is the limiter of this process, which has none") {
		t.Errorf("without a limiter: %v", err)
	}
}

// TestAllocations: a request that is let pass costs none.
func TestAllocations(t *testing.T) {
	r := streamtest.New(t)
	r.Services.Limiter = &silent{}
	r.Add(Extension(), `{`+local+`,"enable_x_ratelimit_headers":"DRAFT_VERSION_03",`+byUser+`}`)
	if n := r.Allocs(streamtest.Request{Header: []string{"x-user: ann"}}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// silent answers without a note.
type silent struct{}

func (*silent) Limit(q *ratelimit.Question, _ func()) bool {
	q.Statuses = append(q.Statuses[:0], under)
	return true
}
