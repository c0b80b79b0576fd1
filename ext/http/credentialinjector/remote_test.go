// SPDX-License-Identifier: Apache-2.0

package credentialinjector_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// server gives tokens to the client that it knows.
type server struct {
	mu      sync.Mutex
	instead http.HandlerFunc
	asked   int
	expires int
	bad     []string
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	instead := s.instead
	s.mu.Unlock()
	if instead != nil {
		instead(w, r)
		return
	}
	_ = r.ParseForm()
	s.mu.Lock()
	defer s.mu.Unlock()
	user, password, _ := r.BasicAuth()
	f := r.PostForm
	if r.Method != http.MethodPost || r.URL.Path != "/token" || user != "me" || password != "sesame" || f.Get("grant_type") != "client_credentials" ||
		f.Get("scope") != "read write" || f.Get("audience") != "https://api/" || len(f) != 3 {
		s.bad = append(s.bad, fmt.Sprint(r.Method, r.URL, r.Header, f))
	}
	s.asked++
	_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","expires_in":%d}`, s.asked, s.expires)
}

func (s *server) set(f http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = f
}

const (
	filter = `- name: inject
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector
    WITHOUT
    credential:
      name: c
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.http.injected_credentials.oauth2.v3.OAuth2
        token_endpoint: {uri: "http://idp.example/token", cluster: idp, timeout: 2s}
        scopes: [read, write]
        endpoint_params: [{name: audience, value: "https://api/"}]
        client_credentials: {client_id: me, client_secret: SECRET}
        token_fetch_retry_interval: 1s
`
	prefix = "http.test.credential_injector."
)

func start(t *testing.T, s *server, without, secret string) *proxytest.Proxy {
	t.Helper()
	idp := httptest.NewServer(s)
	t.Cleanup(idp.Close)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("authorization"))
	}))
	t.Cleanup(up.Close)
	e := proxytest.Edge{
		Filters:  strings.NewReplacer("WITHOUT", without, "SECRET", secret).Replace(filter),
		Clusters: `- {name: idp, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: idp, endpoints: [{lb_endpoints: [{endpoint: {address: {{idp}}}}]}]}}`,
	}
	yaml := e.YAML() + "  secrets:\n  - {name: s, generic_secret: {secret: {inline_string: sesame}}}\n"
	p := proxytest.Start(t, yaml, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{
		"up": strings.TrimPrefix(up.URL, "http://"), "idp": strings.TrimPrefix(idp.URL, "http://"),
	}})
	proxytest.Eventually(t, "a listener", func() (int, bool) { n := len(p.Listeners()); return n, n == 1 })
	return p
}

func get(p *proxytest.Proxy) string {
	r := p.Do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	return fmt.Sprintf("%d %s", r.StatusCode, r.Content)
}

func TestTokens(t *testing.T) {
	s := &server{expires: 1}
	p := start(t, s, "", "{name: s}")
	if got := get(p); !strings.HasPrefix(got, "200 Bearer token-") {
		t.Error("the first request: " + got)
	}
	p.WaitCounterPast(prefix+"oauth2.token_fetched", 3) // Again and again.
	s.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	p.WaitCounterPast(prefix+"oauth2.token_fetch_failed_on_bad_response_code", 1)
	if got := get(p); !strings.HasPrefix(got, "200 Bearer token-") {
		t.Error("the token before stays: " + got)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bad) > 0 {
		t.Error(s.bad)
	}
}

func TestNoToken(t *testing.T) {
	text := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
	}
	for name, tt := range map[string]struct {
		serve http.HandlerFunc
		count string
	}{
		"an error":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, "bad_response_code"},
		"nonsense":   {text("<html>"), "bad_token"},
		"no life":    {text(`{"access_token":"a"}`), "bad_token"},
		"a break":    {text(`{"access_token":"a\r\nx: y","expires_in":60}`), "bad_token"},
		"huge":       {text(`{"access_token":"a","expires_in":60,"x":"` + strings.Repeat("x", 300<<10) + `"}`), "stream_reset"},
		"broken off": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "stream_reset"},
		"slow": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // Only then it is noticed who leaves.
			<-r.Context().Done()
		}, "stream_reset"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{expires: 600, instead: tt.serve}
			p := start(t, s, "", "{name: s}")
			p.WaitCounterPast(prefix+"oauth2.token_fetch_failed_on_"+tt.count, 1)
			if got := get(p); got != "401 Failed to inject credential." {
				t.Error(got)
			}
			s.set(nil)
			p.WaitCounter(prefix+"oauth2.token_fetched", 1)
			if got := get(p); got != "200 Bearer token-1" {
				t.Error(got)
			}
		})
	}
}

// TestNoSecret: a secret that comes late is used; until then requests go on without a token,
// where that is allowed.
func TestNoSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret.json")
	s := &server{expires: 600}
	p := start(t, s, "allow_request_without_credential: true", `{name: s, sds_config: {path_config_source: {path: "`+path+`"}}}`)
	if got := get(p); got != "200 " {
		t.Error(got)
	}
	p.WaitCounterPast(prefix+"oauth2.token_fetch_failed_on_client_secret", 1)
	body := `{"resources":[{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret","name":"s","generic_secret":{"secret":{"inline_string":"sesame"}}}]}`
	if err := os.WriteFile(path+".new", []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	p.WaitCounter(prefix+"oauth2.token_fetched", 1)
	if got := get(p); got != "200 Bearer token-1" {
		t.Error(got)
	}
}

// TestEnabledByRoutes: the filter runs for those routes alone that switch it on, and needs no
// configuration of theirs.
func TestEnabledByRoutes(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("authorization"))
	}))
	t.Cleanup(up.Close)
	e := proxytest.Edge{
		Filters: `- name: inject
  disabled: true
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector
    credential: {name: c, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic, credential: {name: s}}}`,
		Routes: `- match: {prefix: /on}
  route: {cluster: up}
  typed_per_filter_config: {inject: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {}}}
- {match: {prefix: /}, route: {cluster: up}}`,
	}
	p := proxytest.Start(t, e.YAML()+"  secrets:\n  - {name: s, generic_secret: {secret: {inline_string: sesame}}}\n", proxytest.Options{
		Extensions: all.Extensions(), Backends: map[string]string{"up": strings.TrimPrefix(up.URL, "http://")},
	})
	for path, want := range map[string]string{"/on": "sesame", "/off": ""} {
		if r := p.Do("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"); string(r.Content) != want {
			t.Errorf("%s: %d %s", path, r.StatusCode, r.Content)
		}
	}
}
