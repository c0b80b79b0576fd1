// SPDX-License-Identifier: Apache-2.0

package basicauth

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/internal/htpasswd"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", Extension().Config, Extension().Route) }

// alice's password is "password", bob's is "other:one".
const users = "# people\n\nalice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\nbob:{SHA}8fdFzEEiRSyRyPMF2dYejN4xXFw=\r\n"

func config(more ...string) string {
	text, err := json.Marshal(users)
	if err != nil {
		panic(err)
	}
	return "{" + strings.Join(append([]string{`"users":{"inline_string":` + string(text) + `}`}, more...), ",") + "}"
}

func basic(pair string) string {
	return "authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
}

func TestBasicAuth(t *testing.T) {
	forward := `"forward_username_header":"X-User"`
	open := `"allow_missing":true,"emit_dynamic_metadata":true`
	for _, tt := range []struct {
		name, config, route, header string
		status                      int
		body, details               string
	}{
		{"good", config(forward), "", basic("alice:password"), 200, "", ""},
		{"nothing", config(forward), "", "x: y", 401, "Missing username and password", "no_credential_for_basic_auth"},
		{"another scheme", config(forward), "", "authorization: Bearer x", 401, "Expected 'Basic' authentication scheme", "invalid_scheme_for_basic_auth"},
		{"no base64", config(forward), "", "authorization: Basic &", 401, "Invalid basic credential format", "invalid_format_for_basic_auth"},
		{"no colon", config(forward), "", basic("alice"), 401, "Invalid basic credential format", "invalid_format_for_basic_auth"},
		{"wrong password", config(forward), "", basic("alice:x"), 401, "Invalid username/password combination", "invalid_credential_for_basic_auth"},
		{"wrong user", config(forward), "", basic("eve:password"), 401, "Invalid username/password combination", "invalid_credential_for_basic_auth"},
		{"another header", config(`"authentication_header":"x-auth"`), "", "x-auth: " + strings.TrimPrefix(basic("alice:password"), "authorization: "), 200, "", ""},
		{"missing is allowed", config(open), "", "x: y", 200, "", ""},
		{"another scheme is allowed", config(open), "", "authorization: Bearer x", 200, "", ""},
		{"but not a wrong password", config(open), "", basic("alice:x"), 401, "Invalid username/password combination", "invalid_credential_for_basic_auth"},
		{"users of a route", config(), `{"users":{"inline_string":"carol:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="}}`, basic("carol:password"), 200, "", ""},
		{"not the filter's", config(), `{"users":{"inline_string":"carol:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="},"realm":"shop"}`, basic("alice:password"), 401, "Invalid username/password combination", "invalid_credential_for_basic_auth"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), tt.config)
			rig.Route(streamtest.Route{Filter: Extension(), Entry: tt.route})
			res := rig.Run(streamtest.Request{Authority: "a", Path: "/p", Header: []string{tt.header, "x-user: eve"}}, streamtest.Upstream{})
			body := ""
			if tt.body != "" {
				body = "User authentication failed. " + tt.body + "."
			}
			if res.Status != tt.status || res.Body != body || tt.details != "" && res.Info.StatusDetails != tt.details {
				t.Errorf("%d %q %s", res.Status, res.Body, res.Info.StatusDetails)
			}
			realm := "http://a/p"
			if strings.Contains(tt.route, "realm") {
				realm = "shop"
			}
			if tt.status == 401 && !slices.Contains(res.Header, `www-authenticate: Basic realm="`+realm+`"`) {
				t.Errorf("%q", res.Header)
			}
			if strings.Contains(tt.config, "X-User") && tt.status == 200 && (!slices.Contains(res.Upstream.Header, "x-user: alice") || slices.Contains(res.Upstream.Header, "x-user: eve")) {
				t.Errorf("%q", res.Upstream.Header)
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), config(`"emit_dynamic_metadata":true`))
	res := rig.Run(streamtest.Request{Header: []string{basic("alice:password")}}, streamtest.Upstream{})
	if got := res.Info.Metadata[Name]["username"]; got != "alice" {
		t.Error(got)
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	for bad, want := range map[string]string{
		`{"users":{"inline_string":"x"}}`:           "users: line 1 is not NAME:PASSWORD",
		`{"users":{"inline_string":"a:$apr1$x"}}`:   "htpasswd -s",
		`{"users":{"inline_string":"a:{SHA}AAAA"}}`: "htpasswd -s",
		config(`"allow_missing":true`):              "emit_dynamic_metadata",
		config(`"forward_username_header":":path"`): "forward_username_header",
		`{"users":{"inline_string":"\na:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\na:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="}}`: "line 3: the user",
	} {
		if _, err := rig.Compile(Extension(), bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte(users))
	f.Fuzz(func(t *testing.T, text []byte) {
		u, err := htpasswd.Parse(text)
		if err == nil {
			if _, why := check(u, text); why == (refusal{}) {
				t.Fatal("a list of users is a password")
			}
		}
	})
}
