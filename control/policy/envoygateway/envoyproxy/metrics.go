// SPDX-License-Identifier: Apache-2.0

package envoyproxy

import (
	"fmt"
	"strings"

	grpcstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
)

// metrics says which statistics proxies have, and how they tell them.
func (x *reader) metrics(m *api.ProxyMetrics) {
	const at = "telemetry.metrics."
	if ptr.Deref(m.EnableGRPCStats, false) {
		x.out.Filters = map[string]proto.Message{build.GRPCStats: &grpcstatsv3.FilterConfig{
			EmitFilterState: true, PerMethodStatSpecifier: &grpcstatsv3.FilterConfig_StatsForAllMethods{StatsForAllMethods: wrapperspb.Bool(true)},
		}}
	}
	x.out.HostStats = ptr.Deref(m.EnableVirtualHostStats, false)
	x.out.Sized = ptr.Deref(m.EnableRequestResponseSizesStats, false)
	out := &v1alpha1.MetricsParameters{}
	if p := m.Prometheus; p != nil {
		out.Disable = p.Disable
		x.compression(at+"prometheus.compression", p.Compression, out)
	}
	for i, s := range m.Matches {
		if n, ok := x.nameMatch(fmt.Sprintf("%smatches[%d]", at, i), s); ok {
			out.Include = append(out.Include, n)
		}
	}
	for i := range m.Sinks {
		x.metricSink(fmt.Sprintf("%ssinks[%d]", at, i), &m.Sinks[i], out)
	}
	if out.Disable || out.Compression != nil || len(out.Include)+len(out.Sinks) > 0 {
		x.out.Parameters.Metrics = out
	}
	x.Unsupported(at+"enablePerEndpointStats", m.EnablePerEndpointStats, "endpoints have their figures in /clusters of the admin")
	x.Unsupported(at+"clusterStatName", m.ClusterStatName, "clusters are of backends, and counted by their names")
}

// metricSink is who is sent statistics.
func (x *reader) metricSink(at string, s *api.MetricSink, out *v1alpha1.MetricsParameters) {
	o := s.OpenTelemetry
	switch {
	case s.Type != "" && s.Type != "OpenTelemetry":
		x.Bad(at+".type", "is %q: there is OpenTelemetry", s.Type)
		return
	case o == nil:
		x.Bad(at+".openTelemetry", "is required")
		return
	}
	c, found := x.collector(at+".openTelemetry", &o.BackendCluster, o.Host, o.Port, graph.GRPC)
	if !found {
		return
	}
	c.Headers, c.Resource = x.sent(at+".openTelemetry.headers", o.Headers), o.ResourceAttributes
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(c.Metrics(ptr.Deref(o.ReportCountersAsDeltas, false), ptr.Deref(o.ReportHistogramsAsDeltas, false)))
	if err != nil {
		panic("BUG: a sink cannot be encoded: " + err.Error())
	}
	out.Sinks = append(out.Sinks, string(data))
}

// compression is how what is told to Prometheus is compressed.
func (x *reader) compression(at string, c *api.Compression, out *v1alpha1.MetricsParameters) {
	if c == nil {
		return
	}
	switch c.Type {
	case "Gzip", "Brotli", "Zstd":
		out.Compression = ptr.To(strings.ToLower(c.Type))
	default:
		x.Bad(at+".type", "is %q: there are Gzip, Brotli and Zstd", c.Type)
	}
	if n := c.MinContentLength; n != nil {
		size := x.Size(at+".minContentLength", n)
		out.MinCompressed = ptr.To(size.GetValue())
	}
}

// nameMatch reads what names of statistics are like.
func (x *reader) nameMatch(at string, s api.StringMatch) (n v1alpha1.NameMatch, ok bool) {
	switch ptr.Deref(s.Type, "Exact") {
	case "Exact":
		n.Exact = &s.Value
	case "Prefix":
		n.Prefix = &s.Value
	case "Suffix":
		n.Suffix = &s.Value
	case "RegularExpression":
		if why := build.BadRegex(s.Value); why != "" {
			x.Bad(at+".value", "is not a regular expression: %s", why)
			return n, false
		}
		n.Regex = &s.Value
	default:
		x.Bad(at+".type", "is %q: there are Exact, Prefix, Suffix and RegularExpression", *s.Type)
		return n, false
	}
	return n, true
}
