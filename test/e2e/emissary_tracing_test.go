// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weir.dev/weir/proxy/otlp/otlptest"
)

// emissaryTracing are objects of two installs of Emissary, which tell Zipkin and a collector
// of OpenTelemetry; %[1]s and %[2]s are the ports of their Listeners, %[3]s that of the
// backend, %[4]s and %[5]s those of Zipkin and of the collector.
const emissaryTracing = `
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: http}
spec: {port: %[1]s, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}
---
apiVersion: getambassador.io/v3alpha1
kind: TracingService
metadata: {name: zipkin}
spec:
  driver: zipkin
  service: "127.0.0.1:%[4]s"
  tag_headers: [x-team]
  custom_tags: [{tag: kind, literal: {value: shop}}, {tag: word, request_header: {name: x-word, default_value: none}}]
  config: {collector_endpoint: /spans}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: shop}
spec: {hostname: "*", prefix: /, service: "127.0.0.1:%[3]s"}
---
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: otel}
spec: {port: %[2]s, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}, ambassador_id: [otel]}
---
apiVersion: getambassador.io/v3alpha1
kind: TracingService
metadata: {name: otel}
spec: {driver: opentelemetry, service: "127.0.0.1:%[5]s", config: {service_name: edge}, sampling: {random: 100, client: 0}, ambassador_id: [otel]}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: otel}
spec: {hostname: "*", prefix: /, service: "127.0.0.1:%[3]s", ambassador_id: [otel]}
`

// zipkinSpan is a span as Zipkin takes it.
type zipkinSpan struct {
	TraceID, ID, ParentID, Name, Kind string
	Tags                              map[string]string
}

// TestEmissaryTracing has TracingServices told of a request.
func TestEmissaryTracing(t *testing.T) {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "trace %s%s", r.Header.Get("X-B3-TraceId"), r.Header.Get("Traceparent"))
	}))
	t.Cleanup(shop.Close)
	told := make(chan []zipkinSpan, 100)
	zipkin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var spans []zipkinSpan
		if err := json.NewDecoder(r.Body).Decode(&spans); err != nil || r.URL.Path != "/spans" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		told <- spans
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(zipkin.Close)
	collector := otlptest.New(t, nil)
	f := folder(t, "8080", "8081")
	port := func(address string) string { return address[strings.LastIndex(address, ":")+1:] }
	objects := fmt.Appendf(nil, emissaryTracing, f.Ports["8080"], f.Ports["8081"], port(shop.URL), port(zipkin.URL), port(collector.Addr))
	serveObjects(t, f, objects)

	const line = "curl -s --header 'x-team: blue' --header 'x-word: please' --header 'host: shop.example' http://127.0.0.1:8080/a"
	until(t, f, line, "trace ")
	_, trace, _ := strings.Cut(curl(t, f, line), "trace ")
	if len(trace) != 32 {
		t.Fatalf("the backend was told the trace %q, not one of 128 bits", trace)
	}
	byKind := map[string]zipkinSpan{}
	for len(byKind) < 2 {
		for _, s := range <-told {
			if s.TraceID == trace {
				byKind[s.ParentID] = s
			}
		}
	}
	whole := byKind[""]
	if whole.Tags["kind"] != "shop" || whole.Tags["word"] != "please" || whole.Tags["x-team"] != "blue" || whole.Name != "shop.example" {
		t.Errorf("the span of the request is %+v", whole)
	}
	if _, ok := byKind[whole.ID]; !ok {
		t.Errorf("the span of the try has another parent: %v", byKind)
	}

	until(t, f, "curl -s http://127.0.0.1:8081/a", "trace 00-")
	b := collector.Next()
	for len(b.Spans) == 0 {
		b = collector.Next()
	}
	if name := otlptest.Attributes(b.Resource)["service.name"]; name != "edge" {
		t.Errorf("spans are of %q", name)
	}
}
