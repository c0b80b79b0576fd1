// SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/secret"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", Extension().Config, Extension().Route) }

func testKeys(t testing.TB, text string) *keys {
	t.Helper()
	k, err := parseKeys(&secret.Value{Generic: map[string][]byte{"": []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newRig(t testing.TB) *streamtest.Rig {
	t.Helper()
	rig := streamtest.New(t)
	for _, name := range []string{"token", "hmac"} {
		m := &tlsv3.Secret{}
		if err := protojson.Unmarshal([]byte(`{"name":"`+name+`","generic_secret":{"secret":{"inline_string":"s"}}}`), m); err != nil {
			t.Fatal(err)
		}
		if err := rig.Services.Secrets.Source("").Set(name, m); err != nil {
			t.Fatal(err)
		}
	}
	return rig
}

const credentials = `"credentials":{"client_id":"me","token_secret":{"name":"token"},"hmac_secret":{"name":"hmac"}}`

func config(more string) string {
	return `{"config":{"token_endpoint":{"uri":"https://idp/token","cluster":"idp","timeout":"1s"},"authorization_endpoint":"https://idp/auth",` +
		`"redirect_uri":"https://app/cb","redirect_path_matcher":{"path":{"exact":"/cb"}},"signout_path":{"path":{"exact":"/out"}}` + more + `}}`
}

func TestRefused(t *testing.T) {
	rig := newRig(t)
	for more, want := range map[string]string{
		``: "Credentials",
		`,"credentials":{"client_id":"me","hmac_secret":{"name":"hmac"}}`:                                                                           "config.credentials.token_secret: is missing",
		`,"credentials":{"client_id":"me","token_secret":{"name":"other"},"hmac_secret":{"name":"hmac"}}`:                                           "config.credentials.token_secret.name: there is no",
		`,"credentials":{"client_id":"me","token_secret":{"name":"token"},"hmac_secret":{"name":"hmac"},"cookie_names":{"id_token":"BearerToken"}}`: `config.credentials.cookie_names.id_token: is "BearerToken", as bearer_token is`,
		`,` + credentials + `,"forward_bearer_token":true,"preserve_authorization_header":true`:                                                     "preserve_authorization_header: contradicts",
		`,` + credentials + `,"forward_bearer_token":true,"forward_id_token":{"header":"Authorization"}`:                                            "which forward_bearer_token writes",
		`,` + credentials + `,"preserve_authorization_header":true,"forward_id_token":{"header":"Authorization"}`:                                   "which preserve_authorization_header keeps",
		`,` + credentials + `,"forward_id_token":{"header":":path"}`:                                                                                "forward_id_token.header",
		`,` + credentials + `,"end_session_endpoint":"https://idp/out"`:                                                                             "add openid to auth_scopes",
		`,` + credentials + `,"end_session_endpoint":"ftp://idp/out","auth_scopes":["openid"]`:                                                      "end_session_endpoint: \"ftp://idp/out\" is not the URL of a page",
		`,` + credentials + `,"allowed_redirect_domains":["*"]`:                                                                                     "allowed_redirect_domains[0]",
		`,` + credentials + `,"original_request_uri":"%REQ(%"`:                                                                                      "original_request_uri",
		`,` + credentials + `,"retry_policy":{"retry_on":"whatever"}`:                                                                               "retry_policy.retry_on",
		`,` + credentials + `,"auth_type":"PRIVATE_KEY_JWT"`:                                                                                        "config.credentials.token_secret: the private key has no PEM block",
		`,` + credentials + `,"default_expires_in":"-1s"`:                                                                                           "default_expires_in: is negative",
		`,` + credentials + `,"cookie_configs":{"id_token_cookie_config":{"path":"x"}}`:                                                             "Path",
		`,` + credentials + `,"token_cookie_chunking":{"max_chunks":1}`:                                                                             "MaxChunks",
	} {
		if _, err := rig.Compile(Extension(), config(more)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", more, err)
		}
	}
	if _, err := rig.CompileRoute(Extension(), `{}`); err == nil {
		t.Error("a route without configuration is taken")
	}
}

// TestRoutes: the configuration of a route is used instead of the filter's, which may
// have none.
func TestRoutes(t *testing.T) {
	for own, want := range map[string]int{`{}`: 200, config("," + credentials): 302} {
		rig := newRig(t)
		rig.Add(Extension(), own)
		if res := rig.Run(streamtest.Request{}, streamtest.Upstream{}); res.Status != want {
			t.Errorf("%s: %d", own, res.Status)
		}
		rig.Route(streamtest.Route{Filter: Extension(), Entry: strings.Replace(config(","+credentials+`,"stat_prefix":"r"`), "idp/auth", "other/auth", 1)})
		res := rig.Run(streamtest.Request{}, streamtest.Upstream{})
		if to := field(res.Header, "location"); res.Status != 302 || !strings.HasPrefix(to, "https://other/auth?scope=user&client_id=me&response_type=code&redirect_uri=https%3A%2F%2Fapp%2Fcb&state=") {
			t.Errorf("%d %s", res.Status, to)
		}
		if n := rig.Counter("http.test.r.oauth_unauthorized_rq"); n != 1 {
			t.Error(n)
		}
		rig.Route(streamtest.Route{Filter: Extension(), Entry: streamtest.Disabled})
		if res := rig.Run(streamtest.Request{}, streamtest.Upstream{}); res.Status != 200 {
			t.Error(res.Status)
		}
	}
}

func field(lines []string, name string) string {
	for _, l := range lines {
		if v, ok := strings.CutPrefix(l, name+": "); ok {
			return v
		}
	}
	return ""
}

func TestCookieAttributes(t *testing.T) {
	rig := newRig(t)
	rig.Add(Extension(), config(`,"credentials":{"client_id":"me","token_secret":{"name":"token"},"hmac_secret":{"name":"hmac"},"cookie_domain":"example.com","cookie_names":{"oauth_nonce":"__Secure-n"}},`+
		`"csrf_token_expires_in":"60s","resources":["https://api/a b"],"cookie_configs":{"oauth_nonce_cookie_config":{"same_site":"LAX","path":"/x"},"code_verifier_cookie_config":{"same_site":"NONE","partitioned":true}}`))
	res := rig.Run(streamtest.Request{}, streamtest.Upstream{})
	var got []string
	for _, l := range res.Header {
		if v, ok := strings.CutPrefix(l, "set-cookie: "); ok {
			name, rest, _ := strings.Cut(v, "=")
			_, tail, _ := strings.Cut(rest, ";")
			name, _, _ = strings.Cut(name, ".")
			got = append(got, name+";"+tail)
		}
	}
	if want := []string{
		"__Secure-n;domain=example.com;path=/x;Max-Age=60;secure;HttpOnly;SameSite=Lax",
		"OauthCodeVerifier;domain=example.com;path=/;Max-Age=600;secure;HttpOnly;SameSite=None;Partitioned",
	}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if to := field(res.Header, "location"); !strings.HasSuffix(to, "&code_challenge_method=S256&resource=https%3A%2F%2Fapi%2Fa%20b") {
		t.Error(to)
	}
	res = rig.Run(streamtest.Request{Path: "/out", Header: []string{"cookie: __Secure-n.abcd=1; BearerToken_0=x; OauthCodeVerifier.abcd=y; z=1"}}, streamtest.Upstream{})
	if got := len(slices.DeleteFunc(slices.Clone([]string(res.Header)), func(l string) bool { return !strings.HasPrefix(l, "set-cookie: ") })); got != 8 {
		t.Errorf("%d cookies are removed", got)
	}
	if !slices.Contains(res.Header, "set-cookie: __Secure-n.abcd=deleted; path=/x; expires=Thu, 01 Jan 1970 00:00:00 GMT;domain=example.com; Secure") {
		t.Errorf("%q", res.Header)
	}
}

func TestSeal(t *testing.T) {
	k, other := testKeys(t, "a"), testKeys(t, "b")
	for _, plain := range []string{"", "x", strings.Repeat("y", 16), strings.Repeat("z", 1000)} {
		text := k.seal(plain)
		if got, ok := k.open(text); !ok || got != plain {
			t.Errorf("%q: %q", plain, got)
		}
		if got, ok := other.open(text); ok && got == plain {
			t.Error("another key opens it")
		}
		if k.seal(plain) == text {
			t.Error("the same text is sealed to the same")
		}
	}
	// Made by openssl enc -aes-256-cbc with the SHA-256 of the secret as key, after an
	// initialisation vector of zeros: what Envoy makes.
	if got, ok := k.open("AAAAAAAAAAAAAAAAAAAAALml0c8AKCvuYu4Yb_L5QB4"); !ok || got != "a token" {
		t.Errorf("%q", got)
	}
	if got, ok := k.open("AAAAAAAAAAAAAAAAAAAAAA"); ok {
		t.Errorf("a vector alone is opened: %q", got)
	}
	if sig := k.sign("host", "1", "t", "", ""); !k.signed(sig, "host", "1", "t", "", "") || k.signed(sig, "host", "1", "", "t", "") || other.signed(sig, "host", "1", "t", "", "") {
		t.Error("signatures")
	}
}

func TestChunks(t *testing.T) {
	c := &cookies{size: 600, chunks: 3}
	k := &cookie{name: "T", path: "/"}
	for _, n := range []int{1, 500, 560, 1000, 1500, 5000} {
		value := strings.Repeat("0123456789", n/10+1)[:n]
		var h, before header.Map
		before.Add(header.Cookie, "T=old; T_0=old; T_1=old; T_2=old; T_chunks=3")
		var jar []string
		removed := 0
		for _, v := range c.setToken(nil, &before, k, value, 60) {
			pair, _, _ := strings.Cut(v, ";")
			if strings.HasSuffix(pair, "=deleted") {
				removed++
				continue
			}
			if len(v) > c.size && n < 5000 {
				t.Errorf("%d: a cookie of %d bytes", n, len(v))
			}
			jar = append(jar, pair)
		}
		h.Add(header.Cookie, strings.Join(jar, "; "))
		if got := token(&h, "T"); got != value {
			t.Errorf("%d bytes: %d in %d cookies", n, len(got), len(jar))
		}
		if len(jar)+removed != 5 {
			t.Errorf("%d bytes: %d are set and %d removed", n, len(jar), removed)
		}
	}
	for text, want := range map[string]string{
		"T_chunks=2; T_0=a; T_1=b": "ab",
		"T_chunks=2; T_0=a; T=c":   "",
		"T_chunks=99; T_0=a; T=c":  "c",
		"T_chunks=x; T=c":          "c",
		"T_chunks=-1; T=c":         "c",
		"x=y":                      "",
	} {
		var h header.Map
		h.Add(header.Cookie, text)
		if got := token(&h, "T"); got != want {
			t.Errorf("%s: %q", text, got)
		}
	}
}

func TestForward(t *testing.T) {
	f, err := newRig(t).Compile(Extension(), config(","+credentials))
	if err != nil {
		t.Fatal(err)
	}
	c := &f.(*Filter).own.cookies
	for _, tt := range [][4]string{
		{"a=1; BearerToken=sealed; b", "access", "", "a=1; BearerToken=access; b"},
		{"OauthHMAC=1; OauthExpires=2; RefreshToken=3; OauthNonce.a=4; OauthCodeVerifier.a=5; OauthNonce=6; IdToken=7; RefreshToken_0=8", "", "", ""},
		{"BearerToken_0=a; BearerToken_1=b; BearerToken_chunks=2; a=1", "access", "id", "a=1; BearerToken=access; IdToken=id"},
		{"BearerToken_x=a; IdToken=x; IdToken=y", "", "id", "BearerToken_x=a; IdToken=id"},
		{"", "access", "", "BearerToken=access"},
		{"BearerToken =forged; IdToken\t=forged; OauthHMAC  = x; a=1", "", "", "a=1"},
	} {
		var h header.Map
		h.Add(header.Cookie, tt[0])
		c.forward(&h, tt[1], tt[2])
		if got := string(h.Get(header.Cookie)); got != tt[3] {
			t.Errorf("%s: %s", tt[0], got)
		}
	}
}

// TestManyCookies: many small cookies are not answered with many times as much.
func TestManyCookies(t *testing.T) {
	rig := newRig(t)
	rig.Add(Extension(), config(","+credentials))
	var many strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&many, "OauthNonce.%x=;BearerToken_1=;", i)
	}
	for _, path := range []string{"/", "/out"} {
		res := rig.Run(streamtest.Request{Path: path, Header: []string{"cookie: " + many.String()}}, streamtest.Upstream{})
		n := 0
		for _, line := range res.Header {
			if strings.HasPrefix(line, "set-cookie: ") {
				n++
			}
		}
		if res.Status != 302 || n < maxFlows || n > 2*maxRemovals {
			t.Errorf("%s: status %d with %d cookies", path, res.Status, n)
		}
	}
}

// TestPassThroughIsFree: requests that the filter leaves alone cost no memory.
func TestPassThroughIsFree(t *testing.T) {
	rig := newRig(t)
	rig.Add(Extension(), config(","+credentials+`,"pass_through_matcher":[{"name":"x","present_match":true}]`))
	if n := rig.Allocs(streamtest.Request{Header: []string{"x: y", "cookie: BearerToken=z"}}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
