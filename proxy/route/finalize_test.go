// SPDX-License-Identifier: Apache-2.0

package route

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// set is a HeaderValueOption.
func set(key, value, more string) string {
	return `{"header":{"key":"` + key + `","value":"` + value + `"}` + more + `}`
}

func TestRequestHeaders(t *testing.T) {
	levels := func(wins string) string {
		return `{` + wins + `"request_headers_to_add":[` + set("x-l", "table", "") + `,` + set("x-o", "table", `,"append_action":"OVERWRITE_IF_EXISTS_OR_ADD"`) + `],
		"request_headers_to_remove":["x-t"],
		"virtual_hosts":[{"name":"v","domains":["*"],
			"request_headers_to_add":[` + set("x-l", "host", "") + `,` + set("x-o", "host", `,"append_action":"OVERWRITE_IF_EXISTS_OR_ADD"`) + `],
			"routes":[{"match":{"prefix":"/"},"route":{"cluster":"c"},
				"request_headers_to_add":[` + set("x-l", "route", "") + `,` + set("x-o", "route", `,"append_action":"OVERWRITE_IF_EXISTS_OR_ADD"`) + `]}]}]}`
	}
	one := func(add string) string {
		return oneRoute(`{"match":{"prefix":"/"},"route":{"cluster":"c"},"request_headers_to_add":[` + add + `],"request_headers_to_remove":["x-gone"]}`)
	}
	const head = ":method=GET\n:scheme=http\n:authority=h\n:path=/\n"
	tests := []struct {
		name  string
		json  string
		lines []string
		want  string
	}{
		{"most specific first", levels(""), []string{"x-t: 1"}, head + "x-o=table\nx-l=route\nx-l=host\nx-l=table\n"},
		{"most specific wins", levels(`"most_specific_header_mutations_wins":true,`), nil, head + "x-o=route\nx-l=table\nx-l=host\nx-l=route\n"},
		{"append", one(set("x", "b", "")), []string{"x: a"}, head + "x=a\nx=b\n"},
		{"deprecated append false", one(set("x", "b", `,"append":false`)), []string{"x: a"}, head + "x=b\n"},
		{"add if absent", one(set("x", "b", `,"append_action":"ADD_IF_ABSENT"`)), []string{"x: a"}, head + "x=a\n"},
		{"add if absent, absent", one(set("x", "b", `,"append_action":"ADD_IF_ABSENT"`)), nil, head + "x=b\n"},
		{"overwrite", one(set("x", "b", `,"append_action":"OVERWRITE_IF_EXISTS_OR_ADD"`)), []string{"x: a", "x: c"}, head + "x=b\n"},
		{"overwrite if exists", one(set("x", "b", `,"append_action":"OVERWRITE_IF_EXISTS"`)), []string{"x: a"}, head + "x=b\n"},
		{"overwrite if exists, absent", one(set("x", "b", `,"append_action":"OVERWRITE_IF_EXISTS"`)), nil, head},
		{"removed before added", one(set("x-gone", "b", "")), []string{"x-gone: a"}, head + "x-gone=b\n"},
		{"empty is left out", one(set("x", "", "")), nil, head},
		{"empty is kept", one(set("x", "", `,"keep_empty_value":true`)), nil, head + "x=\n"},
		{"formatted", one(set("x", "a%REQ(y)%c", "")), []string{"y: b"}, head + "y=b\nx=abc\n"},
		{"formatted empty", one(set("x", "%REQ(y)%", "")), nil, head},
		{"values do not see each other", one(set("x", "%REQ(y)%", `,"append_action":"OVERWRITE_IF_EXISTS_OR_ADD"`) + "," + set("y", "%REQ(x)%", `,"append_action":"OVERWRITE_IF_EXISTS_OR_ADD"`)),
			[]string{"x: 1", "y: 2"}, head + "x=2\ny=1\n"},
		{"a line break is not sent", one(set("x", "%REQ(y)%", "")), []string{"y: a\r\nevil: 1"}, head + "y=a\r\nevil: 1\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := request(tt.lines...)
			r := mustCompile(t, tt.json).Match(req)
			r.FinalizeRequest(req.Header, req.Info, true)
			if d := cmp.Diff(tt.want, dump(req.Header)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestResponseHeaders(t *testing.T) {
	table := mustCompile(t, `{"response_headers_to_add":[`+set("x-l", "table", "")+`],"virtual_hosts":[{"name":"v","domains":["*"],
		"response_headers_to_remove":["server"],
		"routes":[{"match":{"prefix":"/"},"route":{"weighted_clusters":{"clusters":[{"name":"c","weight":1,"response_headers_to_add":[`+set("x-l", "cluster %RESP(a)%", "")+`]}]}},
		"response_headers_to_add":[`+set("x-l", "route", "")+`]}]}]}`)
	req := request()
	h := &header.Map{}
	h.Add(header.Server, "s")
	h.Add(header.NewName("a"), "b")
	req.Info.Response = h
	table.Match(req).FinalizeResponse(h, req.Info)
	if d := cmp.Diff("a=b\nx-l=cluster b\nx-l=route\nx-l=table\n", dump(h)); d != "" {
		t.Error(d)
	}
}

const (
	template = `"path_match_policy":{"name":"m","typed_config":{"@type":"type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig","path_template":"/u/{id}/{rest=**}"}}`
	rewrite  = `"path_rewrite_policy":{"name":"r","typed_config":{"@type":"type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig","path_template_rewrite":"/{rest}/of/{id}"}}`
)

func TestRewrites(t *testing.T) {
	tests := []struct {
		name, match, action string
		lines               []string
		path, host          string
	}{
		{"none", `"prefix":"/"`, ``, []string{"/a"}, "/a", "h"},
		{"prefix", `"prefix":"/a"`, `"prefix_rewrite":"/b"`, []string{"/a/c?d=/a"}, "/b/c?d=/a", "h"},
		{"prefix to root", `"prefix":"/a/"`, `"prefix_rewrite":"/"`, []string{"/a/c"}, "/c", "h"},
		{"prefix, folded", `"prefix":"/A","case_sensitive":false`, `"prefix_rewrite":"/b"`, []string{"/a/c"}, "/b/c", "h"},
		{"prefix of exact path", `"path":"/a"`, `"prefix_rewrite":"/b"`, []string{"/a?x"}, "/b?x", "h"},
		{"prefix of regex", `"safe_regex":{"regex":"/a.*"}`, `"prefix_rewrite":"/b"`, []string{"/abc?x"}, "/b?x", "h"},
		{"separated prefix", `"path_separated_prefix":"/a"`, `"prefix_rewrite":"/b"`, []string{"/a/c"}, "/b/c", "h"},
		{"regex", `"prefix":"/"`, `"regex_rewrite":{"pattern":{"regex":"^/service/([^/]+)(/.*)$"},"substitution":"\\2/instance/\\1"}`,
			[]string{"/service/foo/v1/api?x"}, "/v1/api/instance/foo?x", "h"},
		{"regex everywhere", `"prefix":"/"`, `"regex_rewrite":{"pattern":{"regex":"one"},"substitution":"two"}`,
			[]string{"/xxx/one/yyy/one/zzz"}, "/xxx/two/yyy/two/zzz", "h"},
		{"regex, folded", `"prefix":"/"`, `"regex_rewrite":{"pattern":{"regex":"(?i)/xxx/"},"substitution":"/yyy/"}`, []string{"/aaa/XxX/bbb"}, "/aaa/yyy/bbb", "h"},
		{"template", template, rewrite, []string{"/u/7/a/b?q"}, "/a/b/of/7?q", "h"},
		{"format", `"prefix":"/"`, `"path_rewrite":"/new/%REQ(v)%"`, []string{"/a?q", "v: 2"}, "/new/2?q", "h"},
		{"format, empty", `"prefix":"/"`, `"path_rewrite":"%REQ(v)%"`, []string{"/a?q"}, "/a?q", "h"},
		{"host literal", `"prefix":"/"`, `"host_rewrite_literal":"x.y"`, nil, "/", "x.y"},
		{"host header", `"prefix":"/"`, `"host_rewrite_header":"to"`, []string{"to: x.y"}, "/", "x.y"},
		{"host header missing", `"prefix":"/"`, `"host_rewrite_header":"to"`, nil, "/", "h"},
		{"host from path", `"prefix":"/"`, `"host_rewrite_path_regex":{"pattern":{"regex":"^/(.+)/.+$"},"substitution":"\\1"}`, []string{"/envoyproxy.io/some?x"}, "/envoyproxy.io/some?x", "envoyproxy.io"},
		{"host format", `"prefix":"/"`, `"host_rewrite":"p-%REQ(n)%"`, []string{"n: a"}, "/", "p-a"},
		{"auto host waits", `"prefix":"/"`, `"auto_host_rewrite":true`, nil, "/", "h"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			action := tt.action
			if action != "" {
				action = "," + action
			}
			req := request(tt.lines...)
			r := mustCompile(t, oneRoute(`{"match":{`+tt.match+`},"route":{"cluster":"c"`+action+`}}`)).Match(req)
			if r == nil {
				t.Fatal("no match")
			}
			old := string(req.Header.Get(header.Path))
			r.FinalizeRequest(req.Header, req.Info, true)
			if got := string(req.Header.Get(header.Path)); got != tt.path {
				t.Errorf("path %s, want %s", got, tt.path)
			}
			if got := string(req.Header.Get(header.Authority)); got != tt.host {
				t.Errorf("host %s, want %s", got, tt.host)
			}
			if got := string(req.Header.Get(header.XEnvoyOriginalPath)); old != tt.path && got != old {
				t.Errorf("original path %q, want %q", got, old)
			}
			if got := string(req.Header.Get(header.XEnvoyOriginalHost)); tt.host != "h" && got != "h" {
				t.Errorf("original host %q", got)
			}
		})
	}
}

func TestForwardedHost(t *testing.T) {
	table := mustCompile(t, oneRoute(`{"match":{"prefix":"/"},"route":{"cluster":"c","host_rewrite_literal":"x","append_x_forwarded_host":true}}`))
	for _, tt := range [][2]string{{"", "h"}, {"a", "a,h"}, {"a, h", "a, h"}} {
		req := request()
		if tt[0] != "" {
			req.Header.Add(header.XForwardedHost, tt[0])
		}
		table.Match(req).FinalizeRequest(req.Header, req.Info, false)
		if got := string(req.Header.Get(header.XForwardedHost)); got != tt[1] {
			t.Errorf("%q: %q, want %q", tt[0], got, tt[1])
		}
		if req.Header.Has(header.XEnvoyOriginalHost) {
			t.Error("original host was kept")
		}
	}
}

func TestFilterChangedPath(t *testing.T) {
	req := request("/a/b")
	r := mustCompile(t, oneRoute(`{"match":{"prefix":"/a"},"route":{"cluster":"c","prefix_rewrite":"/c"}}`)).Match(req)
	req.Header.Set(header.Path, "/z")
	r.FinalizeRequest(req.Header, req.Info, true)
	if got := string(req.Header.Get(header.Path)); got != "/z" {
		t.Errorf("path %s", got)
	}
}

func TestRestoreConnectPort(t *testing.T) {
	req := request(":method: CONNECT")
	req.Info.FilterState = streaminfo.FilterState{connectPortKey: {Text: "443"}}
	r := mustCompile(t, oneRoute(`{"match":{"connect_matcher":{}},"route":{"cluster":"c"}}`)).Match(req)
	r.FinalizeRequest(req.Header, req.Info, true)
	if got := string(req.Header.Get(header.Authority)); got != "h:443" {
		t.Errorf("host %s", got)
	}
}

func TestLocation(t *testing.T) {
	tests := []struct {
		name, match, redirect string
		lines                 []string
		want                  string
	}{
		{"host", `"prefix":"/"`, `"host_redirect":"new.example"`, []string{"/a?b"}, "http://new.example/a?b"},
		{"https", `"prefix":"/"`, `"https_redirect":true`, []string{"/a"}, "https://h/a"},
		{"https drops :80", `"prefix":"/"`, `"https_redirect":true`, []string{"/", ":authority: h:80", "x-forwarded-proto: http"}, "https://h/"},
		{"https keeps another port", `"prefix":"/"`, `"https_redirect":true`, []string{"/", ":authority: h:8080", "x-forwarded-proto: http"}, "https://h:8080/"},
		{"http drops :443", `"prefix":"/"`, `"scheme_redirect":"http"`, []string{"/", ":authority: [::1]:443", ":scheme: https", "x-forwarded-proto: https"}, "http://[::1]/"},
		{"same scheme keeps port", `"prefix":"/"`, `"path_redirect":"/x"`, []string{"/", ":authority: h:80", "x-forwarded-proto: http"}, "http://h:80/x"},
		{"port", `"prefix":"/"`, `"port_redirect":8443`, []string{"/", ":authority: h:80"}, "http://h:8443/"},
		{"port of v6", `"prefix":"/"`, `"port_redirect":8443`, []string{"/", ":authority: [::1]"}, "http://[::1]:8443/"},
		{"path keeps query", `"prefix":"/"`, `"path_redirect":"/x"`, []string{"/a?b=1"}, "http://h/x?b=1"},
		{"path strips query", `"prefix":"/"`, `"path_redirect":"/x","strip_query":true`, []string{"/a?b=1"}, "http://h/x"},
		{"path's own query", `"prefix":"/"`, `"path_redirect":"/x?y=2","strip_query":true`, []string{"/a?b=1"}, "http://h/x?y=2"},
		{"strip query", `"prefix":"/"`, `"host_redirect":"n","strip_query":true`, []string{"/a?b=1"}, "http://n/a"},
		{"prefix", `"prefix":"/a"`, `"prefix_rewrite":"/b"`, []string{"/a/c?d"}, "http://h/b/c?d"},
		{"regex", `"prefix":"/"`, `"regex_rewrite":{"pattern":{"regex":"^/(\\w+)/(\\w+)"},"substitution":"/\\2/\\1"}`, []string{"/a/b?c"}, "http://h/b/a?c"},
		{"format", `"prefix":"/"`, `"path_rewrite":"/n/%REQ(v)%"`, []string{"/a?b", "v: 2"}, "http://h/n/2?b"},
		{"format, empty", `"prefix":"/"`, `"path_rewrite":"%REQ(v)%"`, []string{"/a?b"}, "http://h/a?b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := request(tt.lines...)
			r := mustCompile(t, oneRoute(`{"match":{`+tt.match+`},"redirect":{`+tt.redirect+`}}`)).Match(req)
			if got := string(r.AppendLocation(nil, req.Header, req.Info, true)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestRedirectStatus(t *testing.T) {
	for code, want := range map[string]int{"MOVED_PERMANENTLY": 301, "FOUND": 302, "SEE_OTHER": 303, "TEMPORARY_REDIRECT": 307, "PERMANENT_REDIRECT": 308} {
		r := mustCompile(t, oneRoute(`{"match":{"prefix":"/"},"redirect":{"response_code":"`+code+`"}}`)).Match(request())
		if r.Redirect.Status != want {
			t.Errorf("%s: %d", code, r.Redirect.Status)
		}
	}
}

func TestMirror(t *testing.T) {
	table := mustCompile(t, oneRoute(`{"match":{"prefix":"/"},"route":{"cluster":"c","request_mirror_policies":[
		{"cluster":"m1"},{"cluster_header":"to","disable_shadow_host_suffix_append":true},
		{"cluster":"m3","host_rewrite_literal":"x","request_headers_mutations":[{"append":`+set("a", "1", "")+`},{"remove":"b"},{"remove_on_match":{"key_matcher":{"prefix":"x-"}}}]}]}}`))
	wants := []string{"h-shadow:80", "h:80", "x"}
	for i, want := range wants {
		req := request(":authority: h:80", "b: 1", "x-y: 1", "to: m2")
		m := &table.Match(req).Forward.Mirrors[i]
		if got := m.ClusterName(req.Header); got != []string{"m1", "m2", "m3"}[i] {
			t.Errorf("%d: cluster %s", i, got)
		}
		m.FinalizeRequest(req.Header, req.Info)
		if got := string(req.Header.Get(header.Authority)); got != want {
			t.Errorf("%d: host %s, want %s", i, got, want)
		}
		if i == 2 && dump(req.Header) != ":method=GET\n:scheme=http\n:authority=x\n:path=/\nto=m2\na=1\n" {
			t.Errorf("mutations: %s", dump(req.Header))
		}
	}
}
