// SPDX-License-Identifier: Apache-2.0

package e2e

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
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

// openID are objects whose users log in: %[1]s is the port of the Gateway, %[2]s that of the
// backend, %[3]s the provider's issuer.
const openID = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, addresses: [{value: 127.0.0.1}], listeners: [{name: http, port: %[1]s, protocol: HTTP}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %[2]s}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]}
---
apiVersion: v1
kind: Secret
metadata: {name: client}
stringData: {client-secret: the secret of the shop}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: login}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  oidc:
    provider: {issuer: "%[3]s"}
    clientID: shop
    clientSecret: {name: client}
    forwardAccessToken: true
    denyRedirect: {headers: [{name: x-requested-with, value: XMLHttpRequest}]}
`

// openIDProvider is a provider where ann is logged in.
type openIDProvider struct {
	*httptest.Server
	t  *testing.T
	mu sync.Mutex
	// challenge is that of the login that goes on; away has the configuration be gone.
	challenge string
	away      bool
	tokens    int
}

func (p *openIDProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := r.URL.Query()
	switch r.URL.Path {
	case "/realm/.well-known/openid-configuration":
		if p.away {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{
			"authorization_endpoint": p.URL + "/realm/auth", "token_endpoint": p.URL + "/realm/token", "end_session_endpoint": p.URL + "/realm/logout",
		})
	case "/realm/auth":
		if q.Get("client_id") != "shop" || q.Get("scope") != "openid" || q.Get("redirect_uri") != "http://shop.example/oauth2/callback" {
			p.t.Errorf("authorization: %v", q)
		}
		p.challenge = q.Get("code_challenge")
		http.Redirect(w, r, q.Get("redirect_uri")+"?code=c&state="+url.QueryEscape(q.Get("state")), http.StatusFound)
	case "/realm/token":
		user, password, _ := r.BasicAuth()
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if user != "shop" || password != "the secret of the shop" || base64.RawURLEncoding.EncodeToString(sum[:]) != p.challenge {
			p.t.Errorf("token: %v %v", r.Header, r.PostForm)
		}
		p.tokens++
		_, _ = io.WriteString(w, `{"access_token":"for-ann","id_token":"ann","expires_in":600}`)
	case "/realm/logout":
		_, _ = fmt.Fprintf(w, "goodbye %s", q.Get("id_token_hint"))
	}
}

// asked is how often tokens were asked for.
func (p *openIDProvider) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tokens
}

// httpsJar keeps cookies as on a page of https.
type httpsJar struct{ *cookiejar.Jar }

func (j httpsJar) SetCookies(u *url.URL, c []*http.Cookie) {
	j.Jar.SetCookies(&url.URL{Scheme: "https", Host: u.Host, Path: u.Path}, c)
}

func (j httpsJar) Cookies(u *url.URL) []*http.Cookie {
	return j.Jar.Cookies(&url.URL{Scheme: "https", Host: u.Host, Path: u.Path})
}

// TestOpenID has users log in at a provider that tells by itself where that is: with the
// proxy in the process of its control plane, and with one of another process. The session of
// the one is good at the other.
func TestOpenID(t *testing.T) {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s for %s", r.URL, r.Header.Get("authorization"))
	}))
	t.Cleanup(shop.Close)
	p := &openIDProvider{t: t}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	serve := func(t *testing.T, start func(f weirtest.Folder)) func(path string, header ...string) string {
		t.Helper()
		f := folder(t, "8080")
		text := fmt.Appendf(nil, openID, f.Ports["8080"], port(strings.TrimPrefix(shop.URL, "http://")), p.URL+"/realm")
		if err := os.WriteFile(filepath.Join(f.Path, "objects.yaml"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		start(f)
		listens(t, "127.0.0.1:"+f.Ports["8080"])
		c := &http.Client{Jar: httpsJar{jar}, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasPrefix(addr, "shop.example:") {
				addr = "127.0.0.1:" + f.Ports["8080"]
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}}
		return func(path string, header ...string) string {
			t.Helper()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://shop.example"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(header); i += 2 {
				req.Header.Set(header[i], header[i+1])
			}
			res, err := c.Do(req)
			if err != nil {
				return err.Error()
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			return fmt.Sprintf("%d %s", res.StatusCode, body)
		}
	}
	becomes := func(t *testing.T, get func(string, ...string) string, path, want string) {
		t.Helper()
		deadline := time.Now().Add(30 * time.Second)
		for got := get(path); got != want; got = get(path) {
			if time.Now().After(deadline) {
				t.Fatalf("%s, want %s", got, want)
			}
		}
	}

	// While nobody knows where users log in, nobody gets in.
	p.away = true
	get := serve(t, func(f weirtest.Folder) {
		w := weirtest.Start(t, f.Run("--drain-strategy", "immediate")...)
		w.WaitFor("the configuration of " + p.URL + "/realm cannot be had: " + p.URL + "/realm/.well-known/openid-configuration answers 503")
	})
	if got := get("/"); !strings.HasPrefix(got, "500") {
		t.Error(got)
	}
	p.mu.Lock()
	p.away = false
	p.mu.Unlock()
	becomes(t, get, "/basket?item=1", "200 /basket?item=1 for Bearer for-ann")
	if n := p.asked(); n != 1 {
		t.Errorf("%d token requests", n)
	}

	other := serve(t, func(f weirtest.Folder) {
		asks, err := os.ReadFile(filepath.Join(moduleRoot, "examples/envoy/dynamic-control-plane/grpc/deltas.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		c := weirtest.Start(t, "control", f.Path, "--listen", "127.0.0.1:0", "--health", "127.0.0.1:0")
		c.WaitFor("listening for proxies")
		address := regexp.MustCompile(`address=127\.0\.0\.1:(\d+)`).FindStringSubmatch(c.Output())
		weirtest.Start(t, "proxy", "--config-yaml", strings.ReplaceAll(string(asks), "port_value: 18000", "port_value: "+address[1]))
	})
	becomes(t, other, "/", "200 / for Bearer for-ann")
	if n := p.asked(); n != 1 {
		t.Errorf("%d token requests: the session is of one proxy alone", n)
	}
	if got := other("/logout"); got != "200 goodbye ann" {
		t.Error(got)
	}
	if got := other("/", "x-requested-with", "XMLHttpRequest"); got != "401 OAuth flow failed." {
		t.Error(got)
	}
	if got := get("/again"); got != "200 /again for Bearer for-ann" || p.asked() != 2 {
		t.Error(got, p.asked())
	}
}
