// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dataaccesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	otlpv1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"weir.dev/weir/proxy/otlp/otlptest"
	"weir.dev/weir/test/weirtest"
)

// telemetry are objects of Envoy Gateway; %[1]s is the gateway's port, %[2]s that of the
// backend, %[3]s that of the collector, %[4]s that of the log service.
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
        sinks:
        - {type: OpenTelemetry, openTelemetry: {host: 127.0.0.1, port: %[3]s}}
        - {type: ALS, als: {type: HTTP, backendRefs: [{group: weir.dev, kind: Backend, name: logs}], http: {requestHeaders: [x-word]}}}
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
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: logs}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %[4]s}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all}
spec: {parentRefs: [{name: eg}], rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]}
`

// logService takes entries of Envoy's access log protocol.
type logService struct {
	alsv3.UnimplementedAccessLogServiceServer

	port string
	got  chan logged
}

// logged is an entry, and the log that it is of.
type logged struct {
	log string
	*dataaccesslogv3.HTTPAccessLogEntry
}

func (s *logService) StreamAccessLogs(stream alsv3.AccessLogService_StreamAccessLogsServer) error {
	log := ""
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&alsv3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		if i := m.GetIdentifier(); i != nil { // The first message has it.
			log = i.GetLogName()
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			s.got <- logged{log, e}
		}
	}
}

// find waits for an entry of a path that has a status.
func (s *logService) find(t *testing.T, path string, status uint32) logged {
	t.Helper()
	for deadline := time.After(30 * time.Second); ; {
		select {
		case x := <-s.got:
			if x.GetRequest().GetPath() == path && x.GetResponse().GetResponseCode().GetValue() == status {
				return x
			}
		case <-deadline:
			t.Fatalf("the log service was not told of %s with %d", path, status)
		}
	}
}

func serveLogs(t *testing.T) *logService {
	t.Helper()
	s := &logService{got: make(chan logged, 1000)}
	s.port = serveGRPC(t, func(g *grpc.Server) { alsv3.RegisterAccessLogServiceServer(g, s) })
	return s
}

// serveGRPC serves what register registers, and returns the port.
func serveGRPC(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	register(g)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(l) // It ends when it is stopped.
	}()
	t.Cleanup(func() { g.Stop(); <-done })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// TestTelemetry sends a request through a Gateway whose EnvoyProxy, in the form of the years
// of v0.5, has spans and records sent to a collector.
func TestTelemetry(t *testing.T) {
	asked := make(chan string, 1000)
	shop := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Header.Get("Traceparent") }))
	t.Cleanup(shop.Close)
	c, logs := otlptest.New(t, nil), serveLogs(t)
	f := weirtest.Folder{Path: t.TempDir(), Example: "no example", Ports: map[string]string{"8080": weirtest.FreePort(t)}}
	file := filepath.Join(f.Path, "telemetry.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, telemetry, f.Ports["8080"], shop.URL[strings.LastIndex(shop.URL, ":")+1:], c.Addr[strings.LastIndex(c.Addr, ":")+1:], logs.port), 0o600); err != nil {
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
	x := logs.find(t, "/a", 200)
	if x.log != "default/custom-proxy-config" || x.GetRequest().GetRequestHeaders()["x-word"] != "please" {
		t.Errorf("the log service was told %v", x)
	}
}
