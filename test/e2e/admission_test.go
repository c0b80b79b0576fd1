// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// admission is a route that refuses requests once too many have failed, beside one that does not; %[1]s is the port of the
// Gateway and %[2]s that of the backend.
const admission = `
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: weir}, spec: {controllerName: weir.dev/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: %[1]s, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: guarded}
spec: {parentRefs: [{name: edge}], rules: [{matches: [{path: {value: /guarded}}], backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: free}
spec: {parentRefs: [{name: edge}], rules: [{matches: [{path: {value: /free}}], backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %[2]s}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: guarded}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: guarded}]
  admissionControl: {samplingWindow: 1m, minRequestRate: 0, successCriteria: {http: {statusCodes: [200]}}}
`

// TestAdmissionControl: a route whose requests all fail refuses most of them, and another of the same backend none.
func TestAdmissionControl(t *testing.T) {
	var asked [2]atomic.Int32
	paths := []string{"/guarded", "/free"}
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i, path := range paths {
			if r.URL.Path == path {
				asked[i].Add(1)
			}
		}
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(shop.Close)
	f := folder(t, "8080")
	text := fmt.Appendf(nil, admission, f.Ports["8080"], port(shop.Listener.Addr().String()))
	serveObjects(t, f, text)
	const many = 100
	for i, path := range paths {
		refused := int32(0)
		for range many {
			resp, err := http.Get("http://127.0.0.1:" + f.Ports["8080"] + path)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusServiceUnavailable {
				refused++
			}
		}
		if n := asked[i].Load(); n+refused != many || (refused > many/3) != (i == 0) || i == 1 && refused > 0 {
			t.Errorf("%s: %d requests reached the backend, %d were refused", path, n, refused)
		}
	}
}
