// SPDX-License-Identifier: Apache-2.0

package rbac_test

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// start runs proxytest.Network.
func start(t testing.TB, filters string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, proxytest.Network(filters), proxytest.Options{Extensions: all.Extensions()})
}

func rules(more string) string {
	return `{name: rbac, typed_config: {` + proxytest.NetworkType + `rbac.v3.RBAC, stat_prefix: in, ` + more + `}}, ` + proxytest.Echo
}

func policy(action, principal string) string {
	return `{action: ` + action + `, policies: {"my policy": {permissions: [{any: true}], principals: [` + principal + `]}}}`
}

const (
	loopback = `{direct_remote_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}`
	office   = `{direct_remote_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}`
)

func TestRules(t *testing.T) {
	tree := func(action string) string {
		return `{on_no_match: {action: {name: a, typed_config: {"@type": type.googleapis.com/envoy.config.rbac.v3.Action, name: rest, action: ` + action + `}}}}`
	}
	for _, tt := range []struct {
		name, rules string
		allowed     bool
		log         string
	}{
		{"allow", "rules: " + policy("ALLOW", loopback), true, "- -"},
		{"not allowed", "rules: " + policy("ALLOW", office), false, "rbac_deny_close rbac_access_denied_matched_policy[none]"},
		{"deny", "rules: " + policy("DENY", loopback), false, "rbac_deny_close rbac_access_denied_matched_policy[my_policy]"},
		{"not denied", "rules: " + policy("DENY", office), true, "- -"},
		{"empty", "rules: {}", false, "rbac_deny_close rbac_access_denied_matched_policy[none]"},
		{"log", "rules: " + policy("LOG", loopback), true, "- -"},
		{"shadow", "shadow_rules: " + policy("DENY", loopback), true, "- -"},
		{"matcher", "matcher: " + tree("ALLOW"), true, "- -"},
		{"matcher denies", "matcher: " + tree("DENY") + ", delay_deny: 0.01s", false, "rbac_deny_close rbac_access_denied_matched_policy[rest]"},
		{"matcher goes first", "matcher: " + tree("ALLOW") + ", rules: " + policy("DENY", loopback), true, "- -"},
		{"continuous", "enforcement_type: CONTINUOUS, rules: " + policy("ALLOW", loopback), true, "- -"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, rules(tt.rules))
			c := p.Dial()
			if tt.allowed {
				c.Send("x")
				c.ReadN(1)
				c.Close()
			} else {
				c.ExpectClosed()
			}
			if got := p.LogLines(1); got[0] != tt.log {
				t.Errorf("access log: %q", got)
			}
		})
	}
}

func TestStats(t *testing.T) {
	p := start(t, rules("shadow_rules_stat_prefix: try, shadow_rules: "+policy("DENY", loopback)+", rules: "+policy("ALLOW", loopback)))
	c := p.Dial()
	c.Send("x")
	c.ReadN(1)
	p.WaitCounter("in.rbac.allowed", 1)
	p.WaitCounter("in.rbac.denied", 0)
	p.WaitCounter("in.rbac.try.shadow_denied", 1)
	p.WaitCounter("in.rbac.try.shadow_allowed", 0)
}

func TestRefused(t *testing.T) {
	for given, want := range map[string]string{
		`rules: {policies: {p: {permissions: [{matcher: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher}}}], principals: [{any: true}]}}}`: "matcher",
		`rules: {policies: {p: {permissions: [{any: true}], principals: [{remote_ip: {address_prefix: nowhere}}]}}}`:                                                                                                      "remote_ip",
	} {
		_, err := proxytest.TryStart(t, proxytest.Network(rules(given)), proxytest.Options{Extensions: all.Extensions()})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", given, err)
		}
	}
}
