// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/test/tool"
	"weir.dev/weir/test/weirtest"
)

// observed are objects of Envoy Gateway in the form of the years of v0.5: a Gateway whose
// requests are told by OTLP, and one whose spans are told in Zipkin's form. %[1]s and %[2]s
// are the Gateways' ports, %[3]s that of the backend, %[4]s OTLP's, %[5]s Zipkin's.
const observed = `
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
    metrics: {prometheus: {}}
    accessLog:
      settings:
      - format:
          type: JSON
          json:
            time: "%%START_TIME%%"
            trace_id: "%%REQ(TRACEPARENT)%%"
            request_id: "%%REQ(X-REQUEST-ID)%%"
            response_code: "%%RESPONSE_CODE%%"
            response_flag: "%%RESPONSE_FLAGS%%"
            method: "%%REQ(:METHOD)%%"
            request: "%%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%%"
            protocol: "%%PROTOCOL%%"
            user_agent: "%%REQ(USER-AGENT)%%"
            authority: "%%REQ(:AUTHORITY)%%"
            upstream_host: "%%UPSTREAM_HOST%%"
        sinks: [{type: OpenTelemetry, openTelemetry: {host: 127.0.0.1, port: %[4]s, resources: {team: shop}}}]
    tracing:
      samplingRate: 100
      customTags: {word: {type: RequestHeader, requestHeader: {name: x-word}}, env: {type: Literal, literal: {value: prod}}}
      provider: {host: 127.0.0.1, port: %[4]s}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: zipkin}
spec:
  telemetry:
    tracing: {customTags: {env: {type: Literal, literal: {value: older}}}, provider: {type: Zipkin, host: 127.0.0.1, port: %[5]s}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: eg}
spec: {gatewayClassName: eg, addresses: [{value: 127.0.0.1}], listeners: [{name: http, port: %[1]s, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: old}
spec:
  gatewayClassName: eg
  addresses: [{value: 127.0.0.1}]
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: zipkin}}
  listeners: [{name: http, port: %[2]s, protocol: HTTP}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %[3]s}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all}
spec: {parentRefs: [{name: eg}, {name: old}], rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]}
`

// realCollector is the OpenTelemetry collector; it writes what it is told to a file.
type realCollector struct{ otlp, zipkin, file string }

func startCollector(t *testing.T) *realCollector {
	t.Helper()
	c := &realCollector{weirtest.FreePort(t), weirtest.FreePort(t), filepath.Join(t.TempDir(), "told")}
	var out strings.Builder
	cmd := exec.Command(tool.Build(t, "testdata/otelcol"), "--config", fmt.Sprintf(`yaml:{
  receivers: {otlp: {protocols: {grpc: {endpoint: "127.0.0.1:%s"}}}, zipkin: {endpoint: "127.0.0.1:%s"}},
  exporters: {debug: {verbosity: detailed, use_internal_logger: false, output_paths: [%q]}},
  service: {pipelines: {traces: {receivers: [otlp, zipkin], exporters: [debug]}, logs: {receivers: [otlp], exporters: [debug]}}}}`, c.otlp, c.zipkin, c.file))
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // It may have ended.
		_ = cmd.Wait()         // Killed.
		if t.Failed() {
			t.Logf("the collector: %s", out.String())
		}
	})
	// What is told before it listens would be lost.
	for _, port := range []string{c.otlp, c.zipkin} {
		for deadline := time.Now().Add(30 * time.Second); ; <-time.After(20 * time.Millisecond) {
			conn, err := net.Dial("tcp", "127.0.0.1:"+port)
			if err == nil {
				_ = conn.Close() // It was asked for nothing.
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the collector does not listen: %v", err)
			}
		}
	}
	return c
}

// entry begins what the collector writes of a span or a record.
var entry = regexp.MustCompile(`(?m)^(Span|LogRecord|ResourceSpans|ResourceLog) #`)

// find waits until the collector was told an entry in whose words all of parts occur.
func (c *realCollector) find(t *testing.T, parts ...string) string {
	t.Helper()
	var text []byte
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		text, _ = os.ReadFile(c.file) // It is there once something was told.
		at := entry.FindAllIndex(text, -1)
		for i := range at {
			end := len(text)
			if i+1 < len(at) {
				end = at[i+1][0]
			}
			one := string(text[at[i][0]:end])
			found := true
			for _, p := range parts {
				found = found && strings.Contains(one, p)
			}
			if found {
				return one
			}
		}
	}
	t.Fatalf("no entry has all of %q; the collector wrote:\n%s", parts, text)
	return ""
}

// TestCollector has the OpenTelemetry collector itself read what a Gateway tells: log
// records and spans by OTLP, spans in Zipkin's form; and the statistics for Prometheus.
func TestCollector(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the OpenTelemetry collector")
	}
	c := startCollector(t)
	shop := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(shop.Close)
	f := weirtest.Folder{Path: t.TempDir(), Example: "no example", Ports: map[string]string{"8080": weirtest.FreePort(t), "8081": weirtest.FreePort(t), "9901": weirtest.FreePort(t)}}
	file := filepath.Join(f.Path, "observed.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, observed, f.Ports["8080"], f.Ports["8081"], shop.URL[strings.LastIndex(shop.URL, ":")+1:], c.otlp, c.zipkin), 0o600); err != nil {
		t.Fatal(err)
	}
	weirtest.Start(t, f.Run("--drain-strategy", "immediate")...).WaitFor("Ready.")
	const id = "0af7651916cd43dd8448eb211c80319c"
	until(t, f, `curl -si --header "user-agent: me" --header "x-word: please" --header "traceparent: 00-`+id+`-b7ad6b7169203331-01" 'http://127.0.0.1:8080/a'`, "200 OK")
	until(t, f, `curl -si --header "x-b3-traceid: `+id+`" --header "x-b3-spanid: b7ad6b7169203331" --header "x-b3-sampled: 1" 'http://127.0.0.1:8081/z'`, "200 OK")

	c.find(t, "ResourceLog", "-> team: Str(shop)", "-> log_name: Str(otel_envoy_accesslog)")
	c.find(t, "LogRecord", "-> request: Str(/a)", "-> response_code: Str(200)", "-> method: Str(GET)", "-> user_agent: Str(me)", "-> protocol: Str(HTTP/1.1)", "-> trace_id: Str(00-"+id, "Trace ID: "+id)
	c.find(t, "ResourceSpans", "-> service.name: Str(eg.default)")
	c.find(t, "Span #", ": "+id, ": b7ad6b7169203331", "Server", "-> word: Str(please)", "-> env: Str(prod)", "-> http.status_code: Str(200)")
	c.find(t, "Span #", ": "+id, "Client", "-> upstream_cluster.name: Str(")
	c.find(t, "Span #", ": "+id, "-> env: Str(older)", "/z)")
	until(t, f, "curl -s http://127.0.0.1:9901/stats/prometheus", `envoy_http_downstream_rq_xx{envoy_response_code_class="2"`)
	until(t, f, "curl -s http://127.0.0.1:9901/stats/prometheus", "envoy_tracing_opentelemetry_spans_sent")
}
