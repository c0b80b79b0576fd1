// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// bandwidth is a route whose bodies are limited; %[1]s is the gateway's port, %[2]s that of the backend.
const bandwidth = `
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
kind: BackendTrafficPolicy
metadata: {name: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  bandwidthLimit:
    request: {limit: {value: 100Ki, unit: Second}}
    response: {limit: {value: 12000Ki, unit: Minute}, responseTrailers: {prefix: x-eg}}
`

// TestBandwidth sends and fetches more than may pass in a second, over both versions of HTTP.
func TestBandwidth(t *testing.T) {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.Method == http.MethodPost {
			fmt.Fprint(w, n)
			return
		}
		_, _ = w.Write(bytes.Repeat([]byte("x"), 300<<10))
	}))
	t.Cleanup(shop.Close)
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		f := folder(t, "8080")
		serveObjects(t, f, fmt.Appendf(nil, bandwidth, f.Ports["8080"], shop.URL[strings.LastIndex(shop.URL, ":")+1:]))
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetHTTP1(version == "HTTP/1.1")
		tr.Protocols.SetUnencryptedHTTP2(version != "HTTP/1.1")
		t.Cleanup(tr.CloseIdleConnections)
		ask := func(method string, body io.Reader) (*http.Response, []byte, time.Duration) {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:"+f.Ports["8080"]+"/", body)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			res, err := tr.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			got, err := io.ReadAll(res.Body)
			if err != nil || res.Proto != version {
				t.Fatal(res.Proto, err)
			}
			return res, got, time.Since(start)
		}
		// A second's worth passes at once, the rest takes its time.
		if _, got, took := ask(http.MethodPost, bytes.NewReader(make([]byte, 150<<10))); string(got) != strconv.Itoa(150<<10) || took < 400*time.Millisecond {
			t.Errorf("%s: %s bytes were sent in %s", version, got, took)
		}
		res, got, took := ask(http.MethodGet, nil)
		if len(got) != 300<<10 || took < 400*time.Millisecond {
			t.Errorf("%s: %d bytes came in %s", version, len(got), took)
		}
		const name = "X-Eg-Bandwidth-Response-Filter-Delay-Ms"
		if ms, err := strconv.Atoi(res.Trailer.Get(name)); version != "HTTP/1.1" && (err != nil || ms < 300) {
			t.Errorf("%s: trailers %v", version, res.Trailer)
		}
	}
}
