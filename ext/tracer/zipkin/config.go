// SPDX-License-Identifier: Apache-2.0

package zipkin

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"

	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/batch"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/trace"
	"weir.dev/weir/proxy/upstream/call"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.tracers.zipkin"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the tracer.
func Extension() extension.Tracer {
	return extension.Tracer{
		Name: Name, Config: &tracev3.ZipkinConfig{},
		New: func(cfg proto.Message, s *extension.Services) (trace.Tracer, error) {
			return New(cfg.(*tracev3.ZipkinConfig), s)
		},
	}
}

// New compiles a tracer.
func New(m *tracev3.ZipkinConfig, s *extension.Services) (*Tracer, error) {
	if err := supported.Apply(m, "", s.Warn("Zipkin tracer")); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	to, err := service(m, s)
	if err != nil {
		return nil, err
	}
	t := &Tracer{
		wide: m.GetTraceId_128Bit(), timed: m.GetTimestampTraceIds(), splits: m.GetSplitSpansForRequest(),
		shared:  m.GetSharedSpanContext() == nil || m.GetSharedSpanContext().GetValue(),
		w3c:     m.GetTraceContextOption() == tracev3.ZipkinConfig_USE_B3_WITH_W3C_PROPAGATION,
		service: s.Node.Cluster,
	}
	o := batch.Options{Service: to}
	switch m.GetCollectorEndpointVersion() {
	case tracev3.ZipkinConfig_DEPRECATED_AND_UNAVAILABLE_DO_NOT_USE:
		s.Warn("Zipkin tracer")("collector_endpoint_version", "is not set, which was version 1 of Zipkin's API: spans are sent as JSON of version 2; set HTTP_JSON, and an endpoint such as /api/v2/spans")
		t.encode, o.Request, o.Type = appendJSON, listJSON, "application/json"
	case tracev3.ZipkinConfig_HTTP_JSON:
		t.encode, o.Request, o.Type = appendJSON, listJSON, "application/json"
	case tracev3.ZipkinConfig_HTTP_PROTO:
		t.encode, o.Request, o.Type = appendProto, listProto, "application/x-protobuf"
	default:
		return nil, fmt.Errorf("collector_endpoint_version: %s is not supported: use HTTP_JSON or HTTP_PROTO", m.GetCollectorEndpointVersion())
	}
	if d, ok := s.Milliseconds("tracing.zipkin.request_timeout"); ok {
		to.Timeout = d
	}
	st := s.Stats.Scope("tracing.zipkin")
	o.Stats = batch.Stats{Reports: st.Counter("reports_sent"), Refused: st.Counter("reports_dropped"), Failed: st.Counter("reports_failed")}
	if t.exporter, err = s.SpanExporter("zipkin", o); err != nil {
		return nil, fmt.Errorf("collector_cluster: %w", err)
	}
	return t, nil
}

// service is the collector.
func service(m *tracev3.ZipkinConfig, s *extension.Services) (*call.Service, error) {
	if c := m.GetCollectorService(); c != nil {
		// Envoy takes a path alone as the URI; the host is then that of the cluster.
		if u := c.GetHttpUri(); strings.HasPrefix(u.GetUri(), "/") {
			c = proto.CloneOf(c)
			c.HttpUri.Uri = "http://" + u.GetCluster() + u.GetUri()
		}
		to, err := call.CompileHTTP(c, call.Context{Hostname: s.Node.Hostname})
		if err != nil {
			return nil, fmt.Errorf("collector_service.%w", err)
		}
		return to, nil
	}
	switch {
	case m.GetCollectorCluster() == "":
		return nil, errors.New("collector_cluster: is missing: name the cluster of the collector, or set collector_service")
	case !strings.HasPrefix(m.GetCollectorEndpoint(), "/"):
		return nil, fmt.Errorf("collector_endpoint: %q is no path: write it as /api/v2/spans", m.GetCollectorEndpoint())
	}
	if err := call.CheckPath(m.GetCollectorEndpoint()); err != nil {
		return nil, fmt.Errorf("collector_endpoint: %w", err)
	}
	if err := call.CheckPath(m.GetCollectorHostname()); err != nil {
		return nil, fmt.Errorf("collector_hostname: %w", err)
	}
	return &call.Service{Cluster: m.GetCollectorCluster(), Authority: m.GetCollectorHostname(), Path: m.GetCollectorEndpoint()}, nil
}
