// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"math"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
)

// ManagerOf is what the HttpConnectionManager of the chains of proxies has that are called
// service in traces, unless the EnvoyProxy calls them otherwise.
func (p *Proxy) ManagerOf(service string) graph.Overlay {
	if p.Tracing == nil {
		return p.Manager
	}
	t := *p.Tracing
	if t.Service == "" {
		t.Service = service
	}
	return attach.Merge(p.Manager, graph.Overlay{Message: &hcmv3.HttpConnectionManager{Tracing: t.Message()}})
}

// collector reads who is told: backends, or host and port as earlier. Without one
// nothing is told, and the Gateway serves all the same.
func (x *proxyReader) collector(at string, b *api.BackendCluster, host *string, port *int32, mode graph.Mode) (build.Collector, bool) {
	var out build.Collector
	var id graph.ClusterID
	switch {
	case x.owner.Name == (source.Name{}) && host == nil:
		x.note(at, "backends are not supported in the default of all, which has no namespace, and nothing is told: make an EnvoyProxy of it, or give host and port")
		return out, false
	case b.BackendRef != nil || len(b.BackendRefs) > 0 || host == nil:
		var s sheet
		found := false
		id, found = x.policies.service(x.ctx, &s, at, x.owner, b, mode)
		x.notes = append(x.notes, s.notes...)
		if !found {
			for _, problem := range s.refused {
				problem.Message += ": nothing is told"
				x.notes = append(x.notes, problem)
			}
			return out, false
		}
	case port != nil && (*port < 1 || *port > 65535):
		x.bad(at+".port", "%d is not a port from 1 to 65535", *port)
		return out, false
	case !build.Authority(*host):
		x.bad(at+".host", "%q is not a host", *host)
		return out, false
	default:
		id = backend.Named(*host, deref(port, defaultCollectorPort), mode)
		id.Variant = x.policies.tuned(&x.sheet, at, x.owner, b, "")
		out.Authority = *host
	}
	x.out.Clusters = append(x.out.Clusters, id)
	out.Cluster, out.Retry = id.Name(), calls(&x.sheet, at, b)
	return out, true
}

// entries are sent to a service of Envoy's access log protocol. They have a form of their
// own, whatever format the setting has.
func (x *proxyReader) entries(at string, a *api.ALSSink, matches []string) *accesslogv3.AccessLog {
	if a.Type != "HTTP" && a.Type != "TCP" {
		x.bad(at+".type", "is %q: there are HTTP and TCP", a.Type)
		return nil
	}
	e := build.Entries{Name: deref(a.LogName, ""), TCP: a.Type == "TCP"}
	if h := a.HTTP; h != nil && e.TCP {
		x.note(at+".http", "entries of type TCP have no headers: set type HTTP")
	} else if h != nil {
		e.Request, e.Response, e.Trailers = h.RequestHeaders, h.ResponseHeaders, h.ResponseTrailers
	}
	if e.Name == "" && x.owner.Name != (source.Name{}) {
		e.Name = x.owner.Name.Namespace + "/" + x.owner.Name.Name
	}
	c, found := x.collector(at, &a.BackendCluster, nil, nil, graph.GRPC)
	if !found {
		return nil
	}
	return c.Entries(e, matches)
}

// defaultCollectorPort is OTLP's by gRPC.
const defaultCollectorPort = 4317

func (x *proxyReader) sent(at string, list []gwapiv1.HTTPHeader) []*corev3.HeaderValue {
	var out []*corev3.HeaderValue
	if why := build.BadHeaders(&gwapiv1.HTTPHeaderFilter{Set: list}); why != "" {
		x.bad(at, "%s", why)
		return nil
	}
	for _, h := range list {
		out = append(out, &corev3.HeaderValue{Key: string(h.Name), Value: h.Value})
	}
	return out
}

// tracing says which requests are traced, and where it is told.
func (x *proxyReader) tracing(t *api.ProxyTracing) {
	const at, provider = "telemetry.tracing", "telemetry.tracing.provider"
	out := &build.Tracing{
		Service: deref(t.Provider.ServiceName, ""), Random: 100, Client: x.share(at+".clientSamplingFraction", t.ClientSamplingFraction, 0),
		Overall: x.share(at+".overallSamplingFraction", t.OverallSamplingFraction, 100), Tags: x.tags(at, t.CustomTags, t.Tags),
	}
	switch rate := t.SamplingRate; {
	case rate != nil && *rate > 100:
		x.bad(at+".samplingRate", "%d is more than 100 percent", *rate)
	case rate != nil:
		out.Random = float64(*rate)
	default:
		out.Random = x.share(at+".samplingFraction", t.SamplingFraction, 100)
	}
	if s := t.SpanName; s != nil {
		out.Operation, out.Upstream = build.Checked(at+".spanName.client", s.Client, x.bad), build.Checked(at+".spanName.server", s.Server, x.bad)
	}
	mode := graph.GRPC
	switch t.Provider.Type {
	case "", "OpenTelemetry":
		x.unsupported(provider+".zipkin", t.Provider.Zipkin, "the type of the provider is OpenTelemetry")
	case "Zipkin":
		mode = graph.HTTP
		out.Zipkin = &build.Zipkin{}
		if z := t.Provider.Zipkin; z != nil {
			out.Zipkin.Long, out.Zipkin.Split = is(z.Enable128BitTraceID), is(z.DisableSharedSpanContext)
		}
		x.unsupported(provider+".openTelemetry", t.Provider.OpenTelemetry, "the type of the provider is Zipkin")
		x.unsupported(provider+".serviceName", t.Provider.ServiceName, "Zipkin's spans are of the proxy's cluster, which is called after the Gateway")
		if s := t.Provider.BackendSettings; s != nil {
			x.unsupported(provider+".backendSettings.retry", s.Retry, "spans are sent to Zipkin once")
		}
	case "Datadog":
		x.note(provider+".type", "Datadog is not supported, and no request is traced: have an OpenTelemetry collector hand spans on to it")
		return
	default:
		x.bad(provider+".type", "is %q: there are OpenTelemetry, Zipkin and Datadog", t.Provider.Type)
		return
	}
	collector, found := x.collector(provider, &t.Provider.BackendCluster, t.Provider.Host, t.Provider.Port, mode)
	if !found {
		return
	}
	out.Collector = collector
	if o := t.Provider.OpenTelemetry; o != nil && out.Zipkin == nil {
		out.Collector.Headers, out.Collector.Resource = x.sent(provider+".openTelemetry.headers", o.Headers), o.ResourceAttributes
		if out.Sampler = x.sampler(provider+".openTelemetry.sampler", o.Sampler); out.Sampler != nil {
			out.Random = 100
		}
	}
	x.out.Tracing = out
}

// routeTracing is how requests of a route are traced, where their Gateway has them traced.
func routeTracing(x *sheet, at string, t *api.Tracing) *routev3.Tracing {
	part := func(name string, f *gwapiv1.Fraction) *typev3.FractionalPercent {
		if f == nil {
			return nil // As the Gateway says.
		}
		const perPercent = 10_000
		return &typev3.FractionalPercent{
			Numerator: uint32(math.Round(x.share(at+"."+name, f, 100) * perPercent)), Denominator: typev3.FractionalPercent_MILLION,
		}
	}
	out := &routev3.Tracing{
		ClientSampling: part("clientSamplingFraction", t.ClientSamplingFraction), RandomSampling: part("samplingFraction", t.SamplingFraction),
		OverallSampling: part("overallSamplingFraction", t.OverallSamplingFraction), CustomTags: x.tags(at, t.CustomTags, t.Tags),
	}
	if s := t.SpanName; s != nil {
		out.Operation, out.UpstreamOperation = build.Checked(at+".spanName.client", s.Client, x.bad), build.Checked(at+".spanName.server", s.Server, x.bad)
	}
	return out
}

// share reads a fraction, in percent.
func (x *sheet) share(at string, f *gwapiv1.Fraction, otherwise float64) float64 {
	if f == nil {
		return otherwise
	}
	of := deref(f.Denominator, 100)
	if f.Numerator < 0 || of < 1 || f.Numerator > of {
		x.bad(at, "%d/%d is not a fraction from 0 to 1", f.Numerator, of)
		return otherwise
	}
	return 100 * float64(f.Numerator) / float64(of)
}

func (x *sheet) tags(at string, custom map[string]api.CustomTag, tags map[string]string) []*tracingv3.CustomTag {
	var out []*tracingv3.CustomTag
	for _, name := range sortedKeys(custom) {
		if _, ok := tags[name]; ok {
			continue // Those of tags count.
		}
		path, c, tag := at+".customTags."+name, custom[name], &tracingv3.CustomTag{Tag: name}
		switch {
		case c.Type == "Literal" && c.Literal != nil && c.Literal.Value == "", c.Type == "Environment" && c.Environment != nil && c.Environment.Name == "",
			c.Type == "RequestHeader" && c.RequestHeader != nil && !build.FieldName(c.RequestHeader.Name):
			x.bad(path, "is empty, or not the name of a header")
			continue
		case c.Type == "Literal" && c.Literal != nil:
			tag.Type = &tracingv3.CustomTag_Literal_{Literal: &tracingv3.CustomTag_Literal{Value: c.Literal.Value}}
		case c.Type == "Environment" && c.Environment != nil:
			tag.Type = &tracingv3.CustomTag_Environment_{Environment: &tracingv3.CustomTag_Environment{Name: c.Environment.Name, DefaultValue: deref(c.Environment.DefaultValue, "")}}
		case c.Type == "RequestHeader" && c.RequestHeader != nil:
			tag.Type = &tracingv3.CustomTag_RequestHeader{RequestHeader: &tracingv3.CustomTag_Header{Name: c.RequestHeader.Name, DefaultValue: deref(c.RequestHeader.DefaultValue, "")}}
		default:
			x.bad(path, "give type, and of literal, environment and requestHeader the one that it names")
			continue
		}
		out = append(out, tag)
	}
	for _, name := range sortedKeys(tags) {
		out = append(out, &tracingv3.CustomTag{Tag: name, Type: &tracingv3.CustomTag_Value{Value: build.Checked(at+".tags."+name, tags[name], x.bad)}})
	}
	return out
}

// samplers are Envoy Gateway's, by their names; those with a Share below 0 have it given.
func samplers() map[string]build.Sampler {
	return map[string]build.Sampler{
		"AlwaysOn": {Share: 1}, "AlwaysOff": {}, "TraceIdRatio": {Share: -1},
		"ParentBasedAlwaysOn": {Share: 1, Parent: true}, "ParentBasedAlwaysOff": {Parent: true}, "ParentBasedTraceIdRatio": {Share: -1, Parent: true},
	}
}

func (x *proxyReader) sampler(at string, from *api.TracingSampler) *build.Sampler {
	if from == nil {
		return nil
	}
	out, ok := samplers()[from.Type]
	if !ok {
		x.bad(at+".type", "is %q: there are %v", from.Type, sortedKeys(samplers()))
		return nil
	}
	if out.Share < 0 {
		out.Share = x.share(at+".samplingPercentage", from.SamplingPercentage, 100) / 100
	}
	return &out
}
