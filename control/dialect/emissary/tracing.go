// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/internal/memo"
)

// The drivers of TracingServices.
const (
	driverZipkin        = "zipkin"
	driverOpenTelemetry = "opentelemetry"
)

// tracedService is what spans for OpenTelemetry are of where nothing says.
const tracedService = "ambassador"

// trace says which requests are traced, and has a TracingService told of them.
func (d *Dialect) trace(c *memo.Ctx, in *install, i id, out *services) *graph.Problem {
	s := &emissaryv3.TracingServiceSpec{}
	if bad := specOf(d, c, i, s); bad != nil {
		return bad
	}
	var bad *graph.Problem
	wrong := func(path, reason, format string, args ...any) {
		p := graph.Problemf("spec."+path, reason, format, args...)
		bad = cmp.Or(bad, &p)
	}
	t := &build.Tracing{Service: cmp.Or(s.Config.ServiceName, tracedService), Random: percent, Client: percent, Overall: percent, Tags: tagsOf(s, wrong)}
	for _, share := range []struct {
		name string
		from *int
		to   *float64
	}{{"client", s.Sampling.Client, &t.Client}, {"random", s.Sampling.Random, &t.Random}, {"overall", s.Sampling.Overall, &t.Overall}} {
		if share.from == nil {
			continue
		}
		if *share.to = float64(*share.from); *share.to < 0 || *share.to > percent {
			wrong("sampling."+share.name, reasonInvalid, "%d is not a share from 0 to 100 percent", *share.from)
		}
	}
	switch s.Driver {
	case driverZipkin:
		t.Zipkin = zipkinOf(&s.Config, wrong)
	case driverOpenTelemetry:
	case "datadog", "lightstep":
		wrong("driver", reasonUnsupported, "%s is not spoken here: set opentelemetry or zipkin, and have a collector of OpenTelemetry's hand spans on", s.Driver)
	default:
		wrong("driver", reasonInvalid, "%q is not one of zipkin and opentelemetry", s.Driver)
	}
	if bad != nil {
		return bad
	}
	set := &settings{GRPC: s.Driver == driverOpenTelemetry, StatsName: cmp.Or(s.StatsName, s.V3StatsName)}
	to, _, bad := d.called(c, in, i, "spec.service", s.Service, "", false, set)
	if bad != nil {
		return bad
	}
	t.Collector = build.Collector{Cluster: to.Name(), Authority: s.Config.CollectorHostname}
	out.notes[i] = untraced(s, in.name)
	out.tracing = t.Message()
	out.clusters = append(out.clusters, to)
	return nil
}

// zipkinOf is how spans are told to Zipkin.
func zipkinOf(c *emissaryv3.TraceConfig, wrong teller) *build.Zipkin {
	out := &build.Zipkin{Endpoint: c.CollectorEndpoint, Long: c.TraceID128Bit == nil || *c.TraceID128Bit}
	out.Split = c.SharedSpanContext != nil && !*c.SharedSpanContext
	if e := c.CollectorEndpoint; e != "" && (!strings.HasPrefix(e, "/") || strings.ContainsFunc(e, func(r rune) bool { return r <= ' ' || r == 0x7f })) {
		wrong("config.collector_endpoint", reasonInvalid, "%q is not a path, such as /api/v2/spans", e)
	}
	switch c.CollectorEndpointVersion {
	case "", "HTTP_JSON":
	case "HTTP_PROTO":
		out.Proto = true
	default:
		wrong("config.collector_endpoint_version", reasonInvalid, "%q is not one of HTTP_JSON and HTTP_PROTO, which are those of Zipkin's version 2", c.CollectorEndpointVersion)
	}
	if strings.ContainsFunc(c.CollectorHostname, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		wrong("config.collector_hostname", reasonInvalid, "%q is not the name of a host", c.CollectorHostname)
	}
	return out
}

// tagsOf are the tags of spans.
func tagsOf(s *emissaryv3.TracingServiceSpec, wrong teller) []*tracingv3.CustomTag {
	var out []*tracingv3.CustomTag
	header := func(at, tag string, h emissaryv3.NamedValue) *tracingv3.CustomTag {
		if !build.FieldName(strings.TrimPrefix(h.Name, ":")) {
			wrong(at, reasonInvalid, "%q is not the name of a header", h.Name)
		}
		return &tracingv3.CustomTag{Tag: tag, Type: &tracingv3.CustomTag_RequestHeader{
			RequestHeader: &tracingv3.CustomTag_Header{Name: h.Name, DefaultValue: h.DefaultValue},
		}}
	}
	for i, name := range s.TagHeaders {
		out = append(out, header(fmt.Sprintf("tag_headers[%d]", i), name, emissaryv3.NamedValue{Name: name}))
	}
	for i, c := range slices.Concat(s.CustomTags, s.V3CustomTags) {
		at := fmt.Sprintf("custom_tags[%d]", i)
		if c.Tag == "" {
			wrong(at+".tag", reasonInvalid, "is missing")
		}
		switch {
		case c.Literal != nil && c.Environment == nil && c.RequestHeader == nil:
			if c.Literal.Value == "" {
				wrong(at+".literal.value", reasonInvalid, "is missing")
			}
			out = append(out, &tracingv3.CustomTag{Tag: c.Tag, Type: &tracingv3.CustomTag_Literal_{Literal: &tracingv3.CustomTag_Literal{Value: c.Literal.Value}}})
		case c.Environment != nil && c.Literal == nil && c.RequestHeader == nil:
			if c.Environment.Name == "" {
				wrong(at+".environment.name", reasonInvalid, "is missing")
			}
			out = append(out, &tracingv3.CustomTag{Tag: c.Tag, Type: &tracingv3.CustomTag_Environment_{
				Environment: &tracingv3.CustomTag_Environment{Name: c.Environment.Name, DefaultValue: c.Environment.DefaultValue},
			}})
		case c.RequestHeader != nil && c.Literal == nil && c.Environment == nil:
			out = append(out, header(at+".request_header.name", c.Tag, *c.RequestHeader))
		default:
			wrong(at, reasonInvalid, "has not exactly one of literal, environment and request_header")
		}
	}
	return out
}

// untraced are fields that have no effect on the driver.
func untraced(s *emissaryv3.TracingServiceSpec, install string) []graph.Problem {
	zipkin, c := s.Driver == driverZipkin, s.Config
	var out []graph.Problem
	for _, f := range []struct {
		name string
		is   bool
		why  string
	}{
		{"access_token_file", c.AccessTokenFile != "", "it is LightStep's"},
		{"collector_cluster", c.CollectorCluster != "", "the collector is spec.service"},
		{"collector_endpoint", c.CollectorEndpoint != "" && !zipkin, "it is Zipkin's"},
		{"collector_endpoint_version", c.CollectorEndpointVersion != "" && !zipkin, "it is Zipkin's"},
		{"propagation_modes", len(c.PropagationModes)+len(c.V3PropagationModes) > 0, "it is LightStep's"},
		{"service_name", c.ServiceName != "" && zipkin, "Zipkin's spans are of the proxies' cluster, " + prefix + install},
		{"shared_span_context", c.SharedSpanContext != nil && !zipkin, "it is Zipkin's"},
		{"trace_id_128bit", c.TraceID128Bit != nil && !zipkin, "it is Zipkin's"},
	} {
		if f.is {
			out = append(out, graph.Problemf("spec.config."+f.name, reasonInvalid, "has no effect: %s", f.why))
		}
	}
	return out
}
