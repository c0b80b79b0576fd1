// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"errors"
	"strings"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	dataaccesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

type runtime map[string]uint64

func (r runtime) Uint(key string, fallback uint64) uint64 {
	if v, ok := r[key]; ok {
		return v
	}
	return fallback
}

func (r runtime) Enabled(key string, numerator, denominator uint32, random uint64) bool {
	return random%uint64(denominator) < r.Uint(key, uint64(numerator))
}

type counter uint64

func (c *counter) Add(n uint64) { *c += counter(n) }

func testContext() *Context {
	now := func() time.Time { return time.Unix(1000, 0) }
	return &Context{
		Now: now,
		CompileHeader: func(m *routev3.HeaderMatcher) (func(*header.Map) bool, error) {
			n := header.NewName(m.GetName())
			if n.IsZero() {
				return nil, errors.New("name: the field is required")
			}
			return func(h *header.Map) bool { return h.Has(n) != m.GetInvertMatch() }, nil
		},
		CompileValue: func(m *matcherv3.ValueMatcher) (func(any, bool) bool, error) {
			return func(v any, ok bool) bool { return ok && v == m.GetStringMatch().GetExact() }, nil
		},
		Runtime: runtime{"low": 300, "share": 100},
		Random:  func() uint64 { return 7 },
		Extensions: map[string]func(*anypb.Any) (Filter, error){
			string((&celv3.ExpressionFilter{}).ProtoReflect().Descriptor().FullName()): func(a *anypb.Any) (Filter, error) {
				m := &celv3.ExpressionFilter{}
				if err := a.UnmarshalTo(m); err != nil {
					return nil, err
				}
				return func(s *streaminfo.Stream, _ Type) bool { return s.RouteName == m.GetExpression() }, nil
			},
		},
		TokenBucket: func(name string, _ *corev3.ConfigSource) (*Bucket, error) {
			if name != "b" {
				return nil, errors.New("no such resource")
			}
			return NewBucket(1, 1, time.Second, now)
		},
	}
}

func parse(t *testing.T, in string) *accesslogv3.AccessLogFilter {
	t.Helper()
	m := &accesslogv3.AccessLogFilter{}
	if err := protojson.Unmarshal([]byte(in), m); err != nil {
		t.Fatalf("%s: %v", in, err)
	}
	return m
}

func TestFilters(t *testing.T) {
	req := func(fields ...string) *header.Map {
		m := &header.Map{}
		for i := 0; i < len(fields); i += 2 {
			m.Add(header.NewName(fields[i]), fields[i+1])
		}
		return m
	}
	none := &streaminfo.Stream{}
	const status = `{"status_code_filter": {"comparison": {"op": "%s", "value": {"default_value": 500, "runtime_key": "%k"}}}}`
	code := func(op, key string) string { return strings.NewReplacer("%s", op, "%k", key).Replace(status) }
	tests := []struct {
		in   string
		info *streaminfo.Stream
		typ  Type
		want bool
	}{
		{code("GE", ""), &streaminfo.Stream{Status: 500}, 0, true},
		{code("GE", ""), &streaminfo.Stream{Status: 499}, 0, false},
		{code("GE", "low"), &streaminfo.Stream{Status: 300}, 0, true},
		{code("LE", ""), none, 0, true},
		{code("EQ", "other"), &streaminfo.Stream{Status: 501}, 0, false},
		{code("NE", ""), &streaminfo.Stream{Status: 501}, 0, true},
		{`{"duration_filter": {"comparison": {"op": "GE", "value": {"default_value": 2000}}}}`, &streaminfo.Stream{Duration: 2 * time.Second}, 0, true},
		{`{"duration_filter": {"comparison": {"op": "GE", "value": {"default_value": 2000}}}}`, &streaminfo.Stream{Start: time.Unix(999, 0)}, 0, false},
		{`{"duration_filter": {"comparison": {"op": "EQ", "value": {"default_value": 1000}}}}`, &streaminfo.Stream{Start: time.Unix(999, 0)}, 0, true},
		{`{"not_health_check_filter": {}}`, none, 0, true},
		{`{"not_health_check_filter": {}}`, &streaminfo.Stream{HealthCheck: true}, 0, false},
		{`{"traceable_filter": {}}`, none, 0, false},
		{`{"traceable_filter": {}}`, &streaminfo.Stream{TraceForced: true}, 0, true},
		// 0x0a of 100 is above 8; without an id the random 7 is below.
		{`{"runtime_filter": {"runtime_key": "x", "percent_sampled": {"numerator": 8}}}`, &streaminfo.Stream{Request: req("x-request-id", "0000000a-1")}, 0, false},
		{`{"runtime_filter": {"runtime_key": "x", "percent_sampled": {"numerator": 8}}}`, &streaminfo.Stream{Request: req("x-request-id", "no")}, 0, true},
		{`{"runtime_filter": {"runtime_key": "x", "percent_sampled": {"numerator": 8}, "use_independent_randomness": true}}`, &streaminfo.Stream{Request: req("x-request-id", "0000000a-1")}, 0, true},
		{`{"runtime_filter": {"runtime_key": "share", "percent_sampled": {"numerator": 0, "denominator": "TEN_THOUSAND"}}}`, &streaminfo.Stream{Request: req("x-request-id", "00000063")}, 0, true},
		{`{"and_filter": {"filters": [{"not_health_check_filter": {}}, {"traceable_filter": {}}]}}`, none, 0, false},
		{`{"or_filter": {"filters": [{"not_health_check_filter": {}}, {"traceable_filter": {}}]}}`, none, 0, true},
		{`{"or_filter": {"filters": [{"traceable_filter": {}}, {"traceable_filter": {}}]}}`, none, 0, false},
		{`{"header_filter": {"header": {"name": "a", "present_match": true}}}`, &streaminfo.Stream{Request: req("a", "")}, 0, true},
		{`{"header_filter": {"header": {"name": "a", "present_match": true, "invert_match": true}}}`, none, 0, true},
		{`{"response_flag_filter": {}}`, none, 0, false},
		{`{"response_flag_filter": {}}`, &streaminfo.Stream{Flags: streaminfo.NoRouteFound}, 0, true},
		{`{"response_flag_filter": {"flags": ["UF", "URX"]}}`, &streaminfo.Stream{Flags: streaminfo.UpstreamRetryLimitExceeded}, 0, true},
		{`{"response_flag_filter": {"flags": ["UF"]}}`, &streaminfo.Stream{Flags: streaminfo.NoRouteFound}, 0, false},
		{`{"grpc_status_filter": {"statuses": ["UNKNOWN"]}}`, none, 0, true},
		{`{"grpc_status_filter": {"statuses": ["NOT_FOUND"]}}`, &streaminfo.Stream{ResponseTrailer: req("grpc-status", "5")}, 0, true},
		{`{"grpc_status_filter": {"statuses": ["NOT_FOUND"], "exclude": true}}`, &streaminfo.Stream{ResponseTrailer: req("grpc-status", "5")}, 0, false},
		{`{"grpc_status_filter": {"statuses": ["OK"], "exclude": true}}`, &streaminfo.Stream{ResponseTrailer: req("grpc-status", "99")}, 0, true},
		{`{"metadata_filter": {"matcher": {"filter": "ns", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}}}}`, none, 0, true},
		{`{"metadata_filter": {"matcher": {"filter": "ns", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}}, "match_if_key_not_found": false}}`, none, 0, false},
		{`{"metadata_filter": {"matcher": {"filter": "ns", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}}}}`,
			&streaminfo.Stream{Metadata: streaminfo.Metadata{"ns": {"k": "v"}}}, 0, true},
		{`{"metadata_filter": {"matcher": {"filter": "ns", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}}}}`,
			&streaminfo.Stream{Metadata: streaminfo.Metadata{"ns": {"k": nil}}}, 0, false},
		{`{"log_type_filter": {"types": ["DownstreamEnd"]}}`, none, DownstreamEnd, true},
		{`{"log_type_filter": {"types": ["DownstreamEnd"]}}`, none, DownstreamStart, false},
		{`{"log_type_filter": {"types": ["DownstreamEnd"], "exclude": true}}`, none, DownstreamStart, true},
		{`{"extension_filter": {"name": "n", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter", "expression": "e"}}}`,
			&streaminfo.Stream{RouteName: "e"}, 0, true},
	}
	for _, tt := range tests {
		f, err := testContext().Compile(parse(t, tt.in))
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if got := f(tt.info, tt.typ); got != tt.want {
			t.Errorf("%s: got %v", tt.in, got)
		}
	}
}

func TestFilterErrors(t *testing.T) {
	deep := `{"traceable_filter": {}}`
	for range 40 {
		deep = `{"or_filter": {"filters": [{"traceable_filter": {}}, ` + deep + `]}}`
	}
	const ext = `{"extension_filter": {"name": "n", "typed_config": {"@type": "type.googleapis.com/envoy.`
	tests := []struct{ in, want string }{
		{`{}`, "filter_specifier"},
		{deep, "deeper than 32"},
		{`{"status_code_filter": {}}`, "status_code_filter.comparison: the field is required"},
		{`{"status_code_filter": {"comparison": {"op": 9, "value": {}}}}`, "op: 9"},
		{`{"duration_filter": {"comparison": {}}}`, "duration_filter.comparison: value"},
		{`{"runtime_filter": {}}`, "runtime_key"},
		{`{"runtime_filter": {"runtime_key": "k", "percent_sampled": {"denominator": 7}}}`, "denominator: 7"},
		{`{"and_filter": {"filters": [{"traceable_filter": {}}]}}`, "at least 2"},
		{`{"or_filter": {"filters": [{"traceable_filter": {}}, {"header_filter": {"header": {}}}]}}`, "or_filter: filters[1]: header_filter.header: name"},
		{`{"header_filter": {}}`, "required"},
		{`{"response_flag_filter": {"flags": ["UF", "XX"]}}`, `flags: [1]: "XX"`},
		{`{"grpc_status_filter": {"statuses": [77]}}`, "77 is not a gRPC status"},
		{`{"log_type_filter": {"types": [77]}}`, "77 is not an access log type"},
		{`{"metadata_filter": {"matcher": {"path": [{}]}}}`, "path[0].key"},
		{`{"metadata_filter": {"matcher": {"invert": true}}}`, "invert"},
		{`{"extension_filter": {"name": "n"}}`, "typed_config is missing"},
		{ext + `config.accesslog.v3.OrFilter"}}}`, "no access log filter envoy.config.accesslog.v3.OrFilter"},
		{ext + `extensions.access_loggers.filters.process_ratelimit.v3.ProcessRateLimitFilter"}}}`, "dynamic_config: the field is required"},
		{ext + `extensions.access_loggers.filters.process_ratelimit.v3.ProcessRateLimitFilter", "dynamic_config": {"resource_name": "x"}}}}`, "no such resource"},
	}
	for _, tt := range tests {
		if _, err := testContext().Compile(parse(t, tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.200s: got %v, want %q", tt.in, err, tt.want)
		}
	}
	empty := &Context{}
	for _, in := range []string{
		`{"header_filter": {"header": {"name": "a"}}}`, `{"metadata_filter": {"matcher": {"filter": "a"}}}`,
		ext + `extensions.access_loggers.filters.process_ratelimit.v3.ProcessRateLimitFilter", "dynamic_config": {"resource_name": "b"}}}}`,
	} {
		if _, err := empty.Compile(parse(t, in)); err == nil || !strings.Contains(err.Error(), "not available here") {
			t.Errorf("%s: got %v", in, err)
		}
	}
}

func TestProcessRateLimit(t *testing.T) {
	now := time.Unix(0, 0)
	var allowed, denied counter
	c := testContext()
	c.Allowed, c.Denied = &allowed, &denied
	var b *Bucket
	c.TokenBucket = func(string, *corev3.ConfigSource) (_ *Bucket, err error) {
		b, err = NewBucket(2, 1, time.Second, func() time.Time { return now })
		return b, err
	}
	f, err := c.Compile(parse(t, `{"extension_filter": {"name": "n", "typed_config": {
		"@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.process_ratelimit.v3.ProcessRateLimitFilter",
		"dynamic_config": {"resource_name": "b"}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	take := func(want ...bool) {
		t.Helper()
		for i, w := range want {
			if f(&streaminfo.Stream{}, 0) != w {
				t.Errorf("take %d: got %v", i, !w)
			}
		}
	}
	take(true, true, false)
	now = now.Add(1500 * time.Millisecond)
	take(true, false)
	now = now.Add(500 * time.Millisecond)
	take(true, false)
	now = now.Add(time.Hour * 24 * 365 * 200)
	take(true, true, false)
	if err := b.Set(5, 5, time.Second); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	take(true, true, true, true, true, false)
	if allowed != 11 || denied != 5 {
		t.Errorf("%d allowed, %d denied", allowed, denied)
	}
	if _, err := NewBucket(1, 0, time.Second, nil); err == nil {
		t.Error("a bucket that never fills")
	}
}

type sink struct{ got []Type }

func (s *sink) Log(_ int, _ *streaminfo.Stream, typ Type) { s.got = append(s.got, typ) }

func TestLoad(t *testing.T) {
	s := &sink{}
	c := testContext()
	c.Sinks = map[string]func(*anypb.Any) (Sink, error){
		"envoy.config.accesslog.v3.OrFilter": func(*anypb.Any) (Sink, error) { return s, nil },
	}
	load := func(in string) (*Log, error) {
		m := &accesslogv3.AccessLog{}
		if err := protojson.Unmarshal([]byte(in), m); err != nil {
			t.Fatal(err)
		}
		return c.Load(m)
	}
	l, err := load(`{"name": "n", "filter": {"log_type_filter": {"types": ["DownstreamEnd"]}}, "typed_config": {"@type": "type.googleapis.com/envoy.config.accesslog.v3.OrFilter"}}`)
	if err != nil {
		t.Fatal(err)
	}
	l.Log(0, &streaminfo.Stream{}, DownstreamStart)
	l.Log(0, &streaminfo.Stream{}, DownstreamEnd)
	if len(s.got) != 1 || s.got[0] != DownstreamEnd {
		t.Errorf("logged %v", s.got)
	}
	for _, in := range []string{`{"name": "n"}`, `{"typed_config": {"@type": "type.googleapis.com/envoy.config.accesslog.v3.AndFilter"}}`,
		`{"filter": {}, "typed_config": {"@type": "type.googleapis.com/envoy.config.accesslog.v3.OrFilter"}}`} {
		if _, err := load(in); err == nil {
			t.Errorf("%s: no error", in)
		}
	}
}

func TestTypes(t *testing.T) {
	if len(dataaccesslogv3.AccessLogType_name) != numTypes {
		t.Errorf("Envoy has %d types, %d are known here", len(dataaccesslogv3.AccessLogType_name), numTypes)
	}
	for n, name := range dataaccesslogv3.AccessLogType_name {
		if Type(n).String() != name {
			t.Errorf("%d is %s, not %s", n, name, Type(n))
		}
	}
}
