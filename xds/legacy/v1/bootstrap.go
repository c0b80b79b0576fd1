// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"go.yaml.in/yaml/v4"

	"weir.dev/weir/xds/legacy/tree"
)

const (
	topWhy      = "what does not change while it runs stands together"
	sinkWhy     = "sinks of statistics are extensions"
	watchdogWhy = "its times stand together"
)

func bootstrap() schema {
	return schema{name: "bootstrap", message: "envoy.config.bootstrap.v3.Bootstrap", fields: all([]field{
		required(many("listeners", "static_resources.listeners", topWhy, listener)),
		nested("admin", "admin", "", admin),
		required(flat("cluster_manager", topWhy, clusterManager)),
		nested("lds", "dynamic_resources.lds_config", "", listenerDiscovery),
		made("statsd_udp_ip_address", "stats_sinks", sinkWhy, func(c *conversion, v *yaml.Node, path string) *yaml.Node {
			text, ok := c.text(v, path)
			if !ok {
				return nil
			}
			address := c.hostPort(v, path, text)
			if address == nil {
				return nil
			}
			return statsd(v, "address", address)
		}),
		made("statsd_local_udp_port", "stats_sinks", sinkWhy, func(_ *conversion, v *yaml.Node, _ string) *yaml.Node {
			return statsd(v, "address", socketAddress(v, "127.0.0.1", v))
		}),
		made("statsd_tcp_cluster_name", "stats_sinks", sinkWhy, func(_ *conversion, v *yaml.Node, _ string) *yaml.Node {
			return statsd(v, "tcp_cluster_name", v)
		}),
		millis("stats_flush_interval_ms", "stats_flush_interval"),
		because(millis("watchdog_miss_timeout_ms", "watchdog.miss_timeout"), watchdogWhy),
		because(millis("watchdog_megamiss_timeout_ms", "watchdog.megamiss_timeout"), watchdogWhy),
		because(millis("watchdog_kill_timeout_ms", "watchdog.kill_timeout"), watchdogWhy),
		because(millis("watchdog_multikill_timeout_ms", "watchdog.multikill_timeout"), watchdogWhy),
		nested("tracing", "tracing", "", tracing),
		// The service goes where it is used: see withLimiter.
		{name: "rate_limit_service", to: "rate_limit_service of each ratelimit filter", why: "each filter says whom it asks", inner: rateLimitService,
			put: func(c *conversion, f field, o object, _, v *yaml.Node) { c.object(v, o.at(f.name), rateLimitService()) }},
		made("runtime", "layered_runtime", "v3 has layers of runtime", layers),
	}, same("flags_path")), then: func(_ *conversion, o object) { joinSinks(o.out) }}
}

// because gives a field another reason.
func because(f field, why string) field {
	f.why = why
	return f
}

func statsd(at *yaml.Node, name string, value *yaml.Node) *yaml.Node {
	return tree.List(at, typed(at, "envoy.stat_sinks.statsd", "envoy.config.metrics.v3.StatsdSink", tree.Map(at, name, value)))
}

// joinSinks makes one list of the sinks, which came from several fields.
func joinSinks(m *yaml.Node) {
	key, first := tree.Get(m, "stats_sinks")
	if key == nil {
		return
	}
	sinks := tree.List(first)
	for {
		k, list := tree.Take(m, "stats_sinks")
		if k == nil {
			break
		}
		sinks.Content = append(sinks.Content, list.Content...)
	}
	tree.Put(m, key, "stats_sinks", sinks)
}

func admin() schema {
	return schema{name: "admin", message: "envoy.config.bootstrap.v3.Admin", fields: all(
		same("access_log_path", "profile_path"), []field{address("address", "address"), port()})}
}

// layers turns the runtime into the layers that Envoy made of it.
func layers(c *conversion, v *yaml.Node, path string) *yaml.Node {
	m := c.object(v, path, schema{name: "runtime", message: "envoy.config.bootstrap.v3.Runtime", fields: all(
		[]field{required(moved("symlink_root", "symlink_root", ""))}, same("subdirectory", "override_subdirectory"))})
	if m == nil {
		return nil
	}
	_, root := tree.Get(m, "symlink_root")
	_, sub := tree.Get(m, "subdirectory")
	_, over := tree.Get(m, "override_subdirectory")
	if root == nil {
		return nil
	}
	disk := tree.Map(v, "symlink_root", root)
	if sub != nil {
		tree.Put(disk, v, "subdirectory", sub)
	}
	list := tree.List(v, tree.Map(v, "name", "root", "disk_layer", disk))
	if over != nil {
		list.Content = append(list.Content, tree.Map(v, "name", "override",
			"disk_layer", tree.Map(v, "symlink_root", root, "subdirectory", over, "append_service_cluster", true)))
	}
	list.Content = append(list.Content, tree.Map(v, "name", "admin", "admin_layer", tree.Map(v)))
	return tree.Map(v, "layers", list)
}

func rateLimitService() schema {
	return schema{name: "rate limit service", message: "envoy.config.ratelimit.v3.RateLimitServiceConfig", fields: []field{
		required(constant("type", "grpc_service")),
		required(nested("config", "grpc_service", "", func() schema {
			return schema{name: "rate limit service's config", message: core + "GrpcService", fields: []field{
				required(moved("cluster_name", "envoy_grpc.cluster_name", "")),
			}}
		})),
	}}
}

// constant is for a word of which there was one.
func constant(name, only string) field {
	return field{name: name, why: "there is one kind", put: func(c *conversion, f field, o object, _, value *yaml.Node) {
		if value.Kind != yaml.ScalarNode || value.Value != only {
			c.choice(value, o.at(f.name), []string{only})
		}
	}}
}

func tracing() schema {
	return schema{name: "tracing", message: "envoy.config.trace.v3.Tracing", fields: []field{
		nested("http", "http", "", func() schema {
			return schema{name: "tracing of HTTP", message: "envoy.config.trace.v3.Tracing.Http", fields: []field{
				flat("driver", "a tracer is an extension", driver),
			}}
		}),
	}}
}

func driver() schema {
	types := map[string]string{"lightstep": "envoy.config.trace.v3.LightstepConfig", "zipkin": "envoy.config.trace.v3.ZipkinConfig"}
	return schema{name: "driver", message: "envoy.config.trace.v3.Tracing.Http", fields: []field{
		required(field{name: "type", to: "name", why: "a tracer is an extension", put: func(c *conversion, f field, o object, _, v *yaml.Node) {
			if v.Kind != yaml.ScalarNode || types[v.Value] == "" {
				c.choice(v, o.at(f.name), []string{"lightstep", "zipkin"})
			}
		}}),
		moved("access_token_file", "typed_config.access_token_file", "the first dialect of v1 has it outside of config"),
		required(flat("config", "a configuration says of what type it is", func() schema {
			return schema{name: "driver's config", message: "envoy.config.trace.v3.Tracing.Http", fields: []field{
				moved("collector_cluster", "typed_config.collector_cluster", ""),
				moved("collector_endpoint", "typed_config.collector_endpoint", ""),
				moved("access_token_file", "typed_config.access_token_file", ""),
			}}
		})),
	}, then: func(c *conversion, o object) {
		kind := tree.Value(o.in, "type")
		_, config := tree.Take(o.out, "typed_config")
		if types[kind] == "" || config == nil {
			return
		}
		o.out.Content = append(o.out.Content, typed(o.in, "envoy.tracers."+kind, types[kind], config).Content...)
	}}
}

// globals reads what other objects depend on, wherever it stands.
func (c *conversion) globals(root *yaml.Node) {
	_, service := tree.Get(root, "rate_limit_service")
	_, config := tree.Get(service, "config")
	c.limiter = tree.Value(config, "cluster_name")
	_, manager := tree.Get(root, "cluster_manager")
	if key, sds := tree.Get(manager, "sds"); key != nil {
		_, cluster := tree.Get(sds, "cluster")
		_, delay := tree.Get(sds, "refresh_delay_ms")
		c.sds = &discovery{cluster: tree.Value(cluster, "name"), delay: delay}
	}
}
