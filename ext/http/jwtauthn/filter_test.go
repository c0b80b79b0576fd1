// SPDX-License-Identifier: Apache-2.0

package jwtauthn

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/internal/jose"
	"weir.dev/weir/internal/jose/josetest"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", Extension().Config, Extension().Route) }

// quoted is a JSON string.
func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// with is a provider in JSON: its keys, and more.
func with(keys string, more ...string) string {
	return "{" + strings.Join(append([]string{`"local_jwks":{"inline_string":` + quoted(keys) + `}`}, more...), ",") + "}"
}

// asking is a configuration whose only rule is for all requests.
func asking(requires string, providers ...string) string {
	return `{"providers":{` + strings.Join(providers, ",") + `},"rules":[{"match":{"prefix":"/"},"requires":` + requires + `}]}`
}

func in(d time.Duration) int64 { return time.Now().Add(d).Unix() }

// claims are a payload.
type claims map[string]any

func bearer(token string) []string { return []string{"authorization: Bearer " + token} }

func TestRequired(t *testing.T) {
	a, b := josetest.New(t, "ES256", "a"), josetest.New(t, "ES256", "b")
	rs := josetest.New(t, "RS256", "a")
	const p = `{"provider_name":"p"}`
	own := `"issuer":"https://issuer"`
	good := claims{"iss": "https://issuer", "sub": "alice", "aud": "shop", "exp": in(time.Hour)}
	but := func(name string, v any) claims {
		c := claims{}
		for k, x := range good {
			c[k] = x
		}
		if c[name] = v; v == nil {
			delete(c, name)
		}
		return c
	}
	set := josetest.Set(a)
	tests := []struct {
		name, config string
		header       []string
		path         string
		status       int
		body         string
	}{
		{"good", asking(p, `"p":`+with(set, own)), bearer(a.Sign(good)), "/", 200, ""},
		{"missing", asking(p, `"p":`+with(set, own)), nil, "/", 401, "Jwt is missing"},
		{"another scheme", asking(p, `"p":`+with(set, own)), []string{"authorization: Basic YTpi"}, "/", 401, "Jwt is missing"},
		{"nonsense", asking(p, `"p":`+with(set, own)), bearer("x"), "/", 401, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"},
		{"forged", asking(p, `"p":`+with(set, own)), bearer(a.Sign(good)[:len(a.Sign(good))-8] + "AAAAAAAA"), "/", 401, "Jwt verification fails"},
		{"of another key", asking(p, `"p":`+with(set, own)), bearer(b.Sign(good)), "/", 401, "Jwks doesn't have key to match kid or alg from Jwt"},
		{"of another algorithm", asking(p, `"p":`+with(set, own)), bearer(rs.Sign(good)), "/", 401, "Jwks doesn't have key to match kid or alg from Jwt"},
		{"none", asking(p, `"p":`+with(set, own)), bearer(josetest.Raw(`{"alg":"none"}`, `{"iss":"https://issuer"}`)), "/", 401, "Jwt header [alg] is not supported"},
		{"expired", asking(p, `"p":`+with(set, own)), bearer(a.Sign(but("exp", in(-2*time.Minute)))), "/", 401, "Jwt is expired"},
		{"expired within the skew", asking(p, `"p":`+with(set, own)), bearer(a.Sign(but("exp", in(-30*time.Second)))), "/", 200, ""},
		{"expired beyond a small skew", asking(p, `"p":`+with(set, own, `"clock_skew_seconds":5`)), bearer(a.Sign(but("exp", in(-30*time.Second)))), "/", 401, "Jwt is expired"},
		{"not yet valid", asking(p, `"p":`+with(set, own)), bearer(a.Sign(but("nbf", in(2*time.Minute)))), "/", 401, "Jwt not yet valid"},
		{"another issuer", asking(p, `"p":`+with(set, own)), bearer(a.Sign(but("iss", "https://evil"))), "/", 401, "Jwt issuer is not configured"},
		{"no issuer", asking(p, `"p":`+with(set, own)), bearer(a.Sign(but("iss", nil))), "/", 401, "Jwt issuer is not configured"},
		{"any issuer", asking(p, `"p":`+with(set)), bearer(a.Sign(but("iss", "x"))), "/", 200, ""},
		{"an audience", asking(p, `"p":`+with(set, `"audiences":["web","shop"]`)), bearer(a.Sign(good)), "/", 200, ""},
		{"an audience as a URL", asking(p, `"p":`+with(set, `"audiences":["https://shop/"]`)), bearer(a.Sign(good)), "/", 200, ""},
		{"another audience", asking(p, `"p":`+with(set, `"audiences":["bank"]`)), bearer(a.Sign(good)), "/", 403, "Audiences in Jwt are not allowed"},
		{"audiences of the rule", asking(`{"provider_and_audiences":{"provider_name":"p","audiences":["bank"]}}`, `"p":`+with(set, `"audiences":["shop"]`)), bearer(a.Sign(good)), "/", 403, "Audiences in Jwt are not allowed"},
		{"a subject", asking(p, `"p":`+with(set, `"subjects":{"prefix":"ali"}`)), bearer(a.Sign(good)), "/", 200, ""},
		{"another subject", asking(p, `"p":`+with(set, `"subjects":{"exact":"bob"}`)), bearer(a.Sign(good)), "/", 401, "Jwt verification fails"},
		{"without exp", asking(p, `"p":`+with(set)), bearer(a.Sign(but("exp", nil))), "/", 200, ""},
		{"exp is asked for", asking(p, `"p":`+with(set, `"require_expiration":true`)), bearer(a.Sign(but("exp", nil))), "/", 401, "Jwt verification fails"},
		{"lives too long", asking(p, `"p":`+with(set, `"max_lifetime":"60s"`)), bearer(a.Sign(good)), "/", 401, "Jwt verification fails"},
		{"lives not too long", asking(p, `"p":`+with(set, `"max_lifetime":"7200s"`)), bearer(a.Sign(good)), "/", 200, ""},
		{"in the query", asking(p, `"p":`+with(set)), nil, "/?access_token=" + a.Sign(good), 200, ""},
		{"both must be good", asking(p, `"p":`+with(set)), bearer(a.Sign(good)), "/?access_token=" + b.Sign(good), 401, "Jwks doesn't have key to match kid or alg from Jwt"},
		{"in a header of its own", asking(p, `"p":`+with(set, `"from_headers":[{"name":"X-Token","value_prefix":"jwt_value"}]`)), []string{`x-token: beta,jwt_value="` + a.Sign(good)}, "/", 200, ""},
		{"not where it is looked for", asking(p, `"p":`+with(set, `"from_headers":[{"name":"X-Token"}]`)), bearer(a.Sign(good)), "/", 401, "Jwt is missing"},
		{"in a cookie", asking(p, `"p":`+with(set, `"from_cookies":["session"]`)), []string{"cookie: a=b; session=" + a.Sign(good)}, "/", 200, ""},
		{"in a parameter", asking(p, `"p":`+with(set, `"from_params":["jwt"]`)), nil, "/x?a=b&jwt=" + strings.ReplaceAll(a.Sign(good), ".", "%2e"), 200, ""},
		{"oversized", asking(p, `"p":`+with(set)), bearer(strings.Repeat("a", 300<<10) + ".b.c"), "/", 401, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"},
		{"large", asking(p, `"p":`+with(set)), bearer(a.Sign(but("x", strings.Repeat("x", 10000)))), "/", 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), tt.config)
			for range 2 { // The second is remembered.
				res := rig.Run(streamtest.Request{Authority: "shop.example", Path: tt.path, Header: tt.header}, streamtest.Upstream{})
				if res.Status != tt.status || res.Body != tt.body || res.Called != (tt.status == 200) {
					t.Fatalf("status %d, %q, called %v", res.Status, res.Body, res.Called)
				}
				if tt.status == 200 {
					continue
				}
				if want := "jwt_authn_access_denied{" + strings.ReplaceAll(tt.body, " ", "_") + "}"; res.Info.StatusDetails != want {
					t.Errorf("details %q", res.Info.StatusDetails)
				}
				challenge := `www-authenticate: Bearer realm="http://shop.example` + tt.path[:min(len(tt.path), 256)] + `"`
				if tt.body != "Jwt is missing" {
					challenge += `, error="invalid_token"`
				}
				if got := strings.Join(res.Header, "\n"); !strings.Contains(got, challenge) {
					t.Errorf("%s\nhas no %s", got, challenge)
				}
			}
			allowed, denied := rig.Counter("http.test.jwt_authn.allowed"), rig.Counter("http.test.jwt_authn.denied")
			if want := map[bool][2]int64{true: {2, 0}, false: {0, 2}}[tt.status == 200]; want != [2]int64{allowed, denied} {
				t.Errorf("allowed %d, denied %d", allowed, denied)
			}
		})
	}
}

func TestRequirements(t *testing.T) {
	a, b, c := josetest.New(t, "ES256", "a"), josetest.New(t, "ES256", "b"), josetest.New(t, "EdDSA", "c")
	p := `"p":` + with(josetest.Set(a), `"issuer":"p"`)
	q := `"q":` + with(josetest.Set(b), `"issuer":"q"`, `"from_headers":[{"name":"x-q"}]`)
	ofP, ofQ, forged := a.Sign(claims{"iss": "p"}), b.Sign(claims{"iss": "q"}), c.Sign(claims{"iss": "p"})
	list := func(s ...string) string { return `{"requirements":[` + strings.Join(s, ",") + `]}` }
	const isP, isQ = `{"provider_name":"p"}`, `{"provider_name":"q"}`
	either, both := `{"requires_any":`+list(isP, isQ)+`}`, `{"requires_all":`+list(isP, isQ)+`}`
	missing, failed := `{"requires_any":`+list(isP, `{"allow_missing":{}}`)+`}`, `{"requires_any":`+list(isP, `{"allow_missing_or_failed":{}}`)+`}`
	tests := []struct {
		name, requires string
		p, q           string
		status         int
		body           string
	}{
		{"any, the first", either, ofP, "", 200, ""},
		{"any, the second", either, "", ofQ, 200, ""},
		{"any, none", either, "", "", 401, "Jwt is missing"},
		{"any, wrong", either, forged, "", 401, "Jwks doesn't have key to match kid or alg from Jwt"},
		{"any, one wrong", either, forged, ofQ, 200, ""},
		{"all", both, ofP, ofQ, 200, ""},
		{"all, one", both, ofP, "", 401, "Jwt is missing"},
		{"all, one wrong", both, ofQ, ofQ, 401, "Jwt issuer is not configured"},
		{"missing is allowed", missing, "", "", 200, ""},
		{"but wrong is not", missing, forged, "", 401, "Jwks doesn't have key to match kid or alg from Jwt"},
		{"and right is", missing, ofP, "", 200, ""},
		{"failed is allowed", failed, forged, "", 200, ""},
		{"missing, too", failed, "", "", 200, ""},
		{"missing alone", `{"allow_missing":{}}`, "", "", 200, ""},
		{"missing alone, wrong", `{"allow_missing":{}}`, "", forged, 401, "Jwt issuer is not configured"},
		{"missing alone, right", `{"allow_missing":{}}`, "", ofQ, 200, ""},
		{"missing alone, one of two wrong", `{"allow_missing":{}}`, ofP, forged, 401, "Jwt issuer is not configured"},
		{"failed alone", `{"allow_missing_or_failed":{}}`, forged, "x", 200, ""},
		{"nothing", `{}`, "", "", 200, ""},
		{"any of nothing", `{"requires_any":` + list(`{}`, isP) + `}`, "", "", 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), asking(tt.requires, p, q))
			var h []string
			if tt.p != "" {
				h = bearer(tt.p)
			}
			if tt.q != "" {
				h = append(h, "x-q: "+tt.q)
			}
			for range 2 {
				res := rig.Run(streamtest.Request{Header: h}, streamtest.Upstream{})
				if res.Status != tt.status || res.Body != tt.body {
					t.Errorf("%d %q", res.Status, res.Body)
				}
			}
		})
	}
}

func TestRules(t *testing.T) {
	k := josetest.New(t, "ES256", "k")
	config := `{"providers":{"p":` + with(josetest.Set(k)) + `},"bypass_cors_preflight":true,"stat_prefix":"edge",
		"requirement_map":{"named":{"provider_name":"p"},"free":{}},
		"filter_state_rules":{"name":"who","requires":{"strict":{"provider_name":"p"}}},
		"rules":[{"match":{"prefix":"/health"}},
			{"match":{"path":"/named"},"requirement_name":"named"},
			{"match":{"prefix":"/api","headers":[{"name":"x-open","present_match":true}]},"requires":{}},
			{"match":{"safe_regex":{"regex":"/api/.*"}},"requires":{"provider_name":"p"}}]}`
	tests := []struct {
		name   string
		route  streamtest.Route
		method string
		path   string
		header []string
		status int
		body   string
	}{
		{"no rule", streamtest.Route{}, "GET", "/other", nil, 200, ""},
		{"a rule without", streamtest.Route{}, "GET", "/health", nil, 200, ""},
		{"by name", streamtest.Route{}, "GET", "/named", nil, 401, "Jwt is missing"},
		{"by expression", streamtest.Route{}, "GET", "/api/x?y", nil, 401, "Jwt is missing"},
		{"by header", streamtest.Route{}, "GET", "/api/x", []string{"x-open: 1"}, 200, ""},
		{"a preflight", streamtest.Route{}, "OPTIONS", "/api/x", []string{"origin: https://a", "access-control-request-method: PUT"}, 200, ""},
		{"no preflight", streamtest.Route{}, "OPTIONS", "/api/x", []string{"origin: https://a"}, 401, "Jwt is missing"},
		{"disabled by the route", streamtest.Route{Entry: `{"disabled":true}`}, "GET", "/api/x", nil, 200, ""},
		{"of the route", streamtest.Route{Entry: `{"requirement_name":"named"}`}, "GET", "/health", nil, 401, "Jwt is missing"},
		{"free by the route", streamtest.Route{Entry: `{"requirement_name":"free"}`}, "GET", "/api/x", nil, 200, ""},
		{"a wrong name", streamtest.Route{Entry: `{"requirement_name":"x"}`}, "GET", "/", nil, 403, "Failed JWT authentication: Wrong requirement_name: x. It should be one of [free,named]"},
		{"off for the route", streamtest.Route{Entry: streamtest.Disabled}, "GET", "/api/x", nil, 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), config)
			tt.route.Filter = Extension()
			rig.Route(tt.route)
			res := rig.Run(streamtest.Request{Method: tt.method, Path: tt.path, Header: tt.header}, streamtest.Upstream{})
			if res.Status != tt.status || res.Body != tt.body {
				t.Errorf("%d %q", res.Status, res.Body)
			}
			if tt.status != 200 && rig.Counter("http.test.jwt_authn.edge.denied") != 1 {
				t.Error("not counted")
			}
		})
	}
}

func TestHandsOn(t *testing.T) {
	k := josetest.New(t, "ES256", "k")
	payload := `{"iss":"i","sub":"alice","scope":"email  profile","n":7,"neg":-1.5,"yes":true,"list":["a"],"a.b":{"c":"d"},"nested":{"claim":{"key":"deep"}},"bad":"a\nb"}`
	token := k.Sign(payload)
	config := asking(`{"provider_name":"p"}`, `"p":`+with(josetest.Set(k), `"forward_payload_header":"X-Payload","pad_forward_payload_header":true,
		"payload_in_metadata":"payload","header_in_metadata":"head","failed_status_in_metadata":"failed",
		"normalize_payload_in_metadata":{"space_delimited_claims":["scope","none"]},
		"claim_to_headers":[{"header_name":"x-sub","claim_name":"sub"},{"header_name":"x-n","claim_name":"n"},{"header_name":"x-neg","claim_name":"neg"},
			{"header_name":"x-yes","claim_name":"yes"},{"header_name":"x-list","claim_name":"list"},{"header_name":"x-deep","claim_name":"nested.claim.key"},
			{"header_name":"x-path","claim_path":[{"key":"a.b"},{"key":"c"}]},{"header_name":"x-none","claim_name":"none.at.all"},{"header_name":"x-bad","claim_name":"bad"}]`))
	rig := streamtest.New(t)
	rig.Add(Extension(), config)
	for range 2 {
		res := rig.Run(streamtest.Request{Header: append(bearer(token), "x-sub: mallory", "x-none: mallory", "x-payload: mallory")}, streamtest.Upstream{})
		if res.Status != 200 {
			t.Fatal(res.Status, res.Body)
		}
		part := strings.Split(token, ".")[1]
		var got []string
		for _, l := range res.Upstream.Header {
			if strings.HasPrefix(l, "x-") || strings.HasPrefix(l, "authorization") {
				got = append(got, l)
			}
		}
		want := []string{"x-payload: " + part + strings.Repeat("=", (4-len(part)%4)%4), "x-sub: alice", "x-n: 7", "x-neg: -1.500000", "x-yes: true", "x-list: " + base64.StdEncoding.EncodeToString([]byte(`["a"]`)), "x-deep: deep", "x-path: d"}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		md := res.Info.Metadata[Name]
		p, _ := md["payload"].(map[string]any)
		if !reflect.DeepEqual(p["scope"], []any{"email", "profile"}) || p["sub"] != "alice" || md["head"].(map[string]any)["kid"] != "k" || md["failed"] != nil {
			t.Errorf("metadata %v", md)
		}
	}
	if hit, miss := rig.Counter("http.test.jwt_authn.jwt_cache_hit"), rig.Counter("http.test.jwt_authn.jwt_cache_miss"); hit != 1 || miss != 1 {
		t.Errorf("%d hits, %d misses", hit, miss)
	}
	res := rig.Run(streamtest.Request{Header: append(bearer("x"), "x-sub: mallory")}, streamtest.Upstream{})
	if got := fmt.Sprint(res.Info.Metadata[Name]["failed"]); got != "map[code:4 message:"+jose.BadFormat.String()+"]" {
		t.Error(got)
	}
}

func TestForward(t *testing.T) {
	k := josetest.New(t, "ES256", "k")
	token := k.Sign(`{"sub":"alice"}`)
	for _, tt := range []struct {
		name, more, path string
		header           []string
		wantPath         string
		has              bool
	}{
		{"removed", `"forward":false`, "/a?b=c", bearer(token), "/a?b=c", false},
		{"kept", `"forward":true`, "/a?b=c", bearer(token), "/a?b=c", true},
		{"removed from the query", `"forward":false`, "/a?x=1&access_token=" + token + "&y", nil, "/a?x=1&y", false},
		{"the query was but the token", `"forward":false`, "/a?access_token=" + token, nil, "/a", false},
		{"kept in the query", `"forward":true`, "/a?access_token=" + token, nil, "/a?access_token=" + token, false},
	} {
		rig := streamtest.New(t)
		rig.Add(Extension(), asking(`{"provider_name":"p"}`, `"p":`+with(josetest.Set(k), tt.more)))
		res := rig.Run(streamtest.Request{Path: tt.path, Header: tt.header}, streamtest.Upstream{})
		all := strings.Join(res.Upstream.Header, "\n")
		if !strings.Contains(all, ":path: "+tt.wantPath+"\n") || strings.Contains(all, "authorization") != tt.has {
			t.Errorf("%s: %s", tt.name, all)
		}
	}
}

func TestExtractOnly(t *testing.T) {
	k, other := josetest.New(t, "ES256", "k"), josetest.New(t, "ES256", "k")
	provider := `"p":` + with(josetest.Set(k), `"claim_to_headers":[{"header_name":"x-sub","claim_name":"sub"}]`)
	rig := streamtest.New(t)
	rig.Add(Extension(), asking(`{"extract_only_without_validation":{}}`, provider))
	res := rig.Run(streamtest.Request{Header: append(bearer(other.Sign(`{"sub":"eve","exp":1}`)), "x-jwt-signature-verified: true")}, streamtest.Upstream{})
	if all := strings.Join(res.Upstream.Header, "\n"); !strings.Contains(all, "x-sub: eve") || !strings.Contains(all, "x-jwt-signature-verified: false") || strings.Contains(all, "true") {
		t.Error(all)
	}
	res = rig.Run(streamtest.Request{}, streamtest.Upstream{})
	if res.Status != 200 || strings.Contains(strings.Join(res.Upstream.Header, "\n"), "verified") {
		t.Error(res.Status, res.Upstream.Header)
	}
}

func TestStrip(t *testing.T) {
	k := josetest.New(t, "ES256", "k")
	rig := streamtest.New(t)
	rig.Add(Extension(), strings.Replace(asking(`{"provider_name":"p"}`, `"p":`+with(josetest.Set(k))), "{", `{"strip_failure_response":true,`, 1))
	res := rig.Run(streamtest.Request{}, streamtest.Upstream{})
	if res.Status != 401 || res.Body != "" || strings.Contains(strings.Join(res.Header, "\n"), "www-authenticate") {
		t.Errorf("%d %q %q", res.Status, res.Body, res.Header)
	}
}

func TestFileChanges(t *testing.T) {
	a, b := josetest.New(t, "ES256", "k"), josetest.New(t, "ES256", "k")
	file := filepath.Join(t.TempDir(), "keys.json")
	put := func(s string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	put(josetest.Set(a))
	rig := streamtest.New(t)
	rig.Add(Extension(), asking(`{"provider_name":"p"}`, `"p":{"local_jwks":{"filename":`+quoted(file)+`}}`))
	status := func(k *josetest.Key) int {
		return rig.Run(streamtest.Request{Header: bearer(k.Sign(`{}`))}, streamtest.Upstream{}).Status
	}
	token := a.Sign(`{}`)
	once := func() int {
		return rig.Run(streamtest.Request{Header: bearer(token)}, streamtest.Upstream{}).Status
	}
	if status(a) != 200 || status(b) != 401 || once() != 200 || once() != 200 {
		t.Fatal("the first keys do not serve")
	}
	until := func(what string, f func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !f(); {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	put(josetest.Set(b))
	until("the new keys do not serve", func() bool { return status(b) == 200 })
	// What the old keys verified is not remembered any more.
	if got := once(); got != 401 {
		t.Errorf("a token of keys that are gone: %d", got)
	}
	put("nonsense")
	put(josetest.Set(b) + " ")
	until("the keys are gone", func() bool { return status(b) == 200 })
}

func TestRefused(t *testing.T) {
	k := josetest.Set(josetest.New(t, "ES256", "k"))
	rig := streamtest.New(t)
	deep := `{"provider_name":"p"}`
	for range 40 {
		deep = `{"requires_all":{"requirements":[` + deep + `,{"provider_name":"p"}]}}`
	}
	for _, tt := range []struct{ config, want string }{
		{`{"providers":{"p":{}}}`, "JwksSourceSpecifier"},
		{`{"providers":{"p":` + with("x") + `}}`, `providers["p"].local_jwks: Jwks is an invalid JSON`},
		{`{"providers":{"p":` + with(`{"keys":[]}`) + `}}`, "any valid public key"},
		{`{"providers":{"p":{"local_jwks":{"filename":"/does/not/exist"}}}}`, "no such file"},
		{`{"providers":{"p":{"remote_jwks":{"http_uri":{"uri":"http://","cluster":"c","timeout":"1s"}}}}}`, "has no host"},
		{`{"providers":{"p":{"remote_jwks":{"http_uri":{"uri":"http://a/b","cluster":"c","timeout":"1s"},"retry_policy":{"retry_back_off":{"base_interval":"2s","max_interval":"1s"}}}}}}`, "max_interval"},
		{asking(`{"provider_name":"q"}`, `"p":`+with(k)), `rules[0].requires.provider_name: there is no provider "q"`},
		{asking(deep, `"p":`+with(k)), "nested deeper"},
		{`{"providers":{"p":` + with(k) + `},"rules":[{"match":{"prefix":"/"},"requirement_name":"x"}]}`, "requirement_map"},
		{`{"providers":{"p":` + with(k) + `},"rules":[{"match":{"safe_regex":{"regex":"("}},"requires":{"provider_name":"p"}}]}`, "rules[0].match"},
		{`{"providers":{"p":` + with(k, `"claim_to_headers":[{"header_name":"x"}]`) + `}}`, "claim_to_headers[0]"},
		{`{"providers":{"p":` + with(k, `"claim_to_headers":[{"header_name":"host","claim_name":"a"}]`) + `}}`, "claim_to_headers[0].header_name"},
		{`{"providers":{"p":` + with(k, `"forward_payload_header":":path"`) + `}}`, "forward_payload_header"},
	} {
		_, err := rig.Compile(Extension(), tt.config)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s\n%v, want %s", tt.config, err, tt.want)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(10)
	keys := &jose.Keys{}
	for i := range 100 {
		c.put(hash{byte(i)}, &verified{}, keys)
	}
	if len(c.entries) != 10 || c.order.Len() != 10 || c.get(hash{89}, keys) != nil || c.get(hash{90}, keys) == nil {
		t.Errorf("%d entries", len(c.entries))
	}
	if c.get(hash{95}, nil) != nil || len(c.entries) != 9 {
		t.Error("what other keys verified is still there")
	}
}

func TestAllocations(t *testing.T) {
	k := josetest.New(t, "ES256", "k")
	rig := streamtest.New(t)
	rig.Add(Extension(), asking(`{"provider_name":"p"}`, `"p":`+with(josetest.Set(k), `"claim_to_headers":[{"header_name":"x-sub","claim_name":"sub"}]`)))
	if n := rig.Allocs(streamtest.Request{Header: bearer(k.Sign(`{"sub":"alice"}`))}); n > 1 {
		t.Errorf("%v allocations for a token that is known", n)
	}
}

// BenchmarkKnownToken is the cost of a request whose ES256 token was verified before,
// beside that of one in a chain without the filter, and of one whose token is new.
func BenchmarkKnownToken(b *testing.B) {
	k := josetest.New(b, "ES256", "k")
	config := asking(`{"provider_name":"p"}`, `"p":`+with(josetest.Set(k), `"issuer":"i"`, `"audiences":["shop"]`, `"claim_to_headers":[{"header_name":"x-sub","claim_name":"sub"}]`, `"payload_in_metadata":"payload"`))
	header := bearer(k.Sign(claims{"iss": "i", "aud": "shop", "sub": "alice", "exp": in(time.Hour)}))
	b.Run("without", func(b *testing.B) {
		streamtest.New(b).Bench(b, streamtest.Request{Header: header})
	})
	b.Run("with", func(b *testing.B) {
		rig := streamtest.New(b)
		rig.Add(Extension(), config)
		rig.Bench(b, streamtest.Request{Header: header})
	})
	b.Run("verified anew", func(b *testing.B) {
		rig := streamtest.New(b)
		rig.Add(Extension(), strings.Replace(config, `"issuer"`, `"jwt_cache_config":{"jwt_max_token_size":1},"issuer"`, 1))
		rig.Bench(b, streamtest.Request{Header: header})
	})
}
