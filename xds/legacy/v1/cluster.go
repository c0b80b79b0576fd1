// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"strings"

	"go.yaml.in/yaml/v4"

	"weir.dev/weir/xds/legacy/tree"
)

const (
	cluster    = "envoy.config.cluster.v3."
	clusterWhy = "clusters that others are found by are clusters like others"
)

// discovery is what asks for hosts by version 1 of the API.
type discovery struct {
	cluster string
	delay   *yaml.Node
}

func clusterManager() schema {
	return schema{name: "cluster_manager", message: "envoy.config.bootstrap.v3.Bootstrap", fields: []field{
		{name: "clusters", to: "static_resources.clusters", why: topWhy, need: true, inner: clusterEntry, put: func(c *conversion, f field, o object, key, v *yaml.Node) {
			for i, item := range c.items(v, o.at(f.name)) {
				addCluster(c, o, key, item, element(o.at(f.name), i))
			}
		}},
		flat("sds", "each cluster says how its hosts are found", func() schema {
			return schema{name: "sds", message: "envoy.config.bootstrap.v3.Bootstrap", fields: []field{
				required(discoveryCluster()),
				required(field{name: "refresh_delay_ms", to: "refresh_delay of each cluster's registration", why: durationWhy,
					put: func(c *conversion, f field, o object, _, v *yaml.Node) { c.duration(v, o.at(f.name), 1000) }}),
			}}
		}),
		flat("cds", "each kind of resource says where it comes from", clusterDiscovery),
		moved("local_cluster_name", "cluster_manager.local_cluster_name", ""),
		nested("outlier_detection", "cluster_manager.outlier_detection", "", func() schema {
			return schema{name: "outlier_detection", message: "envoy.config.bootstrap.v3.ClusterManager.OutlierDetection", fields: same("event_log_path")}
		}),
	}}
}

// discoveryCluster is the cluster that a discovery asks, given where it is used.
func discoveryCluster() field {
	return field{name: "cluster", to: "static_resources.clusters", why: clusterWhy, inner: clusterEntry, put: func(c *conversion, f field, o object, key, v *yaml.Node) {
		addCluster(c, o, key, v, o.at(f.name))
	}}
}

func addCluster(c *conversion, o object, key, v *yaml.Node, path string) {
	if m := c.object(v, path, clusterEntry()); m != nil {
		tree.Append(tree.Inner(o.out, key, "static_resources"), key, "clusters", m)
	}
}

func clusterEntry() schema {
	return schema{name: "cluster", message: cluster + "Cluster", fields: all(
		[]field{
			required(moved("name", "name", "")),
			required(field{name: "type", to: "type", why: "values of enums are in capitals", put: clusterType}),
			required(millis("connect_timeout_ms", "connect_timeout")),
			required(made("lb_type", "lb_policy", "values of enums are in capitals", balancer)),
			{name: "hosts", to: "load_assignment", why: "an endpoint has more than an address", put: hosts},
			{name: "service_name", to: "service_name of the cluster's registration", why: "it is what the discovery is asked for",
				put: func(*conversion, field, object, *yaml.Node, *yaml.Node) {}},
			made("health_check", "health_checks", "a cluster can have several", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
				m := healthCheck(c, v, path)
				if m == nil {
					return nil
				}
				return tree.List(v, m)
			}),
			with(thresholds, made("circuit_breakers", "circuit_breakers.thresholds", "breakers of all priorities stand in a list", breakers)),
			made("ssl_context", "transport_socket", "TLS is one of several transport sockets", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
				config := c.object(v, path, sslContext(false))
				if config == nil {
					return nil
				}
				return typed(v, "envoy.transport_sockets.tls", tls+"UpstreamTlsContext", config)
			}),
			{name: "features", to: "http2_protocol_options", why: "a protocol is chosen by its options", put: features},
			nested("http2_settings", "http2_protocol_options", "", http2Settings),
			codecOptions(),
			millis("cleanup_interval_ms", "cleanup_interval"),
			millis("dns_refresh_rate_ms", "dns_refresh_rate"),
			upper("dns_lookup_family", "dns_lookup_family", "v4_only", "v6_only", "auto"),
			made("dns_resolvers", "dns_resolvers", "", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
				return c.list(v, path, func(item *yaml.Node, at string) *yaml.Node {
					if text, ok := c.text(item, at); ok {
						return c.hostPort(item, at, text)
					}
					return nil
				})
			}),
			nested("ring_hash_lb_config", "ring_hash_lb_config", "", func() schema {
				return schema{name: "ring_hash_lb_config", message: cluster + "Cluster.RingHashLbConfig", fields: []field{
					moved("minimum_ring_size", "minimum_ring_size", ""),
					made("use_std_hash", "hash_function", "hash functions have names", func(_ *conversion, v *yaml.Node, _ string) *yaml.Node {
						if tree.True(v) {
							return tree.Text(v, stdHash)
						}
						return tree.Text(v, "XX_HASH")
					}),
				}}
			}),
			nested("outlier_detection", "outlier_detection", "", outlierDetection),
		},
		same("per_connection_buffer_limit_bytes", "max_requests_per_connection")), then: clusterDefaults}
}

// stdHash is what C++'s standard library hashes by where Envoy was built.
const stdHash = "MURMUR_HASH_2"

// clusterDefaults sets what v1 does and v3 does not by itself.
func clusterDefaults(c *conversion, o object) {
	kind := tree.Value(o.in, "type")
	if key, _ := tree.Get(o.out, "dns_lookup_family"); key == nil && (kind == "strict_dns" || kind == "logical_dns") {
		c.note(o, o.in, "no dns_lookup_family", "dns_lookup_family V4_ONLY", "it was v1's default")
		tree.Put(o.out, o.in, "dns_lookup_family", tree.Text(o.in, "V4_ONLY"))
	}
	if tree.Value(o.in, "lb_type") == "ring_hash" {
		ring := tree.Inner(o.out, o.in, "ring_hash_lb_config")
		if key, _ := tree.Get(ring, "hash_function"); key == nil {
			c.note(o, o.in, "no use_std_hash", "ring_hash_lb_config.hash_function "+stdHash, "it was v1's default")
			tree.Put(ring, o.in, "hash_function", tree.Text(o.in, stdHash))
		}
	}
}

func clusterType(c *conversion, f field, o object, key, v *yaml.Node) {
	words := []string{"static", "strict_dns", "logical_dns", "original_dst", "sds"}
	switch {
	case v.Kind != yaml.ScalarNode:
		c.choice(v, o.at(f.name), words)
	case v.Value == "sds":
		registration(c, o, key)
	default:
		for _, w := range words {
			if v.Value == w {
				tree.Put(o.out, key, f.to, tree.Text(v, strings.ToUpper(w)))
				return
			}
		}
		c.choice(v, o.at(f.name), words)
	}
}

// registration makes a cluster find its hosts by version 1 of the API.
func registration(c *conversion, o object, key *yaml.Node) {
	if c.sds == nil {
		c.Refuse(key, o.at("type"), "a cluster of type sds, and there is no cluster_manager.sds to ask", "add cluster_manager.sds")
		return
	}
	_, service := tree.Get(o.in, "service_name")
	if service == nil {
		c.Refuse(o.in, o.path, "a cluster of type sds without service_name", "add service_name: what the discovery is asked for")
		return
	}
	if c.sds.delay == nil {
		return // which is refused where it is missing.
	}
	delay := c.duration(c.sds.delay, "cluster_manager.sds.refresh_delay_ms", 1000)
	if delay == nil {
		return
	}
	c.note(o, key, "type sds", "cluster_type "+RegistrationName, "version 1 of discovery is an extension")
	tree.Put(o.out, key, "cluster_type", Registration(key, c.sds.cluster, service, delay))
}

// The extension that discovers hosts by version 1 of the API.
const (
	RegistrationName = "weir.clusters.registration"
	RegistrationType = "weir.dev.clusters.Registration"
)

// Registration is the cluster_type of a cluster that asks another one, by version 1
// of the API, for the hosts of a service.
func Registration(at *yaml.Node, cluster string, service, delay *yaml.Node) *yaml.Node {
	return typed(at, RegistrationName, "xds.type.v3.TypedStruct", tree.Map(at,
		"type_url", prefix+RegistrationType,
		"value", tree.Map(at, "cluster", cluster, "service_name", service, "refresh_delay", delay)))
}

func balancer(c *conversion, v *yaml.Node, path string) *yaml.Node {
	words := map[string]string{
		"round_robin": "ROUND_ROBIN", "least_request": "LEAST_REQUEST", "random": "RANDOM", "ring_hash": "RING_HASH", "original_dst_lb": "CLUSTER_PROVIDED",
	}
	if v.Kind != yaml.ScalarNode || words[v.Value] == "" {
		c.choice(v, path, []string{"round_robin", "least_request", "random", "ring_hash", "original_dst_lb"})
		return nil
	}
	return tree.Text(v, words[v.Value])
}

func hosts(c *conversion, f field, o object, key, v *yaml.Node) {
	if tree.Value(o.in, "type") == "sds" {
		c.Refuse(key, o.at(f.name), "a cluster of type sds has no hosts of its own", "remove them")
		return
	}
	endpoints := c.list(v, o.at(f.name), func(item *yaml.Node, at string) *yaml.Node {
		host := c.object(item, at, schema{name: "host", message: "envoy.config.endpoint.v3.Endpoint", fields: []field{required(address("url", "address"))}})
		if host == nil {
			return nil
		}
		return tree.Map(item, "endpoint", host)
	})
	tree.Put(o.out, key, f.to, tree.Map(key, "cluster_name", tree.Value(o.in, "name"),
		"endpoints", tree.List(key, tree.Map(key, "lb_endpoints", endpoints))))
}

// features lists protocols, of which there was one.
func features(c *conversion, f field, o object, key, v *yaml.Node) {
	text, ok := c.text(v, o.at(f.name))
	if !ok {
		return
	}
	for word := range strings.SplitSeq(text, ",") {
		switch strings.TrimSpace(word) {
		case "":
		case "http2":
			if has, _ := tree.Get(o.in, "http2_settings"); has == nil {
				tree.Inner(o.out, key, f.to)
			}
		default:
			c.choice(tree.Text(v, strings.TrimSpace(word)), o.at(f.name), []string{"http2"})
		}
	}
}

func breakers(c *conversion, v *yaml.Node, path string) *yaml.Node {
	list := tree.List(v)
	threshold := func(name string) field {
		return field{name: name, to: "thresholds", put: func(c *conversion, f field, o object, _, v *yaml.Node) {
			m := tree.Map(v, "priority", strings.ToUpper(f.name))
			if c.into(object{in: v, out: m, path: o.at(f.name)}, thresholds()) {
				list.Content = append(list.Content, m)
			}
		}, inner: thresholds}
	}
	if c.object(v, path, schema{name: "circuit_breakers", fields: []field{threshold("default"), threshold("high")}}) == nil {
		return nil
	}
	return list
}

func thresholds() schema {
	return schema{name: "circuit breaker", message: cluster + "CircuitBreakers.Thresholds", fields: same("max_connections", "max_pending_requests", "max_requests", "max_retries")}
}

func outlierDetection() schema {
	return schema{name: "outlier_detection", message: cluster + "OutlierDetection", fields: all([]field{
		millis("interval_ms", "interval"), millis("base_ejection_time_ms", "base_ejection_time"),
		moved("enforcing", "enforcing_consecutive_5xx", "there are several kinds of enforcement"),
	}, same("consecutive_5xx", "consecutive_gateway_failure", "max_ejection_percent", "enforcing_consecutive_5xx",
		"enforcing_consecutive_gateway_failure", "enforcing_success_rate", "success_rate_minimum_hosts",
		"success_rate_request_volume", "success_rate_stdev_factor"))}
}

func healthCheck(c *conversion, v *yaml.Node, path string) *yaml.Node {
	kinds := map[string]string{"http": "http_health_check", "tcp": "tcp_health_check", "redis": "custom_health_check"}
	_, kind := tree.Get(v, "type")
	if kind == nil || kinds[kind.Value] == "" {
		unknownKind(c, v, path, kind, []string{"http", "tcp", "redis"})
		return nil
	}
	return c.object(v, path, healthCheckOf(kind.Value))
}

func healthCheckOf(kind string) schema {
	s := schema{name: kind + " health check", message: core + "HealthCheck", fields: all([]field{
		typeField(),
		required(millis("timeout_ms", "timeout")), required(millis("interval_ms", "interval")), millis("interval_jitter_ms", "interval_jitter"),
		required(moved("unhealthy_threshold", "unhealthy_threshold", "")), required(moved("healthy_threshold", "healthy_threshold", "")),
	}, same("interval_jitter_percent", "reuse_connection"))}
	switch kind {
	case "http":
		s.fields = append(s.fields,
			required(moved("path", "http_health_check.path", "what is sent stands together")),
			moved("service_name", "http_health_check.service_name_matcher.prefix", matcherWhy))
	case "tcp":
		s.fields = append(s.fields,
			made("send", "tcp_health_check.send", "what is sent stands together", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
				text := ""
				for _, part := range binaries(c, v, path).Content {
					text += part.Value
				}
				if text == "" {
					return nil
				}
				return tree.Map(v, "text", text)
			}),
			made("receive", "tcp_health_check.receive", "what is sent stands together", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
				out := tree.List(v)
				for _, part := range binaries(c, v, path).Content {
					out.Content = append(out.Content, tree.Map(part, "text", part))
				}
				return out
			}))
		s.then = func(_ *conversion, o object) { tree.Inner(o.out, o.in, "tcp_health_check") }
	case "redis":
		s.fields = append(s.fields, moved("redis_key", "custom_health_check.typed_config.key", "checks of a protocol are extensions"))
		s.then = func(_ *conversion, o object) {
			_, check := tree.Take(o.out, "custom_health_check")
			_, config := tree.Get(check, "typed_config")
			if config == nil {
				config = tree.Map(o.in)
			}
			tree.Put(o.out, o.in, "custom_health_check", typed(o.in, "envoy.health_checkers.redis", ext+"health_checkers.redis.v3.Redis", config))
		}
	}
	return s
}

// binaries are the texts in hexadecimals of a list of {binary: ...}.
func binaries(c *conversion, v *yaml.Node, path string) *yaml.Node {
	return c.list(v, path, func(item *yaml.Node, at string) *yaml.Node {
		m := c.object(item, at, schema{name: "health check's bytes", message: core + "HealthCheck.Payload", fields: []field{required(moved("binary", "text", ""))}})
		_, text := tree.Get(m, "text")
		if text == nil || text.Kind != yaml.ScalarNode {
			return nil
		}
		return tree.Text(text, text.Value)
	})
}
