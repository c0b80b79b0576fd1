// SPDX-License-Identifier: Apache-2.0

package opentelemetry

import (
	_ "embed"
	"errors"
	"fmt"

	opentelemetryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/batch"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/otlp"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream/call"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension; Message the type of its configuration.
const (
	Name    = "envoy.access_loggers.open_telemetry"
	Message = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// New returns the constructor of the sinks.
func New(s *extension.Services, loader *format.Loader) func(*anypb.Any) (accesslog.Sink, error) {
	return func(config *anypb.Any) (accesslog.Sink, error) {
		m := &opentelemetryv3.OpenTelemetryAccessLogConfig{}
		if err := config.UnmarshalTo(m); err != nil {
			return nil, fmt.Errorf("typed_config: %w", err)
		}
		if err := supported.Apply(m, "", s.Warn("OpenTelemetry access log")); err != nil {
			return nil, err
		}
		if err := m.ValidateAll(); err != nil {
			return nil, err
		}
		if s.Exporters == nil {
			return nil, errors.New("records are not sent elsewhere from here: log to a file")
		}
		return newSink(m, s, loader)
	}
}

func newSink(m *opentelemetryv3.OpenTelemetryAccessLogConfig, s *extension.Services, loader *format.Loader) (*Sink, error) {
	scope := s.Stats.Scope("access_logs.open_telemetry_access_log")
	if p := m.GetStatPrefix(); p != "" {
		scope = scope.Scope(stats.Sanitize(p))
	}
	to, method, err := service(m, s)
	if err != nil {
		return nil, err
	}
	resource, err := resource(m, s)
	if err != nil {
		return nil, err
	}
	o := otlp.Export(to, method, otlp.Resource(resource), "", "")
	o.Size, o.Interval = int(m.GetBufferSizeBytes().GetValue()), m.GetBufferFlushInterval().AsDuration()
	o.Stats = batch.Stats{Written: scope.Counter("logs_written"), Dropped: scope.Counter("logs_dropped")}
	o.Log = s.Log("access_log")
	if c := m.GetCommonConfig(); c != nil {
		o.Size, o.Interval = int(c.GetBufferSizeBytes().GetValue()), c.GetBufferFlushInterval().AsDuration()
	}
	sink := &Sink{states: m.GetFilterStateObjectsToLog()}
	if c := m.GetCommonConfig(); c != nil && len(sink.states) == 0 {
		sink.states = c.GetFilterStateObjectsToLog()
	}
	options, err := loader.With(m.GetFormatters())
	if err != nil {
		return nil, err
	}
	if m.GetBody() != nil {
		body, err := otlp.CompileValue(m.GetBody(), &options)
		if err != nil {
			return nil, fmt.Errorf("body: %w", err)
		}
		sink.body = &body
	}
	if sink.attributes, err = otlp.CompilePairs(m.GetAttributes().GetValues(), &options); err != nil {
		return nil, fmt.Errorf("attributes: %w", err)
	}
	sink.exporter = s.Exporters.New(o)
	return sink, nil
}

// service is where the records go: one of three fields says so.
func service(m *opentelemetryv3.OpenTelemetryAccessLogConfig, s *extension.Services) (*call.Service, string, error) {
	grpc, field := m.GetGrpcService(), "grpc_service"
	if c := m.GetCommonConfig(); c != nil {
		if err := call.CheckVersion(c.GetTransportApiVersion()); err != nil {
			return nil, "", fmt.Errorf("common_config.%w", err)
		}
		if grpc != nil || m.GetHttpService() != nil {
			return nil, "", errors.New("common_config: a second service is set beside it: set one")
		}
		grpc, field = c.GetGrpcService(), "common_config.grpc_service"
	}
	out, method, err := otlp.CompileService(grpc, field, m.GetHttpService(), otlp.ExportLogs, call.Context{Warn: s.Warn("OpenTelemetry access log"), Hostname: s.Node.Hostname})
	if err == nil && out == nil {
		err = otlp.ErrNoService
	}
	return out, method, err
}

// resource is the attributes of the proxy: Envoy's own, unless they are disabled, and
// those that are configured or detected.
func resource(m *opentelemetryv3.OpenTelemetryAccessLogConfig, s *extension.Services) ([]otlp.Pair, error) {
	var out []otlp.Pair
	if !m.GetDisableBuiltinLabels() {
		name := m.GetLogName()
		if c := m.GetCommonConfig(); c != nil {
			name = c.GetLogName()
		}
		for _, p := range [][2]string{{"log_name", name}, {"zone_name", s.Node.Zone}, {"cluster_name", s.Node.Cluster}, {"node_name", s.Node.ID}} {
			out = append(out, otlp.Pair{Key: p[0], Value: otlp.Value{Of: p[1]}})
		}
	}
	own, err := otlp.CompilePairs(m.GetResourceAttributes().GetValues(), nil)
	if err != nil {
		return nil, fmt.Errorf("resource_attributes: %w", err)
	}
	found, err := otlp.Detect(m.GetResourceDetectors())
	if err != nil {
		return nil, fmt.Errorf("resource_detectors%w", err)
	}
	return append(append(out, own...), found...), nil
}
