// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weir.dev/weir/proxy/tls/tlstest"
	"weir.dev/weir/test/weirtest"
)

// emissaryAuth are the objects of an install of Emissary, called %[1]s: its Listener has the
// port %[2]s, the backend %[3]s, and its AuthService has the fields %[4]s.
const emissaryAuth = `
---
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: %[1]s}
spec: {port: %[2]s, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}, ambassador_id: [%[1]s]}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: %[1]s}
spec: {hostname: "*", prefix: /, service: "127.0.0.1:%[3]s", ambassador_id: [%[1]s]}
---
apiVersion: getambassador.io/%[5]s
kind: AuthService
metadata: {name: %[1]s}
spec: {%[4]s, timeout_ms: 20000, ambassador_id: [%[1]s]}
`

// emissaryTLS is how AuthServices are spoken to over TLS; %[1]s is the authority's
// certificate, %[2]s and %[3]s are the client's and its key, and %[4]s is another authority's.
const emissaryTLS = `
apiVersion: v1
kind: Secret
metadata: {name: authority}
data: {tls.crt: %[1]s}
---
apiVersion: v1
kind: Secret
metadata: {name: other}
data: {tls.crt: %[4]s}
---
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata: {name: client}
data: {tls.crt: %[2]s, tls.key: %[3]s}
---
apiVersion: getambassador.io/v3alpha1
kind: TLSContext
metadata: {name: judge}
spec: {secret: client, ca_secret: authority, ambassador_id: [_automatic_]}
---
apiVersion: getambassador.io/v3alpha1
kind: TLSContext
metadata: {name: stranger}
spec: {secret: client, ca_secret: other, ambassador_id: [_automatic_]}
`

// TestEmissaryAuthService asks AuthServices over TLS, tells them bodies, and lets requests in
// or not where they are gone.
func TestEmissaryAuthService(t *testing.T) {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "served %q", body)
	}))
	t.Cleanup(shop.Close)
	ca := tlstest.NewCA(t, "ca")
	server, client := ca.Issue(t, tlstest.Leaf{DNS: []string{"judge.example"}}), ca.Issue(t, tlstest.Leaf{DNS: []string{"weir.example"}})
	judge := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if len(r.TLS.PeerCertificates) != 1 || r.TLS.PeerCertificates[0].DNSNames[0] != "weir.example" || string(body) != "plea" && string(body) != "ok" {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "not for %q", body)
		}
	}))
	judge.TLS = &tls.Config{Certificates: []tls.Certificate{server.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()}
	judge.StartTLS()
	t.Cleanup(judge.Close)

	port := func(url string) string { return url[strings.LastIndex(url, ":")+1:] }
	secret := func(pem string) string { return base64.StdEncoding.EncodeToString([]byte(pem)) }
	at, gone := "auth_service: 127.0.0.1:"+port(judge.URL), "auth_service: 127.0.0.1:"+weirtest.FreePort(t)
	objects := fmt.Sprintf(emissaryTLS, secret(ca.CertPEM), secret(client.CertPEM), secret(client.KeyPEM), secret(tlstest.NewCA(t, "other").CertPEM))
	ports := map[string]string{}
	for _, i := range []struct{ name, version, fields string }{
		{"partial", "v3alpha1", at + ", tls: judge, include_body: {max_bytes: 4, allow_partial: true}"},
		{"whole", "v2", strings.Replace(at, ": ", ": https://", 1) + ", tls: judge, include_body: {max_bytes: 4, allow_partial: false}"},
		{"default", "v3alpha1", at + ", tls: judge, allow_request_body: true"},
		{"stranger", "v3alpha1", at + ", tls: stranger, include_body: {max_bytes: 4, allow_partial: true}"},
		{"open", "v3alpha1", gone + ", failure_mode_allow: true"},
		{"told", "v3alpha1", gone + ", status_on_error: {code: 503}"},
		{"shut", "v3alpha1", gone},
	} {
		ports[i.name] = weirtest.FreePort(t)
		objects += fmt.Sprintf(emissaryAuth, i.name, ports[i.name], port(shop.URL), i.fields, i.version)
	}
	f := folder(t)
	serveObjects(t, f, []byte(objects))
	for _, tt := range []struct{ install, body, want string }{
		{"partial", "ok", `served "ok"`},
		{"partial", "please", `served "please"`},
		{"partial", "no", `not for "no"`},
		{"whole", "ok", `served "ok"`},
		{"whole", "please", "413 Payload Too Large"},
		{"default", "please", `not for "please"`},
		{"default", "ok", `served "ok"`},
		{"stranger", "ok", "403 Forbidden"},
		{"open", "ok", `served "ok"`},
		{"told", "ok", "503 Service Unavailable"},
		{"shut", "ok", "403 Forbidden"},
	} {
		until(t, f, fmt.Sprintf("curl -si -d '%s' http://127.0.0.1:%s/", tt.body, ports[tt.install]), tt.want)
	}
}
