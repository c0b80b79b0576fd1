// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir.dev/weir/test/weirtest"
)

// responses are objects of Envoy Gateway; %[1]s is the gateway's port, %[2]s that of the backend.
const responses = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: eg}
spec: {gatewayClassName: eg, addresses: [{value: 127.0.0.1}], listeners: [{name: http, port: %[1]s, protocol: HTTP}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %[2]s}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec: {parentRefs: [{name: eg}], rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  compressor: [{type: Gzip}, {type: Brotli}]
  responseOverride:
  - match: {statusCodes: [{type: Range, range: {start: 500, end: 599}}]}
    source: Backend
    response: {statusCode: 200, contentType: text/html, body: {inline: "<p>100%% sorry for %%REQ(:PATH)%%</p>"}, header: {set: [{name: x-is, value: "%%RESPONSE_CODE%%"}]}}
  - match: {statusCodes: [{value: 403}]}
    redirect: {hostname: login.example, path: {type: ReplaceFullPath, replaceFullPath: /login}, statusCode: 301}
`

// TestResponses asks for what a BackendTrafficPolicy makes of responses: one that is compressed, and one that is another.
func TestResponses(t *testing.T) {
	text := strings.Repeat("all that is said twice is said too often; ", 1000)
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		if r.Host == "login.example" {
			fmt.Fprintf(w, "log in: %s %s", r.Method, r.URL)
			return
		}
		if r.URL.Path == "/mine" {
			_, _ = io.Copy(io.Discard, r.Body)
			http.Error(w, "who are you?", http.StatusForbidden)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/broken") {
			w.Header().Set("X-Secret", "stack")
			w.WriteHeader(http.StatusBadGateway)
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(shop.Close)
	f := weirtest.Folder{Path: t.TempDir(), Example: "no example", Ports: map[string]string{"8080": weirtest.FreePort(t)}}
	file := filepath.Join(f.Path, "responses.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, responses, f.Ports["8080"], shop.URL[strings.LastIndex(shop.URL, ":")+1:]), 0o600); err != nil {
		t.Fatal(err)
	}
	p := weirtest.Start(t, "run", file)
	p.WaitFor("Ready.")
	get := func(path, accept string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+f.Ports["8080"]+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", accept)
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(body)
	}
	res, body := get("/", "br, gzip")
	if res.Header.Get("Content-Encoding") != "gzip" || res.Header.Get("Vary") != "Accept-Encoding" || len(body) > len(text)/10 {
		t.Errorf("%d bytes, %v", len(body), res.Header)
	}
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := io.ReadAll(z); err != nil || string(plain) != text {
		t.Errorf("%d bytes, %v", len(plain), err)
	}
	if res, _ = get("/", "br"); res.Header.Get("Content-Encoding") != "br" {
		t.Errorf("%v", res.Header)
	}
	if res, body = get("/", "identity"); res.Header.Get("Content-Encoding") != "" || body != text {
		t.Errorf("%d bytes, %v", len(body), res.Header)
	}
	for range 2 { // Whatever was not read of the response harms no other.
		res, body = get("/broken?x=1", "gzip")
		if res.StatusCode != 200 || body != "<p>100% sorry for /broken?x=1</p>" || res.Header.Get("Content-Type") != "text/html" ||
			res.Header.Get("X-Is") != "200" || res.Header.Get("X-Secret") != "" || res.Header.Get("Content-Encoding") != "" {
			t.Errorf("%d %q %v", res.StatusCode, body, res.Header)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodGet} { // What was refused is had from elsewhere.
		r, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:"+f.Ports["8080"]+"/mine?x=1", strings.NewReader(text))
		if method == http.MethodGet {
			r, err = http.NewRequestWithContext(t.Context(), method, r.URL.String(), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusMovedPermanently || string(body) != "log in: GET /login?x=1" {
			t.Errorf("%s: %d %q, %v", method, res.StatusCode, body, err)
		}
	}
	if strings.Contains(p.Output(), "panic") {
		t.Error(p.Output())
	}
}
