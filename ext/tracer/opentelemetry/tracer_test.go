// SPDX-License-Identifier: Apache-2.0

package opentelemetry_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	otlpv1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/otlp/otlptest"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", &tracev3.OpenTelemetryConfig{}) }

func tags(s *otlpv1.Span) map[string]string { return otlptest.Attributes(s.GetAttributes()) }

// start runs a proxy whose connection manager traces, in front of f.
func start(t *testing.T, c *otlptest.Collector, f http.HandlerFunc, tracing, sampler, routes string) *proxytest.Proxy {
	t.Helper()
	return startWith(t, f, proxytest.Edge{Manager: manager(tracing, overGRPC+sampler), Clusters: c.Cluster("otel"), Routes: routes})
}

func startWith(t *testing.T, f http.HandlerFunc, e proxytest.Edge) *proxytest.Proxy {
	t.Helper()
	up := httptest.NewServer(f)
	t.Cleanup(up.Close)
	e.Bootstrap = "node: {id: edge-1, cluster: edge, locality: {zone: z}}"
	return proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": strings.TrimPrefix(up.URL, "http://")}})
}

const overGRPC = "grpc_service: {envoy_grpc: {cluster_name: otel}}"

// manager are the connection manager's fields for tracing.
func manager(tracing, config string) string {
	return `tracing: {` + tracing + `, provider: {name: otel, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, service_name: edge, ` + config + `}}}`
}

const (
	trace  = "0af7651916cd43dd8448eb211c80319c"
	client = "b7ad6b7169203331"
)

// TestParents: the span of the request is a child of the client's, those of the tries are
// its children, and the host learns of the try that it gets.
func TestParents(t *testing.T) {
	c := otlptest.New(t, nil)
	var tries atomic.Int32
	seen := make(chan string, 10)
	p := start(t, c, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("traceparent") + " " + r.Header.Get("tracestate") + " " + r.Header.Get("baggage")
		if tries.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}, `spawn_upstream_span: true, verbose: true, max_path_tag_length: 3, custom_tags: [{tag: team, literal: {value: a}}, {tag: lang, request_header: {name: accept-language}}, {tag: none, request_header: {name: x-none}}, {tag: code, value: "%RESPONSE_CODE%"}]`, "",
		`- {match: {prefix: /}, route: {cluster: up, retry_policy: {retry_on: 5xx, num_retries: 1, retry_back_off: {base_interval: 0.001s}}}, tracing: {random_sampling: {numerator: 100}, custom_tags: [{tag: team, literal: {value: b}}]}, decorator: {operation: buy}}`)
	r := p.Do("GET /abcdef HTTP/1.1\r\nHost: a.example\r\ntraceparent: 00-" + trace + "-" + client + "-01\r\ntracestate: x=y\r\nbaggage: k=v\r\naccept-language: de\r\nuser-agent: me\r\n\r\n")
	if r.StatusCode != 200 || r.Header.Get("x-envoy-decorator-operation") != "buy" {
		t.Fatal(r)
	}
	byParent := map[string][]*otlpv1.Span{}
	for _, s := range c.Spans(3) {
		if fmt.Sprintf("%x", s.GetTraceId()) != trace || s.GetTraceState() != "x=y" {
			t.Errorf("trace %x %s", s.GetTraceId(), s.GetTraceState())
		}
		if s.GetEndTimeUnixNano() < s.GetStartTimeUnixNano() || len(s.GetEvents()) == 0 {
			t.Errorf("times or events of %v", s)
		}
		byParent[fmt.Sprintf("%x", s.GetParentSpanId())] = append(byParent[fmt.Sprintf("%x", s.GetParentSpanId())], s)
	}
	if len(byParent[client]) != 1 {
		t.Fatalf("children of the client: %v", byParent)
	}
	own := byParent[client][0]
	if own.GetName() != "buy" || own.GetKind() != otlpv1.Span_SPAN_KIND_SERVER || own.GetStatus().GetCode() != otlpv1.Status_STATUS_CODE_UNSET {
		t.Errorf("%v", own)
	}
	got := tags(own)
	for k, want := range map[string]string{
		"node_id": "edge-1", "zone": "z", "http.method": "GET", "http.url": "http://a.example/ab", "http.status_code": "200", "http.protocol": "HTTP/1.1",
		"component": "proxy", "upstream_cluster": "up", "upstream_cluster.name": "up", "response_flags": "-", "user_agent": "me", "downstream_cluster": "-",
		"peer.address": "127.0.0.1", "request_size": "0", "response_size": "0", "team": "b", "lang": "de", "code": "200",
	} {
		if got[k] != want {
			t.Errorf("tag %s is %q, want %q", k, got[k], want)
		}
	}
	if _, ok := got["none"]; ok || got["error"] != "" || len(got["guid:x-request-id"]) != 36 || got["guid:x-request-id"][14] != '9' {
		t.Errorf("tags %v", got)
	}
	children := byParent[fmt.Sprintf("%x", own.GetSpanId())]
	if len(children) != 2 {
		t.Fatalf("tries: %v", byParent)
	}
	first, second := children[0], children[1]
	if tags(first)["http.status_code"] != "503" || tags(first)["error"] != "true" || first.GetStatus().GetCode() != otlpv1.Status_STATUS_CODE_ERROR {
		t.Errorf("the first try: %v", first)
	}
	if tags(second)["http.status_code"] != "200" || tags(second)["retry.count"] != "1" || second.GetName() != "router up egress" || second.GetKind() != otlpv1.Span_SPAN_KIND_CLIENT {
		t.Errorf("the second try: %v", second)
	}
	for _, s := range children {
		if want := fmt.Sprintf("00-%s-%x-01 x=y k=v", trace, s.GetSpanId()); <-seen != want {
			t.Errorf("the host did not see %s", want)
		}
	}
	p.WaitCounter("tracing.opentelemetry.spans_sent", 3)
	if n := p.Counter("http.test.tracing.random_sampling"); n != 1 {
		t.Errorf("%d requests counted", n)
	}
}

// TestSampling: who decides, and that the decision is passed on.
func TestSampling(t *testing.T) {
	sampler := func(config string) string {
		return `, sampler: {name: s, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.` + config + `}}`
	}
	const never, always = "TraceIdRatioBasedSamplerConfig, sampling_percentage: {numerator: 0}", "AlwaysOnSamplerConfig"
	wrapped := `ParentBasedSamplerConfig, wrapped_sampler: {name: s, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.` + never + `}}`
	const none, all = "random_sampling: {value: 0}", "random_sampling: {value: 100}"
	for _, tt := range []struct {
		name, tracing, sampler, head string
		sampled                      bool
	}{
		{"all", all, "", "", true},
		{"none", none, "", "", false},
		{"the client's", none, "", "traceparent: 00-" + trace + "-" + client + "-01\r\n", true},
		{"not the client's", all, "", "traceparent: 00-" + trace + "-" + client + "-00\r\n", false},
		{"what is no context", all, "", "traceparent: 00-x\r\n", true},
		{"forced from outside", none, "", "x-envoy-force-trace: 1\r\n", false},
		{"always", none, sampler(always), "", true},
		{"never", all, sampler(never), "traceparent: 00-" + trace + "-" + client + "-01\r\n", false},
		{"parent", all, sampler(wrapped), "traceparent: 00-" + trace + "-" + client + "-01\r\n", true},
		{"no parent", all, sampler(wrapped), "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := otlptest.New(t, nil)
			var seen atomic.Value
			p := start(t, c, func(_ http.ResponseWriter, r *http.Request) { seen.Store(r.Header.Get("traceparent")) }, tt.tracing, tt.sampler, "")
			p.Do("GET / HTTP/1.1\r\nHost: a\r\n" + tt.head + "\r\n")
			parent, _ := seen.Load().(string)
			if len(parent) != 55 || strings.HasSuffix(parent, "-01") != tt.sampled {
				t.Errorf("traceparent %q", parent)
			}
			if !tt.sampled {
				p.Close()
				if c.Waiting() > 0 {
					t.Error("a span was sent")
				}
				return
			}
			if s := c.Spans(1)[0]; fmt.Sprintf("%x", s.GetSpanId()) != parent[36:52] {
				t.Errorf("span %x, the host saw %s", s.GetSpanId(), parent)
			}
		})
	}
}

// TestServices: by gRPC and by HTTP the collector learns the same.
func TestServices(t *testing.T) {
	for _, tt := range []struct {
		name, config string
		http         bool
	}{
		{name: "gRPC", config: `grpc_service: {envoy_grpc: {cluster_name: otel}, initial_metadata: [{key: x-token, value: secret}]}`},
		{name: "HTTP", config: `http_service: {http_uri: {uri: "http://otel.example/v1/traces", cluster: otel, timeout: 5s}, request_headers_to_add: [{header: {key: x-token, value: secret}}]}`, http: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := otlptest.New(t, nil)
			e := proxytest.Edge{Manager: manager("verbose: true", tt.config), Clusters: c.Cluster("otel")}
			if tt.http {
				e.Clusters = c.HTTPCluster("otel")
			}
			p := startWith(t, func(http.ResponseWriter, *http.Request) {}, e)
			p.Do("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
			b := c.Next()
			if got, want := otlptest.Pairs(b.Resource), "service.name=edge telemetry.sdk.language=go telemetry.sdk.name=weir"; got != want {
				t.Errorf("resource %s, want %s", got, want)
			}
			if b.Header.Get("x-token") != "secret" || len(b.Spans) != 1 || tags(b.Spans[0])["http.url"] != "http://a/a" {
				t.Errorf("%v %v", b.Header, b.Spans)
			}
			p.WaitCounter("tracing.opentelemetry.spans_sent", 1)
		})
	}
}

// TestRefusingCollector: spans that a collector does not take are counted.
func TestRefusingCollector(t *testing.T) {
	c := otlptest.New(t, func() ([]byte, error) { return nil, errors.New("full") })
	p := start(t, c, func(http.ResponseWriter, *http.Request) {}, "verbose: true", "", "")
	if r := p.Do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode != 200 {
		t.Error(r)
	}
	p.WaitCounter("tracing.opentelemetry.spans_dropped", 1)
}

func TestNoPropagation(t *testing.T) {
	c := otlptest.New(t, nil)
	var seen atomic.Value
	p := start(t, c, func(_ http.ResponseWriter, r *http.Request) { seen.Store(r.Header.Get("traceparent")) }, "no_context_propagation: true, operation: \"%REQ(:METHOD)% it\"", "", "")
	p.Do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if s := c.Spans(1)[0]; s.GetName() != "GET it" || seen.Load() != "" {
		t.Errorf("span %q, header %v", s.GetName(), seen.Load())
	}
}

func TestRefused(t *testing.T) {
	const otel = `{name: x, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, `
	for bad, want := range map[string]string{
		`{name: x}`: "typed_config: is missing",
		`{name: x, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.DatadogConfig, collector_cluster: up, service_name: a}}`:                            "use envoy.tracers.opentelemetry",
		`{name: x, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, collector_cluster: up, collector_endpoint: spans}}`:                   "collector_endpoint",
		otel + `grpc_service: {envoy_grpc: {cluster_name: up}}, http_service: {http_uri: {uri: "http://a/b", cluster: up, timeout: 1s}}}}`:                               "grpc_service is set, too",
		otel + `sampler: {name: d, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.DynatraceSamplerConfig, tenant: a}}}}`: "DynatraceSamplerConfig is not supported",
		otel + `grpc_service: {envoy_grpc: {cluster_name: up}}, resource_detectors: [{name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.Empty}}]}}`:   "resource_detectors[0]",
		otel + `sampler: {name: d, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.ParentBasedSamplerConfig}}}}`:          "wrapped_sampler",
	} {
		e := proxytest.Edge{Manager: "tracing: {provider: " + bad + "}"}
		_, err := proxytest.TryStart(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", bad, err, want)
		}
	}
}
