// SPDX-License-Identifier: Apache-2.0

package envoyproxy

import (
	"maps"
	"math"
	"slices"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/envoygateway/cluster"
	"weir.dev/weir/control/policy/envoygateway/sheet"
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
func (x *reader) collector(at string, b *api.BackendCluster, host *string, port *int32, mode graph.Mode) (build.Collector, bool) {
	var out build.Collector
	var id graph.ClusterID
	switch {
	case x.owner.Name == (source.Name{}) && host == nil && !placed(b):
		x.Note(at, "the default of all has no namespace, and nothing is told: give backendRefs a namespace, or host and port")
		return out, false
	case b.BackendRef != nil || len(b.BackendRefs) > 0 || host == nil:
		var s sheet.Sheet
		found := false
		id, found = x.callees.Service(x.ctx, &s, at, x.owner, b, mode)
		x.Notes = append(x.Notes, s.Notes...)
		if !found {
			for _, problem := range s.Refused {
				problem.Message += ": nothing is told"
				x.Notes = append(x.Notes, problem)
			}
			return out, false
		}
	case port != nil && (*port < 1 || *port > 65535):
		x.Bad(at+".port", "%d is not a port from 1 to 65535", *port)
		return out, false
	case !build.Authority(*host):
		x.Bad(at+".host", "%q is not a host", *host)
		return out, false
	default:
		id = x.callees.Tuned(&x.Sheet, at, x.owner, b, "", backend.Named(*host, ptr.Deref(port, defaultCollectorPort), mode))
		out.Authority = *host
	}
	x.out.Clusters = append(x.out.Clusters, id)
	out.Cluster, out.Retry = id.Name(), cluster.Calls(&x.Sheet, at, b)
	return out, true
}

// placed reports whether it is said in which namespace a backend is.
func placed(b *api.BackendCluster) bool {
	if len(b.BackendRefs) > 0 {
		return b.BackendRefs[0].Namespace != nil
	}
	return b.BackendRef != nil && b.BackendRef.Namespace != nil
}

// entries are sent to a service of Envoy's access log protocol. They have a form of their
// own, whatever format the setting has.
func (x *reader) entries(at string, a *api.ALSSink, matches []string) *accesslogv3.AccessLog {
	if a.Type != "HTTP" && a.Type != "TCP" {
		x.Bad(at+".type", "is %q: there are HTTP and TCP", a.Type)
		return nil
	}
	e := build.Entries{Name: ptr.Deref(a.LogName, ""), TCP: a.Type == "TCP"}
	if h := a.HTTP; h != nil && e.TCP {
		x.Note(at+".http", "entries of type TCP have no headers: set type HTTP")
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

func (x *reader) sent(at string, list []gwapiv1.HTTPHeader) []*corev3.HeaderValue {
	var out []*corev3.HeaderValue
	if why := build.BadHeaders(&gwapiv1.HTTPHeaderFilter{Set: list}); why != "" {
		x.Bad(at, "%s", why)
		return nil
	}
	for _, h := range list {
		out = append(out, &corev3.HeaderValue{Key: string(h.Name), Value: h.Value})
	}
	return out
}

// tracing says which requests are traced, and where it is told.
func (x *reader) tracing(t *api.ProxyTracing) {
	const at, provider = "telemetry.tracing", "telemetry.tracing.provider"
	out := &build.Tracing{
		Service: ptr.Deref(t.Provider.ServiceName, ""), Random: 100, Client: x.Percent(at+".clientSamplingFraction", t.ClientSamplingFraction, 0),
		Overall: x.Percent(at+".overallSamplingFraction", t.OverallSamplingFraction, 100), Tags: tags(&x.Sheet, at, t.CustomTags, t.Tags),
	}
	switch rate := t.SamplingRate; {
	case rate != nil && *rate > 100:
		x.Bad(at+".samplingRate", "%d is more than 100 percent", *rate)
	case rate != nil:
		out.Random = float64(*rate)
	default:
		out.Random = x.Percent(at+".samplingFraction", t.SamplingFraction, 100)
	}
	if s := t.SpanName; s != nil {
		out.Operation, out.Upstream = build.Checked(at+".spanName.client", s.Client, x.Bad), build.Checked(at+".spanName.server", s.Server, x.Bad)
	}
	mode := graph.GRPC
	switch t.Provider.Type {
	case "", "OpenTelemetry":
		x.Unsupported(provider+".zipkin", t.Provider.Zipkin, "the type of the provider is OpenTelemetry")
	case "Zipkin":
		mode = graph.HTTP
		out.Zipkin = &build.Zipkin{}
		if z := t.Provider.Zipkin; z != nil {
			out.Zipkin.Long, out.Zipkin.Split = ptr.Deref(z.Enable128BitTraceID, false), ptr.Deref(z.DisableSharedSpanContext, false)
		}
		x.Unsupported(provider+".openTelemetry", t.Provider.OpenTelemetry, "the type of the provider is Zipkin")
		x.Unsupported(provider+".serviceName", t.Provider.ServiceName, "Zipkin's spans are of the proxy's cluster, which is called after the Gateway")
		if s := t.Provider.BackendSettings; s != nil {
			x.Unsupported(provider+".backendSettings.retry", s.Retry, "spans are sent to Zipkin once")
		}
	case "Datadog":
		x.Note(provider+".type", "Datadog is not supported, and no request is traced: have an OpenTelemetry collector hand spans on to it")
		return
	default:
		x.Bad(provider+".type", "is %q: there are OpenTelemetry, Zipkin and Datadog", t.Provider.Type)
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

// RouteTracing is how requests of a route are traced, where their Gateway has them traced.
func RouteTracing(x *sheet.Sheet, at string, t *api.Tracing) *routev3.Tracing {
	part := func(name string, f *gwapiv1.Fraction) *typev3.FractionalPercent {
		if f == nil {
			return nil // As the Gateway says.
		}
		const perPercent = 10_000
		return &typev3.FractionalPercent{
			Numerator: uint32(math.Round(x.Percent(at+"."+name, f, 100) * perPercent)), Denominator: typev3.FractionalPercent_MILLION,
		}
	}
	out := &routev3.Tracing{
		ClientSampling: part("clientSamplingFraction", t.ClientSamplingFraction), RandomSampling: part("samplingFraction", t.SamplingFraction),
		OverallSampling: part("overallSamplingFraction", t.OverallSamplingFraction), CustomTags: tags(x, at, t.CustomTags, t.Tags),
	}
	if s := t.SpanName; s != nil {
		out.Operation, out.UpstreamOperation = build.Checked(at+".spanName.client", s.Client, x.Bad), build.Checked(at+".spanName.server", s.Server, x.Bad)
	}
	return out
}

func tags(x *sheet.Sheet, at string, custom map[string]api.CustomTag, tags map[string]string) []*tracingv3.CustomTag {
	var out []*tracingv3.CustomTag
	for _, name := range slices.Sorted(maps.Keys(custom)) {
		if _, ok := tags[name]; ok {
			continue // Those of tags count.
		}
		path, c, tag := at+".customTags."+name, custom[name], &tracingv3.CustomTag{Tag: name}
		switch {
		case c.Type == "Literal" && c.Literal != nil && c.Literal.Value == "", c.Type == "Environment" && c.Environment != nil && c.Environment.Name == "",
			c.Type == "RequestHeader" && c.RequestHeader != nil && !build.FieldName(c.RequestHeader.Name):
			x.Bad(path, "is empty, or not the name of a header")
			continue
		case c.Type == "Literal" && c.Literal != nil:
			tag.Type = &tracingv3.CustomTag_Literal_{Literal: &tracingv3.CustomTag_Literal{Value: c.Literal.Value}}
		case c.Type == "Environment" && c.Environment != nil:
			tag.Type = &tracingv3.CustomTag_Environment_{Environment: &tracingv3.CustomTag_Environment{Name: c.Environment.Name, DefaultValue: ptr.Deref(c.Environment.DefaultValue, "")}}
		case c.Type == "RequestHeader" && c.RequestHeader != nil:
			tag.Type = &tracingv3.CustomTag_RequestHeader{RequestHeader: &tracingv3.CustomTag_Header{Name: c.RequestHeader.Name, DefaultValue: ptr.Deref(c.RequestHeader.DefaultValue, "")}}
		default:
			x.Bad(path, "give type, and of literal, environment and requestHeader the one that it names")
			continue
		}
		out = append(out, tag)
	}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, &tracingv3.CustomTag{Tag: name, Type: &tracingv3.CustomTag_Value{Value: build.Checked(at+".tags."+name, tags[name], x.Bad)}})
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

func (x *reader) sampler(at string, from *api.TracingSampler) *build.Sampler {
	if from == nil {
		return nil
	}
	out, ok := samplers()[from.Type]
	if !ok {
		x.Bad(at+".type", "is %q: there are %v", from.Type, slices.Sorted(maps.Keys(samplers())))
		return nil
	}
	if out.Share < 0 {
		out.Share = x.Percent(at+".samplingPercentage", from.SamplingPercentage, 100) / 100
	}
	return &out
}
