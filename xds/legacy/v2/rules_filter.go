// SPDX-License-Identifier: Apache-2.0

package v2

import (
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/xds/legacy/tree"
)

const hcm = network + "http_connection_manager.v3."

func filterRules() map[protoreflect.FullName]message {
	percent := into("percent", "percentage", "shares are fractions since 1.8", func(_ *walker, _ object, key, value *yaml.Node) *yaml.Node {
		return tree.Map(key, "numerator", value, "denominator", "HUNDRED")
	})
	return map[protoreflect.FullName]message{
		hcm + "HttpConnectionManager": {fields: []rule{
			inside("idle_timeout", "common_http_protocol_options", "idle_timeout", "limits of all versions of HTTP stand together"),
		}},
		hcm + "HttpConnectionManager.SetCurrentClientCertDetails": {fields: []rule{
			rename("san", "uri", "there are several kinds of names, and the URI was meant"),
		}},
		hcm + "HttpConnectionManager.Tracing": {fields: []rule{
			drop("operation_name", "the listener's traffic_direction tells it"),
			each("request_headers_for_tags", "custom_tags", "tags come from more than headers", func(at, item *yaml.Node) *yaml.Node {
				return tree.Map(at, "tag", item, "request_header", tree.Map(at, "name", item))
			}),
		}},
		hcm + "HttpFilter": {extension: &httpFilters, then: gzipFilter},
		// What gzipFilter sees does not come here.
		http + "gzip.v3.Gzip": {fields: gzipRefused("content_length", "content_type", "disable_on_etag_header", "remove_accept_encoding_header")},
		network + "tcp_proxy.v3.TcpProxy": {fields: []rule{
			{old: "deprecated_v1", now: "cluster", why: "a connection is led by the match of its filter chain", apply: tcpRoutes},
		}},
		network + "redis_proxy.v3.RedisProxy": {fields: []rule{
			{old: "cluster", now: "prefix_routes.catch_all_route.cluster", why: "keys lead to clusters by prefix", apply: redisCluster},
		}},
		network + "redis_proxy.v3.RedisProxy.PrefixRoutes": {fields: []rule{
			inside("catch_all_cluster", "catch_all_route", "cluster", "the last route is one like the others"),
		}},
		network + "thrift_proxy.v3.ThriftFilter": {extension: &thriftFilters},
		ext + "filters.common.fault.v3.FaultDelay": {fields: []rule{
			drop("type", "there is one type of delay"), percent,
		}},
		http + "fault.v3.FaultAbort": {fields: []rule{percent}},
		http + "buffer.v3.Buffer":    {fields: []rule{drop("max_request_time", "the route's timeouts limit it since 1.9")}},
		http + "health_check.v3.HealthCheck": {fields: []rule{
			into("endpoint", "headers", earlyWhy, func(_ *walker, _ object, key, value *yaml.Node) *yaml.Node {
				return tree.List(key, tree.Map(key, "name", ":path", "string_match", tree.Map(key, "exact", value)))
			}),
		}},
		http + "dynamic_forward_proxy.v3.PerRouteConfig": {fields: []rule{
			rename("host_rewrite", "host_rewrite_literal", "the field was renamed"),
			rename("auto_host_rewrite_header", "host_rewrite_header", "the field was renamed"),
		}},
	}
}

// tcpRoutes takes the routes that a TCP proxy had before filter chains had matches:
// one that leads everything to one cluster is what a TCP proxy still has.
func tcpRoutes(w *walker, o object, r rule, key, value *yaml.Node) {
	_, routes := tree.Get(value, "routes")
	if routes == nil || routes.Kind != yaml.SequenceNode || len(routes.Content) != 1 || !isMap(routes.Content[0]) || len(routes.Content[0].Content) != 2 {
		w.Refuse(key, join(o.path, r.old), "routes by addresses and ports are no longer a TCP proxy's", "give the listener a filter chain with a filter_chain_match for each")
		return
	}
	_, cluster := tree.Get(routes.Content[0], "cluster")
	if cluster == nil {
		w.Refuse(key, join(o.path, r.old), "the route names no cluster", "write cluster: NAME")
		return
	}
	w.note(o, key, r.old, r.now, r.why)
	w.put(o, key, r.now, cluster)
}

func redisCluster(w *walker, o object, r rule, key, value *yaml.Node) {
	w.note(o, key, r.old, r.now, r.why)
	routes := tree.Inner(o.node, key, "prefix_routes")
	if other, _ := tree.Get(routes, "catch_all_route"); other == nil && isMap(routes) {
		tree.Put(routes, key, "catch_all_route", tree.Map(key, "cluster", value))
	}
}

func gzipRefused(names ...string) (out []rule) {
	for _, name := range names {
		out = append(out, refuse(name, "there is no gzip filter in v3", "configure envoy.filters.http.compressor"))
	}
	return out
}

// gzipFilter makes a compressor of the filter that v3 has no more.
func gzipFilter(w *walker, o object) {
	_, config := tree.Get(o.node, "typed_config")
	url := tree.Value(config, "@type")
	name := url[max(0, len(url)-len(http+"gzip.v3.Gzip")):]
	if name != http+"gzip.v3.Gzip" && w.types[url[len(url)-min(len(url), len("envoy.config.filter.http.gzip.v2.Gzip")):]] != http+"gzip.v3.Gzip" {
		return
	}
	key, _ := tree.Take(o.node, "typed_config")
	_, nameNode := tree.Get(o.node, "name")
	w.note(o, key, "filter "+nameNode.Value, "envoy.filters.http.compressor with a gzip library", "what compresses is given to the compressor filter")
	nameNode.Value = "envoy.filters.http.compressor"
	tree.Take(config, "@type")
	library := tree.Map(key, "@type", typePrefix+ext+"compression.gzip.compressor.v3.Gzip")
	for _, f := range []string{"memory_level", "compression_level", "compression_strategy", "window_bits", "chunk_size"} {
		k, v := tree.Take(config, f)
		if k == nil {
			continue
		}
		if now, ok := gzipWords[f+" "+v.Value]; ok {
			v.Value = now
		}
		tree.Put(library, k, f, v)
	}
	out := tree.Map(key, "@type", typePrefix+http+"compressor.v3.Compressor")
	// In the newest form of v2 these stand in a message of their own, before beside the others.
	_, common := tree.Take(config, "compressor")
	direction := tree.Map(key)
	for _, from := range []*yaml.Node{common, config} {
		gzipCommon(from, direction)
	}
	if len(direction.Content) > 0 {
		tree.Put(out, key, "response_direction_config", direction)
	}
	for _, rest := range []*yaml.Node{common, config} {
		if rest != nil && isMap(rest) {
			out.Content = append(out.Content, rest.Content...) // which is refused where it is read.
		}
	}
	tree.Put(out, key, "compressor_library", tree.Map(key, "name", "gzip", "typed_config", library))
	tree.Put(o.node, key, "typed_config", out)
}

// gzipCommon moves the fields that are the same for all compressors.
func gzipCommon(from, direction *yaml.Node) {
	for _, f := range []struct{ old, outer, now string }{
		{"content_length", "common_config", "min_content_length"},
		{"content_type", "common_config", "content_type"},
		{"runtime_enabled", "common_config", "enabled"},
		{"disable_on_etag_header", "", "disable_on_etag_header"},
		{"remove_accept_encoding_header", "", "remove_accept_encoding_header"},
	} {
		k, v := tree.Take(from, f.old)
		if k == nil {
			continue
		}
		to := direction
		if f.outer != "" {
			to = tree.Inner(direction, k, f.outer)
		}
		tree.Put(to, k, f.now, v)
	}
}

// gzipWords are the values that have other names in the library.
var gzipWords = map[string]string{
	"compression_level DEFAULT":    "DEFAULT_COMPRESSION",
	"compression_level BEST":       "BEST_COMPRESSION",
	"compression_level SPEED":      "BEST_SPEED",
	"compression_strategy DEFAULT": "DEFAULT_STRATEGY",
	"compression_strategy HUFFMAN": "HUFFMAN_ONLY",
	"compression_strategy RLE":     "RLE",
}
