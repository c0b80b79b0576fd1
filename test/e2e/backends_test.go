// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

// backends are all kinds that have endpoints of their own, behind one Gateway.
const backends = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: PORT, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {value: /dynamic}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: dynamic}]
  - matches: [{path: {value: /rewritten}}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-rewritten, value: "yes"}]}}]
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: dynamic}]
  - matches: [{path: {value: /secure}}]
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: secure}]
  - matches: [{path: {value: /blind}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: blind}]
  - matches: [{path: {value: /distrusted}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: distrusted}]
  - matches: [{path: {value: /fallback}}]
    backendRefs:
    - {name: empty, port: 80}
    - {group: weir.dev, kind: Backend, name: fallback}
  - matches: [{path: {value: /session}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: fallback}]
  - matches: [{path: {value: /broken}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: broken}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: dynamic}
spec: {type: DynamicResolver}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: dynamic}
spec: {type: DynamicResolver}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: secure}
spec:
  endpoints: [{ip: {address: 127.0.0.1, port: SECURE}}]
  tls: {caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}], sni: example.com, minVersion: "1.3", alpnProtocols: [h2, http/1.1]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: blind}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: SECURE}}], tls: {insecureSkipVerify: true, sni: nobody.example.com}}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: distrusted}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: SECURE}}], tls: {caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}], sni: nobody.example.net}}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: fallback}
spec: {fallback: true, endpoints: [{ip: {address: 127.0.0.1, port: PLAIN}}]}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: fallback}
spec: {targetRefs: [{group: weir.dev, kind: Backend, name: fallback}], sessionPersistence: {sessionName: stay}}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: broken}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: SECURE}}], tls: {caCertificateRefs: [{group: "", kind: ConfigMap, name: nowhere}]}}
---
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ca}
data:
  ca.crt: |
`

// TestBackends asks backends of all types through one process.
func TestBackends(t *testing.T) {
	tell := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := ""
		if r.TLS != nil {
			name = r.TLS.ServerName
		}
		fmt.Fprintf(w, "%s host=%s sni=%s rewritten=%s", r.Proto, r.Host, name, r.Header.Get("x-rewritten"))
	})
	plain := httptest.NewServer(tell)
	defer plain.Close()
	secure := httptest.NewUnstartedServer(tell)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	port := weirtest.FreePort(t)
	at := func(s *httptest.Server) string { return s.URL[strings.LastIndexByte(s.URL, ':')+1:] }
	text := strings.NewReplacer("PORT", port, "SECURE", at(secure), "PLAIN", at(plain)).Replace(backends)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	for line := range strings.Lines(ca) {
		text += "    " + line
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "backends.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := weirtest.Run(t, "", "check", dir)
	if want := "Backend \"default/broken\": spec.tls.caCertificateRefs[0]: there is no ConfigMap default/nowhere"; !strings.Contains(out, want) || strings.Contains(out, "default/dynamic") {
		t.Errorf("check lacks %q:\n%s", want, out)
	}
	p := weirtest.Start(t, "run", dir, "--admin", "", "--drain-strategy", "immediate")
	p.WaitFor("Ready.")
	for _, tt := range []struct {
		path, host string
		status     int
		body       string
	}{
		{"/dynamic", "127.0.0.1:" + at(plain), 200, "HTTP/1.1 host=127.0.0.1:" + at(plain)},
		{"/dynamic", "localhost:" + at(plain), 200, "HTTP/1.1 host=localhost:" + at(plain)},
		{"/dynamic", "a..b", 503, ""},
		{"/rewritten", "localhost:" + at(plain), 200, "rewritten=yes"},
		{"/secure", "shop.example.net", 200, "HTTP/2.0 host=shop.example.net sni=example.com"},
		{"/blind", "shop.example.net", 200, "HTTP/1.1 host=shop.example.net sni=nobody.example.com"},
		{"/distrusted", "shop.example.net", 503, ""},
		{"/fallback", "shop.example.net", 200, "HTTP/1.1 host=shop.example.net"},
		{"/broken", "shop.example.net", 500, ""},
	} {
		status, body, _ := askUntil(t, "http://127.0.0.1:"+port+tt.path, tt.host, tt.status)
		if status != tt.status || !strings.Contains(body, tt.body) {
			t.Errorf("%s for %s: %d %q, want %d %q", tt.path, tt.host, status, body, tt.status, tt.body)
		}
	}
	if _, _, header := askUntil(t, "http://127.0.0.1:"+port+"/session", "shop.example.net", 200); !strings.HasPrefix(header.Get("set-cookie"), "stay=") {
		t.Errorf("there is no session: %v", header)
	}
}

// askUntil asks until the status is as wanted, for a minute at most.
func askUntil(t *testing.T, url, host string, want int) (status int, body string, header http.Header) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		answer, err := http.DefaultClient.Do(r)
		if err == nil {
			data, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			status, body, header = answer.StatusCode, string(data), answer.Header
		}
		if status == want || time.Now().After(deadline) {
			return status, body, header
		}
		<-time.After(20 * time.Millisecond)
	}
}
