// SPDX-License-Identifier: Apache-2.0

package opentelemetry_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	opentelemetryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &opentelemetryv3.OpenTelemetryAccessLogConfig{})
}

// collector takes log records. LogsData is on the wire what a request is.
type collector struct {
	addr string
	got  chan *logsv1.LogsData
}

// overGRPC returns a collector that answers each call with answer.
func overGRPC(t *testing.T, answer func() (proto.Message, error)) *collector {
	t.Helper()
	c := &collector{got: make(chan *logsv1.LogsData, 100)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.addr = l.Addr().String()
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if m, _ := grpc.MethodFromServerStream(stream); m != "/opentelemetry.proto.collector.logs.v1.LogsService/Export" {
			return errors.New("method " + m)
		}
		m := &logsv1.LogsData{}
		if err := stream.RecvMsg(m); err != nil {
			return err
		}
		c.got <- m
		a, err := answer()
		if err != nil {
			return err
		}
		return stream.SendMsg(a)
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() { s.Stop(); <-done })
	return c
}

func well() (proto.Message, error) { return &emptypb.Empty{}, nil }

func overHTTP(t *testing.T) *collector {
	t.Helper()
	c := &collector{got: make(chan *logsv1.LogsData, 100)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		m := &logsv1.LogsData{}
		if err != nil || proto.Unmarshal(b, m) != nil || r.URL.Path != "/v1/logs" || r.Header.Get("content-type") != "application/x-protobuf" || r.Header.Get("x-token") != "secret" || r.Method != "POST" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.got <- m
	}))
	t.Cleanup(s.Close)
	c.addr = strings.TrimPrefix(s.URL, "http://")
	return c
}

// next is the records of the next batch, whose resource is as it should be.
func (c *collector) next(t *testing.T) []*logsv1.LogRecord {
	t.Helper()
	select {
	case m := <-c.got:
		return m.GetResourceLogs()[0].GetScopeLogs()[0].GetLogRecords()
	case <-time.After(proxytest.Patience):
		t.Fatal("no batch")
		return nil
	}
}

const overGRPCService = "grpc_service: {envoy_grpc: {cluster_name: otel}}"

func start(t *testing.T, addr, fields string) *proxytest.Proxy {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(up.Close)
	h2 := ""
	if !strings.Contains(fields, "http_service") {
		h2 = `, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}`
	}
	e := proxytest.Edge{
		Bootstrap: "node: {id: edge-1, cluster: edge, locality: {zone: z}}",
		Manager: `access_log:
- name: otel
  typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig, ` + fields + `}`,
		Clusters: `- {name: otel, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: otel, endpoints: [{lb_endpoints: [{endpoint: {address: {{otel}}}}]}]}` + h2 + `}`,
	}
	return proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": strings.TrimPrefix(up.URL, "http://"), "otel": addr}})
}

func pairs(list []*commonv1.KeyValue) string {
	var out []string
	for _, p := range list {
		out = append(out, p.GetKey()+"="+text(p.GetValue()))
	}
	return strings.Join(out, " ")
}

func text(v *commonv1.AnyValue) string {
	switch x := v.GetValue().(type) {
	case *commonv1.AnyValue_StringValue:
		return x.StringValue
	case *commonv1.AnyValue_KvlistValue:
		return "{" + pairs(x.KvlistValue.GetValues()) + "}"
	case *commonv1.AnyValue_ArrayValue:
		var out []string
		for _, e := range x.ArrayValue.GetValues() {
			out = append(out, text(e))
		}
		return "[" + strings.Join(out, " ") + "]"
	case *commonv1.AnyValue_IntValue:
		return fmt.Sprint(x.IntValue)
	case *commonv1.AnyValue_BoolValue:
		return fmt.Sprint(x.BoolValue)
	case *commonv1.AnyValue_DoubleValue:
		return fmt.Sprint(x.DoubleValue)
	}
	return "nothing"
}

func TestRecords(t *testing.T) {
	const content = `body: {kvlist_value: {values: [{key: path, value: {string_value: "%REQ(:PATH)%"}}, {key: plain, value: {string_value: "100%%"}}]}},
		attributes: {values: [{key: code, value: {string_value: "%RESPONSE_CODE%"}}, {key: n, value: {int_value: -7}}, {key: yes, value: {bool_value: true}},
			{key: half, value: {double_value: 0.5}}, {key: list, value: {array_value: {values: [{string_value: "%PROTOCOL%"}, {int_value: 300}]}}}]},
		resource_attributes: {values: [{key: team, value: {string_value: "50%"}}]}, buffer_flush_interval: 0.01s, log_name: front`
	for _, tt := range []struct {
		name      string
		collector *collector
		service   string
	}{
		{"gRPC", overGRPC(t, well), overGRPCService},
		{"HTTP", overHTTP(t), `http_service: {http_uri: {uri: "http://otel.example/v1/logs", cluster: otel, timeout: 5s}, request_headers_to_add: [{header: {key: x-token, value: secret}}]}`},
		{"common config", overGRPC(t, well), `common_config: {log_name: front, transport_api_version: V3, buffer_flush_interval: 0.01s, grpc_service: {envoy_grpc: {cluster_name: otel}}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			p := start(t, tt.collector.addr, tt.service+", "+content)
			if r := p.Do("GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode != 200 {
				t.Fatal(r)
			}
			m := <-tt.collector.got
			if got, want := pairs(m.GetResourceLogs()[0].GetResource().GetAttributes()), "log_name=front zone_name=z cluster_name=edge node_name=edge-1 team=50%"; got != want {
				t.Errorf("resource %s, want %s", got, want)
			}
			r := m.GetResourceLogs()[0].GetScopeLogs()[0].GetLogRecords()[0]
			if got, want := text(r.GetBody()), "{path=/a?b plain=100%}"; got != want {
				t.Errorf("body %s, want %s", got, want)
			}
			if got, want := pairs(r.GetAttributes()), "code=200 n=-7 yes=true half=0.5 list=[HTTP/1.1 300]"; got != want {
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
	c := overGRPC(t, well)
	p := start(t, c.addr, overGRPCService+`, disable_builtin_labels: true, body: {string_value: "%REQ(:PATH)%"}, buffer_flush_interval: 600s, buffer_size_bytes: 300, stat_prefix: edge`)
	for i := range 40 {
		if r := p.Do(fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)); r.StatusCode != 200 {
			t.Fatal(r)
		}
	}
	seen := 0
	for seen < 30 {
		b := c.next(t)
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
		seen += len(c.next(t))
	}
}

// The end of a proxy waits for a batch on its way, and for what came after it.
func TestClosedWhileSending(t *testing.T) {
	answer := make(chan struct{})
	c := overGRPC(t, func() (proto.Message, error) {
		<-answer
		return well()
	})
	p := start(t, c.addr, overGRPCService+`, disable_builtin_labels: true, body: {string_value: "%REQ(:PATH)%"}, buffer_flush_interval: 600s, buffer_size_bytes: 1, stat_prefix: edge`)
	get := func() {
		if r := p.Do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode != 200 {
			t.Fatal(r)
		}
	}
	get()
	seen := len(c.next(t))
	get()
	p.WaitCounter("access_logs.open_telemetry_access_log.edge.logs_written", 2)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		p.Close()
	}()
	close(answer)
	for seen < 2 {
		seen += len(c.next(t))
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
		answer func() (proto.Message, error)
	}{
		{"an error", func() (proto.Message, error) { return nil, errors.New("full") }},
		{"not taken", func() (proto.Message, error) {
			m := &emptypb.Empty{}
			return m, proto.Unmarshal(partial, m)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := overGRPC(t, tt.answer)
			p := start(t, c.addr, overGRPCService+`, buffer_flush_interval: 0.01s`)
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
	p := start(t, l.Addr().String(), overGRPCService+`, buffer_flush_interval: 0.01s`)
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
