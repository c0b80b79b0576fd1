// SPDX-License-Identifier: Apache-2.0

package match

import (
	"net/netip"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

func parse[M proto.Message](t testing.TB, m M, js string) M {
	t.Helper()
	if err := protojson.Unmarshal([]byte(js), m); err != nil {
		t.Fatalf("parse %s: %v", js, err)
	}
	return m
}

func headers(lines ...string) *header.Map {
	h := &header.Map{}
	for _, l := range lines {
		k, v, _ := strings.Cut(l, ": ")
		h.Add(header.NewName(k), v)
	}
	return h
}

func TestString(t *testing.T) {
	tests := []struct {
		json        string
		take, leave []string
	}{
		{`{"exact":"aB"}`, []string{"aB"}, []string{"ab", "aBc", ""}},
		{`{"exact":"aB","ignore_case":true}`, []string{"ab", "AB"}, []string{"abc"}},
		{`{"exact":""}`, []string{""}, []string{"a"}},
		{`{"prefix":"a"}`, []string{"a", "ab"}, []string{"A", ""}},
		{`{"prefix":"aB","ignore_case":true}`, []string{"AbC"}, []string{"a"}},
		{`{"suffix":"b"}`, []string{"b", "ab"}, []string{"ba", ""}},
		{`{"suffix":"aB","ignore_case":true}`, []string{"xAb"}, []string{"b"}},
		{`{"contains":"b"}`, []string{"abc"}, []string{"ac"}},
		{`{"contains":"Bc","ignore_case":true}`, []string{"aBCd", "bc"}, []string{"b"}},
		{`{"safe_regex":{"regex":"a|b"}}`, []string{"a", "b"}, []string{"ab", "xa"}},
		{`{"safe_regex":{"regex":"(?i)a.c"}}`, []string{"ABC"}, []string{"a\nc"}},
		{`{"safe_regex":{"google_re2":{},"regex":"^a$"}}`, []string{"a"}, []string{"a\n"}},
	}
	for _, tt := range tests {
		m, err := CompileString(parse(t, &matcherv3.StringMatcher{}, tt.json))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range tt.take {
			if !m.Match(s) || !m.MatchBytes([]byte(s)) {
				t.Errorf("%s leaves %q", tt.json, s)
			}
		}
		for _, s := range tt.leave {
			if m.Match(s) {
				t.Errorf("%s takes %q", tt.json, s)
			}
		}
	}
	for _, js := range []string{`{}`, `{"safe_regex":{"regex":"a)|(b"}}`, `{"safe_regex":{"regex":"(?=a)"}}`,
		`{"safe_regex":{"google_re2":{"max_program_size":5},"regex":"abcdefgh|xyz|uvw"}}`,
		`{"custom":{"name":"x"}}`} {
		if _, err := CompileString(parse(t, &matcherv3.StringMatcher{}, js)); err == nil {
			t.Errorf("%s was compiled", js)
		}
	}
}

func TestRegexPrefix(t *testing.T) {
	for expr, want := range map[string]string{"/a/b.*": "/a/b", "^/a": "/a", "(/a)b": "/a", "/a|/b": "/", "(?i)/a": "", ".*": "", "a?": "", "/x+": "/"} {
		re, err := NewRegex(expr, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := re.LiteralPrefix(); got != want {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}

func FuzzRegex(f *testing.F) {
	f.Add("/a(b|c)*", "/abc")
	f.Add("a)|(b", "a")
	f.Fuzz(func(t *testing.T, expr, s string) {
		re, err := NewRegex(expr, 0)
		if err == nil && re.Match(s) && !strings.HasPrefix(s, re.LiteralPrefix()) {
			t.Fatalf("%q matches %q, which does not begin with %q", expr, s, re.LiteralPrefix())
		}
	})
}

func TestRewrite(t *testing.T) {
	tests := []struct{ expr, sub, in, want string }{
		{"^/service/([^/]+)(/.*)$", `\2/instance/\1`, "/service/foo/v1/api", "/v1/api/instance/foo"},
		{"one", "two", "one one", "two two"},
		{"^(.*?)one(.*)$", `\1two\2`, "/x/one/y/one", "/x/two/y/one"},
		{"a", `\\`, "bab", `b\b`},
		{"(a)|(b)", `<\2>`, "ab", "<><b>"},
		{"a", `[\0]`, "bab", "b[a]b"},
		{"x*", "-", "ab", "-a-b-"},
	}
	for _, tt := range tests {
		w, err := NewRewrite(tt.expr, tt.sub, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(w.Append([]byte("p:"), tt.in)); got != "p:"+tt.want {
			t.Errorf("%s → %s of %s: %s, want %s", tt.expr, tt.sub, tt.in, got, tt.want)
		}
	}
	for _, sub := range []string{`\1`, `\`, `\x`} {
		if _, err := NewRewrite("a", sub, 0); err == nil {
			t.Errorf("substitution %s was taken", sub)
		}
	}
}

func TestHeader(t *testing.T) {
	tests := []struct {
		json  string
		lines []string
		want  bool
	}{
		{`{"name":"X"}`, []string{"x: 1"}, true},
		{`{"name":"x"}`, nil, false},
		{`{"name":"x","present_match":true}`, []string{"x: "}, true},
		{`{"name":"x","present_match":false}`, nil, true},
		{`{"name":"x","present_match":false}`, []string{"x: 1"}, false},
		{`{"name":"x","present_match":true,"invert_match":true}`, nil, true},
		{`{"name":"x","present_match":false,"invert_match":true}`, nil, false},
		{`{"name":"x","exact_match":"a"}`, []string{"x: a"}, true},
		{`{"name":"x","exact_match":"a","invert_match":true}`, []string{"x: b"}, true},
		{`{"name":"x","exact_match":"a","invert_match":true}`, nil, false},
		{`{"name":"x","exact_match":"a","invert_match":true,"treat_missing_header_as_empty":true}`, nil, true},
		{`{"name":"x","string_match":{"safe_regex":{"regex":"^$"}},"treat_missing_header_as_empty":true}`, nil, true},
		{`{"name":"x","range_match":{"start":"0","end":"10"},"invert_match":true,"treat_missing_header_as_empty":true}`, nil, true},
		{`{"name":"x","exact_match":"a,b"}`, []string{"x: a", "x: b"}, true},
		{`{"name":"x","exact_match":"b"}`, []string{"x: a", "x: b"}, false},
		{`{"name":"x","safe_regex_match":{"regex":"a,b"}}`, []string{"x: a", "x: b"}, true},
		{`{"name":"x","range_match":{"start":"-10","end":"0"}}`, []string{"x: -1"}, true},
		{`{"name":"x","range_match":{"start":"-10","end":"0"}}`, []string{"x: 0"}, false},
		{`{"name":"x","range_match":{"start":"-10","end":"0"}}`, []string{"x: -1somestring"}, false},
		{`{"name":"x","prefix_match":"a"}`, []string{"x: ab"}, true},
		{`{"name":"x","suffix_match":"b"}`, []string{"x: ab"}, true},
		{`{"name":"x","contains_match":"b"}`, []string{"x: abc"}, true},
		{`{"name":"x","string_match":{"exact":"AB","ignore_case":true}}`, []string{"x: ab"}, true},
	}
	for _, tt := range tests {
		m, err := CompileHeader(parse(t, &routev3.HeaderMatcher{}, tt.json))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Match(headers(tt.lines...)); got != tt.want {
			t.Errorf("%s of %v: %v", tt.json, tt.lines, got)
		}
	}
	m, err := CompileHeader(parse(t, &routev3.HeaderMatcher{}, `{"name":"x","exact_match":"b"}`))
	if err != nil {
		t.Fatal(err)
	}
	if h := headers("x: a", "x: b"); !m.MatchEach(h) || m.MatchEach(headers("x: a", "x: c")) {
		t.Error("MatchEach does not ask each value")
	}
}

func TestQueryValue(t *testing.T) {
	tests := []struct {
		path, name, want string
		ok               bool
	}{
		{"/?a=1&b=2", "b", "2", true}, {"/?a", "a", "", true}, {"/?a=1#f", "a", "1", true}, {"/?a=1&a=2", "a", "1", true},
		{"/a=1", "a", "", false}, {"/?aa=1", "a", "", false}, {"/#?a=1", "b", "", false}, {"/?&&a==", "a", "=", true}, {"/?", "", "", false},
	}
	for _, tt := range tests {
		if got, ok := QueryValue(tt.path, tt.name); got != tt.want || ok != tt.ok {
			t.Errorf("%s of %s: %q %v", tt.name, tt.path, got, ok)
		}
	}
}

func TestCookieValue(t *testing.T) {
	h := headers("cookie: a=1; b=\"2\"", "x: y", "cookie: c=3;d; e = 5")
	for name, want := range map[string]string{"a": "1", "b": "2", "c": "3"} {
		if got, ok := CookieValue(h, name); got != want || !ok {
			t.Errorf("%s: %q %v", name, got, ok)
		}
	}
	for _, name := range []string{"d", "x", ""} {
		if _, ok := CookieValue(h, name); ok {
			t.Errorf("%s was found", name)
		}
	}
}

func TestMetadata(t *testing.T) {
	md := streaminfo.Metadata{"f": {"s": "v", "n": 5.0, "b": true, "z": nil, "l": []any{"x", 2.0}, "o": map[string]any{"k": "w"}}}
	tests := []struct {
		path  string
		value string
		want  bool
	}{
		{`s`, `{"string_match":{"exact":"v"}}`, true}, {`s`, `{"double_match":{"exact":1}}`, false},
		{`n`, `{"double_match":{"range":{"start":5,"end":6}}}`, true}, {`n`, `{"double_match":{"range":{"start":4,"end":5}}}`, false},
		{`n`, `{"double_match":{"exact":5}}`, true}, {`b`, `{"bool_match":true}`, true}, {`b`, `{"bool_match":false}`, false},
		{`z`, `{"null_match":{}}`, true}, {`none`, `{"null_match":{}}`, false}, {`none`, `{"present_match":true}`, false},
		{`none`, `{"present_match":false}`, true}, {`l`, `{"list_match":{"one_of":{"string_match":{"exact":"x"}}}}`, true},
		{`l`, `{"list_match":{"one_of":{"double_match":{"exact":3}}}}`, false}, {`l`, `{"string_match":{"exact":"x"}}`, false},
		{`s`, `{"or_match":{"value_matchers":[{"bool_match":true},{"string_match":{"prefix":"v"}}]}}`, true},
		{`o"},{"key":"k`, `{"string_match":{"exact":"w"}}`, true}, {`s"},{"key":"k`, `{"present_match":true}`, false},
	}
	for _, tt := range tests {
		for _, invert := range []string{"false", "true"} {
			m, err := CompileMetadata(parse(t, &matcherv3.MetadataMatcher{}, `{"filter":"f","path":[{"key":"`+tt.path+`"}],"value":`+tt.value+`,"invert":`+invert+`}`))
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Match(md); got != (tt.want != (invert == "true")) {
				t.Errorf("%s %s inverted %s: %v", tt.path, tt.value, invert, got)
			}
		}
	}
	deep := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_BoolMatch{}}
	for range 200 {
		deep = &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{ListMatch: &matcherv3.ListMatcher{MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: deep}}}}
	}
	if _, err := CompileValue(deep); err == nil {
		t.Error("a deep matcher was compiled")
	}
}

func TestFilterState(t *testing.T) {
	fs := streaminfo.FilterState{"s": {Text: "v"}, "ip": {Text: "10.1.2.3"}, "addr": {Value: netip.MustParseAddr("10.1.2.4")}}
	tests := []struct {
		json string
		want bool
	}{
		{`{"key":"s","string_match":{"exact":"v"}}`, true}, {`{"key":"none","string_match":{"prefix":"v"}}`, false},
		{`{"key":"ip","address_match":{"ranges":[{"address_prefix":"10.0.0.0","prefix_len":8}]}}`, true},
		{`{"key":"addr","address_match":{"ranges":[{"address_prefix":"10.0.0.0","prefix_len":8}],"invert_match":true}}`, false},
		{`{"key":"s","address_match":{"ranges":[]}}`, false},
	}
	for _, tt := range tests {
		m, err := CompileFilterState(parse(t, &matcherv3.FilterStateMatcher{}, tt.json))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Match(fs); got != tt.want {
			t.Errorf("%s: %v", tt.json, got)
		}
	}
}

func TestNode(t *testing.T) {
	m, err := CompileNode(parse(t, &matcherv3.NodeMatcher{}, `{"node_id":{"prefix":"n"},"node_metadatas":[{"path":[{"key":"a"},{"key":"b"}],"value":{"bool_match":true}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	md := map[string]any{"a": map[string]any{"b": true}}
	if !m.Match("n1", md) || m.Match("x", md) || m.Match("n1", nil) {
		t.Error("node matcher")
	}
}

func TestFraction(t *testing.T) {
	f := CompileRuntimeFraction(parse(t, &corev3.RuntimeFractionalPercent{}, `{"default_value":{"numerator":5,"denominator":"TEN_THOUSAND"},"runtime_key":"k"}`))
	if !f.Enabled(nil, 10004) || f.Enabled(NoRuntime{}, 10005) {
		t.Error("default")
	}
	if !f.Enabled(allRuntime{}, 10005) {
		t.Error("runtime")
	}
	if (Fraction{N: 100}).Enabled(99) != true || (Fraction{}).Enabled(0) {
		t.Error("fraction of 100")
	}
}

// allRuntime has the fraction of everything under every key.
type allRuntime struct{ NoRuntime }

func (allRuntime) Fraction(string) (Fraction, bool) { return All, true }

func TestXXH64(t *testing.T) {
	// Known values of XXH64 with seed 0.
	for s, want := range map[string]uint64{
		"":    0xef46db3751d8e999,
		"a":   0xd24ec4f1a98c6e5b,
		"abc": 0x44bc2cf5ad770999,
		"Call me Ishmael. Some years ago--never mind how long precisely-": 0x02a2e85470d6fd96,
	} {
		if got := XXH64(s, 0); got != want {
			t.Errorf("%q: %x, want %x", s, got, want)
		}
	}
}
