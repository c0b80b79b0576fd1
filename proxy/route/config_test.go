// SPDX-License-Identifier: Apache-2.0

package route

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestProblems(t *testing.T) {
	action := func(a string) string { return oneRoute(`{"match":{"prefix":"/"},"route":{` + a + `}}`) }
	tests := []struct {
		name, json string
		path       string
		reason     string // a part of it
		warning    bool
	}{
		{"duplicate domain", `{"virtual_hosts":[{"name":"a","domains":["x.y"]},{"name":"b","domains":["X.y"]}]}`, "virtual_hosts[1].domains[0]", `virtual host "a" already`, false},
		{"duplicate wildcard", `{"virtual_hosts":[{"name":"a","domains":["*.y"]},{"name":"b","domains":["*.Y"]}]}`, "virtual_hosts[1].domains[0]", "already", false},
		{"two catch-alls", `{"virtual_hosts":[{"name":"a","domains":["*"]},{"name":"b","domains":["*"]}]}`, "virtual_hosts[1].domains[0]", "may stand once", false},
		{"no domain", `{"virtual_hosts":[{"name":"a"}]}`, "virtual_hosts[0].domains", "at least 1", false},
		{"no action", oneRoute(`{"match":{"prefix":"/"}}`), "virtual_hosts[0].routes[0]", "has no action", false},
		{"no path", oneRoute(`{"match":{},"route":{"cluster":"c"}}`), "virtual_hosts[0].routes[0].match", "no path specifier", false},
		{"bad regex", oneRoute(`{"match":{"safe_regex":{"regex":"("}},"route":{"cluster":"c"}}`), "virtual_hosts[0].routes[0].match.safe_regex", "missing closing )", false},
		{"huge regex", oneRoute(`{"match":{"safe_regex":{"regex":"(a{1000}){1000}"}},"route":{"cluster":"c"}}`), "virtual_hosts[0].routes[0].match.safe_regex", "", false},
		{"costly regex", oneRoute(`{"match":{"safe_regex":{"regex":"(.{100}){9}[a-z]{1,1000}.{900}.{1000}.{1000}.{1000}.{1000}.{1000}.{1000}.{1000}.{1000}.{1000}"}},"route":{"cluster":"c"}}`), "virtual_hosts[0].routes[0].match.safe_regex", "instructions", false},
		{"separated prefix with slash", oneRoute(`{"match":{"path_separated_prefix":"/a/"},"route":{"cluster":"c"}}`), "virtual_hosts[0].routes[0].match.path_separated_prefix", "ends in /", false},
		{"no cluster", action(``), "virtual_hosts[0].routes[0].route", "names no cluster", false},
		{"plugin", action(`"inline_cluster_specifier_plugin":{"extension":{"name":"p","typed_config":{"@type":"type.googleapis.com/google.protobuf.StringValue","value":""}}}`), "virtual_hosts[0].routes[0].route.inline_cluster_specifier_plugin", "not supported", false},
		{"weights of zero", action(`"weighted_clusters":{"clusters":[{"name":"a","weight":0}]}`), "virtual_hosts[0].routes[0].route.weighted_clusters", "sum up to 0", false},
		{"two names", action(`"weighted_clusters":{"clusters":[{"name":"a","cluster_header":"b","weight":1}]}`), "virtual_hosts[0].routes[0].route.weighted_clusters.clusters[0]", "not both", false},
		{"total weight", action(`"weighted_clusters":{"total_weight":5,"clusters":[{"name":"a","weight":1}]}`), "virtual_hosts[0].routes[0].route.weighted_clusters.total_weight", "not the sum", true},
		{"two rewrites", action(`"cluster":"c","prefix_rewrite":"/a","path_rewrite":"/b"`), "virtual_hosts[0].routes[0].route", "only one of prefix_rewrite", false},
		{"rewrite of a missing group", action(`"cluster":"c","regex_rewrite":{"pattern":{"regex":"(a)"},"substitution":"\\2"}`), "virtual_hosts[0].routes[0].route.regex_rewrite", "group \\2", false},
		{"negative timeout", action(`"cluster":"c","timeout":"-1s"`), "virtual_hosts[0].routes[0].route.timeout", "negative", false},
		{"unknown retry condition", action(`"cluster":"c","retry_policy":{"retry_on":"5xx,nonsense"}`), "virtual_hosts[0].routes[0].route.retry_policy.retry_on", `"nonsense"`, true},
		{"host predicate", action(`"cluster":"c","retry_policy":{"retry_host_predicate":[{"name":"p"}]}`), "virtual_hosts[0].routes[0].route.retry_policy.retry_host_predicate[0]", "not supported", false},
		{"back-off", action(`"cluster":"c","retry_policy":{"retry_back_off":{"base_interval":"2s","max_interval":"1s"}}`), "virtual_hosts[0].routes[0].route.retry_policy.retry_back_off.max_interval", "less than", false},
		{"upgrade twice", action(`"cluster":"c","upgrade_configs":[{"upgrade_type":"a"},{"upgrade_type":"A"}]`), "virtual_hosts[0].routes[0].route.upgrade_configs[1]", "twice", false},
		{"connect config", action(`"cluster":"c","upgrade_configs":[{"upgrade_type":"websocket","connect_config":{}}]`), "virtual_hosts[0].routes[0].route.upgrade_configs[0].connect_config", "CONNECT", false},
		{"mirror", action(`"cluster":"c","request_mirror_policies":[{}]`), "virtual_hosts[0].routes[0].route.request_mirror_policies[0]", "must have cluster", false},
		{"pseudo header", `{"request_headers_to_add":[{"header":{"key":":path","value":"/"}}]}`, "request_headers_to_add[0].header.key", "may not be changed", false},
		{"host header", `{"request_headers_to_remove":["Host"]}`, "request_headers_to_remove[0]", "may not be changed", false},
		{"append and append_action", `{"request_headers_to_add":[{"header":{"key":"a","value":"b"},"append":true,"append_action":"ADD_IF_ABSENT"}]}`, "request_headers_to_add[0].append", "append_action", false},
		{"bad format", `{"request_headers_to_add":[{"header":{"key":"a","value":"%b"}}]}`, "request_headers_to_add[0].header.value", "unbalanced", false},
		{"unknown filter", `{"typed_per_filter_config":{"unknown":{"@type":"type.googleapis.com/google.protobuf.StringValue","value":""}}}`, "typed_per_filter_config[unknown]", "no filter", false},
		{"unknown optional filter", `{"typed_per_filter_config":{"unknown":{"@type":"type.googleapis.com/envoy.config.route.v3.FilterConfig","is_optional":true,"config":{"@type":"type.googleapis.com/google.protobuf.StringValue","value":""}}}}`, "typed_per_filter_config[unknown]", "optional", true},
		{"long body", oneRoute(`{"match":{"prefix":"/"},"direct_response":{"status":200,"body":{"inline_string":"` + strings.Repeat("a", 4097) + `"}}}`), "virtual_hosts[0].routes[0].direct_response.body", "over 4096", false},
		{"missing file", oneRoute(`{"match":{"prefix":"/"},"direct_response":{"status":200,"body":{"filename":"/no/such"}}}`), "virtual_hosts[0].routes[0].direct_response.body.filename", "no such file", false},
		{"keep_matching", `{"virtual_hosts":[{"name":"v","domains":["*"],"matcher":{"on_no_match":{"keep_matching":true,"action":{"name":"a"}}}}]}`, "virtual_hosts[0].matcher", "keep_matching", false},
		{"template rewrite alone", action(`"cluster":"c",` + rewrite), "virtual_hosts[0].routes[0].route.path_rewrite_policy", "needs a uri_template", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table, problems := Compile(parse(t, tt.json), testContext())
			if (table == nil) == tt.warning {
				t.Errorf("table %v", table)
			}
			for _, p := range problems {
				if p.Path == tt.path && strings.Contains(p.Reason, tt.reason) && p.Warning == tt.warning {
					return
				}
			}
			t.Errorf("problems %v lack %s: %s", problems, tt.path, tt.reason)
		})
	}
	if table, problems := Compile(nil, Context{}); table != nil || len(problems) == 0 {
		t.Error("nil was compiled")
	}
}

func TestTemplateProblems(t *testing.T) {
	for _, s := range []string{"", "a", "/{a", "/{1a}", "/{a}/{a}", "/**/*", "/**/{a}", "/{a}b/c", "/a b", "/{a=}", "/{abcdefghijklmnopq}", "/{a}/{b}/{c}/{d}/{e}/{f}", "/a//b"} {
		if _, err := parseTemplate(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
	tpl, err := parseTemplate("/{a}/x/{b=y/**}")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"", "a", "/{c}", "/{a", "/a b", "//a"} {
		if _, err := newTemplateRewrite(s, tpl); err == nil {
			t.Errorf("rewrite %q was taken", s)
		}
	}
}

func TestValidateClusters(t *testing.T) {
	js := func(more string) string {
		return `{` + more + `"virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"known"}},{"match":{"prefix":"/"},"route":{"weighted_clusters":{"clusters":[{"name":"known","weight":1},{"name":"lost","weight":1}]}}}]}]}`
	}
	tests := []struct {
		more   string
		static bool
		want   bool // a problem
	}{
		{``, true, true}, {``, false, false}, {`"validate_clusters":true,`, false, true}, {`"validate_clusters":false,`, true, false},
	}
	for _, tt := range tests {
		ctx := testContext()
		ctx.Static = tt.static
		ctx.HasCluster = func(n string) bool { return n == "known" }
		_, problems := Compile(parse(t, js(tt.more)), ctx)
		if (len(problems) > 0) != tt.want {
			t.Errorf("%+v: %v", tt, problems)
		}
		if tt.want && problems[0].Path != "virtual_hosts[0].routes[1]" {
			t.Errorf("path %s", problems[0].Path)
		}
	}
}

func TestDirectResponse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte("from file"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ROUTE_TEST_BODY", "from env")
	for source, want := range map[string]string{
		`"inline_string":"text"`:                   "text",
		`"inline_bytes":"aGk="`:                    "hi",
		`"filename":"` + file + `"`:                "from file",
		`"environment_variable":"ROUTE_TEST_BODY"`: "from env",
	} {
		d := mustCompile(t, oneRoute(`{"match":{"prefix":"/"},"direct_response":{"status":418,"body":{`+source+`}}}`)).Match(request()).Direct
		if d.Status != 418 || string(d.Body) != want {
			t.Errorf("%s: %d %s", source, d.Status, d.Body)
		}
	}
}

func TestRateLimits(t *testing.T) {
	table := mustCompile(t, `{"virtual_hosts":[{"name":"v","domains":["*"],"rate_limits":[{"stage":1,"disable_key":"k","actions":[
		{"remote_address":{}},{"generic_key":{"descriptor_value":"%REQ(a)%"}},{"request_headers":{"header_name":"X-A","descriptor_key":"a","skip_if_absent":true}},
		{"header_value_match":{"descriptor_value":"m","expect_match":false,"headers":[{"name":"b"}]}},{"masked_remote_address":{"v4_prefix_mask_len":24}},
		{"metadata":{"descriptor_key":"d","source":"ROUTE_ENTRY","metadata_key":{"key":"ns","path":[{"key":"p"}]}}}],
		"limit":{"dynamic_metadata":{"metadata_key":{"key":"ns","path":[{"key":"l"}]}}}}]}]}`)
	rl := table.VirtualHosts[0].RateLimits[0]
	if rl.Stage != 1 || rl.DisableKey != "k" || rl.Limit.Namespace != "ns" || len(rl.Actions) != 6 {
		t.Fatalf("%+v", rl)
	}
	kinds := []RateLimitKind{LimitRemoteAddress, LimitGenericKey, LimitRequestHeaders, LimitHeaderValueMatch, LimitMaskedRemoteAddress, LimitRouteMetadata}
	keys := []string{"remote_address", "generic_key", "a", "header_match", "masked_remote_address", "d"}
	for i, a := range rl.Actions {
		if a.Kind != kinds[i] || a.Key != keys[i] {
			t.Errorf("%d: %+v", i, a)
		}
	}
	if rl.Actions[1].ValueFormat == nil || !rl.Actions[2].SkipIfAbsent || rl.Actions[2].Header.String() != "x-a" || rl.Actions[3].Expect || rl.Actions[4].V4Bits != 24 || rl.Actions[4].V6Bits != 128 {
		t.Errorf("%+v", rl.Actions)
	}
}

func TestOldCORS(t *testing.T) {
	table := mustCompile(t, `{"virtual_hosts":[{"name":"v","domains":["*"],"cors":{"allow_methods":"GET","allow_origin_string_match":[{"suffix":".x"}]},"routes":[
		{"match":{"prefix":"/own"},"route":{"cluster":"c","cors":{"allow_methods":"PUT","filter_enabled":{"default_value":{"numerator":0}}}}},{"match":{"prefix":"/"},"route":{"cluster":"c"}}]}]}`)
	if c := table.Match(request("/")).Forward.CORS; c.AllowMethods != "GET" || !c.AllowOrigins.Match("a.x") || !c.Enabled.Enabled(nil, 1) {
		t.Errorf("%+v", c)
	}
	if c := table.Match(request("/own")).Forward.CORS; c.AllowMethods != "PUT" || c.Enabled.Enabled(nil, 0) {
		t.Errorf("%+v", c)
	}
}
