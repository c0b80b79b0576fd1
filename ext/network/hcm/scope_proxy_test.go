// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

const inlineScopes = `scoped_routes:
  name: tenants
  scope_key_builder: {fragments: [{header_value_extractor: {name: x-tenant, element_separator: ";", element: {separator: "=", key: id}}}, {header_value_extractor: {name: x-zone, index: 0}}]}
  scoped_route_configurations_list:
    scoped_route_configurations:
    - name: one
      key: {fragments: [{string_key: a}, {string_key: z}]}
      route_configuration: {internal_only_headers: [x-secret], virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: one}}}]}]}
    - name: two
      key: {fragments: [{string_key: b}, {string_key: z}]}
      route_configuration: {virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: two}}}]}]}`

func TestInlineScopes(t *testing.T) {
	yaml := proxytest.Edge{Manager: inlineScopes, AccessLog: "%RESPONSE_CODE% %RESPONSE_FLAGS%"}.YAML()
	// The routes take the place of route_config.
	at := strings.Index(yaml, "          route_config:")
	yaml = yaml[:at] + yaml[strings.Index(yaml, "  clusters:"):]
	p := proxytest.Start(t, yaml, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
	for i, tt := range []struct{ headers, want string }{
		{"x-tenant: x;id=a\r\nx-zone: z\r\n", "one"},
		{"x-tenant: id=b\r\nx-zone: z\r\n", "two"},
		{"x-tenant: id=c\r\nx-zone: z\r\n", ""},
		{"x-tenant: id=a\r\n", ""},
	} {
		r := p.Do("GET / HTTP/1.1\r\nhost: a\r\n" + tt.headers + "\r\n")
		log := p.LogLines(i + 1)[i]
		if tt.want == "" {
			if r.StatusCode != 404 || log != "404 NR" {
				t.Errorf("%q: got %v, %s", tt.headers, r, log)
			}
			continue
		}
		if r.StatusCode != 200 || r.Content != tt.want {
			t.Errorf("%q: got %v, want %s", tt.headers, r, tt.want)
		}
	}
}

func TestScopesRefused(t *testing.T) {
	for want, change := range map[string][2]string{
		`scope "two": key: is that of scope "one" already`:          {"string_key: b", "string_key: a"},
		`scope "one": is there twice`:                               {"name: two", "name: one"},
		`fragments[1].header_value_extractor.index: is more than 0`: {"index: 0", "index: 2"},
		`set scoped_routes.rds_config_source`:                       {"route_configuration: {internal", "route_configuration_name: r\n      #{internal"},
		`virtual_hosts[0].domains: needs at least one element`:      {`domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: two`, `domains: [], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: two`},
	} {
		if !strings.Contains(inlineScopes, change[0]) {
			t.Fatalf("there is no %s", change[0])
		}
		yaml := proxytest.Edge{Manager: strings.Replace(inlineScopes, change[0], change[1], 1)}.YAML()
		at := strings.Index(yaml, "          route_config:")
		yaml = yaml[:at] + yaml[strings.Index(yaml, "  clusters:"):]
		_, err := proxytest.TryStart(t, yaml, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
