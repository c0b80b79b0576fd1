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

	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	otlpv1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"weir.dev/weir/proxy/otlp/otlptest"
	"weir.dev/weir/test/weirtest"
)

// telemetry are objects of Envoy Gateway; %[1]s is the gateway's port, %[2]s that of the
// backend, %[3]s that of the collector.
const telemetry = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec:
  controllerName: weir.dev/gateway-controller
  parametersRef: {group: config.gateway.envoyproxy.io, kind: EnvoyProxy, name: custom-proxy-config, namespace: default}
---
apiVersion: config.gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: custom-proxy-config, namespace: default}
spec:
  telemetry:
    accessLog:
      settings:
      - format: {type: JSON, json: {trace: "%%TRACE_ID%%", path: "%%REQ(:PATH)%%"}}
        sinks: [{type: OpenTelemetry, openTelemetry: {host: 127.0.0.1, port: %[3]s}}]
    tracing:
      samplingRate: 100
      customTags: {word: {type: RequestHeader, requestHeader: {name: x-word}}}
      provider: {host: 127.0.0.1, port: %[3]s}
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
metadata: {name: all}
spec: {parentRefs: [{name: eg}], rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]}
`

// TestTelemetry sends a request through a Gateway whose EnvoyProxy, in the form of the years
// of v0.5, has spans and records sent to a collector.
func TestTelemetry(t *testing.T) {
	asked := make(chan string, 1000)
	shop := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Header.Get("Traceparent") }))
	t.Cleanup(shop.Close)
	c := otlptest.New(t, nil)
	f := weirtest.Folder{Path: t.TempDir(), Example: "no example", Ports: map[string]string{"8080": weirtest.FreePort(t)}}
	file := filepath.Join(f.Path, "telemetry.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, telemetry, f.Ports["8080"], shop.URL[strings.LastIndex(shop.URL, ":")+1:], c.Addr[strings.LastIndex(c.Addr, ":")+1:]), 0o600); err != nil {
		t.Fatal(err)
	}
	weirtest.Start(t, f.Run("--drain-strategy", "immediate")...).WaitFor("Ready.")
	until(t, f, `curl -si --header "x-word: please" 'http://127.0.0.1:8080/a'`, "200 OK")

	parent := ""
	for parent == "" || len(asked) > 0 { // The last is that which was answered.
		parent = <-asked
	}
	part := strings.Split(parent, "-") // version-trace-span-flags
	if len(part) != 4 || part[3] != "01" {
		t.Fatalf("the backend was told %q", parent)
	}
	trace, try := part[1], part[2]
	var server, upstream *otlpv1.Span
	var record *logsv1.LogRecord
	for server == nil || upstream == nil || record == nil {
		b := c.Next()
		for _, r := range b.Records {
			if otlptest.Attributes(r.GetAttributes())["trace"] == trace {
				record = r
			}
		}
		for _, span := range b.Spans {
			switch {
			case fmt.Sprintf("%x", span.GetTraceId()) != trace:
			case fmt.Sprintf("%x", span.GetSpanId()) == try:
				upstream = span
			default:
				server = span
				if name := otlptest.Attributes(b.Resource)["service.name"]; name != "eg.default" {
					t.Errorf("spans are of %s", name)
				}
			}
		}
	}
	if string(upstream.GetParentSpanId()) != string(server.GetSpanId()) || len(server.GetParentSpanId()) != 0 {
		t.Errorf("the span of the try has the parent %x, that of the request, %x, has %x", upstream.GetParentSpanId(), server.GetSpanId(), server.GetParentSpanId())
	}
	if word := otlptest.Attributes(server.GetAttributes())["word"]; word != "please" {
		t.Errorf("the span's word is %q", word)
	}
	if path := otlptest.Attributes(record.GetAttributes())["path"]; path != "/a" {
		t.Errorf("the record's path is %q", path)
	}
}
