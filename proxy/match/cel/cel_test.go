// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	exprv1 "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/streaminfo"
)

func testData() match.Data {
	h := &header.Map{}
	for _, f := range [][2]string{{":method", "GET"}, {":path", "/a/b?q=1#f"}, {":authority", "h.example"}, {":scheme", "https"}, {"x-user", "ann"}, {"x-list", "1"}, {"x-list", "2"}} {
		h.Add(header.NewName(f[0]), f[1])
	}
	resp := &header.Map{}
	resp.Add(header.GRPCStatus, "5")
	return match.Data{Request: h, Stream: &streaminfo.Stream{
		Start: time.Unix(1e9, 0), Protocol: streaminfo.HTTP2, Status: 404, Response: resp, Attempts: 2,
		RouteName:   "r",
		Metadata:    streaminfo.Metadata{"ns": {"k": map[string]any{"n": 5.0}}},
		FilterState: streaminfo.FilterState{"s": {Text: "v"}},
		Conn: &streaminfo.Connection{
			ID: 7, ServerName: "sni", Remote: address.IP(netip.MustParseAddrPort("10.0.0.1:5")), Local: address.IP(netip.MustParseAddrPort("[::1]:443")),
			TLS: &streaminfo.TLS{Version: "TLSv1.3"},
		},
	}}
}

func compiler(t testing.TB) *Compiler {
	t.Helper()
	c, err := NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMatch(t *testing.T) {
	tests := []struct {
		expr string
		want bool
	}{
		{`request.method == 'GET' && request.host == 'h.example'`, true},
		{`request.path == '/a/b?q=1#f' && request.url_path == '/a/b' && request.query == 'q=1'`, true},
		{`request.headers['x-user'] == 'ann'`, true},
		{`request.headers['x-list'] == '1,2'`, true},
		{`'x-user' in request.headers && !('none' in request.headers)`, true},
		{`has(request.headers.none)`, false},
		{`request.headers['none'] == ''`, false},
		{`request.headers.exists(k, k.startsWith('x-u'))`, true},
		{`request.url_path.startsWith('/a') && request.url_path.matches('^/a/[a-z]$')`, true},
		{`request.time < timestamp('2100-01-01T00:00:00Z')`, true},
		{`request.protocol == 'HTTP/2'`, true},
		{`response.code >= 400 && response.grpc_status == 5`, true},
		{`source.address == '10.0.0.1:5' && source.port == 5`, true},
		{`destination.port == 443`, true},
		{`connection.requested_server_name == 'sni' && connection.tls_version == 'TLSv1.3' && !connection.mtls`, true},
		{`connection.id == 7u`, true},
		{`upstream.request_attempt_count == 2`, true},
		{`metadata.filter_metadata['ns']['k']['n'] == 5.0`, true},
		{`metadata.filter_metadata['other']['k'] == 5.0`, false},
		{`filter_state['s'] == 'v'`, true},
		{`xds.route_name == 'r'`, true},
		{`upstream.address == 'x'`, false},
		{`size(request) > 5`, true},
		{`'text' == 'text'`, true},
	}
	c := compiler(t)
	for _, tt := range tests {
		p, err := c.CompileText(tt.expr)
		if err != nil {
			t.Errorf("%s: %v", tt.expr, err)
			continue
		}
		if got := p.Match(testData()); got != tt.want {
			v, ok := p.Eval(testData())
			t.Errorf("%s: %v (%v %v)", tt.expr, got, v, ok)
		}
		p.Match(match.Data{}) // Nothing is there: it fails, but does not panic.
	}
}

func TestProblems(t *testing.T) {
	c := compiler(t)
	for _, s := range []string{"", "request.", "unknown.x == 1", "1 + 'a'", strings.Repeat("(", 1000), strings.Repeat(" ", 64<<10+1)} {
		if _, err := c.CompileText(s); err == nil {
			t.Errorf("%.40q was compiled", s)
		}
	}
	if _, err := c.CompileExpr(&exprv1.Expr{}); err == nil {
		t.Error("an empty expression was compiled")
	}
}

func TestCostLimit(t *testing.T) {
	list := "[" + strings.Repeat("1,", 150) + "1]"
	p, err := compiler(t).CompileText(list + ".all(a," + list + ".all(b," + list + ".all(c, a+b+c == 3)))")
	if err != nil {
		t.Fatal(err)
	}
	if p.Match(match.Data{}) {
		t.Error("an expression of 3.4 million steps was evaluated")
	}
}

func TestTree(t *testing.T) {
	var m xdsmatcherv3.Matcher
	err := protojson.Unmarshal([]byte(`{"matcher_list":{"matchers":[{"predicate":{"single_predicate":{
		"input":{"name":"i","typed_config":{"@type":"type.googleapis.com/xds.type.matcher.v3.HttpAttributesCelMatchInput"}},
		"custom_match":{"name":"m","typed_config":{"@type":"type.googleapis.com/xds.type.matcher.v3.CelMatcher","expr_match":{"cel_expr_string":"request.method == 'GET'"}}}}},
		"on_match":{"action":{"name":"a"}}}]}}`), &m)
	if err != nil {
		t.Fatal(err)
	}
	c := compiler(t)
	tree, err := match.CompileTree(&m, match.TreeContext[string]{
		Action: func(a match.ActionConfig) (string, error) { return a.Name(), nil }, Input: c.Input, Matcher: c.Matcher,
	})
	if err != nil {
		t.Fatal(err)
	}
	if a, res := tree.Match(testData()); a != "a" || res != match.Matched {
		t.Errorf("%q %v", a, res)
	}
}

func FuzzCompile(f *testing.F) {
	c := compiler(f)
	f.Add("request.headers['a'] == 'b' || source.port in [1, 2]")
	f.Add("[1].all(a, a > 0)")
	f.Fuzz(func(_ *testing.T, s string) {
		if p, err := c.CompileText(s); err == nil {
			p.Match(testData())
		}
	})
}
