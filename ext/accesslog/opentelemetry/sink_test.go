// SPDX-License-Identifier: Apache-2.0

package opentelemetry_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	opentelemetryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/otlp/otlptest"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &opentelemetryv3.OpenTelemetryAccessLogConfig{})
}

const overGRPCService = "grpc_service: {envoy_grpc: {cluster_name: otel}}"

func start(t *testing.T, cluster, fields string) *proxytest.Proxy {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(up.Close)
	e := proxytest.Edge{
		Bootstrap: "node: {id: edge-1, cluster: edge, locality: {zone: z}}",
		Manager: `access_log:
- name: otel
  typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig, ` + fields + `}`,
		Clusters: cluster,
	}
	return proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": strings.TrimPrefix(up.URL, "http://")}})
}

func TestRecords(t *testing.T) {
	const content = `body: {kvlist_value: {values: [{key: path, value: {string_value: "%REQ(:PATH)%"}}, {key: plain, value: {string_value: "100%%"}}]}},
		attributes: {values: [{key: code, value: {string_value: "%RESPONSE_CODE%"}}, {key: n, value: {int_value: -7}}, {key: yes, value: {bool_value: true}},
			{key: half, value: {double_value: 0.5}}, {key: list, value: {array_value: {values: [{string_value: "%PROTOCOL%"}, {int_value: 300}]}}}]},
		resource_attributes: {values: [{key: team, value: {string_value: "50%"}}]}, buffer_flush_interval: 0.01s, log_name: front`
	for _, tt := range []struct {
		name, service string
		http          bool
	}{
		{name: "gRPC", service: overGRPCService},
		{name: "HTTP", service: `http_service: {http_uri: {uri: "http://otel.example/v1/logs", cluster: otel, timeout: 5s}, request_headers_to_add: [{header: {key: x-token, value: secret}}]}`, http: true},
		{name: "common config", service: `common_config: {log_name: front, transport_api_version: V3, buffer_flush_interval: 0.01s, grpc_service: {envoy_grpc: {cluster_name: otel}}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			c := otlptest.New(t, nil)
			cluster := c.Cluster("otel")
			if tt.http {
				cluster = c.HTTPCluster("otel")
			}
			p := start(t, cluster, tt.service+", "+content)
			if r := p.Do("GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode != 200 {
				t.Fatal(r)
			}
			b := c.Next()
			if token := b.Header.Get("x-token"); tt.http && token != "secret" {
				t.Errorf("the token is %q", token)
			}
			if got, want := otlptest.Pairs(b.Resource), "log_name=front zone_name=z cluster_name=edge node_name=edge-1 team=50%"; got != want {
				t.Errorf("resource %s, want %s", got, want)
			}
			r := b.Records[0]
			if got, want := otlptest.Text(r.GetBody()), "{path=/a?b plain=100%}"; got != want {
				t.Errorf("body %s, want %s", got, want)
			}
			if got, want := otlptest.Pairs(r.GetAttributes()), "code=200 n=-7 yes=true half=0.5 list=[HTTP/1.1 300]"; got != want {
				t.Errorf("attributes %s, want %s", got, want)
			}
			if at := time.Unix(0, int64(r.GetTimeUnixNano())); at.Before(began.Add(-time.Second)) || at.After(time.Now()) || r.GetObservedTimeUnixNano() < r.GetTimeUnixNano() {
				t.Errorf("time %v, observed %d", at, r.GetObservedTimeUnixNano())
			}
			p.WaitCounter("access_logs.open_telemetry_access_log.logs_written", 1)
		})
	}
}

func TestBatches(t *testing.T) {
	c := otlptest.New(t, nil)
	p := start(t, c.Cluster("otel"), overGRPCService+`, disable_builtin_labels: true, body: {string_value: "%REQ(:PATH)%"}, buffer_flush_interval: 600s, buffer_size_bytes: 300, stat_prefix: edge`)
	for i := range 40 {
		if r := p.Do(fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)); r.StatusCode != 200 {
			t.Fatal(r)
		}
	}
	seen := 0
	for seen < 30 {
		b := c.Next().Records
		if len(b) < 2 {
			t.Errorf("a batch of %d", len(b))
		}
		seen += len(b)
	}
	p.Close() // What is left is sent.
	if n := p.Counter("access_logs.open_telemetry_access_log.edge.logs_dropped"); n != 0 {
		t.Errorf("%d records were dropped", n)
	}
	for seen < 40 {
		seen += len(c.Next().Records)
	}
}

// The end of a proxy waits for a batch on its way, and for what came after it.
func TestClosedWhileSending(t *testing.T) {
	answer := make(chan struct{})
	c := otlptest.New(t, func() ([]byte, error) {
		<-answer
		return nil, nil
	})
	p := start(t, c.Cluster("otel"), overGRPCService+`, disable_builtin_labels: true, body: {string_value: "%REQ(:PATH)%"}, buffer_flush_interval: 600s, buffer_size_bytes: 1, stat_prefix: edge`)
	get := func() {
		if r := p.Do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode != 200 {
			t.Fatal(r)
		}
	}
	get()
	seen := len(c.Next().Records)
	get()
	p.WaitCounter("access_logs.open_telemetry_access_log.edge.logs_written", 2)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		p.Close()
	}()
	close(answer)
	for seen < 2 {
		seen += len(c.Next().Records)
	}
	<-closed
	if n := p.Counter("access_logs.open_telemetry_access_log.edge.logs_dropped"); n != 0 {
		t.Errorf("%d records were dropped", n)
	}
}

func TestDropped(t *testing.T) {
	partial := []byte{1<<3 | 2, 2, 1 << 3, 1} // partial_success {rejected_log_records: 1}
	for _, tt := range []struct {
		name   string
		answer func() ([]byte, error)
	}{
		{"an error", func() ([]byte, error) { return nil, errors.New("full") }},
		{"not taken", func() ([]byte, error) { return partial, nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := otlptest.New(t, tt.answer)
			p := start(t, c.Cluster("otel"), overGRPCService+`, buffer_flush_interval: 0.01s`)
			p.Do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			p.WaitCounter("access_logs.open_telemetry_access_log.logs_dropped", 1)
		})
	}
}

func TestNobodyTakesThem(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // It never accepts.
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := start(t, (&otlptest.Collector{Addr: l.Addr().String()}).Cluster("otel"), overGRPCService+`, buffer_flush_interval: 0.01s`)
	for range 10 {
		if r := p.Do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode != 200 {
			t.Fatal(r)
		}
	}
	began := time.Now()
	p.Close()
	if took := time.Since(began); took > proxytest.Patience {
		t.Errorf("the end took %v", took)
	}
}

func TestRefused(t *testing.T) {
	for bad, want := range map[string]string{
		"log_name: x": "no service",
		`common_config: {log_name: x, transport_api_version: V2, grpc_service: {envoy_grpc: {cluster_name: otel}}}`:               "transport_api_version: V2 is no more",
		overGRPCService + `, body: {string_value: "%NOTHING%"}`:                                                                   "body: ",
		overGRPCService + `, http_service: {http_uri: {uri: "http://a/b", cluster: otel, timeout: 1s}}`:                           "grpc_service is set, too",
		`grpc_service: {google_grpc: {target_uri: "a", stat_prefix: a}}`:                                                          "google_grpc",
		overGRPCService + `, resource_detectors: [{name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.Empty}}]`: "resource_detectors[0]",
	} {
		e := proxytest.Edge{Manager: `access_log: [{name: otel, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig, ` + bad + `}}]`}
		_, err := proxytest.TryStart(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", bad, err, want)
		}
	}
}
