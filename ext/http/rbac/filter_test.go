// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", Extension().Config, Extension().Route) }

// rules are rules of one policy, called "my policy".
func rules(action, permission, principal string) string {
	return `{"action":"` + action + `","policies":{"my policy":{"permissions":[` + permission + `],"principals":[` + principal + `]}}}`
}

const anything = `{"any":true}`

// claims notes what a token claims, as the JWT filter does.
type claims map[string]any

func (c claims) Request(s *stream.Stream) error {
	s.Info.Metadata = streaminfo.Metadata{"envoy.filters.http.jwt_authn": {"payload": map[string]any(c)}}
	return nil
}

func (claims) Response(*stream.Stream) error { return nil }

func claim(key, match string) string {
	return `{"metadata":{"filter":"envoy.filters.http.jwt_authn","path":[{"key":"payload"},{"key":"` + key + `"}],"value":` + match + `}}`
}

func TestRules(t *testing.T) {
	get := `{"header":{"name":":method","string_match":{"exact":"GET"}}}`
	admin := `{"url_path":{"path":{"prefix":"/admin"}}}`
	tests := []struct {
		name, rules, method, path string
		allowed                   bool
	}{
		{"allowed", rules("ALLOW", get, anything), "GET", "/", true},
		{"not allowed", rules("ALLOW", get, anything), "POST", "/", false},
		{"denied", rules("DENY", admin, anything), "GET", "/admin/x?y", false},
		{"not denied", rules("DENY", admin, anything), "GET", "/x?/admin", true},
		{"logged", rules("LOG", admin, anything), "GET", "/admin", true},
		{"nobody", `{"action":"ALLOW"}`, "GET", "/", false},
		{"and", rules("ALLOW", `{"and_rules":{"rules":[`+get+`,`+admin+`]}}`, anything), "GET", "/admin", true},
		{"and not", rules("ALLOW", `{"and_rules":{"rules":[`+get+`,{"not_rule":`+admin+`}]}}`, anything), "GET", "/admin", false},
		{"a claim", rules("ALLOW", anything, claim("sub", `{"string_match":{"exact":"alice"}}`)), "GET", "/", true},
		{"another claim", rules("ALLOW", anything, claim("sub", `{"string_match":{"exact":"bob"}}`)), "GET", "/", false},
		{"one of a list", rules("ALLOW", anything, claim("scope", `{"list_match":{"one_of":{"string_match":{"exact":"write"}}}}`)), "GET", "/", true},
		{"none of a list", rules("ALLOW", anything, claim("scope", `{"list_match":{"one_of":{"string_match":{"exact":"admin"}}}}`)), "GET", "/", false},
		{"a header of the client", rules("ALLOW", anything, `{"header":{"name":"x-user","present_match":true}}`), "GET", "/", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.AddFilter("jwt", claims{"sub": "alice", "scope": []any{"read", "write"}})
			rig.Add(Extension(), `{"rules":`+tt.rules+`,"track_per_rule_stats":true}`)
			res := rig.Run(streamtest.Request{Method: tt.method, Path: tt.path, Header: []string{"x-user: a"}}, streamtest.Upstream{})
			allowed, denied := rig.Counter("http.test.rbac.allowed"), rig.Counter("http.test.rbac.denied")
			if tt.allowed {
				if res.Status != 200 || !res.Called || allowed != 1 || denied != 0 {
					t.Errorf("%d, called %v, %d %d", res.Status, res.Called, allowed, denied)
				}
				return
			}
			want := "rbac_access_denied_matched_policy[none]"
			if strings.Contains(tt.rules, "DENY") {
				want = "rbac_access_denied_matched_policy[my_policy]"
				if rig.Counter("http.test.rbac.policy.my policy.denied") != 1 {
					t.Error("the policy is not counted")
				}
			}
			if res.Status != 403 || res.Called || res.Body != "RBAC: access denied" || res.Info.StatusDetails != want || allowed != 0 || denied != 1 {
				t.Errorf("%d %q %s, called %v, %d %d", res.Status, res.Body, res.Info.StatusDetails, res.Called, allowed, denied)
			}
			if got := fmt.Sprint(res.Info.Metadata[Name]["enforced_engine_result"]); got != "denied" {
				t.Error(got)
			}
		})
	}
}

func TestShadow(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"rules":`+rules("ALLOW", anything, anything)+`,"rules_stat_prefix":"real","track_per_rule_stats":true,
		"shadow_rules":`+rules("DENY", anything, anything)+`,"shadow_rules_stat_prefix":"next_"}`)
	res := rig.Run(streamtest.Request{}, streamtest.Upstream{})
	if res.Status != 200 {
		t.Fatal(res.Status)
	}
	want := map[string]any{
		"realenforced_engine_result": "allowed", "realenforced_effective_policy_id": "my policy",
		"next_shadow_engine_result": "denied", "next_shadow_effective_policy_id": "my policy",
	}
	if got := res.Info.Metadata[Name]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, name := range []string{"real.allowed", "real.policy.my policy.allowed", "next_.shadow_denied", "next_.policy.my policy.shadow_denied"} {
		if rig.Counter("http.test.rbac."+name) != 1 {
			t.Errorf("%s is not counted", name)
		}
	}
}

func TestLog(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"rules":`+rules("LOG", `{"url_path":{"path":{"exact":"/a"}}}`, anything)+`}`)
	for path, want := range map[string]bool{"/a": true, "/b": false} {
		res := rig.Run(streamtest.Request{Path: path}, streamtest.Upstream{})
		if res.Status != 200 || res.Info.Metadata["envoy.common"]["access_log_hint"] != want {
			t.Errorf("%s: %d %v", path, res.Status, res.Info.Metadata)
		}
	}
	if rig.Counter("http.test.rbac.logged") != 1 || rig.Counter("http.test.rbac.not_logged") != 1 {
		t.Error("not counted")
	}
}

func TestMatcher(t *testing.T) {
	action := func(name, do string) string {
		return `{"action":{"name":"a","typed_config":{"@type":"type.googleapis.com/envoy.config.rbac.v3.Action","name":"` + name + `","action":"` + do + `"}}}`
	}
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"matcher":{"matcher_list":{"matchers":[{"predicate":{"single_predicate":{
		"input":{"name":"claim","typed_config":{"@type":"type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput",
			"filter":"envoy.filters.http.jwt_authn","path":[{"key":"payload"},{"key":"sub"}]}},
		"custom_match":{"name":"value","typed_config":{"@type":"type.googleapis.com/envoy.extensions.matching.input_matchers.metadata.v3.Metadata","value":{"string_match":{"exact":"bob"}}}}}},
		"on_match":`+action("only bob", "ALLOW")+`}]},"on_no_match":`+action("the rest", "DENY")+`}}`)
	rig.AddFilter("unused", claims{})
	res := rig.Run(streamtest.Request{}, streamtest.Upstream{})
	if res.Status != 403 || res.Info.StatusDetails != "rbac_access_denied_matched_policy[the_rest]" {
		t.Errorf("%d %s", res.Status, res.Info.StatusDetails)
	}
	rig = streamtest.New(t)
	rig.AddFilter("jwt", claims{"sub": "bob"})
	rig.Add(Extension(), `{"matcher":{"matcher_tree":{"input":{"name":"m","typed_config":{"@type":"type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput","header_name":":method"}},
		"exact_match_map":{"map":{"GET":`+action("reads", "ALLOW")+`}}}}}`)
	for method, want := range map[string]int{"GET": 200, "POST": 403} {
		if got := rig.Run(streamtest.Request{Method: method}, streamtest.Upstream{}).Status; got != want {
			t.Errorf("%s: %d", method, got)
		}
	}
}

func TestRoutes(t *testing.T) {
	deny := `{"rules":` + rules("DENY", anything, anything) + `}`
	for _, tt := range []struct {
		name, own string
		route     streamtest.Route
		want      int
	}{
		{"its own", deny, streamtest.Route{}, 403},
		{"the route's", deny, streamtest.Route{Entry: `{"rbac":{"rules":` + rules("ALLOW", anything, anything) + `}}`}, 200},
		{"none for the route", deny, streamtest.Route{Entry: `{}`}, 200},
		{"none for the host", deny, streamtest.Route{Host: `{"rbac":{}}`}, 200},
		{"of the route alone", `{}`, streamtest.Route{Entry: `{"rbac":` + deny + `}`}, 403},
		{"disabled", deny, streamtest.Route{Entry: streamtest.Disabled}, 200},
	} {
		rig := streamtest.New(t)
		rig.Add(Extension(), tt.own)
		tt.route.Filter = Extension()
		rig.Route(tt.route)
		if got := rig.Run(streamtest.Request{}, streamtest.Upstream{}).Status; got != tt.want {
			t.Errorf("%s: %d", tt.name, got)
		}
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	for bad, want := range map[string]string{
		`{"rules":` + rules("ALLOW", `{}`, anything) + `}`:                                                       "Permission.Rule",
		`{"shadow_rules":` + rules("ALLOW", anything, `{}`) + `}`:                                                "Principal.Identifier",
		`{"rules":` + rules("ALLOW", `{"header":{"name":"a","safe_regex_match":{"regex":"("}}}`, anything) + `}`: `rules.policies["my policy"].permissions[0].header`,
	} {
		if _, err := rig.Compile(Extension(), bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
