// SPDX-License-Identifier: Apache-2.0

// Package otlptest is the test kit of OTLP: a collector of spans, log records and metrics, by
// gRPC and by HTTP on one port, that keeps what it was told:
//
//	c := otlptest.New(t, nil)
//	… a proxy that has c.Cluster("otel") …
//	spans := c.Spans(2)
//
// It is closed when the test ends; every wait has proxytest.Patience as its deadline, after
// which the test fails. A request that is none of OTLP's fails the test, too.
package otlptest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	otlpv1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/grpcframe"
	"weir.dev/weir/proxy/otlp"
	"weir.dev/weir/proxy/proxytest"
)

// Paths of OTLP over HTTP.
const (
	HTTPSpans   = "/v1/traces"
	HTTPLogs    = "/v1/logs"
	HTTPMetrics = "/v1/metrics"
)

// A Batch is what a request told of one resource: spans, records or metrics.
type Batch struct {
	Header   http.Header // of the request
	Resource []*commonv1.KeyValue
	Spans    []*otlpv1.Span
	Records  []*logsv1.LogRecord
	Metrics  []*metricsv1.Metric
}

// A Collector takes what it is told.
type Collector struct {
	Addr   string // "127.0.0.1:4317"
	t      testing.TB
	got    chan *Batch
	answer func() ([]byte, error)
}

// New returns a collector. Each request gets the message that answer returns, or fails with
// its error; without answer each is taken well. Answer may wait.
func New(t testing.TB, answer func() ([]byte, error)) *Collector {
	t.Helper()
	if answer == nil {
		answer = func() ([]byte, error) { return nil, nil }
	}
	c := &Collector{t: t, got: make(chan *Batch, 1000), answer: answer}
	s := httptest.NewUnstartedServer(c)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	c.Addr = strings.TrimPrefix(s.URL, "http://")
	return c
}

// Cluster is a cluster of the collector, for gRPC, as a list's element in YAML.
func (c *Collector) Cluster(name string) string {
	return c.cluster(name, `, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}`)
}

// HTTPCluster is Cluster for HTTP/1.
func (c *Collector) HTTPCluster(name string) string { return c.cluster(name, "") }

func (c *Collector) cluster(name, fields string) string {
	return "- {name: " + name + ", type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: " + name +
		", endpoints: [{lb_endpoints: [{endpoint: {address: " + proxytest.Address(c.Addr) + "}}]}]}" + fields + "}"
}

// ServeHTTP implements http.Handler.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // The proxy gave up, or has ended.
	}
	grpc := r.Header.Get("Content-Type") == "application/grpc"
	if grpc {
		d := grpcframe.Decoder{Max: len(body)}
		f, n, ok, err := d.Next(body)
		if !ok || err != nil || n != len(body) {
			c.t.Errorf("a call of gRPC has %d bytes that are not one message: %v", len(body), err)
		}
		body = f.Data
	} else if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.t.Errorf("a request is %s with %q", r.Method, r.Header)
	}
	c.take(r, body)
	answer, err := c.answer()
	if !grpc {
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write(answer) // The proxy may have gone.
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	status := "0"
	if err != nil {
		status = "14" // UNAVAILABLE
	} else {
		_, _ = w.Write(append(grpcframe.AppendHead(nil, 0, len(answer)), answer...))
	}
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
}

// take keeps what a request tells. TracesData, LogsData and MetricsData are on the wire what
// requests are.
func (c *Collector) take(r *http.Request, body []byte) {
	traces, logs, metrics := &otlpv1.TracesData{}, &logsv1.LogsData{}, &metricsv1.MetricsData{}
	m := proto.Message(traces)
	switch r.URL.Path {
	case otlp.ExportSpans, HTTPSpans:
	case otlp.ExportLogs, HTTPLogs:
		m = logs
	case otlp.ExportMetrics, HTTPMetrics:
		m = metrics
	default:
		c.t.Errorf("a request has the path %s", r.URL.Path)
		return
	}
	if err := proto.Unmarshal(body, m); err != nil {
		c.t.Errorf("a request to %s: %v", r.URL.Path, err)
	}
	for _, x := range traces.GetResourceSpans() {
		b := &Batch{Header: r.Header, Resource: x.GetResource().GetAttributes()}
		for _, s := range x.GetScopeSpans() {
			b.Spans = append(b.Spans, s.GetSpans()...)
		}
		c.got <- b
	}
	for _, x := range logs.GetResourceLogs() {
		b := &Batch{Header: r.Header, Resource: x.GetResource().GetAttributes()}
		for _, s := range x.GetScopeLogs() {
			b.Records = append(b.Records, s.GetLogRecords()...)
		}
		c.got <- b
	}
	for _, x := range metrics.GetResourceMetrics() {
		b := &Batch{Header: r.Header, Resource: x.GetResource().GetAttributes()}
		for _, s := range x.GetScopeMetrics() {
			b.Metrics = append(b.Metrics, s.GetMetrics()...)
		}
		c.got <- b
	}
}

// Next waits for the next batch.
func (c *Collector) Next() *Batch {
	c.t.Helper()
	select {
	case b := <-c.got:
		return b
	case <-time.After(proxytest.Patience):
		c.t.Fatal("the collector was told nothing more")
		return nil
	}
}

// Waiting is how many batches Next has not returned yet.
func (c *Collector) Waiting() int { return len(c.got) }

// Spans waits for n spans or more, of whatever batches.
func (c *Collector) Spans(n int) []*otlpv1.Span {
	c.t.Helper()
	var out []*otlpv1.Span
	for len(out) < n {
		out = append(out, c.Next().Spans...)
	}
	return out
}

// Attributes are attributes by their keys, each value as Text has it.
func Attributes(list []*commonv1.KeyValue) map[string]string {
	m := make(map[string]string, len(list))
	for _, kv := range list {
		m[kv.GetKey()] = Text(kv.GetValue())
	}
	return m
}

// Pairs are attributes in their order, "a=1 b=2".
func Pairs(list []*commonv1.KeyValue) string {
	out := make([]string, 0, len(list))
	for _, kv := range list {
		out = append(out, kv.GetKey()+"="+Text(kv.GetValue()))
	}
	return strings.Join(out, " ")
}

// Text is a value in words: "[a 1]" is a list, "{a=1}" are pairs.
func Text(v *commonv1.AnyValue) string {
	switch x := v.GetValue().(type) {
	case *commonv1.AnyValue_StringValue:
		return x.StringValue
	case *commonv1.AnyValue_BytesValue:
		return fmt.Sprintf("%x", x.BytesValue)
	case *commonv1.AnyValue_IntValue:
		return fmt.Sprint(x.IntValue)
	case *commonv1.AnyValue_BoolValue:
		return fmt.Sprint(x.BoolValue)
	case *commonv1.AnyValue_DoubleValue:
		return fmt.Sprint(x.DoubleValue)
	case *commonv1.AnyValue_KvlistValue:
		return "{" + Pairs(x.KvlistValue.GetValues()) + "}"
	case *commonv1.AnyValue_ArrayValue:
		out := make([]string, 0, len(x.ArrayValue.GetValues()))
		for _, e := range x.ArrayValue.GetValues() {
			out = append(out, Text(e))
		}
		return "[" + strings.Join(out, " ") + "]"
	}
	return "nothing"
}

// Points are the data points of metrics in words, by the metric's name and the point's
// attributes: "http.rq{code=200 class=2}" is "counter delta 3", "gauge 7" or
// "histogram cumulative 2, 0 1 1", the number of values and those of each bucket.
func Points(list []*metricsv1.Metric) map[string]string {
	out := map[string]string{}
	add := func(m *metricsv1.Metric, attributes []*commonv1.KeyValue, what string) {
		key := m.GetName()
		if len(attributes) > 0 {
			key += "{" + Pairs(attributes) + "}"
		}
		out[key] = what
	}
	of := func(t metricsv1.AggregationTemporality) string {
		return strings.ToLower(strings.TrimPrefix(t.String(), "AGGREGATION_TEMPORALITY_"))
	}
	for _, m := range list {
		for _, p := range m.GetSum().GetDataPoints() {
			add(m, p.GetAttributes(), fmt.Sprintf("counter %s %d", of(m.GetSum().GetAggregationTemporality()), p.GetAsInt()))
		}
		for _, p := range m.GetGauge().GetDataPoints() {
			add(m, p.GetAttributes(), fmt.Sprintf("gauge %d", p.GetAsInt()))
		}
		for _, p := range m.GetHistogram().GetDataPoints() {
			text := fmt.Sprintf("histogram %s %d,", of(m.GetHistogram().GetAggregationTemporality()), p.GetCount())
			for _, n := range p.GetBucketCounts() {
				text += fmt.Sprintf(" %d", n)
			}
			add(m, p.GetAttributes(), text)
		}
	}
	return out
}
