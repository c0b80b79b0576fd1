// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"net/netip"
	"strings"
	"testing"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &rbacv3.RBAC{})
}

func compile(t testing.TB, json string) (*Engine, error) {
	t.Helper()
	m := &rbacv3.RBAC{}
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	return Compile(m)
}

// connection is what the rules of the tests are asked about.
func connection() *streaminfo.Connection {
	at := func(s string) address.Addr { return address.IP(netip.MustParseAddrPort(s)) }
	return &streaminfo.Connection{
		Local: at("10.0.0.1:443"), Remote: at("192.0.2.7:5000"), DirectRemote: at("10.9.9.9:5001"), ServerName: "api.example.com",
		Metadata:    streaminfo.Metadata{"ns": {"k": "v"}},
		FilterState: streaminfo.FilterState{"who": {Text: "alice"}},
	}
}

func TestRules(t *testing.T) {
	for _, tt := range []struct {
		name, permission, principal string
		want                        bool
	}{
		{"any", `{"any": true}`, `{"any": true}`, true},
		{"destination ip", `{"destinationIp": {"addressPrefix": "10.0.0.0", "prefixLen": 8}}`, `{"any": true}`, true},
		{"destination ip differs", `{"destinationIp": {"addressPrefix": "10.1.0.0", "prefixLen": 16}}`, `{"any": true}`, false},
		{"destination port", `{"destinationPort": 443}`, `{"any": true}`, true},
		{"destination port range", `{"destinationPortRange": {"start": 400, "end": 443}}`, `{"any": true}`, false},
		{"destination port in range", `{"destinationPortRange": {"start": 400, "end": 444}}`, `{"any": true}`, true},
		{"server name", `{"requestedServerName": {"suffix": ".example.com"}}`, `{"any": true}`, true},
		{"and", `{"andRules": {"rules": [{"destinationPort": 443}, {"destinationPort": 80}]}}`, `{"any": true}`, false},
		{"or", `{"orRules": {"rules": [{"destinationPort": 443}, {"destinationPort": 80}]}}`, `{"any": true}`, true},
		{"not", `{"notRule": {"destinationPort": 443}}`, `{"any": true}`, false},
		{"header of a connection", `{"header": {"name": "x", "presentMatch": true}}`, `{"any": true}`, false},
		{"no header of a connection", `{"header": {"name": "x", "presentMatch": true, "invertMatch": true}}`, `{"any": true}`, true},
		{"path of a connection", `{"urlPath": {"path": {"prefix": "/"}}}`, `{"any": true}`, false},
		{"metadata", `{"metadata": {"filter": "ns", "path": [{"key": "k"}], "value": {"stringMatch": {"exact": "v"}}}}`, `{"any": true}`, true},
		{"route's metadata", `{"sourcedMetadata": {"metadataSource": "ROUTE", "metadataMatcher": {"filter": "ns", "path": [{"key": "k"}], "value": {"stringMatch": {"exact": "v"}}}}}`, `{"any": true}`, false},
		{"source", `{"any": true}`, `{"sourceIp": {"addressPrefix": "192.0.2.0", "prefixLen": 24}}`, true},
		{"remote", `{"any": true}`, `{"remoteIp": {"addressPrefix": "192.0.2.0", "prefixLen": 24}}`, true},
		{"direct remote", `{"any": true}`, `{"directRemoteIp": {"addressPrefix": "192.0.2.0", "prefixLen": 24}}`, false},
		{"authenticated", `{"any": true}`, `{"authenticated": {}}`, false},
		{"filter state", `{"any": true}`, `{"filterState": {"key": "who", "stringMatch": {"exact": "alice"}}}`, true},
		{"ids", `{"any": true}`, `{"andIds": {"ids": [{"any": true}, {"notId": {"orIds": {"ids": [{"any": true}]}}}]}}`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			policy := `"policies": {"p": {"permissions": [` + tt.permission + `], "principals": [` + tt.principal + `]}}}`
			allow, err := compile(t, `{"action": "ALLOW", `+policy)
			if err != nil {
				t.Fatal(err)
			}
			deny, err := compile(t, `{"action": "DENY", `+policy)
			if err != nil {
				t.Fatal(err)
			}
			d := match.Data{Conn: connection()}
			name := ""
			if tt.want {
				name = "p"
			}
			if got := allow.Decide(d); got.Allowed != tt.want || got.Policy != name {
				t.Errorf("allow: %+v", got)
			}
			if got := deny.Decide(d); got.Allowed == tt.want || got.Policy != name {
				t.Errorf("deny: %+v", got)
			}
		})
	}
}

// TestRequest: a request is judged by its headers and its client.
func TestRequest(t *testing.T) {
	e, err := compile(t, `{"policies": {
		"a": {"permissions": [{"header": {"name": ":method", "stringMatch": {"exact": "GET"}}}], "principals": [{"urlPath": {"path": {"prefix": "/open"}}}]},
		"b": {"permissions": [{"any": true}], "principals": [{"remoteIp": {"addressPrefix": "203.0.113.0", "prefixLen": 24}}]}}}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ method, path, client, policy string }{
		{"GET", "/open?x=/closed", "192.0.2.1", "a"},
		{"POST", "/open", "192.0.2.1", ""},
		{"POST", "/", "203.0.113.9", "b"},
	} {
		var h header.Map
		h.Add(header.Method, tt.method)
		h.Add(header.Path, tt.path)
		info := &streaminfo.Stream{Conn: connection(), Remote: address.IP(netip.MustParseAddrPort(tt.client + ":1"))}
		if got := e.Decide(match.Data{Request: &h, Stream: info}); got.Policy != tt.policy || got.Allowed != (tt.policy != "") {
			t.Errorf("%s %s by %s: %+v", tt.method, tt.path, tt.client, got)
		}
	}
}

func TestNoPolicies(t *testing.T) {
	for action, want := range map[string]bool{"ALLOW": false, "DENY": true, "LOG": true} {
		e, err := compile(t, `{"action": "`+action+`"}`)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Decide(match.Data{Conn: connection()}); got.Allowed != want || got.Log {
			t.Errorf("%s: %+v", action, got)
		}
	}
}

func TestLog(t *testing.T) {
	e, err := compile(t, `{"action": "LOG", "policies": {"p": {"permissions": [{"destinationPort": 443}], "principals": [{"any": true}]}}}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Decide(match.Data{Conn: connection()}); !got.Allowed || !got.Log || !e.Logs() {
		t.Errorf("%+v", got)
	}
}

// TestCondition: a policy with a condition matches where it is true.
func TestCondition(t *testing.T) {
	const condition = `{"callExpr": {"function": "_==_", "args": [
		{"selectExpr": {"operand": {"identExpr": {"name": "destination"}}, "field": "port"}},
		{"constExpr": {"int64Value": "%s"}}]}}`
	for port, want := range map[string]bool{"443": true, "80": false} {
		e, err := compile(t, `{"policies": {"p": {"permissions": [{"any": true}], "principals": [{"any": true}], "condition": `+strings.ReplaceAll(condition, "%s", port)+`}}}`)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Decide(match.Data{Conn: connection()}); got.Allowed != want {
			t.Errorf("port %s: %+v", port, got)
		}
	}
}

func TestTree(t *testing.T) {
	m := &xdsmatcherv3.Matcher{}
	action := func(name, action string) string {
		return `{"action": {"name": "a", "typedConfig": {"@type": "type.googleapis.com/envoy.config.rbac.v3.Action", "name": "` + name + `", "action": "` + action + `"}}}`
	}
	const input = `{"name": "port", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput"}}`
	err := protojson.Unmarshal([]byte(`{"matcherTree": {"input": `+input+`, "exactMatchMap": {"map": {"443": `+action("tls", "ALLOW")+`, "25": `+action("mail", "DENY")+`}}}}`), m)
	if err != nil {
		t.Fatal(err)
	}
	e, err := CompileTree(m, match.NoRuntime{})
	if err != nil {
		t.Fatal(err)
	}
	for port, want := range map[uint16]Decision{443: {Allowed: true, Policy: "tls"}, 25: {Policy: "mail"}, 80: {}} {
		c := connection()
		c.Local = address.IP(netip.AddrPortFrom(c.Local.Addr(), port))
		if got := e.Decide(match.Data{Conn: c}); got != want {
			t.Errorf("port %d: %+v", port, got)
		}
	}
}

func TestRefused(t *testing.T) {
	for json, want := range map[string]string{
		`{"auditLoggingOptions": {}}`: "audit_logging_options",
		`{"policies": {"p": {"permissions": [{"any": true}], "principals": [{"remoteIp": {"addressPrefix": "300.0.0.1"}}]}}}`:                                                                   `policies["p"].principals[0].remote_ip`,
		`{"policies": {"p": {"permissions": [{"uriTemplate": {"name": "x", "typedConfig": {}}}], "principals": [{"any": true}]}}}`:                                                              "uri_template",
		`{"policies": {"p": {"permissions": [{"any": true}], "principals": [{"any": true}], "condition": {"identExpr": {"name": "nobody"}}}}}`:                                                  "condition",
		`{"policies": {"p": {"permissions": [{"notRule": {"orRules": {"rules": [{"header": {"name": "x", "stringMatch": {"safeRegex": {"regex": "("}}}}]}}}], "principals": [{"any": true}]}}}`: "not_rule.or_rules.rules[0].header",
	} {
		if _, err := compile(t, json); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", json, err, want)
		}
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	e, err := compile(t, `{"policies": {"p": {"permissions": [{"requestedServerName": {"suffix": ".example.com"}}], "principals": [{"remoteIp": {"addressPrefix": "192.0.2.0", "prefixLen": 24}}]}}}`)
	if err != nil {
		t.Fatal(err)
	}
	d := match.Data{Conn: connection()}
	if n := testing.AllocsPerRun(100, func() { e.Decide(d) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
