// SPDX-License-Identifier: Apache-2.0

package opentelemetry_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	statsinksopentelemetryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/stat_sinks/open_telemetry/v3"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/otlp/otlptest"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &statsinksopentelemetryv3.SinkConfig{})
}

const overGRPC = "grpc_service: {envoy_grpc: {cluster_name: otel}}"

// edge is a proxy's configuration with a sink, and with fields of the bootstrap.
func edge(cluster, fields, bootstrap string) string {
	return proxytest.Edge{
		Bootstrap: `stats_sinks: [{name: otel, typed_config: {"@type": type.googleapis.com/envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig, ` + fields + "}}]\n" + bootstrap,
		Routes:    "- {match: {prefix: /}, direct_response: {status: 200}}",
		Clusters:  cluster,
	}.YAML()
}

func start(t *testing.T, yaml string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, yaml, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
}

func ask(t *testing.T, p *proxytest.Proxy, times int) {
	t.Helper()
	for range times {
		if r := p.Do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode != 200 {
			t.Fatal(r)
		}
	}
}

// points are those of the batches that are sent until the one with a point.
func points(c *otlptest.Collector, until string) map[string]string {
	for {
		if got := otlptest.Points(c.Next().Metrics); got[until] != "" {
			return got
		}
	}
}

const (
	quick = "stats_flush_interval: 0.02s"
	never = "stats_flush_interval: 299s" // But at the end.
)

func TestMetrics(t *testing.T) {
	const rq = "http.downstream_rq_total{envoy.http_conn_manager_prefix=test}"
	for _, tt := range []struct {
		name, fields string
		http         bool
		want         map[string]string
	}{
		{name: "gRPC", fields: overGRPC, want: map[string]string{
			rq: "counter cumulative 3",
			"http.downstream_rq_time{envoy.http_conn_manager_prefix=test}": "histogram cumulative 3,",
			"server.live": "gauge 1",
		}},
		{name: "HTTP, deltas", http: true, fields: `http_service: {http_uri: {uri: "http://otel.example/v1/metrics", cluster: otel, timeout: 5s}, request_headers_to_add: [{header: {key: x-token, value: secret}}]},
			report_counters_as_deltas: true, report_histograms_as_deltas: true, prefix: edge`, want: map[string]string{
			"edge." + rq: "counter delta 3",
			"edge.http.downstream_rq_time{envoy.http_conn_manager_prefix=test}": "histogram delta 3,",
		}},
		{name: "whole names", fields: overGRPC + ", use_tag_extracted_name: false, emit_tags_as_attributes: false", want: map[string]string{
			"http.test.downstream_rq_total": "counter cumulative 3",
		}},
		{name: "whole names with attributes", fields: overGRPC + ", use_tag_extracted_name: false", want: map[string]string{
			"http.test.downstream_rq_total{envoy.http_conn_manager_prefix=test}": "counter cumulative 3",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := otlptest.New(t, nil)
			cluster := c.Cluster("otel")
			if tt.http {
				cluster = c.HTTPCluster("otel")
			}
			p := start(t, edge(cluster, tt.fields+`, resource_detectors: [{name: s, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig, attributes: {service.name: edge}}}]`, never))
			ask(t, p, 3)
			p.Close() // All is sent at the end.
			b := c.Next()
			if got := otlptest.Pairs(b.Resource); got != "service.name=edge" {
				t.Errorf("resource %s", got)
			}
			if token := b.Header.Get("x-token"); tt.http && token != "secret" {
				t.Errorf("the token is %q", token)
			}
			got := otlptest.Points(b.Metrics)
			for name, want := range tt.want {
				if !strings.HasPrefix(got[name], want) {
					t.Errorf("%s is %q, want %q; there are %q", name, got[name], want, got)
				}
			}
			if c.Waiting() > 0 {
				t.Errorf("%d more requests", c.Waiting())
			}
		})
	}
}

// TestDeltas: what came is told once, however often it is flushed.
func TestDeltas(t *testing.T) {
	c := otlptest.New(t, nil)
	p := start(t, edge(c.Cluster("otel"), overGRPC+", report_counters_as_deltas: true", quick))
	const rq = "http.downstream_rq_total{envoy.http_conn_manager_prefix=test}"
	ask(t, p, 1)
	first := points(c, rq)
	if first[rq] != "counter delta 1" {
		t.Errorf("first %q", first[rq])
	}
	if next := points(c, rq); next[rq] != "counter delta 0" {
		t.Errorf("then %q", next[rq])
	}
}

func TestMostPoints(t *testing.T) {
	c := otlptest.New(t, nil)
	p := start(t, edge(c.Cluster("otel"), overGRPC+", max_data_points_per_request: 5", never))
	ask(t, p, 1)
	p.Close()
	requests := c.Waiting()
	if requests < 5 {
		t.Errorf("%d requests", requests)
	}
	for range requests {
		if n := len(otlptest.Points(c.Next().Metrics)); n == 0 || n > 5 {
			t.Errorf("a request of %d points", n)
		}
	}
}

// TestHidden: what stats_matcher hides is not sent.
func TestHidden(t *testing.T) {
	c := otlptest.New(t, nil)
	p := start(t, edge(c.Cluster("otel"), overGRPC, never+"\nstats_config: {stats_matcher: {exclusion_list: {patterns: [{prefix: http.}]}}}"))
	ask(t, p, 1)
	p.Close()
	got := otlptest.Points(c.Next().Metrics)
	if got["server.live"] == "" {
		t.Error("nothing is told")
	}
	for name := range got {
		if strings.HasPrefix(name, "http.") {
			t.Errorf("%s is told", name)
		}
	}
}

// TestNobodyTakesThem: requests are served and the proxy ends, whatever the collector does.
func TestNobodyTakesThem(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // It never accepts.
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	refuses := otlptest.New(t, func() ([]byte, error) { return nil, errors.New("full") })
	for name, cluster := range map[string]string{
		"silent":  (&otlptest.Collector{Addr: silent.Addr().String()}).Cluster("otel"),
		"refuses": refuses.Cluster("otel"),
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, edge(cluster, overGRPC, quick))
			ask(t, p, 5)
			began := time.Now()
			p.Close()
			if took := time.Since(began); took > proxytest.Patience {
				t.Errorf("the end took %v", took)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	c := otlptest.New(t, nil)
	for bad, want := range map[string]string{
		`prefix: a`: "stats_sinks[0]",
		`grpc_service: {google_grpc: {target_uri: "a", stat_prefix: a}}`:                                                   "stats_sinks[0].typed_config.grpc_service.google_grpc",
		overGRPC + `, resource_detectors: [{name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.Empty}}]`: "resource_detectors[0]",
		overGRPC + `, custom_metric_conversions: {}`:                                                                       "custom_metric_conversions",
	} {
		_, err := proxytest.TryStart(t, edge(c.Cluster("otel"), bad, ""), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", bad, err, want)
		}
	}
}
