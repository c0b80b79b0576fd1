// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// authorities have the certificates that clients and a backend are verified by under other keys than ca.crt. %[1]s is the
// port of the listener and %[2]s that of the backend; the others are PEM within JSON: of the listener's certificate and its
// key, and of authorities.
const authorities = `
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: weir}, spec: {controllerName: weir.dev/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: https, port: %[1]s, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: secure}]}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: secure}
spec:
  endpoints: [{ip: {address: 127.0.0.1, port: %[2]s}}]
  tls: {caCertificateRefs: [{group: "", kind: ConfigMap, name: backends}], sni: shop.example.com}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: clients}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  tls: {clientValidation: {caCertificateRefs: [{kind: Secret, group: "", name: clients}]}}
---
{apiVersion: v1, kind: Secret, metadata: {name: cert}, type: kubernetes.io/tls, stringData: {tls.crt: %[3]q, tls.key: %[4]q}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: backends}, data: {tls.crt: %[5]q, notes: of the house}}
---
{apiVersion: v1, kind: Secret, metadata: {name: clients}, stringData: {roots.pem: %[5]q}}
`

// TestAuthoritiesOfOtherKeys verifies clients and a backend by authorities that are where Envoy Gateway finds them.
func TestAuthoritiesOfOtherKeys(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	cert, key := i.pair("shop.example.com")
	f := folder(t, "1")
	serveObjects(t, f, fmt.Appendf(nil, authorities, f.Ports["1"], serveTLS(t, cert, key), cert, key, i.ca()))
	roots := x509.NewCertPool()
	roots.AddCert(i.cert)
	for _, tt := range []struct {
		name string
		by   *issuer
		in   bool
	}{{"known", i, true}, {"foreign", other, false}} {
		shown, err := tls.X509KeyPair(tt.by.pair(tt.name))
		if err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "shop.example.com", Certificates: []tls.Certificate{shown}}}
		client := &http.Client{Transport: tr, Timeout: 20 * time.Second}
		got := ""
		resp, err := client.Get("https://127.0.0.1:" + f.Ports["1"] + "/")
		if err == nil {
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			got = string(b)
		}
		if in := strings.HasPrefix(got, "shop.example.com by "); in != tt.in {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
		tr.CloseIdleConnections()
	}
}
