// SPDX-License-Identifier: Apache-2.0

package check

import (
	"slices"
	"strings"

	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/typedstruct"
)

// clusterField returns the field of a message that names a cluster or, if it is
// repeated, several.
func clusterField(message protoreflect.FullName) protoreflect.Name {
	switch message {
	case "envoy.config.route.v3.RouteAction",
		"envoy.config.route.v3.RouteAction.RequestMirrorPolicy",
		"envoy.config.core.v3.HttpUri",
		"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
		"envoy.extensions.filters.udp.udp_proxy.v3.Route":
		return "cluster"
	case "envoy.config.route.v3.WeightedCluster.ClusterWeight",
		"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight":
		return "name"
	case "envoy.config.core.v3.GrpcService.EnvoyGrpc":
		return "cluster_name"
	case "envoy.config.core.v3.ApiConfigSource":
		return "cluster_names"
	case "envoy.config.metrics.v3.StatsdSink":
		return "tcp_cluster_name"
	case "envoy.extensions.clusters.aggregate.v3.ClusterConfig":
		return "clusters"
	case "envoy.config.trace.v3.ZipkinConfig", "envoy.config.trace.v3.DatadogConfig":
		return "collector_cluster"
	}
	return ""
}

// references checks that the clusters m names exist.
func (c *checker) references(m protoreflect.Message, path string) {
	if s, ok := m.Interface().(*xdstypev3.TypedStruct); ok {
		c.own(s, path)
		return
	}
	field := clusterField(m.Descriptor().FullName())
	if field == "" {
		return
	}
	fd := m.Descriptor().Fields().ByName(field)
	if fd == nil || !m.Has(fd) {
		return
	}
	route := strings.HasPrefix(string(m.Descriptor().FullName()), "envoy.config.route.v3.")
	if route && c.unchecked {
		return
	}
	path = join(path, string(field))
	if !fd.IsList() {
		if name := m.Get(fd).String(); name != xds.LimiterCluster || field != "cluster_name" {
			c.cluster(name, path, route)
		}
		return
	}
	for i := range m.Get(fd).List().Len() {
		c.cluster(m.Get(fd).List().Get(i).String(), at(path, i), route)
	}
}

// own checks the cluster that configuration of an extension of Weir's own names.
func (c *checker) own(s *xdstypev3.TypedStruct, path string) {
	if typedstruct.Name(s) == "weir.dev.clusters.Registration" {
		c.cluster(s.GetValue().GetFields()["cluster"].GetStringValue(), join(path, "value")+`["cluster"]`, false)
	}
}

// limiter stands for the rate limiter of the proxy's own process, and is no cluster.
const limiter = "weir.limiter"

func (c *checker) cluster(name, path string, route bool) {
	if name == "" || name == limiter || c.clusters[name] {
		return
	}
	report := c.errorf
	if c.moreClusters || route && c.lenientRoutes {
		report = c.warnf
	}
	report(path, "define it, or name one of those defined", "there is no cluster %q", name)
}

func sortedKeys(m protoreflect.Map) []protoreflect.MapKey {
	keys := make([]protoreflect.MapKey, 0, m.Len())
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k)
		return true
	})
	slices.SortFunc(keys, func(a, b protoreflect.MapKey) int { return strings.Compare(a.String(), b.String()) })
	return keys
}
