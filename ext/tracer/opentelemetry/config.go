// SPDX-License-Identifier: Apache-2.0

package opentelemetry

import (
	_ "embed"
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	samplersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/samplers/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/otlp"
	"weir.dev/weir/proxy/trace"
	"weir.dev/weir/proxy/upstream/call"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.tracers.opentelemetry"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the tracer.
func Extension() extension.Tracer {
	return extension.Tracer{
		Name: Name, Config: &tracev3.OpenTelemetryConfig{},
		New: func(cfg proto.Message, s *extension.Services) (trace.Tracer, error) {
			return New(cfg.(*tracev3.OpenTelemetryConfig), s)
		},
	}
}

// defaultCache is max_cache_size by default.
const defaultCache = 1024

// New compiles a tracer.
func New(m *tracev3.OpenTelemetryConfig, s *extension.Services) (*Tracer, error) {
	if err := supported.Apply(m, "", s.Warn("OpenTelemetry tracer")); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	t := &Tracer{}
	var err error
	if m.GetSampler() != nil {
		if t.sampler, err = newSampler(m.GetSampler()); err != nil {
			return nil, fmt.Errorf("sampler%w", err)
		}
	}
	to, method, err := service(m, s)
	if err != nil || to == nil {
		return t, err
	}
	resource, err := resource(m)
	if err != nil {
		return nil, err
	}
	scope := "weir"
	if v := m.GetSetInstrumentationScope(); v != nil && !v.GetValue() {
		scope = ""
	}
	o := otlp.Export(to, method, otlp.Resource(resource), scope, "")
	o.Waiting = defaultCache
	if n := m.GetMaxCacheSize(); n.GetValue() > 0 {
		o.Waiting = int(n.GetValue())
	}
	if t.exporter, err = s.SpanExporter("opentelemetry", o); err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	return t, nil
}

// service is where the spans go; nil is nowhere.
func service(m *tracev3.OpenTelemetryConfig, s *extension.Services) (*call.Service, string, error) {
	return otlp.CompileService(m.GetGrpcService(), "grpc_service", m.GetHttpService(), otlp.ExportSpans, call.Context{Warn: s.Warn("OpenTelemetry tracer"), Hostname: s.Node.Hostname})
}

// resource is the attributes of the proxy.
func resource(m *tracev3.OpenTelemetryConfig) ([]otlp.Pair, error) {
	var out []otlp.Pair
	if v := m.GetSetServiceNameResourceAttribute(); v == nil || v.GetValue() {
		name := m.GetServiceName()
		if name == "" {
			name = "unknown_service:envoy" // As Envoy's, whose name others look for.
		}
		out = append(out, otlp.Pair{Key: "service.name", Value: otlp.Value{Of: name}})
	}
	if v := m.GetSetTelemetrySdkResourceAttributes(); v == nil || v.GetValue() {
		for _, p := range [][2]string{{"telemetry.sdk.language", "go"}, {"telemetry.sdk.name", "weir"}} {
			out = append(out, otlp.Pair{Key: p[0], Value: otlp.Value{Of: p[1]}})
		}
	}
	found, err := otlp.Detect(m.GetResourceDetectors())
	if err != nil {
		return nil, fmt.Errorf("resource_detectors%w", err)
	}
	return append(out, found...), nil
}

func newSampler(e *corev3.TypedExtensionConfig) (sampler, error) {
	if e.GetTypedConfig() == nil {
		return nil, errors.New(".typed_config: is missing: configure always_on, trace_id_ratio_based or parent_based")
	}
	m, err := e.GetTypedConfig().UnmarshalNew()
	if err != nil {
		return nil, fmt.Errorf(".typed_config: %w", err)
	}
	switch x := m.(type) {
	case *samplersv3.AlwaysOnSamplerConfig:
		return always{}, nil
	case *samplersv3.TraceIdRatioBasedSamplerConfig:
		return newRatio(share(x.GetSamplingPercentage())), nil
	case *samplersv3.ParentBasedSamplerConfig:
		if x.GetWrappedSampler() == nil {
			return nil, errors.New(".typed_config.wrapped_sampler: is missing: say who decides for a trace that begins here")
		}
		root, err := newSampler(x.GetWrappedSampler())
		if err != nil {
			return nil, fmt.Errorf(".typed_config.wrapped_sampler%w", err)
		}
		return parentBased{root}, nil
	}
	return nil, fmt.Errorf(".typed_config: the sampler %s is not supported: use always_on, trace_id_ratio_based or parent_based", e.GetTypedConfig().MessageName())
}

// share is a fraction between 0 and 1; none is all, as Envoy has it.
func share(p *typev3.FractionalPercent) float64 {
	if p == nil {
		return 1
	}
	of := map[typev3.FractionalPercent_DenominatorType]float64{
		typev3.FractionalPercent_HUNDRED: 100, typev3.FractionalPercent_TEN_THOUSAND: 10_000, typev3.FractionalPercent_MILLION: 1_000_000,
	}[p.GetDenominator()]
	if of == 0 {
		of = 100
	}
	return float64(p.GetNumerator()) / of
}
