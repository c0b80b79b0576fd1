// SPDX-License-Identifier: Apache-2.0

package match

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/streaminfo"
)

const (
	netInputs = `envoy.extensions.matching.common_inputs.network.v3.`
	typeOf    = `"@type":"type.googleapis.com/`
)

// input is a data input; input("x") is the request header x.
func input(s string, more ...string) string {
	if !strings.Contains(s, ".") {
		s, more = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", []string{`,"header_name":"` + s + `"`}
	}
	return `"input":{"name":"i","typed_config":{` + typeOf + s + `"` + strings.Join(more, "") + `}}`
}

// do is an OnMatch whose action is called name.
func do(name string) string { return `{"action":{"name":"` + name + `"}}` }

// when is a predicate of a header's exact value.
func when(header, value string) string {
	return `{"single_predicate":{` + input(header) + `,"value_match":{"exact":"` + value + `"}}}`
}

func list(pairs ...string) string {
	var b []string
	for i := 0; i < len(pairs); i += 2 {
		b = append(b, `{"predicate":`+pairs[i]+`,"on_match":`+pairs[i+1]+`}`)
	}
	return `"matcher_list":{"matchers":[` + strings.Join(b, ",") + `]}`
}

func compile(t testing.TB, js string) *Tree[string] {
	t.Helper()
	tree, err := CompileTree(parse(t, &xdsmatcherv3.Matcher{}, "{"+js+"}"), TreeContext[string]{
		Action: func(a ActionConfig) (string, error) { return a.Name(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func data(lines ...string) Data {
	h := headers(lines...)
	c := &streaminfo.Connection{
		ServerName: "a.b.example", TransportProtocol: "tls", ALPNs: []string{"h2", "http/1.1"},
		Local: address.IP(netip.MustParseAddrPort("10.0.0.1:443")), Remote: address.IP(netip.MustParseAddrPort("192.168.1.7:5000")),
		DirectRemote: address.IP(netip.MustParseAddrPort("172.16.0.1:1")),
	}
	return Data{Request: h, Stream: &streaminfo.Stream{Request: h, Conn: c}}
}

func TestTreeLists(t *testing.T) {
	miss := `,"on_no_match":` + do("miss")
	notX := `{"not_matcher":` + when("x", "1") + `}`
	tests := []struct {
		name, json string
		lines      []string
		want       string
	}{
		{"first entry", list(when("x", "1"), do("a"), when("x", "1"), do("b")), []string{"x: 1"}, "a"},
		{"second entry", list(when("x", "1"), do("a"), when("y", "1"), do("b")), []string{"y: 1"}, "b"},
		{"no match", list(when("x", "1"), do("a")), nil, "1"},
		{"on no match", list(when("x", "1"), do("a")) + miss, nil, "miss"},
		{"empty matcher", `"on_no_match":` + do("miss"), nil, "miss"},
		{"and", list(`{"and_matcher":{"predicate":[`+when("x", "1")+`,`+when("y", "1")+`]}}`, do("a")) + miss, []string{"x: 1"}, "miss"},
		{"or", list(`{"or_matcher":{"predicate":[`+when("x", "1")+`,`+when("y", "1")+`]}}`, do("a")) + miss, []string{"y: 1"}, "a"},
		{"not", list(notX, do("a")) + miss, []string{"x: 2"}, "a"},
		{"not a missing header", list(notX, do("a")) + miss, nil, "a"},
		{"nested", list(when("x", "1"), `{"matcher":{`+list(when("y", "1"), do("a"))+`}}`, when("x", "1"), do("b")), []string{"x: 1", "y: 1"}, "a"},
		{"nested without match goes on", list(when("x", "1"), `{"matcher":{`+list(when("y", "1"), do("a"))+`}}`, when("x", "1"), do("b")), []string{"x: 1"}, "b"},
		{"joined values", list(when("x", "1,2"), do("a")), []string{"x: 1", "x: 2"}, "a"},
		{"response is not there yet", list(`{"single_predicate":{`+input("envoy.type.matcher.v3.HttpResponseHeaderMatchInput", `,"header_name":"x"`)+`,"value_match":{"exact":"1"}}}`, do("a")) + miss, nil, "2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, compile(t, tt.json), data(tt.lines...), tt.want) })
	}
}

// check compares the action, or the number of the result if there is none.
func check(t *testing.T, tree *Tree[string], d Data, want string) {
	t.Helper()
	got, res := tree.Match(d)
	if res != Matched {
		got = fmt.Sprint(uint8(res))
	}
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func lookupJSON(in, kind string, pairs ...string) string {
	var b []string
	for i := 0; i < len(pairs); i += 2 {
		b = append(b, `"`+pairs[i]+`":`+pairs[i+1])
	}
	return `"matcher_tree":{` + in + `,"` + kind + `":{"map":{` + strings.Join(b, ",") + `}}},"on_no_match":` + do("miss")
}

func custom(in, typ, body string) string {
	return `"matcher_tree":{` + in + `,"custom_match":{"name":"m","typed_config":{` + typeOf + `xds.type.matcher.v3.` + typ + `",` + body + `}}},"on_no_match":` + do("miss")
}

func cidr(s string) string {
	p := netip.MustParsePrefix(s)
	return fmt.Sprintf(`{"address_prefix":"%s","prefix_len":%d}`, p.Addr(), p.Bits())
}

func TestTreeLookups(t *testing.T) {
	deeper := `{"matcher":{` + list(when("y", "1"), do("deep")) + `}}`
	tests := []struct {
		name, json string
		lines      []string
		want       string
	}{
		{"exact", lookupJSON(input("x"), "exact_match_map", "1", do("a"), "2", do("b")), []string{"x: 2"}, "b"},
		{"exact missing", lookupJSON(input("x"), "exact_match_map", "1", do("a")), nil, "miss"},
		{"longest prefix", lookupJSON(input("x"), "prefix_match_map", "/", do("a"), "/ab", do("b")), []string{"x: /abc"}, "b"},
		{"shorter prefix", lookupJSON(input("x"), "prefix_match_map", "/", do("a"), "/ab", deeper), []string{"x: /abc"}, "a"},
		{"port", lookupJSON(input(netInputs+"DestinationPortInput"), "exact_match_map", "443", do("a")), nil, "a"},
		{"source port", lookupJSON(input(netInputs+"SourcePortInput"), "exact_match_map", "5000", do("a")), nil, "a"},
		{"transport", lookupJSON(input(netInputs+"TransportProtocolInput"), "exact_match_map", "tls", do("a")), nil, "a"},
		{"alpn", lookupJSON(input(netInputs+"ApplicationProtocolInput"), "prefix_match_map", "'h2'", do("a")), nil, "a"},
		{"direct source", lookupJSON(input(netInputs+"DirectSourceIPInput"), "exact_match_map", "172.16.0.1", do("a")), nil, "a"},
		{"source type", lookupJSON(input(netInputs+"SourceTypeInput"), "exact_match_map", "local", do("a")), nil, "miss"},
		{"ip, longest", custom(input(netInputs+"SourceIPInput"), "IPMatcher", `"range_matchers":[{"ranges":[`+cidr("192.168.0.0/16")+`],"on_match":`+do("a")+`},{"ranges":[`+cidr("192.168.1.0/24")+`],"on_match":`+do("b")+`}]`), nil, "b"},
		{"ip, falls back", custom(input(netInputs+"SourceIPInput"), "IPMatcher", `"range_matchers":[{"ranges":[`+cidr("192.168.0.0/16")+`],"on_match":`+do("a")+`},{"ranges":[`+cidr("192.168.1.0/24")+`],"on_match":`+deeper+`}]`), nil, "a"},
		{"ip, exclusive", custom(input(netInputs+"SourceIPInput"), "IPMatcher", `"range_matchers":[{"ranges":[`+cidr("192.168.0.0/16")+`],"on_match":`+do("a")+`},{"exclusive":true,"ranges":[`+cidr("192.168.1.0/24")+`],"on_match":`+deeper+`}]`), nil, "miss"},
		{"name, exact", custom(input(netInputs+"ServerNameInput"), "ServerNameMatcher", `"domain_matchers":[{"domains":["*.example"],"on_match":`+do("a")+`},{"domains":["A.b.example"],"on_match":`+do("b")+`}]`), nil, "b"},
		{"name, longest wildcard", custom(input(netInputs+"ServerNameInput"), "ServerNameMatcher", `"domain_matchers":[{"domains":["*","*.example"],"on_match":`+do("a")+`},{"domains":["*.b.example"],"on_match":`+do("b")+`}]`), nil, "b"},
		{"name, any", custom(input(netInputs+"ServerNameInput"), "ServerNameMatcher", `"domain_matchers":[{"domains":["*"],"on_match":`+do("a")+`}]`), nil, "a"},
		{"range", custom(input(netInputs+"DestinationPortInput"), "Int32RangeMatcher", `"range_matchers":[{"ranges":[{"start":1,"end":443}],"on_match":`+do("a")+`},{"ranges":[{"start":443,"end":444}],"on_match":`+do("b")+`}]`), nil, "b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, compile(t, tt.json), data(tt.lines...), tt.want) })
	}
}

func TestTreeInputs(t *testing.T) {
	single := func(in, matcher string) string {
		return list(`{"single_predicate":{`+in+`,`+matcher+`}}`, do("a"))
	}
	customMatch := func(typ, body string) string {
		return `"custom_match":{"name":"m","typed_config":{` + typeOf + `envoy.extensions.matching.input_matchers.` + typ + `",` + body + `}}`
	}
	exact := func(v string) string { return `"value_match":{"exact":"` + v + `"}` }
	d := data(":path: /?q=7", "x: 1")
	d.Stream.Status = 404
	d.Stream.Metadata = streaminfo.Metadata{"f": {"k": "v"}}
	d.Stream.FilterState = streaminfo.FilterState{"s": {Text: "t"}}
	tests := []struct{ name, json, want string }{
		{"query", single(input("envoy.type.matcher.v3.HttpRequestQueryParamMatchInput", `,"query_param":"q"`), exact("7")), "a"},
		{"status", single(input("envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput"), exact("404")), "a"},
		{"status class", single(input("envoy.type.matcher.v3.HttpResponseStatusCodeClassMatchInput"), exact("4xx")), "a"},
		{"filter state", single(input(netInputs+"FilterStateInput", `,"key":"s"`), exact("t")), "a"},
		{"metadata", single(input(netInputs+"DynamicMetadataInput", `,"filter":"f","path":[{"key":"k"}]`), customMatch("metadata.v3.Metadata", `"value":{"string_match":{"exact":"v"}}`)), "a"},
		{"metadata as text", single(input(netInputs+"DynamicMetadataInput", `,"filter":"f","path":[{"key":"k"}]`), exact("v")), "a"},
		{"ip", single(input(netInputs+"SourceIPInput"), customMatch("ip.v3.Ip", `"stat_prefix":"s","cidr_ranges":[`+cidr("192.168.0.0/16")+`]`)), "a"},
		{"ip as text", single(input(netInputs+"SourceIPInput"), `"value_match":{"prefix":"192.168."}`), "a"},
		{"ip by regex", single(input(netInputs+"SourceIPInput"), `"value_match":{"safe_regex":{"google_re2":{},"regex":"192.*"}}`), "a"},
		{"hash", single(input("x"), customMatch("consistent_hashing.v3.ConsistentHashing", `"threshold":0,"modulo":10`)), "a"},
		{"fraction", single(input("x"), customMatch("runtime_fraction.v3.RuntimeFraction", `"runtime_fraction":{"default_value":{"numerator":0}}`)), "1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, compile(t, tt.json), d, tt.want) })
	}
}

func TestTreeProblems(t *testing.T) {
	for _, js := range []string{
		list(when("x", "1"), `{}`),
		list(`{}`, do("a")),
		list(when("x", "1"), `{"keep_matching":true,"action":{"name":"a"}}`),
		`"matcher_tree":{` + input("x") + `}`,
		`"matcher_tree":{` + input("xds.type.matcher.v3.HttpAttributesCelMatchInput") + `,"exact_match_map":{"map":{"a":` + do("a") + `}}}`,
		custom(input(netInputs+"SourceIPInput"), "IPMatcher", `"range_matchers":[{"ranges":[{"address_prefix":"x"}],"on_match":`+do("a")+`}]`),
		custom(input(netInputs+"ServerNameInput"), "ServerNameMatcher", `"domain_matchers":[{"domains":["a","A"],"on_match":`+do("a")+`}]`),
		strings.Repeat(`"on_no_match":{"matcher":{`, 100) + `"on_no_match":` + do("a") + strings.Repeat(`}}`, 100),
	} {
		_, err := CompileTree(parse(t, &xdsmatcherv3.Matcher{}, "{"+js+"}"), TreeContext[string]{
			Action: func(a ActionConfig) (string, error) { return a.Name(), nil },
		})
		if err == nil {
			t.Errorf("%s was compiled", js)
		}
	}
}
