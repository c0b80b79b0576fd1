// SPDX-License-Identifier: Apache-2.0

package oauth2_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// provider is an OpenID provider: alice is logged in there. It checks what it is asked.
type provider struct {
	t    *testing.T
	addr string

	mu      sync.Mutex
	codes   map[string]grant
	refresh string // the one that is good
	issued  int
	expires int              // expires_in; 0 tells none
	token   http.HandlerFunc // instead, if set
	auth    func(*http.Request) bool
	asked   []url.Values // of the token endpoint
	login   []url.Values // of the authorization endpoint
	ended   []url.Values // of the end session endpoint
	idToken string
	pad     int // how much longer tokens are
}

type grant struct{ challenge, redirect string }

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{t: t, codes: map[string]grant{}, expires: 600, auth: bySecret}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.exchange)
	mux.HandleFunc("GET /logout", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ended = append(p.ended, r.URL.Query())
		_, _ = io.WriteString(w, "bye")
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	p.addr = strings.TrimPrefix(s.URL, "http://")
	return p
}

// bySecret is a client that authenticates itself in the body.
func bySecret(r *http.Request) bool {
	return r.PostForm.Get("client_id") == "shop" && r.PostForm.Get("client_secret") == "open & sesame"
}

func (p *provider) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *provider) authorize(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := r.URL.Query()
	p.login = append(p.login, q)
	if q.Get("response_type") != "code" || q.Get("client_id") != "shop" || q.Get("code_challenge_method") != "S256" ||
		q.Get("scope") != "openid email" || q.Get("state") == "" || len(q.Get("code_challenge")) != 43 || q.Get("tenant") != "one two" {
		p.t.Errorf("authorization: %v", q)
	}
	if q.Get("prompt") == "none" {
		http.Redirect(w, r, q.Get("redirect_uri")+"?error=login_required&state="+q.Get("state"), http.StatusFound)
		return
	}
	p.issued++
	code := fmt.Sprintf("code/%d+", p.issued)
	p.codes[code] = grant{q.Get("code_challenge"), q.Get("redirect_uri")}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), http.StatusFound)
}

func (p *provider) exchange(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	p.mu.Lock()
	p.asked = append(p.asked, r.PostForm)
	instead := p.token
	p.mu.Unlock()
	if instead != nil {
		instead(w, r)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Host != "idp.example:8443" || !p.auth(r) {
		p.t.Errorf("token request to %s: %v %v", r.Host, r.Header, r.PostForm)
	}
	if !p.granted(r.PostForm) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
		return
	}
	p.issued++
	p.refresh = fmt.Sprintf("refresh-%d", p.issued)
	out := map[string]any{
		"access_token": fmt.Sprintf("access-%d%s", p.issued, strings.Repeat("a", p.pad)), "refresh_token": p.refresh,
		"id_token": p.idToken, "token_type": "Bearer",
	}
	if p.expires > 0 {
		out["expires_in"] = p.expires
	}
	_ = json.NewEncoder(w).Encode(out)
}

// granted checks a grant, and uses it up.
func (p *provider) granted(f url.Values) bool {
	if f.Get("grant_type") == "refresh_token" {
		return f.Get("refresh_token") == p.refresh
	}
	g, ok := p.codes[f.Get("code")]
	delete(p.codes, f.Get("code"))
	sum := sha256.Sum256([]byte(f.Get("code_verifier")))
	return ok && f.Get("redirect_uri") == g.redirect && base64.RawURLEncoding.EncodeToString(sum[:]) == g.challenge
}

// lab is a proxy between a browser, an application and a provider.
type lab struct {
	*proxytest.Proxy
	provider *provider
	t        *testing.T
	app      string // the application's address
	mu       sync.Mutex
	seen     []http.Header // what the application was sent
}

const filterStart = `- name: oauth
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.oauth2.v3.OAuth2
    config:
`

const oauthConfig = `token_endpoint: {uri: "http://idp.example:8443/token", cluster: idp, timeout: 5s}
authorization_endpoint: "http://idp.example:8443/authorize?tenant=one%20two&state=none"
redirect_uri: "%REQ(:scheme)%://%REQ(:authority)%/callback"
redirect_path_matcher: {path: {exact: /callback}}
signout_path: {path: {exact: /signout}}
auth_scopes: [openid, email]
`

const oauthCredentials = `credentials:
  client_id: shop
  token_secret: {name: token}
  hmac_secret: {name: hmac}
`

const staticSecrets = `  secrets:
  - {name: token, generic_secret: {secret: {inline_string: "open & sesame"}}}
  - {name: hmac, generic_secret: {secret: {inline_string: "a secret of the proxies"}}}
`

func indent(n int, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.Repeat(" ", n) + line)
	}
	return b.String()
}

// newLab runs a proxy; more are further fields of the configuration.
func newLab(t *testing.T, more string) *lab {
	t.Helper()
	return newLabOf(t, oauthConfig+oauthCredentials+more, staticSecrets)
}

func newLabOf(t *testing.T, config, secrets string) *lab {
	t.Helper()
	l := &lab{provider: newProvider(t), t: t}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.seen = append(l.seen, r.Header.Clone())
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "http://"+r.Host+"/open", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, "page "+r.URL.RequestURI())
	}))
	t.Cleanup(up.Close)
	l.app = strings.TrimPrefix(up.URL, "http://")
	l.Proxy = proxytest.Start(t, labYAML(config, secrets), proxytest.Options{
		Extensions: all.Extensions(), Backends: map[string]string{"up": l.app, "idp": l.provider.addr},
	})
	return l
}

func labYAML(config, secrets string) string {
	e := proxytest.Edge{
		Filters: filterStart + indent(6, config),
		Routes: `- {match: {prefix: /away}, route: {cluster: up, internal_redirect_policy: {}}}
- match: {prefix: /open}
  route: {cluster: up}
  typed_per_filter_config: {oauth: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}
- {match: {prefix: /}, route: {cluster: up}}`,
		Clusters: `- {name: idp, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: idp, endpoints: [{lb_endpoints: [{endpoint: {address: {{idp}}}}]}]}}`,
	}
	return e.YAML() + secrets
}

// last is what the application was sent last.
func (l *lab) last() http.Header {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.seen) == 0 {
		return nil
	}
	return l.seen[len(l.seen)-1]
}

// browser is a browser with a jar of its own, which knows the names of both.
type browser struct {
	*http.Client
	l   *lab
	jar *jar
}

// jar keeps cookies as a browser does on a page of https.
type jar struct{ *cookiejar.Jar }

func secured(u *url.URL) *url.URL {
	v := *u
	v.Scheme = "https"
	return &v
}

func (j jar) SetCookies(u *url.URL, c []*http.Cookie) { j.Jar.SetCookies(secured(u), c) }
func (j jar) Cookies(u *url.URL) []*http.Cookie       { return j.Jar.Cookies(secured(u)) }

func (l *lab) browser() *browser {
	l.t.Helper()
	c, err := cookiejar.New(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		to := l.Addr()
		if strings.HasPrefix(addr, "idp.example:") {
			to = l.provider.addr
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	}}
	b := &browser{&http.Client{Transport: tr, Jar: jar{c}}, l, &jar{c}}
	return b
}

// still does not follow redirects.
func (b *browser) still() *browser {
	c := *b.Client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{&c, b.l, b.jar}
}

// get fetches a page of the application and returns the status and the body.
func (b *browser) get(path string, fields ...string) string {
	b.l.t.Helper()
	res := b.do(path, fields...)
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.l.t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", res.StatusCode, body)
}

func (b *browser) do(path string, fields ...string) *http.Response {
	b.l.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = "http://app.example" + path
	}
	req, err := http.NewRequestWithContext(b.l.t.Context(), http.MethodGet, path, nil)
	if err != nil {
		b.l.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	res, err := b.Do(req)
	if err != nil {
		b.l.t.Fatal(err)
	}
	b.l.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// cookies are those that the browser would send to a page of the application.
func (b *browser) cookies(path string) map[string]string {
	out := map[string]string{}
	for _, c := range b.jar.Cookies(&url.URL{Scheme: "http", Host: "app.example", Path: path}) {
		out[c.Name] = c.Value
	}
	return out
}

// plant has the browser keep a cookie.
func (b *browser) plant(name, value string) {
	b.jar.SetCookies(&url.URL{Scheme: "http", Host: "app.example", Path: "/"}, []*http.Cookie{{Name: name, Value: value, Path: "/", MaxAge: 600}})
}
