// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// authorized is a route with a SecurityPolicy whose rules ask for all that a request can be asked about; %[1]s is the
// gateway's port, %[2]s that of the backend.
const authorized = `
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: eg}, spec: {controllerName: weir.dev/gateway-controller}}
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
kind: SecurityPolicy
metadata: {name: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  authorization:
    defaultAction: Deny
    rules:
    - {name: no-guests, action: Deny, principal: {headers: [{name: x-team, values: [guest, temp]}]}, cel: "request.method != 'GET'"}
    - {name: tenants, action: Allow, cel: "request.headers['x-tenant'] in ['a', 'b'] && request.url_path.startsWith('/tenant/')"}
    - {name: port, action: Allow, cel: "source.address.startsWith('127.0.0.1:') && request.path == '/here?x=1'"}
    - {name: text, action: Allow, cel: "request.path"}
    - {name: exact, action: Allow, operation: {methods: [GET, HEAD], path: {type: Exact, value: /exact}}, principal: {clientCIDRs: [127.0.0.0/8]}}
    - {name: odd, action: Allow, operation: {path: {type: RegularExpression, value: "/.*/odd\\d"}}, principal: {clientCIDRs: [10.0.0.0/8, 127.0.0.0/8]}}
    - {name: far, action: Allow, operation: {path: {value: /far}}, principal: {clientCIDRs: [10.0.0.0/8]}}
    - {name: rest, action: Allow, operation: {path: {type: PathPrefix, value: /secret, invert: true}}, principal: {headers: [{name: x-all, values: ["yes"]}]}}
`

// TestAuthorization: the first rule that is about a request decides, whatever it asks of it.
func TestAuthorization(t *testing.T) {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "sold") }))
	t.Cleanup(shop.Close)
	f := folder(t, "8080")
	serveObjects(t, f, fmt.Appendf(nil, authorized, f.Ports["8080"], shop.URL[strings.LastIndex(shop.URL, ":")+1:]))
	for _, tt := range []struct {
		method, path, header string
		want                 int
	}{
		{"GET", "/tenant/1", "x-tenant: a", 200},
		{"GET", "/tenant/1", "x-tenant: c", 403},
		{"GET", "/tenant/1", "", 403}, // An expression that fails is true of nothing.
		{"POST", "/tenant/1", "x-tenant: b", 200},
		{"POST", "/tenant/1", "x-tenant: b|x-team: temp", 403},
		{"GET", "/tenant/1", "x-tenant: b|x-team: temp", 200},
		{"GET", "/else?/tenant/", "x-tenant: a", 403},
		{"GET", "/here?x=1", "", 200},
		{"GET", "/here?x=2", "", 403},
		{"GET", "/exact", "", 200},
		{"GET", "/exact?x=1", "", 200},
		{"GET", "/exactly", "", 403},
		{"POST", "/exact", "", 403},
		{"GET", "/a/b/odd7", "", 200},
		{"GET", "/a/b/odd7?q", "", 200},
		{"GET", "/a/b/odd77", "", 403},
		{"GET", "/a?/b/odd7", "", 403}, // A query is no part of a path.
		{"GET", "/far", "", 403},
		{"GET", "/any", "x-all: yes", 200},
		{"GET", "/secrets", "x-all: yes", 403},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, "http://127.0.0.1:"+f.Ports["8080"]+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for h := range strings.SplitSeq(tt.header, "|") {
			if name, value, ok := strings.Cut(h, ": "); ok {
				r.Header.Set(name, value)
			}
		}
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != tt.want {
			t.Errorf("%s %s with %q: %d, want %d", tt.method, tt.path, tt.header, res.StatusCode, tt.want)
		}
	}
}
