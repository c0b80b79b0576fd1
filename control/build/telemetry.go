// SPDX-License-Identifier: Apache-2.0

package build

import (
	"cmp"
	"maps"
	"slices"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	opentelemetryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	statsinksopentelemetryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/stat_sinks/open_telemetry/v3"
	detectorsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/resource_detectors/v3"
	samplersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/samplers/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A Collector takes records, spans and metrics of OpenTelemetry, by gRPC.
type Collector struct {
	Cluster string
	// Authority is its name; "" is the cluster's.
	Authority string
	// Headers go with each call.
	Headers []*corev3.HeaderValue
	// Resource says who tells.
	Resource map[string]string
	// Retry says when a call is made again; nil is never.
	Retry *corev3.RetryPolicy
}

func (c Collector) service() *corev3.GrpcService {
	return &corev3.GrpcService{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: c.Cluster, Authority: c.Authority}},
		InitialMetadata: c.Headers, RetryPolicy: c.Retry,
	}
}

// detectors say who tells.
func (c Collector) detectors() []*corev3.TypedExtensionConfig {
	if len(c.Resource) == 0 {
		return nil
	}
	return []*corev3.TypedExtensionConfig{{
		Name:        "envoy.tracers.opentelemetry.resource_detectors.static_config",
		TypedConfig: Any(&detectorsv3.StaticConfigResourceDetectorConfig{Attributes: c.Resource}),
	}}
}

// Metrics sends statistics: counters and histograms as what they are or, of deltas, as what has
// come since.
func (c Collector) Metrics(counterDeltas, histogramDeltas bool) *metricsv3.StatsSink {
	m := &statsinksopentelemetryv3.SinkConfig{
		ProtocolSpecifier: &statsinksopentelemetryv3.SinkConfig_GrpcService{GrpcService: c.service()}, ResourceDetectors: c.detectors(),
		ReportCountersAsDeltas: counterDeltas, ReportHistogramsAsDeltas: histogramDeltas,
	}
	return &metricsv3.StatsSink{Name: "envoy.stat_sinks.open_telemetry", ConfigType: &metricsv3.StatsSink_TypedConfig{TypedConfig: Any(m)}}
}

// Log sends the records of an access log, if all expressions of CEL are true of them: a
// format's text as the body of each, its fields as attributes.
func (c Collector) Log(format LogFormat, matches []string) *accesslogv3.AccessLog {
	m := &opentelemetryv3.OpenTelemetryAccessLogConfig{
		CommonConfig: &grpclogv3.CommonGrpcAccessLogConfig{ //nolint:staticcheck // Envoy's before 1.36 need it.
			LogName: "otel_envoy_accesslog", GrpcService: c.service(), TransportApiVersion: corev3.ApiVersion_V3,
		},
		ResourceAttributes: pairs(c.Resource), Attributes: pairs(format.Fields),
	}
	if format.Text != "" {
		m.Body = &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: format.Text}}
	}
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.open_telemetry", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: Any(m)}, Filter: celFilter(matches),
	}
}

// Entries are what a service of Envoy's access log protocol is told.
type Entries struct {
	Name string // of the log
	// TCP are entries of connections, which have no headers; others are of requests, and
	// have these besides those which all do.
	TCP                         bool
	Request, Response, Trailers []string
	// Interval and Bytes say when entries are sent; 0 leaves it to the proxy.
	Interval time.Duration
	Bytes    uint32
}

// Entries sends entries of an access log, if all expressions of CEL are true of them.
func (c Collector) Entries(e Entries, matches []string) *accesslogv3.AccessLog {
	common := &grpclogv3.CommonGrpcAccessLogConfig{LogName: e.Name, GrpcService: c.service(), TransportApiVersion: corev3.ApiVersion_V3}
	if e.Interval > 0 {
		common.BufferFlushInterval = duration(e.Interval)
	}
	if e.Bytes > 0 {
		common.BufferSizeBytes = wrapperspb.UInt32(e.Bytes)
	}
	name, m := "envoy.access_loggers.http_grpc", proto.Message(&grpclogv3.HttpGrpcAccessLogConfig{
		CommonConfig: common, AdditionalRequestHeadersToLog: e.Request, AdditionalResponseHeadersToLog: e.Response, AdditionalResponseTrailersToLog: e.Trailers,
	})
	if e.TCP {
		name, m = "envoy.access_loggers.tcp_grpc", &grpclogv3.TcpGrpcAccessLogConfig{CommonConfig: common}
	}
	return &accesslogv3.AccessLog{Name: name, ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: Any(m)}, Filter: celFilter(matches)}
}

func pairs(from map[string]string) *commonv1.KeyValueList {
	if len(from) == 0 {
		return nil
	}
	out := &commonv1.KeyValueList{}
	for _, key := range slices.Sorted(maps.Keys(from)) {
		out.Values = append(out.Values, &commonv1.KeyValue{Key: key, Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: from[key]}}})
	}
	return out
}

// Tracing says which requests are traced, and who is told of them.
type Tracing struct {
	// Service is what spans are of.
	Service string
	// Collector is told, or else Zipkin, if it is not nil; its cluster is Collector's.
	Collector Collector
	Zipkin    *Zipkin
	// Sampler, of OpenTelemetry, decides instead of Random.
	Sampler *Sampler
	// Random requests are traced, those of clients that ask for it, and of both no more
	// than Overall, in percent.
	Random, Client, Overall float64
	Tags                    []*tracingv3.CustomTag
	// Operation names the spans of requests, Upstream those of their tries; "" leaves it
	// to the proxy.
	Operation, Upstream string
}

// Zipkin is how spans are told to a collector of its.
type Zipkin struct {
	// Endpoint is the path that is posted to; "" is /api/v2/spans.
	Endpoint string
	// Proto sends Protocol Buffers instead of JSON, Long has IDs of traces of 128 bits, and
	// Split has spans of the proxy's own for requests whose client has one.
	Proto, Long, Split bool
}

// A Sampler decides of each trace whether it is told. Share of those in which nobody
// decided, of 1; with Parent, whoever decided before is followed.
type Sampler struct {
	Share  float64
	Parent bool
}

// Message is what the connection manager has.
func (t *Tracing) Message() *hcmv3.HttpConnectionManager_Tracing {
	percent := func(v float64) *typev3.Percent { return &typev3.Percent{Value: v} }
	out := &hcmv3.HttpConnectionManager_Tracing{
		ClientSampling: percent(t.Client), RandomSampling: percent(t.Random), OverallSampling: percent(t.Overall),
		CustomTags: t.Tags, SpawnUpstreamSpan: wrapperspb.Bool(true), Operation: t.Operation, UpstreamOperation: t.Upstream,
	}
	name, m := "envoy.tracers.opentelemetry", proto.Message(t.openTelemetry())
	if t.Zipkin != nil {
		name, m = "envoy.tracers.zipkin", t.zipkin()
	}
	out.Provider = &tracev3.Tracing_Http{Name: name, ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: Any(m)}}
	return out
}

func (t *Tracing) openTelemetry() *tracev3.OpenTelemetryConfig {
	out := &tracev3.OpenTelemetryConfig{GrpcService: t.Collector.service(), ServiceName: t.Service}
	out.ResourceDetectors = t.Collector.detectors()
	if t.Sampler != nil {
		out.Sampler = t.Sampler.message()
	}
	return out
}

func (t *Tracing) zipkin() *tracev3.ZipkinConfig {
	out := &tracev3.ZipkinConfig{
		CollectorCluster: t.Collector.Cluster, CollectorEndpoint: cmp.Or(t.Zipkin.Endpoint, "/api/v2/spans"), CollectorEndpointVersion: tracev3.ZipkinConfig_HTTP_JSON,
		CollectorHostname: t.Collector.Authority, TraceId_128Bit: t.Zipkin.Long, SharedSpanContext: wrapperspb.Bool(!t.Zipkin.Split),
	}
	if t.Zipkin.Proto {
		out.CollectorEndpointVersion = tracev3.ZipkinConfig_HTTP_PROTO
	}
	return out
}

func (s *Sampler) message() *corev3.TypedExtensionConfig {
	share := Fraction(uint64(s.Share*1e6), 1e6).GetDefaultValue()
	out := &corev3.TypedExtensionConfig{
		Name:        "envoy.tracers.opentelemetry.samplers.trace_id_ratio_based",
		TypedConfig: Any(&samplersv3.TraceIdRatioBasedSamplerConfig{SamplingPercentage: share}),
	}
	if s.Share >= 1 {
		out = &corev3.TypedExtensionConfig{Name: "envoy.tracers.opentelemetry.samplers.always_on", TypedConfig: Any(&samplersv3.AlwaysOnSamplerConfig{})}
	}
	if s.Parent {
		out = &corev3.TypedExtensionConfig{
			Name: "envoy.tracers.opentelemetry.samplers.parent_based", TypedConfig: Any(&samplersv3.ParentBasedSamplerConfig{WrappedSampler: out}),
		}
	}
	return out
}
