// SPDX-License-Identifier: Apache-2.0

package v2

import (
	"iter"

	"go.yaml.in/yaml/v4"

	"weir.dev/weir/xds/legacy/tree"
)

// A Kind is a place for extensions, with those that had a form in v2.
type Kind struct {
	// Name in words: "HTTP filter".
	Name string
	// Extensions by their name in v3.
	Extensions []Extension
}

// An Extension of Envoy's.
type Extension struct {
	// Name in v3: envoy.filters.http.cors.
	Name string
	// Type of its configuration in v3.
	Type string
	// PerRoute is the type of its configuration on virtual hosts and routes, if it
	// is not Type; "" if it has none.
	PerRoute string
	// Upstream is its type on clusters, if that is another: of transport sockets.
	Upstream string
	// Old are the names that it had before.
	Old []string
}

// find returns the extension that a name of any version names.
func (k Kind) find(name string) (Extension, bool) {
	for _, x := range k.Extensions {
		if x.Name == name {
			return x, true
		}
		for _, old := range x.Old {
			if old == name {
				return x, true
			}
		}
	}
	return Extension{}, false
}

func (k Kind) names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, x := range k.Extensions {
			if !yield(x.Name) {
				return
			}
			for _, old := range x.Old {
				if !yield(old) {
					return
				}
			}
		}
	}
}

// Kinds are all places where v2 let an extension be configured without a type.
func Kinds() []Kind {
	return []Kind{networkFilters, httpFilters, listenerFilters, accessLoggers, transportSockets, statSinks, tracers,
		retryHosts, retryPriorities, healthCheckers, resourceMonitors, thriftFilters}
}

const (
	ext     = "envoy.extensions."
	network = ext + "filters.network."
	http    = ext + "filters.http."
	socket  = ext + "transport_sockets."
)

func networkFilter(name, message string, old ...string) Extension {
	return Extension{Name: "envoy.filters.network." + name, Type: network + message, Old: old}
}

var networkFilters = Kind{"network filter", []Extension{
	networkFilter("http_connection_manager", "http_connection_manager.v3.HttpConnectionManager", "envoy.http_connection_manager"),
	networkFilter("tcp_proxy", "tcp_proxy.v3.TcpProxy", "envoy.tcp_proxy"),
	networkFilter("client_ssl_auth", "client_ssl_auth.v3.ClientSSLAuth", "envoy.client_ssl_auth"),
	networkFilter("direct_response", "direct_response.v3.Config"),
	networkFilter("dubbo_proxy", "dubbo_proxy.v3.DubboProxy"),
	networkFilter("echo", "echo.v3.Echo", "envoy.echo"),
	networkFilter("ext_authz", "ext_authz.v3.ExtAuthz", "envoy.ext_authz"),
	networkFilter("kafka_broker", "kafka_broker.v3.KafkaBroker"),
	networkFilter("local_ratelimit", "local_ratelimit.v3.LocalRateLimit"),
	networkFilter("mongo_proxy", "mongo_proxy.v3.MongoProxy", "envoy.mongo_proxy"),
	networkFilter("mysql_proxy", "mysql_proxy.v3.MySQLProxy"),
	networkFilter("ratelimit", "ratelimit.v3.RateLimit", "envoy.ratelimit"),
	networkFilter("rbac", "rbac.v3.RBAC"),
	networkFilter("redis_proxy", "redis_proxy.v3.RedisProxy", "envoy.redis_proxy"),
	networkFilter("sni_cluster", "sni_cluster.v3.SniCluster"),
	networkFilter("thrift_proxy", "thrift_proxy.v3.ThriftProxy"),
	networkFilter("zookeeper_proxy", "zookeeper_proxy.v3.ZooKeeperProxy"),
}}

func httpFilter(name, message, perRoute string, old ...string) Extension {
	x := Extension{Name: "envoy.filters.http." + name, Type: http + message, Old: old}
	if perRoute != "" {
		x.PerRoute = http + perRoute
	}
	return x
}

var httpFilters = Kind{"HTTP filter", []Extension{
	httpFilter("adaptive_concurrency", "adaptive_concurrency.v3.AdaptiveConcurrency", ""),
	httpFilter("aws_lambda", "aws_lambda.v3.Config", "aws_lambda.v3.PerRouteConfig"),
	httpFilter("aws_request_signing", "aws_request_signing.v3.AwsRequestSigning", ""),
	httpFilter("buffer", "buffer.v3.Buffer", "buffer.v3.BufferPerRoute", "envoy.buffer"),
	httpFilter("cache", "cache.v3.CacheConfig", ""),
	httpFilter("compressor", "compressor.v3.Compressor", ""),
	httpFilter("cors", "cors.v3.Cors", "cors.v3.CorsPolicy", "envoy.cors"),
	httpFilter("csrf", "csrf.v3.CsrfPolicy", "csrf.v3.CsrfPolicy", "envoy.csrf"),
	httpFilter("dynamic_forward_proxy", "dynamic_forward_proxy.v3.FilterConfig", "dynamic_forward_proxy.v3.PerRouteConfig"),
	httpFilter("dynamo", "dynamo.v3.Dynamo", "", "envoy.http_dynamo_filter"),
	httpFilter("ext_authz", "ext_authz.v3.ExtAuthz", "ext_authz.v3.ExtAuthzPerRoute", "envoy.ext_authz"),
	httpFilter("fault", "fault.v3.HTTPFault", "fault.v3.HTTPFault", "envoy.fault"),
	httpFilter("grpc_http1_bridge", "grpc_http1_bridge.v3.Config", "", "envoy.grpc_http1_bridge"),
	httpFilter("grpc_http1_reverse_bridge", "grpc_http1_reverse_bridge.v3.FilterConfig", "grpc_http1_reverse_bridge.v3.FilterConfigPerRoute"),
	httpFilter("grpc_json_transcoder", "grpc_json_transcoder.v3.GrpcJsonTranscoder", "grpc_json_transcoder.v3.GrpcJsonTranscoder", "envoy.grpc_json_transcoder"),
	httpFilter("grpc_stats", "grpc_stats.v3.FilterConfig", ""),
	httpFilter("grpc_web", "grpc_web.v3.GrpcWeb", "", "envoy.grpc_web"),
	httpFilter("gzip", "gzip.v3.Gzip", "", "envoy.gzip"),
	httpFilter("header_to_metadata", "header_to_metadata.v3.Config", "header_to_metadata.v3.Config"),
	httpFilter("health_check", "health_check.v3.HealthCheck", "", "envoy.health_check"),
	httpFilter("ip_tagging", "ip_tagging.v3.IPTagging", "", "envoy.ip_tagging"),
	httpFilter("jwt_authn", "jwt_authn.v3.JwtAuthentication", "jwt_authn.v3.PerRouteConfig"),
	httpFilter("lua", "lua.v3.Lua", "lua.v3.LuaPerRoute", "envoy.lua"),
	httpFilter("on_demand", "on_demand.v3.OnDemand", ""),
	httpFilter("original_src", "original_src.v3.OriginalSrc", ""),
	httpFilter("ratelimit", "ratelimit.v3.RateLimit", "ratelimit.v3.RateLimitPerRoute", "envoy.rate_limit"),
	httpFilter("rbac", "rbac.v3.RBAC", "rbac.v3.RBACPerRoute"),
	httpFilter("router", "router.v3.Router", "", "envoy.router"),
	httpFilter("squash", "squash.v3.Squash", "", "envoy.squash"),
	httpFilter("tap", "tap.v3.Tap", ""),
}}

func listenerFilter(name, message string) Extension {
	return Extension{Name: "envoy.filters.listener." + name, Type: ext + "filters.listener." + name + ".v3." + message, Old: []string{"envoy.listener." + name}}
}

var listenerFilters = Kind{"listener filter", []Extension{
	listenerFilter("http_inspector", "HttpInspector"),
	listenerFilter("original_dst", "OriginalDst"),
	listenerFilter("original_src", "OriginalSrc"),
	listenerFilter("proxy_protocol", "ProxyProtocol"),
	listenerFilter("tls_inspector", "TlsInspector"),
}}

var accessLoggers = Kind{"access logger", []Extension{
	{Name: "envoy.access_loggers.file", Type: ext + "access_loggers.file.v3.FileAccessLog", Old: []string{"envoy.file_access_log"}},
	{Name: "envoy.access_loggers.http_grpc", Type: ext + "access_loggers.grpc.v3.HttpGrpcAccessLogConfig", Old: []string{"envoy.http_grpc_access_log"}},
	{Name: "envoy.access_loggers.tcp_grpc", Type: ext + "access_loggers.grpc.v3.TcpGrpcAccessLogConfig", Old: []string{"envoy.tcp_grpc_access_log"}},
}}

var transportSockets = Kind{"transport socket", []Extension{
	{Name: "envoy.transport_sockets.tls", Type: socket + "tls.v3.DownstreamTlsContext", Upstream: socket + "tls.v3.UpstreamTlsContext", Old: []string{"tls"}},
	{Name: "envoy.transport_sockets.raw_buffer", Type: socket + "raw_buffer.v3.RawBuffer", Old: []string{"raw_buffer"}},
	{Name: "envoy.transport_sockets.alts", Type: socket + "alts.v3.Alts"},
	{Name: "envoy.transport_sockets.tap", Type: socket + "tap.v3.Tap"},
}}

var statSinks = Kind{"stats sink", []Extension{
	{Name: "envoy.stat_sinks.statsd", Type: "envoy.config.metrics.v3.StatsdSink", Old: []string{"envoy.statsd"}},
	{Name: "envoy.stat_sinks.dog_statsd", Type: "envoy.config.metrics.v3.DogStatsdSink", Old: []string{"envoy.dog_statsd"}},
	{Name: "envoy.stat_sinks.hystrix", Type: "envoy.config.metrics.v3.HystrixSink"},
	{Name: "envoy.stat_sinks.metrics_service", Type: "envoy.config.metrics.v3.MetricsServiceConfig", Old: []string{"envoy.metrics_service"}},
}}

var tracers = Kind{"tracer", []Extension{
	{Name: "envoy.tracers.datadog", Type: "envoy.config.trace.v3.DatadogConfig"},
	{Name: "envoy.tracers.dynamic_ot", Type: "envoy.config.trace.v3.DynamicOtConfig", Old: []string{"envoy.dynamic.ot"}},
	{Name: "envoy.tracers.lightstep", Type: "envoy.config.trace.v3.LightstepConfig", Old: []string{"envoy.lightstep"}},
	{Name: "envoy.tracers.opencensus", Type: "envoy.config.trace.v3.OpenCensusConfig"},
	{Name: "envoy.tracers.zipkin", Type: "envoy.config.trace.v3.ZipkinConfig", Old: []string{"envoy.zipkin"}},
}}

var retryHosts = Kind{"retry host predicate", []Extension{
	{Name: "envoy.retry_host_predicates.omit_canary_hosts", Type: ext + "retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate"},
	{Name: "envoy.retry_host_predicates.omit_host_metadata", Type: ext + "retry.host.omit_host_metadata.v3.OmitHostMetadataConfig"},
	{Name: "envoy.retry_host_predicates.previous_hosts", Type: ext + "retry.host.previous_hosts.v3.PreviousHostsPredicate"},
}}

var retryPriorities = Kind{"retry priority", []Extension{
	{Name: "envoy.retry_priorities.previous_priorities", Type: ext + "retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"},
}}

var healthCheckers = Kind{"health checker", []Extension{
	{Name: "envoy.health_checkers.redis", Type: ext + "health_checkers.redis.v3.Redis"},
}}

var resourceMonitors = Kind{"resource monitor", []Extension{
	{Name: "envoy.resource_monitors.fixed_heap", Type: ext + "resource_monitors.fixed_heap.v3.FixedHeapConfig"},
	{Name: "envoy.resource_monitors.injected_resource", Type: ext + "resource_monitors.injected_resource.v3.InjectedResourceConfig"},
}}

var thriftFilters = Kind{"thrift filter", []Extension{
	{Name: "envoy.filters.thrift.rate_limit", Type: network + "thrift_proxy.filters.ratelimit.v3.RateLimit", Old: nil},
	{Name: "envoy.filters.thrift.router", Type: network + "thrift_proxy.router.v3.Router"},
}}

// extension gives an extension its name of v3, and its configuration a type.
func (w *walker) extension(o object, k Kind) {
	nameKey, name := tree.Get(o.node, "name")
	if name == nil || name.Kind != yaml.ScalarNode {
		return
	}
	x, known := k.find(name.Value)
	if known && name.Value != x.Name {
		w.note(o, nameKey, "name "+name.Value, x.Name, "extensions are named by where they plug in since 1.14")
		name.Value, name.Tag = x.Name, "!!str"
	}
	if key, old := tree.Take(o.node, "deprecated_v1"); key != nil {
		if _, typ := tree.Take(old, "type"); typ != nil && len(old.Content) == 0 {
			w.note(o, key, "deprecated_v1.type", "", "where a filter acts is its own affair")
		} else {
			w.Refuse(key, o.path, "deprecated_v1 has no meaning in v3", "remove it")
		}
	}
	key, value := tree.Take(o.node, "config")
	typedKey, typed := tree.Get(o.node, "typed_config")
	switch {
	case key != nil && !known:
		w.Unknown(key, join(o.path, "config"), k.Name, name.Value, k.names(), "a "+k.Name+" of v3 has typed_config, with an \"@type\"")
		return
	case key != nil && typed != nil:
		w.Refuse(key, o.path, "config is the older form of typed_config, and both are given", "keep typed_config")
		return
	case key != nil:
		if value.Kind != yaml.MappingNode {
			w.Refuse(value, join(o.path, "config"), "found "+tree.Describe(value)+", want a mapping", "write config: {}")
			return
		}
		w.note(o, key, "config", "typed_config of "+w.typeOf(x), "a configuration says of what type it is")
		tree.Put(o.node, key, "typed_config", w.withType(key, w.typeOf(x), value))
		return
	case !known || typed != nil && (typed.Kind != yaml.MappingNode || len(typed.Content) > 0):
		return
	}
	if other, _ := tree.Get(o.node, "config_discovery"); other != nil {
		return
	}
	if typed != nil {
		w.note(o, typedKey, "typed_config {}", w.typeOf(x), "what is empty still says of what type it is")
		tree.Take(o.node, "typed_config")
	} else {
		w.note(o, nameKey, "no typed_config", "an empty "+w.typeOf(x), "a configuration says of what type it is")
	}
	tree.Put(o.node, nameKey, "typed_config", w.withType(nameKey, w.typeOf(x), tree.Map(nameKey)))
}

// typeOf is the type of an extension's configuration on the side that the walk is on.
func (w *walker) typeOf(x Extension) string {
	if w.side == upstream && x.Upstream != "" {
		return x.Upstream
	}
	return x.Type
}

// withType puts "@type" before the fields of an untyped configuration.
func (w *walker) withType(at *yaml.Node, name string, fields *yaml.Node) *yaml.Node {
	out := tree.Map(at, "@type", typePrefix+name)
	out.Content = append(out.Content, fields.Content...)
	return out
}
