// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir.dev/weir/test/weirtest"
)

// policies are objects of Envoy Gateway; %[1]s is the gateway's port, %[2]s that of the
// backend, %[3]s that of who judges requests.
const policies = `
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
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: clients}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: eg}]
  clientIPDetection: {xForwardedFor: {numTrustedHops: 1}}
  path: {escapedSlashesAction: RejectRequest}
  headers: {earlyRequestHeaders: {remove: [x-user]}, lateResponseHeaders: {set: [{name: x-served, value: weir}]}, withUnderscoresAction: RejectRequest, enableEnvoyHeaders: false}
  healthCheck: {path: /healthz}
  http1: {preserveHeaderCase: true}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %[2]s}}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: judge}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %[3]s}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ask}
spec: {parentRefs: [{name: eg}], hostnames: [ask.example], rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: names}
spec: {parentRefs: [{name: eg}], hostnames: [names.example], rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: keys}
spec: {parentRefs: [{name: eg}], hostnames: [keys.example], rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]}
---
apiVersion: v1
kind: Secret
metadata: {name: people}
stringData: {.htpasswd: "ann:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {acme: supersecret}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: ask}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: ask}]
  extAuth:
    http: {backendRefs: [{group: weir.dev, kind: Backend, name: judge}], path: /check, headersToBackend: [x-user]}
    headersToExtAuth: [x-word]
    statusOnError: 503
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: names}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: names}]
  basicAuth: {users: {name: people}, forwardUsernameHeader: x-user}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: keys}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: keys}]
  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-api-key], params: [key]}], forwardClientIDHeader: x-client, sanitize: true}
`

// TestPolicies sends requests past what SecurityPolicies and a ClientTrafficPolicy of
// Envoy Gateway ask for.
func TestPolicies(t *testing.T) {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "user=%s client=%s key=%s from=%s query=%s", r.Header.Get("X-User"), r.Header.Get("X-Client"), r.Header.Get("X-Api-Key"), r.Header.Get("X-Forwarded-For"), r.URL.RawQuery)
	}))
	t.Cleanup(shop.Close)
	judge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-User", "ann")
		if !strings.HasPrefix(r.URL.Path, "/check/") || r.Header.Get("X-Word") != "please" {
			http.Error(w, "say please", http.StatusTeapot)
		}
	}))
	t.Cleanup(judge.Close)
	port := func(s *httptest.Server) string { return s.URL[strings.LastIndex(s.URL, ":")+1:] }
	f := weirtest.Folder{Path: t.TempDir(), Example: "no example", Ports: map[string]string{"8080": weirtest.FreePort(t)}}
	file := filepath.Join(f.Path, "policies.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, policies, f.Ports["8080"], port(shop), port(judge)), 0o600); err != nil {
		t.Fatal(err)
	}
	weirtest.Start(t, f.Run("--drain-strategy", "immediate")...).WaitFor("Ready.")

	ask := func(host, path, header, want string) {
		t.Helper()
		line := fmt.Sprintf(`curl -si --header "Host: %s" 'http://127.0.0.1:8080%s'`, host, path)
		if header != "" {
			line = fmt.Sprintf(`curl -si --header "Host: %s" --header "%s" 'http://127.0.0.1:8080%s'`, host, header, path)
		}
		until(t, f, line, want)
	}
	ask("ask.example", "/x", "x-word: please", "user=ann")
	ask("ask.example", "/x", "x-word: now", "418")
	ask("ask.example", "/x", "x-word: now", "say please")

	ask("names.example", "/", "", "401 Unauthorized")
	ask("names.example", "/", "authorization: Basic YW5uOnRlc3Q=", "user=ann")
	ask("names.example", "/", "authorization: Basic YW5uOndyb25n", "401 Unauthorized")

	ask("keys.example", "/", "x-api-key: guess", "401 Unauthorized")
	ask("keys.example", "/", "x-api-key: supersecret", "client=acme key= ")
	ask("keys.example", "/?a=b&key=supersecret", "", "client=acme")

	// The ClientTrafficPolicy.
	ask("names.example", "/healthz", "", "200 OK")
	ask("names.example", "/", "", "x-served: weir")
	ask("keys.example", "/?key=supersecret", "x-user: forged", "user= client=acme")
	ask("keys.example", "/a%2fb", "x-api-key: supersecret", "400 Bad Request")
	ask("keys.example", "/", "x_api: 1", "400 Bad Request")

	// A service that is gone lets nobody in.
	judge.Close()
	ask("ask.example", "/x", "x-word: please", "503 Service Unavailable")
}
