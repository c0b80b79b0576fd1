// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"maps"
	"slices"

	"go.yaml.in/yaml/v4"

	"weir.dev/weir/xds/legacy/tree"
)

func connectionManager() schema {
	const hcm = network + "http_connection_manager.v3.HttpConnectionManager"
	return schema{name: "http_connection_manager", message: hcm, fields: all(
		same("stat_prefix", "add_user_agent", "server_name", "use_remote_address", "generate_request_id"),
		[]field{
			upper("codec_type", "codec_type", "auto", "http1", "http2"),
			nested("route_config", "route_config", "", routeConfig),
			nested("rds", "rds", "", routeDiscovery),
			required(made("filters", "http_filters", "network filters have filters, too", httpChain)),
			nested("tracing", "tracing", "", func() schema {
				return schema{name: "tracing", message: hcm + ".Tracing", fields: []field{
					{name: "operation_name", to: "traffic_direction of the listener", why: "the listener tells it", put: operationName},
					texts("request_headers_for_tags", "custom_tags", "tags come from more than headers", func(item *yaml.Node) *yaml.Node {
						return tree.Map(item, "tag", item, "request_header", tree.Map(item, "name", item))
					}),
				}}
			}),
			nested("http1_settings", "http_protocol_options", "", func() schema {
				return schema{name: "http1_settings", message: core + "Http1ProtocolOptions", fields: same("allow_absolute_url")}
			}),
			nested("http2_settings", "http2_protocol_options", "", http2Settings),
			codecOptions(),
			because(seconds("idle_timeout_s", "common_http_protocol_options.idle_timeout"), "limits of all versions of HTTP stand together"),
			millis("drain_timeout_ms", "drain_timeout"),
			many("access_log", "access_log", "", accessLog),
			upper("forward_client_cert", "forward_client_cert_details", "sanitize", "forward_only", "append_forward", "sanitize_set", "always_forward_only"),
			made("set_current_client_cert_details", "set_current_client_cert_details", "", clientCertDetails),
		})}
}

func operationName(c *conversion, f field, o object, _, v *yaml.Node) {
	switch {
	case v.Kind == yaml.ScalarNode && v.Value == "ingress":
		c.direction = "INBOUND"
	case v.Kind == yaml.ScalarNode && v.Value == "egress":
		c.direction = "OUTBOUND"
	default:
		c.choice(v, o.at(f.name), []string{"ingress", "egress"})
	}
}

func clientCertDetails(c *conversion, v *yaml.Node, path string) *yaml.Node {
	fields := map[string]string{"Subject": "subject", "SAN": "uri"}
	out := tree.Map(v)
	for i, item := range c.items(v, path) {
		name := fields[item.Value]
		if name == "" || item.Kind != yaml.ScalarNode {
			c.choice(item, element(path, i), []string{"Subject", "SAN"})
			continue
		}
		tree.Put(out, item, name, tree.Bool(item, true))
	}
	return out
}

func http2Settings() schema {
	return schema{name: "http2_settings", message: core + "Http2ProtocolOptions", fields: same(
		"hpack_table_size", "max_concurrent_streams", "initial_stream_window_size", "initial_connection_window_size")}
}

// codecOptions are how the first dialect turns off compression of heads.
func codecOptions() field {
	return made("http_codec_options", "http2_protocol_options.hpack_table_size", "options have names", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
		if v.Kind != yaml.ScalarNode || v.Value != "no_compression" {
			c.choice(v, path, []string{"no_compression"})
			return nil
		}
		return tree.Int(v, 0)
	})
}

func accessLog() schema {
	return schema{name: "access log", message: "envoy.config.accesslog.v3.AccessLog", fields: []field{
		required(moved("path", "typed_config.path", "where to is told by an extension")),
		moved("format", "typed_config.log_format.text_format_source.inline_string", "a format is text or JSON"),
		made("filter", "filter", "", accessLogFilter),
	}, then: func(_ *conversion, o object) {
		key, config := tree.Take(o.out, "typed_config")
		if key != nil {
			log := typed(key, "envoy.access_loggers.file", ext+"access_loggers.file.v3.FileAccessLog", config)
			o.out.Content = append(log.Content, o.out.Content...)
		}
	}}
}

const logFilter = "envoy.config.accesslog.v3."

// accessLogFilter converts by the filter's type.
func accessLogFilter(c *conversion, v *yaml.Node, path string) *yaml.Node {
	kinds := map[string]struct {
		name   string
		config func() schema
	}{
		"status_code":       {"status_code_filter", comparison},
		"duration":          {"duration_filter", comparison},
		"not_healthcheck":   {"not_health_check_filter", nothing("not_healthcheck filter")},
		"traceable_request": {"traceable_filter", nothing("traceable_request filter")},
		"runtime": {"runtime_filter", func() schema {
			return schema{name: "runtime filter", message: logFilter + "RuntimeFilter", fields: []field{typeField(), required(moved("key", "runtime_key", ""))}}
		}},
		"logical_and": {"and_filter", severalFilters},
		"logical_or":  {"or_filter", severalFilters},
	}
	_, kind := tree.Get(v, "type")
	if kind == nil || kinds[kind.Value].name == "" {
		unknownKind(c, v, path, kind, slices.Sorted(maps.Keys(kinds)))
		return nil
	}
	k := kinds[kind.Value]
	config := c.object(v, path, k.config())
	if config == nil {
		return nil
	}
	return tree.Map(v, k.name, config)
}

// typeField is the word that an object was chosen by.
func typeField() field {
	return field{name: "type", to: "the field that it is in", why: "what an object is tells the field that it is in"}
}

func nothing(name string) func() schema {
	return func() schema { return schema{name: name, fields: []field{typeField()}} }
}

func severalFilters() schema {
	return schema{name: "logical filter", message: logFilter + "AndFilter", fields: []field{
		typeField(), required(made("filters", "filters", "", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
			return c.list(v, path, func(item *yaml.Node, at string) *yaml.Node { return accessLogFilter(c, item, at) })
		})),
	}}
}

// noKey is what a comparison reads that has no key, which v3 wants: nothing sets it.
const noKey = "access_log.no_key"

func comparison() schema {
	return schema{name: "comparison", message: logFilter + "StatusCodeFilter", fields: []field{
		typeField(),
		required(made("op", "comparison.op", "values of enums are in capitals", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
			words := map[string]string{">=": "GE", "=": "EQ"}
			if v.Kind != yaml.ScalarNode || words[v.Value] == "" {
				c.choice(v, path, []string{">=", "="})
				return nil
			}
			return tree.Text(v, words[v.Value])
		})),
		required(moved("value", "comparison.value.default_value", "runtime may change it")),
		moved("runtime_key", "comparison.value.runtime_key", "runtime may change it"),
	}, then: func(_ *conversion, o object) {
		if key, _ := tree.Get(o.in, "runtime_key"); key == nil {
			place(o.out, o.in, "comparison.value.runtime_key", tree.Text(o.in, noKey))
		}
	}}
}

func httpFilters() map[string]plugin {
	return map[string]plugin{
		"buffer":               {"envoy.filters.http.buffer", http + "buffer.v3.Buffer", "", buffer, nil},
		"cors":                 {"envoy.filters.http.cors", http + "cors.v3.Cors", "", empty("cors"), nil},
		"fault":                {"envoy.filters.http.fault", http + "fault.v3.HTTPFault", "", fault, nil},
		"grpc_http1_bridge":    {"envoy.filters.http.grpc_http1_bridge", http + "grpc_http1_bridge.v3.Config", "", empty("grpc_http1_bridge"), nil},
		"grpc_json_transcoder": {"envoy.filters.http.grpc_json_transcoder", http + "grpc_json_transcoder.v3.GrpcJsonTranscoder", "", transcoder, nil},
		"grpc_web":             {"envoy.filters.http.grpc_web", http + "grpc_web.v3.GrpcWeb", "", empty("grpc_web"), nil},
		"health_check":         {"envoy.filters.http.health_check", http + "health_check.v3.HealthCheck", "", healthCheckFilter, nil},
		"http_dynamo_filter":   {why: "no Envoy has the filter any more"},
		"ip_tagging":           {"envoy.filters.http.ip_tagging", http + "ip_tagging.v3.IPTagging", "", ipTagging, nil},
		"lua":                  {"envoy.filters.http.lua", http + "lua.v3.Lua", "", lua, nil},
		"rate_limit":           {"envoy.filters.http.ratelimit", http + "ratelimit.v3.RateLimit", "", rateLimitFilter, withLimiter},
		"router":               {"envoy.filters.http.router", http + "router.v3.Router", "", routerFilter, nil},
		"squash":               {why: "no Envoy has the filter any more"},
	}
}

func httpChain(c *conversion, v *yaml.Node, path string) *yaml.Node {
	return c.chain(v, path, "HTTP filter", []string{"decoder", "encoder", "both"}, httpFilters())
}

func buffer() schema {
	return schema{name: "buffer", fields: []field{
		required(moved("max_request_bytes", "max_request_bytes", "")),
		dropped("max_request_time_s", "the route's timeouts limit it since 1.9"),
	}}
}

func fault() schema {
	return schema{name: "fault", fields: all(same("upstream_cluster", "downstream_nodes"), []field{
		nested("abort", "abort", "", func() schema {
			return schema{name: "abort", message: http + "fault.v3.FaultAbort", fields: []field{
				required(percent("abort_percent", "percentage")), required(moved("http_status", "http_status", "")),
			}}
		}),
		nested("delay", "delay", "", func() schema {
			return schema{name: "delay", message: ext + "filters.common.fault.v3.FaultDelay", fields: []field{
				constant("type", "fixed"),
				required(percent("fixed_delay_percent", "percentage")), required(millis("fixed_duration_ms", "fixed_delay")),
			}}
		}),
		many("headers", "headers", "", headerMatch),
	})}
}

func transcoder() schema {
	return schema{name: "grpc_json_transcoder", fields: all(same("proto_descriptor", "services"), []field{
		nested("print_options", "print_options", "", func() schema {
			return schema{name: "print_options", message: http + "grpc_json_transcoder.v3.GrpcJsonTranscoder.PrintOptions", fields: same(
				"add_whitespace", "always_print_primitive_fields", "always_print_enums_as_ints", "preserve_proto_field_names")}
		}),
	})}
}

func healthCheckFilter() schema {
	return schema{name: "health_check", fields: []field{
		required(moved("pass_through_mode", "pass_through_mode", "")),
		required(made("endpoint", "headers", "what is a health check is told by any headers", func(_ *conversion, v *yaml.Node, _ string) *yaml.Node {
			return tree.List(v, tree.Map(v, "name", ":path", "string_match", tree.Map(v, "exact", v)))
		})),
		millis("cache_time_ms", "cache_time"),
	}}
}

func ipTagging() schema {
	return schema{name: "ip_tagging", fields: []field{
		upper("request_type", "request_type", "both", "internal", "external"),
		many("ip_tags", "ip_tags", "", func() schema {
			return schema{name: "IP tag", message: http + "ip_tagging.v3.IPTagging.IPTag", fields: []field{
				required(moved("ip_tag_name", "ip_tag_name", "")),
				required(made("ip_list", "ip_list", "", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
					return c.list(v, path, func(item *yaml.Node, at string) *yaml.Node { return c.cidr(item, at) })
				})),
			}}
		}),
	}}
}

func lua() schema {
	return schema{name: "lua", fields: []field{
		required(moved("inline_code", "default_source_code.inline_string", "code can come from elsewhere")),
	}}
}

func rateLimitFilter() schema {
	return schema{name: "rate_limit", fields: all(same("domain", "stage", "request_type"), []field{millis("timeout_ms", "timeout")})}
}

func routerFilter() schema {
	return schema{name: "router", fields: same("dynamic_stats", "start_child_span")}
}
