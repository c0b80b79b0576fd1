// SPDX-License-Identifier: Apache-2.0

package opentelemetry

import (
	_ "embed"
	"errors"
	"fmt"

	statsinksopentelemetryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/stat_sinks/open_telemetry/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/otlp"
	"weir.dev/weir/proxy/stats/sink"
	"weir.dev/weir/proxy/upstream/call"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.stat_sinks.open_telemetry"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the sink.
func Extension() extension.StatsSink {
	return extension.StatsSink{Name: Name, Config: &statsinksopentelemetryv3.SinkConfig{}, New: compile}
}

func compile(cfg proto.Message, s *extension.Services) (sink.Sink, error) {
	m, ok := cfg.(*statsinksopentelemetryv3.SinkConfig)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", cfg, Name)
	}
	if err := supported.Apply(m, "", s.Warn("OpenTelemetry sink")); err != nil {
		return nil, err
	}
	if s.Exporters == nil {
		return nil, errors.New("statistics are not sent elsewhere from here: remove the sink")
	}
	to, method, err := service(m, s)
	if err != nil {
		return nil, err
	}
	resource, err := otlp.Detect(m.GetResourceDetectors())
	if err != nil {
		return nil, fmt.Errorf("resource_detectors%w", err)
	}
	o := otlp.Export(to, method, otlp.Resource(resource), "", "")
	o.Log = s.Log("stats")
	k := &Sink{
		exporter: s.Exporters.New(o), points: int(m.GetMaxDataPointsPerRequest()),
		counterDeltas: m.GetReportCountersAsDeltas(), histogramDeltas: m.GetReportHistogramsAsDeltas(),
		attributes: m.GetEmitTagsAsAttributes() == nil || m.GetEmitTagsAsAttributes().GetValue(),
		extracted:  m.GetUseTagExtractedName() == nil || m.GetUseTagExtractedName().GetValue(),
	}
	if p := m.GetPrefix(); p != "" {
		k.prefix = p + "."
	}
	return k, nil
}

// service is where the metrics go.
func service(m *statsinksopentelemetryv3.SinkConfig, s *extension.Services) (*call.Service, string, error) {
	out, method, err := otlp.CompileService(m.GetGrpcService(), "grpc_service", m.GetHttpService(), otlp.ExportMetrics, call.Context{Warn: s.Warn("OpenTelemetry sink"), Hostname: s.Node.Hostname})
	if err == nil && out == nil {
		err = otlp.ErrNoService
	}
	return out, method, err
}
