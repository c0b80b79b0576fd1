// SPDX-License-Identifier: Apache-2.0

package oauth2_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
)

func TestMain(m *testing.M) { leak.Main(m) }

const forwards = "forward_bearer_token: true\nforward_id_token: {header: x-id}\n"

func TestLogin(t *testing.T) {
	l := newLab(t, forwards)
	l.provider.idToken = "a.id.token"
	b := l.browser()
	b.plant("other", "mine")
	if got := b.get("/a/page?x=1&y=%20"); got != "200 page /a/page?x=1&y=%20" {
		t.Fatal(got)
	}
	h := l.last()
	if h.Get("Authorization") != "Bearer access-2" || h.Get("X-Id") != "a.id.token" || h.Get("Cookie") != "other=mine; BearerToken=access-2; IdToken=a.id.token" {
		t.Errorf("%v", h)
	}
	if got := slices.Sorted(maps.Keys(b.cookies("/"))); strings.Join(got, " ") != "BearerToken IdToken OauthExpires OauthHMAC RefreshToken other" {
		t.Errorf("cookies %v", got)
	}
	for _, v := range b.cookies("/") {
		if strings.Contains(v, "access-2") || strings.Contains(v, "refresh-2") || strings.Contains(v, "id.token") {
			t.Errorf("a token is in the clear: %s", v)
		}
	}
	// The session goes on without the provider; clients cannot say who they are.
	if got := b.get("/b", "Authorization", "Bearer forged", "X-Id", "forged", "X-Envoy-Oauth-Status", "forged"); got != "200 page /b" || len(l.provider.asked) != 1 {
		t.Errorf("%s after %d token requests", got, len(l.provider.asked))
	}
	if h := l.last(); h.Get("Authorization") != "Bearer access-2" || h.Get("X-Id") != "a.id.token" || h.Get("X-Envoy-Oauth-Status") != "" {
		t.Errorf("%v", h)
	}
	if n := l.Counter("http.test.oauth_unauthorized_rq"); n != 1 {
		t.Error(n)
	}
	if n := l.Counter("http.test.oauth_success"); n != 3 {
		t.Error(n)
	}
	// Another proxy with the same secret takes the session.
	other := proxytest.Start(t, labYAML(oauthConfig+oauthCredentials, staticSecrets), proxytest.Options{
		Extensions: all.Extensions(), Backends: map[string]string{"up": l.app, "idp": l.provider.addr},
	})
	l.Proxy = other
	if got := b.still().get("/c"); got != "200 page /c" {
		t.Error(got)
	}
}

// TestTokensStay: a token is for where the route of the login leads, and for nowhere that a response may lead the request
// instead.
func TestTokensStay(t *testing.T) {
	l := newLab(t, forwards)
	l.provider.idToken = "a.id.token"
	if got := l.browser().get("/away"); got != "200 page /open" {
		t.Fatal(got)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.seen); n != 2 || l.seen[0].Get("Authorization") != "Bearer access-2" || l.seen[0].Get("X-Id") != "a.id.token" {
		t.Errorf("%d requests: %v", n, l.seen)
	}
	if h := l.seen[1]; h.Get("Authorization")+h.Get("X-Id") != "" {
		t.Errorf("led elsewhere it has %v", h)
	}
}

func TestManyLoginsAtOnce(t *testing.T) {
	l := newLab(t, "")
	b := l.browser()
	var locations []string
	for range 3 {
		res := b.still().do("/page")
		locations = append(locations, res.Header.Get("Location"))
		for _, c := range res.Cookies() {
			if !c.Secure || !c.HttpOnly || c.Path != "/" || c.MaxAge != 600 {
				t.Errorf("%v", c)
			}
		}
	}
	for _, to := range locations { // The first logs in, the others find that.
		if got := b.get(to); got != "200 page /page" {
			t.Error(got)
		}
	}
	if n := len(l.provider.asked); n != 1 {
		t.Errorf("%d token requests", n)
	}
	// A browser that never ends a login does not gather cookies without end.
	lost := l.browser().still()
	for range 20 {
		lost.get("/x")
	}
	if n := len(lost.cookies("/")); n != 16 {
		t.Errorf("%d cookies", n)
	}
}

func TestRefresh(t *testing.T) {
	l := newLab(t, forwards)
	l.provider.expires = 1
	b := l.browser()
	if got := b.get("/"); got != "200 page /" {
		t.Fatal(got)
	}
	l.provider.set(func() { l.provider.expires = 600 })
	still := b.still()
	proxytest.Eventually(t, "a refreshed session", func() (string, bool) {
		got := still.get("/again")
		return got, got == "200 page /again" && l.Counter("http.test.oauth_refreshtoken_success") == 1
	})
	if got := l.last().Get("Authorization"); got != "Bearer access-3" {
		t.Error(got)
	}
	if got := l.last().Get("Cookie"); got != "BearerToken=access-3" {
		t.Error(got)
	}
	if got := still.get("/further"); got != "200 page /further" || l.Counter("http.test.oauth_refreshtoken_success") != 1 {
		t.Error(got)
	}
	if got := l.last().Get("Authorization"); got != "Bearer access-3" {
		t.Error(got)
	}
	// A session that cannot be refreshed begins anew, without a word to the user.
	delete := func(name string) { b.jar.SetCookies(page, []*http.Cookie{{Name: name, MaxAge: -1, Path: "/"}}) }
	delete("OauthHMAC")
	l.provider.set(func() { l.provider.refresh = "another" })
	if got := b.get("/anew"); got != "200 page /anew" || l.Counter("http.test.oauth_refreshtoken_failure") != 1 {
		t.Error(got)
	}
	// A refresh token that the filter has not sealed goes nowhere.
	before := len(l.provider.asked)
	delete("OauthHMAC")
	b.plant("RefreshToken", "stolen")
	if got := still.get("/forged"); got != "302 " || len(l.provider.asked) != before {
		t.Error(got, len(l.provider.asked)-before)
	}
}

var page = &url.URL{Scheme: "http", Host: "app.example", Path: "/"}

func TestForged(t *testing.T) {
	l := newLab(t, "")
	victim := l.browser()
	if got := victim.get("/"); got != "200 page /" {
		t.Fatal(got)
	}
	good := victim.cookies("/")
	later := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for name, change := range map[string]map[string]string{
		"another signature": {"OauthHMAC": later},
		"no signature":      {"OauthHMAC": ""},
		"a later end":       {"OauthExpires": "99999999999"},
		"no end":            {"OauthExpires": "x"},
		"another token":     {"BearerToken": good["RefreshToken"]},
		"no token":          {"BearerToken": ""},
		"garbage":           {"BearerToken": "&", "IdToken": "AAAA", "RefreshToken": strings.Repeat("A", 44)},
	} {
		t.Run(name, func(t *testing.T) {
			b := l.browser().still()
			for k, v := range good {
				if k != "RefreshToken" || name == "garbage" {
					b.plant(k, v)
				}
			}
			for k, v := range change {
				b.plant(k, v)
			}
			if got := b.get("/"); got != "302 " {
				t.Error(got)
			}
		})
	}
	t.Run("another host", func(t *testing.T) {
		b := l.browser().still()
		host := "http://other.example/"
		u, _ := url.Parse(host)
		for k, v := range good {
			b.jar.SetCookies(u, []*http.Cookie{{Name: k, Value: v, Path: "/"}})
		}
		b.jar.SetCookies(u, []*http.Cookie{{Name: "RefreshToken", MaxAge: -1, Path: "/"}})
		if got := b.get(host); got != "302 " {
			t.Error(got)
		}
	})
}

// answered begins a login and returns the URL that the provider sends the browser to.
func answered(t *testing.T, b *browser) *url.URL {
	t.Helper()
	to := b.still().do("/page").Header.Get("Location")
	u, err := url.Parse(b.still().do(to).Header.Get("Location"))
	if err != nil || u.Path != "/callback" {
		t.Fatal(u, err)
	}
	return u
}

func with(u *url.URL, key, value string) string {
	q := u.Query()
	if value == "" {
		q.Del(key)
	} else {
		q.Set(key, value)
	}
	v := *u
	v.RawQuery = q.Encode()
	return v.String()
}

// stateOf reads the state of an answer.
func stateOf(t *testing.T, u *url.URL) map[string]string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(u.Query().Get("state"))
	m := map[string]string{}
	if err != nil || json.Unmarshal(raw, &m) != nil || m["url_mac"] == "" {
		t.Fatal(u, err)
	}
	return m
}

func TestForgedState(t *testing.T) {
	l := newLab(t, "allowed_redirect_domains: [App.example, '*.inner.example']\nallow_failed_matcher: [{name: never, present_match: true}]\n")
	b := l.browser()
	u := answered(t, b)
	state := func(change map[string]string) string {
		m := stateOf(t, u)
		maps.Copy(m, change)
		if u, ok := change["url"]; ok && change["url_mac"] == "" { // Somebody who has the secret.
			mac := hmac.New(sha256.New, []byte("a secret of the proxies"))
			mac.Write([]byte("page\n" + m["flow_id"] + "\n" + u))
			m["url_mac"] = base64.StdEncoding.EncodeToString(mac.Sum(nil))
		}
		out, _ := json.Marshal(m)
		return base64.RawURLEncoding.EncodeToString(out)
	}
	attacker := l.browser()
	foreign := answered(t, attacker)
	own, foreignOwn := stateOf(t, u), stateOf(t, foreign)
	for name, tt := range map[string]struct {
		to    string
		fails bool // and ends the login
	}{
		"no state":             {with(u, "state", ""), false},
		"no code":              {with(u, "code", ""), true},
		"garbage":              {with(u, "state", "&&&"), false},
		"no JSON":              {with(u, "state", "AAAA"), false},
		"another's":            {foreign.String(), false},
		"another token":        {with(u, "state", state(map[string]string{"csrf_token": "x.y"})), false},
		"another login":        {with(u, "state", state(map[string]string{"flow_id": "abcd"})), false},
		"a header in the name": {with(u, "state", state(map[string]string{"flow_id": "a\r\nset-cookie: x"})), false},
		"another page":         {with(u, "state", state(map[string]string{"url": "http://app.example/pay", "url_mac": own["url_mac"]})), false},
		"a page unsigned":      {with(u, "state", state(map[string]string{"url": "http://app.example/pay", "url_mac": "x"})), false},
		"another's page":       {with(u, "state", state(map[string]string{"url": "http://app.example/page", "url_mac": foreignOwn["url_mac"]})), false},
		"another site":         {with(u, "state", state(map[string]string{"url": "https://evil.example/"})), true},
		"beside a domain":      {with(u, "state", state(map[string]string{"url": "https://inner.example/"})), true},
		"no page":              {with(u, "state", state(map[string]string{"url": "javascript:alert(1)"})), true},
		"a header":             {with(u, "state", state(map[string]string{"url": "http://app.example/\r\nx: y"})), true},
		"a loop":               {with(u, "state", state(map[string]string{"url": "http://app.example/callback?x=y"})), true},
		"an error":             {with(u, "error", "access_denied"), true},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(l.provider.asked)
			c := l.browser().still() // As the first one is now.
			for k, v := range b.cookies("/") {
				c.plant(k, v)
			}
			res := c.do(tt.to, "never", "x")
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != 401 || string(body) != "OAuth flow failed." || res.Header.Get("X") != "" {
				t.Errorf("%d %s %v", res.StatusCode, body, res.Header)
			}
			if n := len(l.provider.asked) - before; n != 0 {
				t.Errorf("%d token requests", n)
			}
			if n := len(c.cookies("/")); n != 0 == tt.fails {
				t.Errorf("%d cookies are left", n)
			}
		})
	}
	// After all that the true answer is still good, once.
	if got := b.get(u.String()); got != "200 page /page" {
		t.Error(got)
	}
	if got := b.still().get(u.String()); got != "401 OAuth flow failed." {
		t.Error("replayed: " + got)
	}
	// A code that was used already is the provider's to refuse.
	again := answered(t, attacker)
	cookies := attacker.cookies("/")
	if got := attacker.get(again.String()); got != "200 page /page" {
		t.Error(got)
	}
	thief := l.browser().still()
	for k, v := range cookies {
		thief.plant(k, v)
	}
	if got := thief.get(again.String()); got != "401 OAuth flow failed." || len(thief.cookies("/")) != 2 {
		t.Error(got, thief.cookies("/"))
	}
}

func TestForgedHost(t *testing.T) {
	l := newLab(t, "allowed_redirect_domains: [app.example]\noriginal_request_uri: \"%REQ(x-forwarded-proto)%://%REQ(x-forwarded-host?:authority)%\"\n")
	for host, want := range map[string]string{"app.example": "302 ", "APP.example:8080": "302 ", "evil.example": "401 OAuth flow failed.", "app.example@evil.example": "401 OAuth flow failed."} {
		if got := l.browser().still().get("/", "X-Forwarded-Host", host); got != want {
			t.Errorf("%s: %s", host, got)
		}
	}
	if got := l.browser().still().get("http://evil.example/", "X-Forwarded-Host", "app.example"); got != "401 OAuth flow failed." {
		t.Error("the redirect URI is another's: " + got)
	}
}

func TestSignOut(t *testing.T) {
	l := newLab(t, "end_session_endpoint: http://idp.example:8443/logout\n")
	l.provider.idToken = "a.id.token"
	b := l.browser()
	if got := b.get("/"); got != "200 page /" {
		t.Fatal(got)
	}
	b.still().plant("OauthNonce.abcd", "left over")
	if got := b.get("/signout"); got != "200 bye" {
		t.Error(got)
	}
	if got := l.provider.ended[0]; got.Get("id_token_hint") != "a.id.token" || got.Get("client_id") != "shop" || got.Get("post_logout_redirect_uri") != "http://app.example/" {
		t.Error(got)
	}
	if got := b.cookies("/"); len(got) != 0 {
		t.Errorf("cookies are left: %v", got)
	}
	if got := b.still().get("/"); got != "302 " {
		t.Error(got)
	}
	for more, want := range map[string]string{
		"": "http://app.example/",
		"end_session_endpoint: http://idp.example:8443/logout?a=b\npost_logout_redirect_uri: {disabled: true}\n":                     "http://idp.example:8443/logout?a=b&id_token_hint=&client_id=shop",
		"end_session_endpoint: http://idp.example:8443/logout\npost_logout_redirect_uri: {uri: \"https://%REQ(:authority)%/bye\"}\n": "http://idp.example:8443/logout?id_token_hint=&client_id=shop&post_logout_redirect_uri=https%3A%2F%2Fapp.example%2Fbye",
	} {
		if got := newLab(t, more).browser().still().do("/signout").Header.Get("Location"); got != want {
			t.Error(got)
		}
	}
}

// TestProviderFails: whatever the provider does, a user gets an answer, and nothing of the provider's.
func TestProviderFails(t *testing.T) {
	l := newLab(t, "")
	text := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	good := `{"access_token":"a","expires_in":60,"x":"`
	for name, f := range map[string]http.HandlerFunc{
		"an error":         text(500, "secret details"),
		"a refusal":        text(400, `{"error":"invalid_client"}`),
		"nonsense":         text(200, "<html>"),
		"no token":         text(200, `{"expires_in":60}`),
		"no lifetime":      text(200, `{"access_token":"a"}`),
		"a broken token":   text(200, `{"access_token":"a\r\nx: y","expires_in":60}`),
		"two cookies":      text(200, `{"access_token":"a; admin=1","expires_in":60}`),
		"huge":             text(200, good+strings.Repeat("x", 300<<10)+`"}`),
		"another redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/token", http.StatusFound) },
		"broken off":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			l.provider.set(func() { l.provider.token = f })
			b := l.browser()
			if got := b.get("/"); got != "401 OAuth flow failed." {
				t.Error(got)
			}
			if n := len(b.cookies("/")); n != 0 {
				t.Errorf("%d cookies are left", n)
			}
			l.provider.set(func() { l.provider.token = nil })
			if got := b.get("/"); got != "200 page /" {
				t.Error("once it is well: " + got)
			}
		})
	}
}

func TestProviderIsSlowOrGone(t *testing.T) {
	slow := newLabOf(t, strings.Replace(oauthConfig, "timeout: 5s", "timeout: 0.2s", 1)+oauthCredentials, staticSecrets)
	slow.provider.token = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	if got := slow.browser().get("/"); got != "401 OAuth flow failed." {
		t.Error(got)
	}
	gone := newLabOf(t, strings.Replace(oauthConfig, "cluster: idp", "cluster: none", 1)+oauthCredentials, staticSecrets)
	if got := gone.browser().get("/"); got != "401 OAuth flow failed." {
		t.Error(got)
	}
	tries := newLab(t, "retry_policy: {num_retries: 2, retry_back_off: {base_interval: 0.001s}}\n")
	n := 0
	tries.provider.token = func(w http.ResponseWriter, r *http.Request) {
		if n++; n < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, `{"access_token":"a","expires_in":60}`)
	}
	if got := tries.browser().get("/"); got != "200 page /" || n != 3 {
		t.Error(got, n)
	}
	// A client that leaves takes its token request with it.
	left := newLab(t, "")
	begun, ended := make(chan struct{}), make(chan struct{})
	left.provider.token = func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(ended)
	}
	b := left.browser()
	u := answered(t, b)
	var line []string
	for k, v := range b.cookies("/") {
		line = append(line, k+"="+v)
	}
	c := left.Dial()
	c.Send("GET " + u.RequestURI() + " HTTP/1.1\r\nHost: app.example\r\nCookie: " + strings.Join(line, "; ") + "\r\n\r\n")
	<-begun
	c.Close()
	<-ended
}

func TestMatchers(t *testing.T) {
	l := newLab(t, `pass_through_matcher: [{name: x-pass, present_match: true}]
deny_redirect_matcher: [{name: accept, string_match: {exact: application/json}}]
allow_failed_matcher: [{name: x-guest, string_match: {exact: "yes"}}]
stat_prefix: shop
`)
	b := l.browser().still()
	b.plant("BearerToken", "forged")
	if got := b.get("/", "X-Pass", "1", "Authorization", "Basic x"); got != "200 page /" || l.last().Get("Authorization") != "Basic x" || l.last().Get("Cookie") != "BearerToken=forged" {
		t.Error(got, l.last())
	}
	if got := b.get("/", "Accept", "application/json"); got != "401 OAuth flow failed." {
		t.Error(got)
	}
	got := b.get("/", "X-Guest", "yes", "Authorization", "Basic x")
	if h := l.last(); got != "200 page /" || h.Get("X-Envoy-Oauth-Status") != "failed" || h.Get("X-Envoy-Oauth-Failure-Reason") != "oauth.not_logged_in" || h.Get("Cookie")+h.Get("Authorization") != "" {
		t.Error(got, h)
	}
	for name, want := range map[string]uint64{"passthrough": 1, "failure": 1, "allow_failed_passthrough": 1, "unauthorized_rq": 0} {
		if n := l.Counter("http.test.shop.oauth_" + name); n != want {
			t.Errorf("%s: %d", name, n)
		}
	}
}

// TestClientAuthentication: the token endpoint sees the client in the way that is configured.
func TestClientAuthentication(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	keys := strings.Replace(staticSecrets, `"open & sesame"`, string(text), 1)
	noSecret := strings.Replace(oauthCredentials, "  token_secret: {name: token}\n", "", 1)
	for name, tt := range map[string]struct {
		config, secrets string
		auth            func(*http.Request) bool
	}{
		"basic": {oauthCredentials + "auth_type: BASIC_AUTH\n", staticSecrets, func(r *http.Request) bool {
			user, password, _ := r.BasicAuth()
			return user == "shop" && password == "open & sesame" && !r.PostForm.Has("client_secret")
		}},
		"tls": {noSecret + "auth_type: TLS_CLIENT_AUTH\n", staticSecrets, func(r *http.Request) bool {
			return r.PostForm.Get("client_id") == "shop" && !r.PostForm.Has("client_secret") && r.Header.Get("Authorization") == ""
		}},
		"key": {oauthCredentials + "auth_type: PRIVATE_KEY_JWT\nprivate_key_jwt_config: {signing_algorithm: ES256, assertion_audience: \"https://issuer\"}\n", keys, func(r *http.Request) bool {
			parts := strings.Split(r.PostForm.Get("client_assertion"), ".")
			if len(parts) != 3 || r.PostForm.Has("client_secret") || r.PostForm.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
				return false
			}
			payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
			return strings.Contains(string(payload), `"aud":"https://issuer"`) && strings.Contains(string(payload), `"iss":"shop"`)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLabOf(t, oauthConfig+tt.config, tt.secrets)
			l.provider.auth = tt.auth
			if got := l.browser().get("/"); got != "200 page /" {
				t.Error(got)
			}
		})
	}
}

// TestLargeTokens: tokens that no cookie holds are split, and come together again.
func TestLargeTokens(t *testing.T) {
	l := newLab(t, forwards+"token_cookie_chunking: {}\n")
	l.provider.pad = 9000
	b := l.browser()
	if got := b.get("/"); got != "200 page /" {
		t.Fatal(got)
	}
	for name, v := range b.cookies("/") {
		if len(name)+len(v) > 4050 {
			t.Errorf("%s has %d bytes", name, len(v))
		}
	}
	token := "access-2" + strings.Repeat("a", 9000)
	if h := l.last(); h.Get("Authorization") != "Bearer "+token || h.Get("Cookie") != "BearerToken="+token {
		t.Errorf("%d %d", len(h.Get("Authorization")), len(h.Get("Cookie")))
	}
	// Smaller ones take their place.
	l.provider.set(func() { l.provider.pad = 0 })
	b.jar.SetCookies(page, []*http.Cookie{{Name: "OauthHMAC", MaxAge: -1, Path: "/"}})
	if got := b.get("/"); got != "200 page /" || l.last().Get("Authorization") != "Bearer access-3" {
		t.Error(got)
	}
	if got := slices.Sorted(maps.Keys(b.cookies("/"))); strings.Join(got, " ") != "BearerToken OauthExpires OauthHMAC RefreshToken" {
		t.Error(got)
	}
	if got := b.get("/signout"); !strings.HasPrefix(got, "200") {
		t.Error(got)
	}
}

// TestSecretsReplaced: a secret that arrives late or is replaced is used at once.
func TestSecretsReplaced(t *testing.T) {
	dir := t.TempDir()
	put := func(text string) {
		t.Helper()
		temp := filepath.Join(dir, "new")
		body := `{"resources":[{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret","name":"hmac","generic_secret":{"secret":{"inline_string":"` + text + `"}}}]}`
		if err := os.WriteFile(temp, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(temp, filepath.Join(dir, "hmac.json")); err != nil {
			t.Fatal(err)
		}
	}
	sds := `{name: hmac, sds_config: {path_config_source: {path: "` + filepath.Join(dir, "hmac.json") + `"}}}`
	l := newLabOf(t, oauthConfig+strings.Replace(oauthCredentials, "{name: hmac}", sds, 1), staticSecrets)
	b := l.browser()
	if got := b.get("/"); got != "503 Service Unavailable" {
		t.Error(got)
	}
	put("the first")
	proxytest.Eventually(t, "the secret", func() (string, bool) {
		got := b.get("/")
		return got, got == "200 page /"
	})
	if got := b.still().get("/"); got != "200 page /" {
		t.Error(got)
	}
	put("the second")
	proxytest.Eventually(t, "the end of the session of the secret before", func() (string, bool) {
		got := b.still().get("/")
		return got, got == "302 "
	})
}
