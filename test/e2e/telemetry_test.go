// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	otlpv1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

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

// told is what a collector was told: a span or a record, with the attributes of who tells.
type told struct {
	span     *otlpv1.Span
	record   *logsv1.LogRecord
	resource string
}

// collector takes spans and records by gRPC. What is sent has the same form on the wire as
// the data that it holds.
func collector(t *testing.T) (port string, got chan told) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got = make(chan told, 1000)
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		traces, logs := &otlpv1.TracesData{}, &logsv1.LogsData{}
		m := proto.Message(traces)
		switch method {
		case "/opentelemetry.proto.collector.trace.v1.TraceService/Export":
		case "/opentelemetry.proto.collector.logs.v1.LogsService/Export":
			m = logs
		default:
			return errors.New("method " + method)
		}
		if err := stream.RecvMsg(m); err != nil {
			return err
		}
		for _, r := range traces.GetResourceSpans() {
			for _, span := range r.GetScopeSpans()[0].GetSpans() {
				got <- told{span: span, resource: attributes(r.GetResource().GetAttributes())}
			}
		}
		for _, r := range logs.GetResourceLogs() {
			for _, record := range r.GetScopeLogs()[0].GetLogRecords() {
				got <- told{record: record, resource: attributes(r.GetResource().GetAttributes())}
			}
		}
		return stream.SendMsg(&emptypb.Empty{})
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // It ends when it is stopped.
	}()
	t.Cleanup(func() { s.Stop(); <-done })
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, got
}

func attributes(list []*commonv1.KeyValue) string {
	var out strings.Builder
	for _, kv := range list {
		fmt.Fprintf(&out, " %s=%s", kv.GetKey(), kv.GetValue().GetStringValue())
	}
	return out.String()
}

// TestTelemetry sends a request through a Gateway whose EnvoyProxy, in the form of the years
// of v0.5, has spans and records sent to a collector.
func TestTelemetry(t *testing.T) {
	asked := make(chan string, 1000)
	shop := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Header.Get("Traceparent") }))
	t.Cleanup(shop.Close)
	port, got := collector(t)
	f := weirtest.Folder{Path: t.TempDir(), Example: "no example", Ports: map[string]string{"8080": weirtest.FreePort(t)}}
	file := filepath.Join(f.Path, "telemetry.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, telemetry, f.Ports["8080"], shop.URL[strings.LastIndex(shop.URL, ":")+1:], port), 0o600); err != nil {
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
		x := <-got
		switch {
		case x.record != nil && strings.Contains(attributes(x.record.GetAttributes()), "trace="+trace):
			record = x.record
		case x.span == nil || fmt.Sprintf("%x", x.span.GetTraceId()) != trace:
		case fmt.Sprintf("%x", x.span.GetSpanId()) == try:
			upstream = x.span
		default:
			server = x.span
			if !strings.Contains(x.resource, "service.name=eg.default") {
				t.Errorf("spans are of%s", x.resource)
			}
		}
	}
	if string(upstream.GetParentSpanId()) != string(server.GetSpanId()) || len(server.GetParentSpanId()) != 0 {
		t.Errorf("the span of the try has the parent %x, that of the request, %x, has %x", upstream.GetParentSpanId(), server.GetSpanId(), server.GetParentSpanId())
	}
	if a := attributes(server.GetAttributes()); !strings.Contains(a, "word=please") {
		t.Errorf("the span has%s", a)
	}
	if a := attributes(record.GetAttributes()); !strings.Contains(a, "path=/a") {
		t.Errorf("the record has%s", a)
	}
}
