// SPDX-License-Identifier: Apache-2.0

package jwtauthn_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/jose"
	"weir.dev/weir/internal/jose/josetest"
	"weir.dev/weir/proxy/proxytest"
)

// issuer serves keys.
type issuer struct {
	addr  string
	asked atomic.Int64
	mu    sync.Mutex
	serve http.HandlerFunc
}

func newIssuer(t *testing.T, f http.HandlerFunc) *issuer {
	t.Helper()
	i := &issuer{serve: f}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		i.mu.Lock()
		f := i.serve
		i.mu.Unlock()
		f(w, r)
	}))
	t.Cleanup(s.Close)
	i.addr = strings.TrimPrefix(s.URL, "http://")
	return i
}

func (i *issuer) set(f http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.serve = f
}

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/keys.json" || r.URL.RawQuery != "v=1" || r.Host != "issuer.example:8443" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		_, _ = io.WriteString(w, s)
	}
}

// start runs a proxy that asks for tokens of the issuer; more are fields of remote_jwks.
func start(t *testing.T, i *issuer, more string) *proxytest.Proxy {
	t.Helper()
	return startWithin(t, i, more, "5s")
}

func startWithin(t *testing.T, i *issuer, more, timeout string) *proxytest.Proxy {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up") }))
	t.Cleanup(up.Close)
	filter := `- name: jwt
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
    providers: {p: {remote_jwks: {http_uri: {uri: "http://issuer.example:8443/keys.json?v=1", cluster: keys, timeout: ` + timeout + `}, ` + more + `}}}
    rules: [{match: {prefix: /}, requires: {provider_name: p}}]`
	e := proxytest.Edge{Filters: filter, Clusters: `- {name: keys, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: keys, endpoints: [{lb_endpoints: [{endpoint: {address: {{keys}}}}]}]}}`}
	return proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": strings.TrimPrefix(up.URL, "http://"), "keys": i.addr}})
}

func get(p *proxytest.Proxy, token string) string {
	r := p.Do("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + token + "\r\n\r\n")
	return fmt.Sprintf("%d %s", r.StatusCode, r.Content)
}

const (
	fetched = "http.test.jwt_authn.jwks_fetch_success"
	failed  = "http.test.jwt_authn.jwks_fetch_failed"
)

func TestFetchedAhead(t *testing.T) {
	k := josetest.New(t, "ES256", "k")
	i := newIssuer(t, text(josetest.Set(k)))
	p := start(t, i, "cache_duration: 600s")
	p.WaitCounter(fetched, 1)
	for range 3 {
		if got := get(p, k.Sign(`{}`)); got != "200 up" {
			t.Error(got)
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

func TestRequestsWaitForTheFirstKeys(t *testing.T) {
	k := josetest.New(t, "ES256", "k")
	asked, release := make(chan struct{}), make(chan struct{})
	i := newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-release
		text(josetest.Set(k))(w, r)
	})
	p := start(t, i, "cache_duration: 600s")
	<-asked
	c := p.Dial()
	c.Send("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + k.Sign(`{}`) + "\r\n\r\n")
	p.WaitGauge("http.test.downstream_rq_active", 1)
	gone := p.Dial()
	gone.Send("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + k.Sign(`{}`) + "\r\n\r\n")
	p.WaitGauge("http.test.downstream_rq_active", 2)
	gone.Close() // Who leaves is not waited for.
	p.WaitGauge("http.test.downstream_rq_active", 1)
	close(release)
	if r := c.Response("GET"); r.StatusCode != 200 {
		t.Error(r)
	}
}

// TestListenerWaitsForTheFirstKeys: with async_fetch nobody connects before they are there.
func TestListenerWaitsForTheFirstKeys(t *testing.T) {
	k := josetest.New(t, "ES256", "k")
	asked, release := make(chan struct{}), make(chan struct{})
	i := newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-release
		text(josetest.Set(k))(w, r)
	})
	p := start(t, i, "async_fetch: {}")
	<-asked
	if n := len(p.Listeners()); n != 0 {
		t.Errorf("%d listeners are there before the keys", n)
	}
	close(release)
	proxytest.Eventually(t, "a listener", func() (int, bool) { n := len(p.Listeners()); return n, n == 1 })
	if got := get(p, k.Sign(`{}`)); got != "200 up" {
		t.Error(got)
	}
}

func TestKeysThatDoNotCome(t *testing.T) {
	k := josetest.New(t, "ES256", "k")
	gone := newIssuer(t, nil)
	for _, tt := range []struct {
		name  string
		serve http.HandlerFunc
	}{
		{"an error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }},
		{"nonsense", text("<html>")},
		{"no keys", text(`{"keys":[]}`)},
		{"huge", text(josetest.Set(k) + strings.Repeat(" ", jose.MaxKeys))},
		{"broken off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"moved", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+gone.addr, http.StatusFound)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newIssuer(t, tt.serve)
			p := start(t, i, "async_fetch: {failed_refetch_duration: 0.01s, fast_listener: true}")
			p.WaitCounterPast(failed, 1) // It tries again and again.
			if got := get(p, k.Sign(`{}`)); got != "401 Jwks remote fetch is failed" {
				t.Error(got)
			}
			i.set(text(josetest.Set(k)))
			p.WaitCounter(fetched, 1)
			if got := get(p, k.Sign(`{}`)); got != "200 up" {
				t.Error("once they are there: " + got)
			}
		})
	}
}

func TestSlowKeysAreGivenUp(t *testing.T) {
	k := josetest.New(t, "ES256", "k")
	ctx, cancel := context.WithCancel(t.Context())
	i := newIssuer(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-ctx.Done():
		}
	})
	defer cancel()
	up := startWithin(t, i, "async_fetch: {fast_listener: true, failed_refetch_duration: 600s}, retry_policy: {num_retries: 0}, cache_duration: 600s", "0.3s")
	// The request ends with the attempt that it found.
	if got := get(up, k.Sign(`{}`)); got != "401 Jwks remote fetch is failed" {
		t.Error(got)
	}
	if got := get(up, k.Sign(`{}`)); got != "401 Jwks remote fetch is failed" { // At once.
		t.Error(got)
	}
}

func TestLastGoodKeysStay(t *testing.T) {
	k, next := josetest.New(t, "ES256", "k"), josetest.New(t, "ES256", "n")
	i := newIssuer(t, text(josetest.Set(k)))
	p := start(t, i, "cache_duration: 0.02s, async_fetch: {failed_refetch_duration: 0.01s, fast_listener: true}")
	p.WaitCounterPast(fetched, 3)
	i.set(text("nonsense"))
	p.WaitCounterPast(failed, 2)
	if got := get(p, k.Sign(`{}`)); got != "200 up" {
		t.Error(got)
	}
	i.set(text(josetest.Set(next)))
	before := p.Counter(fetched)
	p.WaitCounterPast(fetched, before+2)
	if got := get(p, next.Sign(`{}`)); got != "200 up" {
		t.Error("with the next keys: " + got)
	}
	if got := get(p, k.Sign(`{}`)); !strings.HasPrefix(got, "401") {
		t.Error("with the keys that are gone: " + got)
	}
}

func TestRetries(t *testing.T) {
	k := josetest.New(t, "ES256", "k")
	var n atomic.Int64
	i := newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) < 4 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		text(josetest.Set(k))(w, r)
	})
	p := start(t, i, "retry_policy: {num_retries: 3, retry_back_off: {base_interval: 0.001s, max_interval: 0.002s}}")
	p.WaitCounter(fetched, 1)
	if p.Counter(failed) != 0 || n.Load() != 4 {
		t.Errorf("%d failed, %d attempts", p.Counter(failed), n.Load())
	}
	if got := get(p, k.Sign(`{}`)); got != "200 up" {
		t.Error(got)
	}
}

// TestRulesSeeClaims: RBAC judges by what a token claims.
func TestRulesSeeClaims(t *testing.T) {
	k := josetest.New(t, "EdDSA", "k")
	i := newIssuer(t, text(josetest.Set(k)))
	up := newIssuer(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("x-user")) })
	filters := `- name: jwt
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
    providers:
      p:
        remote_jwks: {http_uri: {uri: "http://issuer.example:8443/keys.json?v=1", cluster: keys, timeout: 5s}, async_fetch: {}}
        payload_in_metadata: payload
        normalize_payload_in_metadata: {space_delimited_claims: [scope]}
        claim_to_headers: [{header_name: x-user, claim_name: sub}]
    rules: [{match: {prefix: /}, requires: {provider_name: p}}]
- name: rbac
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    rules:
      policies:
        writers:
          permissions: [{any: true}]
          principals: [{metadata: {filter: envoy.filters.http.jwt_authn, path: [{key: payload}, {key: scope}], value: {list_match: {one_of: {string_match: {exact: write}}}}}}]`
	e := proxytest.Edge{Filters: filters, Clusters: `- {name: keys, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: keys, endpoints: [{lb_endpoints: [{endpoint: {address: {{keys}}}}]}]}}`}
	p := proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.addr, "keys": i.addr}})
	proxytest.Eventually(t, "a listener", func() (int, bool) { n := len(p.Listeners()); return n, n == 1 })
	for scope, want := range map[string]string{"read write": "200 alice", "read": "403 RBAC: access denied"} {
		if got := get(p, k.Sign(`{"sub":"alice","scope":"`+scope+`"}`)); got != want {
			t.Errorf("%s: %s, want %s", scope, got, want)
		}
	}
}
