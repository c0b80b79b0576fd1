// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// injected are objects whose backends ask for a key, and one for cookies: %[1]s is the port
// of the Gateway, %[2]s that of the backend.
const injected = `
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
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {value: /key}}]
    filters: [{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: key}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: shop}]
  - matches: [{path: {value: /}}]
    filters: [{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: beta}}, {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-rule, value: beta}]}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: shop}]
  - backendRefs: [{group: weir.dev, kind: Backend, name: shop}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: HTTPRouteFilter
metadata: {name: key}
spec: {credentialInjection: {header: x-api-key, overwrite: true, credential: {valueRef: {name: key}}}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: HTTPRouteFilter
metadata: {name: beta}
spec: {matches: [{cookies: [{name: beta, value: "yes"}]}]}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {credential: swordfish}
`

// TestRouteFilters has backends get the key that they ask for, the next one without a
// restart, and rules be for those who have a cookie.
func TestRouteFilters(t *testing.T) {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "key %s, rule %s.", r.Header.Get("x-api-key"), r.Header.Get("x-rule"))
	}))
	t.Cleanup(shop.Close)
	f := folder(t, "8080")
	text := fmt.Appendf(nil, injected, f.Ports["8080"], port(strings.TrimPrefix(shop.URL, "http://")))
	serveObjects(t, f, text)
	until(t, f, "curl -s --header 'x-api-key: mine' http://127.0.0.1:8080/key", "key swordfish, rule .")
	until(t, f, "curl -s --header 'cookie: beta=yes' http://127.0.0.1:8080/", "key , rule beta.")
	until(t, f, "curl -s --header 'cookie: beta=no' http://127.0.0.1:8080/", "key , rule .")
	f.Edit(t, "objects.yaml", "credential: swordfish", "credential: trout")
	until(t, f, "curl -s http://127.0.0.1:8080/key", "key trout, rule .")
}
