// SPDX-License-Identifier: Apache-2.0

package route

import (
	"crypto/x509"
	"testing"

	"weir.dev/weir/proxy/streaminfo"
)

func TestVirtualHost(t *testing.T) {
	const hostsJSON = `
	{"name":"exact","domains":["www.foo.com","foo.com:8080","[::1]:80"]},
	{"name":"suffix","domains":["*.foo.com"]},
	{"name":"long-suffix","domains":["*-bar.foo.com"]},
	{"name":"prefix","domains":["foo.*"]},
	{"name":"long-prefix","domains":["foo.b*"]}`
	withAny := mustCompile(t, `{"virtual_hosts":[`+hostsJSON+`,{"name":"any","domains":["*"]}]}`)
	without := mustCompile(t, `{"virtual_hosts":[`+hostsJSON+`]}`)
	noPort := mustCompile(t, `{"ignore_port_in_host_matching":true,"virtual_hosts":[`+hostsJSON+`,{"name":"any","domains":["*"]}]}`)
	other := mustCompile(t, `{"vhost_header":"x-host","virtual_hosts":[`+hostsJSON+`]}`)
	tests := []struct {
		name  string
		table *Table
		lines []string
		want  string
	}{
		{"exact", withAny, []string{":authority: www.foo.com"}, "exact"},
		{"case does not matter", withAny, []string{":authority: WWW.Foo.COM"}, "exact"},
		{"exact with port", withAny, []string{":authority: foo.com:8080"}, "exact"},
		{"another port", withAny, []string{":authority: www.foo.com:80"}, "any"},
		{"port ignored", noPort, []string{":authority: www.foo.com:80"}, "exact"},
		{"a port in a domain stays", noPort, []string{":authority: foo.com:8080"}, "long-prefix-no"},
		{"v6 without port", noPort, []string{":authority: [::1]"}, "any"},
		{"suffix", withAny, []string{":authority: a.foo.com"}, "suffix"},
		{"longest suffix", withAny, []string{":authority: a-bar.foo.com"}, "long-suffix"},
		{"suffix needs a character", withAny, []string{":authority: .foo.com"}, "any"},
		{"the longer needs one too", withAny, []string{":authority: -bar.foo.com"}, "suffix"},
		{"prefix", withAny, []string{":authority: foo.org"}, "prefix"},
		{"longest prefix", withAny, []string{":authority: foo.bar"}, "long-prefix"},
		{"prefix needs a character", withAny, []string{":authority: foo."}, "any"},
		{"suffix before prefix", withAny, []string{":authority: foo.foo.com"}, "suffix"},
		{"any", withAny, []string{":authority: elsewhere"}, "any"},
		{"none", without, []string{":authority: elsewhere"}, "none"},
		{"no host", without, []string{":authority: -"}, "none"},
		{"another header", other, []string{":authority: elsewhere", "x-host: foo.org"}, "prefix"},
		{"another header missing", other, []string{":authority: foo.org"}, "none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := "none"
			if vh := tt.table.VirtualHost(request(tt.lines...)); vh != nil {
				got = vh.Name
			}
			if tt.want == "long-prefix-no" {
				tt.want = "prefix" // foo.com:8080 is foo.com here, which foo.* takes.
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// direct is a route with a name and match that answers by itself.
func direct(name, match string) string {
	return `{"name":"` + name + `","match":{` + match + `},"direct_response":{"status":200}}`
}

func TestPath(t *testing.T) {
	tests := []struct {
		match string
		take  []string
		leave []string
	}{
		{`"prefix":"/a"`, []string{"/a", "/ab", "/a/b", "/a?q", "/a#f"}, []string{"/", "/A", "/b/a"}},
		{`"prefix":"/A","case_sensitive":false`, []string{"/a", "/Ab"}, []string{"/b"}},
		{`"prefix":"/a?x"`, nil, []string{"/a?x"}},
		{`"path":"/a"`, []string{"/a", "/a?x=1", "/a#f"}, []string{"/a/", "/ab", "/A"}},
		{`"path":"/aB","case_sensitive":false`, []string{"/ab", "/AB?x"}, []string{"/abc"}},
		{`"path_separated_prefix":"/api/dev"`, []string{"/api/dev", "/api/dev/", "/api/dev/v1", "/api/dev?p=1"}, []string{"/api/developer", "/api/de"}},
		{`"safe_regex":{"regex":"/b[io]t"}`, []string{"/bit", "/bot?x=1"}, []string{"/bat", "/bite", "/x/bit"}},
		{`"safe_regex":{"regex":"/a|/b"}`, []string{"/a", "/b"}, []string{"/ab", "/a/b"}},
		{`"path_match_policy":{"name":"m","typed_config":{"@type":"type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig","path_template":"/u/{id}/f/{rest=**}"}}`,
			[]string{"/u/1/f/", "/u/1/f/x/y?q=1"}, []string{"/u/1", "/u//f/x", "/v/1/f/x"}},
		{`"path_match_policy":{"name":"m","typed_config":{"@type":"type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig","path_template":"/v/*/{file}.m3u8"}}`,
			[]string{"/v/a/b.m3u8"}, []string{"/v/a/b", "/v/a/b/c.m3u8", "/v/a/bxm3u8"}},
	}
	for _, tt := range tests {
		table := mustCompile(t, oneRoute(direct("r", tt.match)))
		for _, p := range tt.take {
			if table.Match(request(p)) == nil {
				t.Errorf("%s leaves %s", tt.match, p)
			}
		}
		for _, p := range tt.leave {
			if table.Match(request(p)) != nil {
				t.Errorf("%s takes %s", tt.match, p)
			}
		}
	}
}

func TestPathParameters(t *testing.T) {
	routes := direct("exact", `"path":"/a"`) + "," + direct("prefix", `"prefix":"/b"`)
	with := mustCompile(t, `{"ignore_path_parameters_in_path_matching":true,"virtual_hosts":[{"name":"v","domains":["*"],"routes":[`+routes+`]}]}`)
	plain := mustCompile(t, oneRoute(routes))
	if got := name(with.Match(request("/a;v=1?q=;"))); got != "exact" {
		t.Errorf("ignored parameters: %s", got)
	}
	if got := name(plain.Match(request("/a;v=1"))); got != "none" {
		t.Errorf("kept parameters: %s", got)
	}
}

func TestConditions(t *testing.T) {
	cert := &streaminfo.TLS{PeerCerts: []*x509.Certificate{{}}, PeerVerified: true}
	tests := []struct {
		name  string
		match string
		lines []string
		set   func(*Request)
		want  bool
	}{
		{"header", `"headers":[{"name":"x","exact_match":"1"}]`, []string{"x: 1"}, nil, true},
		{"header differs", `"headers":[{"name":"x","exact_match":"1"}]`, []string{"x: 2"}, nil, false},
		{"host is the authority", `"headers":[{"name":"Host","exact_match":"h"}]`, nil, nil, true},
		{"query", `"query_parameters":[{"name":"a","string_match":{"exact":"1"}}]`, []string{"/?b=2&a=1"}, nil, true},
		{"query, first value", `"query_parameters":[{"name":"a","string_match":{"exact":"1"}}]`, []string{"/?a=2&a=1"}, nil, false},
		{"query present", `"query_parameters":[{"name":"a","present_match":true}]`, []string{"/?a"}, nil, true},
		{"query missing", `"query_parameters":[{"name":"a"}]`, []string{"/?aa=1"}, nil, false},
		{"cookie", `"cookies":[{"name":"s","string_match":{"prefix":"x"}}]`, []string{"cookie: a=b; s=xy"}, nil, true},
		{"cookie missing, inverted", `"cookies":[{"name":"s","string_match":{"exact":"x"},"invert_match":true}]`, []string{"cookie: a=b"}, nil, true},
		{"grpc", `"grpc":{}`, []string{"content-type: application/grpc+proto"}, nil, true},
		{"grpc-web is not grpc", `"grpc":{}`, []string{"content-type: application/grpc-web"}, nil, false},
		{"certificate presented", `"tls_context":{"presented":true}`, nil, func(r *Request) { r.Info.Conn.TLS = cert }, true},
		{"certificate missing", `"tls_context":{"presented":true}`, nil, nil, false},
		{"not validated", `"tls_context":{"validated":false}`, nil, nil, true},
		{"metadata", `"dynamic_metadata":[{"filter":"f","path":[{"key":"k"}],"value":{"string_match":{"exact":"v"}}}]`, nil,
			func(r *Request) { r.Info.Metadata = streaminfo.Metadata{"f": {"k": "v"}} }, true},
		{"metadata missing", `"dynamic_metadata":[{"filter":"f","path":[{"key":"k"}],"value":{"string_match":{"exact":"v"}}}]`, nil, nil, false},
		{"filter state", `"filter_state":[{"key":"k","string_match":{"exact":"v"}}]`, nil,
			func(r *Request) { r.Info.FilterState = streaminfo.FilterState{"k": {Text: "v"}} }, true},
		{"runtime takes", `"runtime_fraction":{"default_value":{"numerator":30}}`, nil, func(r *Request) { r.Random = 129 }, true},
		{"runtime leaves", `"runtime_fraction":{"default_value":{"numerator":30}}`, nil, func(r *Request) { r.Random = 130 }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := mustCompile(t, oneRoute(direct("r", `"prefix":"/",`+tt.match)))
			r := request(tt.lines...)
			if tt.set != nil {
				tt.set(r)
			}
			if got := table.Match(r) != nil; got != tt.want {
				t.Errorf("matches: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestConnect(t *testing.T) {
	table := mustCompile(t, oneRoute(direct("connect", `"connect_matcher":{}`)+","+direct("rest", `"prefix":"/"`)))
	tests := []struct {
		want  string
		lines []string
	}{
		{"connect", []string{":method: CONNECT", ":path: -"}},
		{"connect", []string{":method: CONNECT", ":protocol: connect-udp"}},
		{"connect", []string{"upgrade: Connect-UDP"}},
		{"rest", []string{":method: CONNECT", ":protocol: websocket"}},
		{"rest", []string{"/x"}},
		{"none", []string{":path: -"}},
	}
	for _, tt := range tests {
		if got := name(table.Match(request(tt.lines...))); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.lines, got, tt.want)
		}
	}
}

func TestFirstMatchWins(t *testing.T) {
	table := mustCompile(t, oneRoute(
		direct("regex", `"safe_regex":{"regex":"/api/v[0-9]+"}`)+","+
			direct("header", `"prefix":"/api","headers":[{"name":"x"}]`)+","+
			direct("exact", `"path":"/api/v1"`)+","+
			direct("folded", `"prefix":"/API/","case_sensitive":false`)+","+
			direct("short", `"prefix":"/api"`)+","+
			direct("long", `"prefix":"/api/long"`)+","+
			direct("any", `"prefix":"/"`)))
	tests := [][2]string{
		{"/api/v1", "regex"}, {"/api/x", "folded"}, {"/Api/x", "folded"}, {"/api", "short"},
		{"/api/long", "folded"}, {"/z", "any"},
	}
	for _, tt := range tests {
		if got := name(table.Match(request(tt[0]))); got != tt[1] {
			t.Errorf("%s: %s, want %s", tt[0], got, tt[1])
		}
	}
	if got := name(table.Match(request("/api/x", "x: 1"))); got != "header" {
		t.Errorf("with header: %s", got)
	}
}

func TestRequireTLS(t *testing.T) {
	of := func(mode string) *Table {
		return mustCompile(t, `{"virtual_hosts":[{"name":"v","domains":["*"],"require_tls":"`+mode+`","routes":[`+direct("r", `"prefix":"/"`)+`]}]}`)
	}
	tests := []struct {
		mode  string
		lines []string
		want  string
	}{
		{"ALL", []string{"x-forwarded-proto: http"}, "redirect"},
		{"ALL", []string{"x-forwarded-proto: https"}, "r"},
		{"ALL", []string{"x-forwarded-proto: http", "x-envoy-internal: true"}, "redirect"},
		{"EXTERNAL_ONLY", []string{"x-forwarded-proto: http", "x-envoy-internal: true"}, "r"},
		{"EXTERNAL_ONLY", []string{"x-forwarded-proto: http"}, "redirect"},
		{"NONE", []string{"x-forwarded-proto: http"}, "r"},
	}
	for _, tt := range tests {
		req := request(append(tt.lines, "/p?q", ":authority: h.x:80")...)
		r := of(tt.mode).Match(req)
		got := name(r)
		if r != nil && r.Redirect != nil {
			got = "redirect"
			if l := string(r.AppendLocation(nil, req.Header, req.Info, true)); l != "https://h.x:80/p?q" || r.Redirect.Status != 301 {
				t.Errorf("location %s, status %d", l, r.Redirect.Status)
			}
		}
		if got != tt.want {
			t.Errorf("%s %v: %s, want %s", tt.mode, tt.lines, got, tt.want)
		}
	}
}

func TestMatcherTree(t *testing.T) {
	table := mustCompile(t, `{"virtual_hosts":[{"name":"v","domains":["*"],"matcher":{"matcher_tree":{
		"input":{"name":"i","typed_config":{"@type":"type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput","header_name":"x"}},
		"exact_match_map":{"map":{
			"one":{"action":{"name":"a","typed_config":{"@type":"type.googleapis.com/envoy.config.route.v3.Route",`+direct("one", `"prefix":"/"`)[1:]+`}},
			"list":{"action":{"name":"b","typed_config":{"@type":"type.googleapis.com/envoy.config.route.v3.RouteList","routes":[`+direct("l1", `"path":"/1"`)+`,`+direct("l2", `"prefix":"/"`)+`]}}}}}},
		"on_no_match":{"action":{"name":"c","typed_config":{"@type":"type.googleapis.com/envoy.config.route.v3.Route",`+direct("miss", `"prefix":"/m"`)[1:]+`}}}}]}`)
	tests := []struct {
		want  string
		lines []string
	}{
		{"one", []string{"x: one"}}, {"l1", []string{"/1", "x: list"}}, {"l2", []string{"/2", "x: list"}},
		{"miss", []string{"/m", "x: other"}}, {"miss", []string{"/m"}}, {"none", []string{"/n"}},
	}
	for _, tt := range tests {
		if got := name(table.Match(request(tt.lines...))); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.lines, got, tt.want)
		}
	}
}
