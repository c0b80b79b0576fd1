// SPDX-License-Identifier: Apache-2.0

package route

import (
	"os"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"weir.dev/weir/proxy/match"
)

// CompileTags compiles custom tags that stand outside of a route. The error names field and
// the field below it. Of ctx only CompileFormat is used.
func CompileTags(field string, list []*tracingv3.CustomTag, ctx Context) ([]Tag, error) {
	c := &compiler{ctx: ctx, problems: &[]Problem{}, seen: map[Problem]bool{}}
	var out []Tag
	for i, g := range list {
		out = append(out, c.at("%s[%d]", field, i).tag(g))
	}
	for _, p := range *c.problems {
		if !p.Warning {
			return nil, p
		}
	}
	return out, nil
}

func (c *compiler) tracing(t *routev3.Tracing) *Tracing {
	out := &Tracing{
		ClientSampling:    fractionOr(t.GetClientSampling()),
		RandomSampling:    fractionOr(t.GetRandomSampling()),
		OverallSampling:   fractionOr(t.GetOverallSampling()),
		Operation:         c.at("operation").formatter(t.GetOperation()),
		UpstreamOperation: c.at("upstream_operation").formatter(t.GetUpstreamOperation()),
	}
	for i, g := range t.GetCustomTags() {
		out.Tags = append(out.Tags, c.at("custom_tags[%d]", i).tag(g))
	}
	return out
}

func fractionOr(f *typev3.FractionalPercent) match.Fraction {
	if f == nil {
		return match.All
	}
	return match.CompileFraction(f)
}

func (c *compiler) tag(g *tracingv3.CustomTag) Tag {
	t := Tag{Name: g.GetTag()}
	switch g.GetValueType() {
	case tracingv3.CustomTag_UNSPECIFIED, tracingv3.CustomTag_STRING:
	default:
		c.at("value_type").warn("%s is not supported: the tag is a string", g.GetValueType())
	}
	switch s := g.GetType().(type) {
	case *tracingv3.CustomTag_Literal_:
		t.Value = s.Literal.GetValue()
	case *tracingv3.CustomTag_Environment_:
		var ok bool
		if t.Value, ok = os.LookupEnv(s.Environment.GetName()); !ok {
			t.Value = s.Environment.GetDefaultValue()
		}
	case *tracingv3.CustomTag_RequestHeader:
		t.Source, t.Header, t.Value = TagRequestHeader, requestHeader(s.RequestHeader.GetName()), s.RequestHeader.GetDefaultValue()
	case *tracingv3.CustomTag_Metadata_:
		t.Value = s.Metadata.GetDefaultValue()
		t.Namespace, t.Path = metadataKey(s.Metadata.GetMetadataKey())
		switch s.Metadata.GetKind().GetKind().(type) {
		case *metadatav3.MetadataKind_Request_:
			t.Source = TagMetadataRequest
		case *metadatav3.MetadataKind_Route_:
			t.Source = TagMetadataRoute
		case *metadatav3.MetadataKind_Cluster_:
			t.Source = TagMetadataCluster
		case *metadatav3.MetadataKind_Host_:
			t.Source = TagMetadataHost
		default:
			c.at("metadata.kind").reject("is missing: set request, route, cluster or host")
		}
	case *tracingv3.CustomTag_Value:
		t.Source, t.Format = TagFormat, c.at("value").formatter(s.Value)
	default:
		c.reject("has no value: set literal, environment, request_header or metadata")
	}
	return t
}

func metadataKey(k *metadatav3.MetadataKey) (namespace string, path []string) {
	for _, s := range k.GetPath() {
		path = append(path, s.GetKey())
	}
	return k.GetKey(), path
}
