// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"weir.dev/weir/xds/legacy/tree"
)

const chainWhy = "a listener has several filter chains"

func listener() schema {
	return schema{name: "listener", message: "envoy.config.listener.v3.Listener", fields: all(same("name", "bind_to_port", "use_original_dst", "per_connection_buffer_limit_bytes"), []field{
		address("address", "address"),
		port(),
		required(made("filters", "filter_chains.filters", chainWhy, networkChain)),
		made("ssl_context", "filter_chains.transport_socket", "TLS is one of several transport sockets", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
			config := c.object(v, path, sslContext(true))
			if config == nil {
				return nil
			}
			return typed(v, "envoy.transport_sockets.tls", tls+"DownstreamTlsContext", config)
		}),
		made("use_proxy_proto", "listener_filters", "what reads the first bytes is an extension", func(_ *conversion, v *yaml.Node, _ string) *yaml.Node {
			if !tree.True(v) {
				return nil
			}
			return tree.List(v, typed(v, "envoy.filters.listener.proxy_protocol", ext+"filters.listener.proxy_protocol.v3.ProxyProtocol", tree.Map(v)))
		}),
		upper("drain_type", "drain_type", "default", "modify_only"),
	}), then: func(c *conversion, o object) {
		if key, chain := tree.Take(o.out, "filter_chains"); key != nil {
			tree.Put(o.out, key, "filter_chains", tree.List(key, chain))
		}
		if c.direction != "" {
			tree.Put(o.out, o.in, "traffic_direction", tree.Text(o.in, c.direction))
			c.direction = ""
		}
	}}
}

const tls = ext + "transport_sockets.tls.v3."

// sslContext is that of a listener, or of a cluster.
func sslContext(downstream bool) schema {
	const common, peers = "common_tls_context.", "common_tls_context.validation_context."
	s := schema{name: "ssl_context", message: tls + "UpstreamTlsContext", fields: []field{
		file("cert_chain_file", common+"tls_certificates.certificate_chain"),
		file("private_key_file", common+"tls_certificates.private_key"),
		split("alpn_protocols", common+"alpn_protocols", ","),
		dropped("alt_alpn_protocols", "runtime no longer chooses what is offered"),
		file("ca_cert_file", peers+"trusted_ca"),
		file("crl_file", peers+"crl"),
		made("verify_certificate_hash", peers+"verify_certificate_hash", "there may be several", func(_ *conversion, v *yaml.Node, _ string) *yaml.Node {
			return tree.List(v, v)
		}),
		made("verify_subject_alt_name", peers+"match_subject_alt_names", "names are matched like other texts", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
			if v.Kind == yaml.ScalarNode { // as in the first dialect.
				v = tree.List(v, v)
			}
			return c.list(v, path, func(item *yaml.Node, _ string) *yaml.Node { return tree.Map(item, "exact", item) })
		}),
		split("cipher_suites", common+"tls_params.cipher_suites", ":"),
		split("ecdh_curves", common+"tls_params.ecdh_curves", ":"),
	}, then: func(_ *conversion, o object) {
		_, context := tree.Get(o.out, "common_tls_context")
		if key, pair := tree.Take(context, "tls_certificates"); key != nil {
			tree.Put(context, key, "tls_certificates", tree.List(key, pair))
		}
	}}
	if !downstream {
		s.fields = append(s.fields, same("sni")...)
		return s
	}
	s.message = tls + "DownstreamTlsContext"
	s.fields = append(s.fields, moved("require_client_certificate", "require_client_certificate", ""),
		texts("session_ticket_key_paths", "session_ticket_keys.keys", "what a file holds can come from elsewhere", func(item *yaml.Node) *yaml.Node {
			return tree.Map(item, "filename", item)
		}))
	return s
}

// A plugin is a filter of v1.
type plugin struct {
	// name and message of v3; without a message the filter is refused, with why.
	name, message, why string
	config             func() schema
	// form makes the filter from its configuration, if it is more than that.
	form func(c *conversion, at *yaml.Node, path string, config *yaml.Node) *yaml.Node
}

func networkFilters() map[string]plugin {
	return map[string]plugin{
		"client_ssl_auth": {why: "no Envoy has the filter any more: require client certificates, and authorize by RBAC"},
		"echo":            {"envoy.filters.network.echo", network + "echo.v3.Echo", "", empty("echo"), nil},
		"http_connection_manager": {
			"envoy.filters.network.http_connection_manager", network + "http_connection_manager.v3.HttpConnectionManager", "", connectionManager, nil,
		},
		"mongo_proxy": {"envoy.filters.network.mongo_proxy", network + "mongo_proxy.v3.MongoProxy", "", mongoProxy, nil},
		"ratelimit":   {"envoy.filters.network.ratelimit", network + "ratelimit.v3.RateLimit", "", networkRateLimit, withLimiter},
		"redis_proxy": {"envoy.filters.network.redis_proxy", network + "redis_proxy.v3.RedisProxy", "", redisProxy, nil},
		"tcp_proxy":   {"envoy.filters.network.tcp_proxy", network + "tcp_proxy.v3.TcpProxy", "", tcpProxy, nil},
	}
}

func empty(name string) func() schema {
	return func() schema { return schema{name: name} }
}

func networkChain(c *conversion, v *yaml.Node, path string) *yaml.Node {
	return c.chain(v, path, "network filter", []string{"read", "write", "both"}, networkFilters())
}

// chain converts a list of filters.
func (c *conversion) chain(v *yaml.Node, path, what string, types []string, known map[string]plugin) *yaml.Node {
	return c.list(v, path, func(item *yaml.Node, at string) *yaml.Node {
		out := tree.Map(item)
		if !c.into(object{in: item, out: out, path: at}, filter(what, types)) {
			return nil
		}
		nameKey, name := tree.Get(item, "name")
		_, config := tree.Get(item, "config")
		if name == nil || config == nil {
			return nil
		}
		p, ok := known[name.Value]
		switch {
		case !ok:
			c.Unknown(name, at, what, name.Value, slices.Values(slices.Sorted(maps.Keys(known))), "v1 has "+strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			return nil
		case p.message == "":
			c.Refuse(name, at, what+" "+name.Value+": "+p.why, "remove it")
			return nil
		}
		c.Note(nameKey, at, "", "name "+name.Value, p.name, "extensions are named by where they plug in")
		s := p.config()
		s.message = p.message
		inner := c.object(config, join(at, "config"), s)
		if inner == nil {
			return nil
		}
		if p.form != nil {
			inner = p.form(c, config, join(at, "config"), inner)
		}
		return typed(nameKey, p.name, p.message, inner)
	})
}

// filter is what every filter has.
func filter(what string, types []string) schema {
	return schema{name: what, fields: []field{
		{name: "type", why: "where a filter acts is its own affair", put: func(c *conversion, f field, o object, _, v *yaml.Node) {
			if v.Kind != yaml.ScalarNode || !slices.Contains(types, v.Value) {
				c.choice(v, o.at(f.name), types)
			}
		}},
		required(moved("name", "name", "")),
		required(moved("config", "typed_config", "a configuration says of what type it is")),
	}}
}

func mongoProxy() schema {
	return schema{name: "mongo_proxy", fields: all(same("stat_prefix", "access_log"), []field{
		nested("fault", "delay", "", func() schema {
			return schema{name: "fault of mongo_proxy", message: ext + "filters.common.fault.v3.FaultDelay", fields: []field{
				flat("fixed_delay", "there is one kind of delay", func() schema {
					return schema{name: "fixed_delay", message: ext + "filters.common.fault.v3.FaultDelay", fields: []field{
						percent("percent", "percentage"), millis("duration_ms", "fixed_delay"),
					}}
				}),
			}}
		}),
	})}
}

func networkRateLimit() schema {
	return schema{name: "ratelimit", fields: all(same("stat_prefix", "domain"), []field{
		millis("timeout_ms", "timeout"),
		made("descriptors", "descriptors", "", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
			return c.list(v, path, func(item *yaml.Node, at string) *yaml.Node {
				return tree.Map(item, "entries", c.list(item, at, func(entry *yaml.Node, at string) *yaml.Node {
					return c.object(entry, at, schema{name: "descriptor", message: ext + "common.ratelimit.v3.RateLimitDescriptor.Entry", fields: same("key", "value")})
				}))
			})
		}),
	})}
}

// withLimiter names the rate limit service of the bootstrap.
func withLimiter(c *conversion, at *yaml.Node, path string, config *yaml.Node) *yaml.Node {
	if c.limiter == "" {
		c.Refuse(at, path, "a filter limits rates, and there is no rate_limit_service to ask", "add rate_limit_service")
		return config
	}
	tree.Put(config, at, "rate_limit_service", tree.Map(at,
		"grpc_service", tree.Map(at, "envoy_grpc", tree.Map(at, "cluster_name", c.limiter)), "transport_api_version", "V3"))
	return config
}

func redisProxy() schema {
	return schema{name: "redis_proxy", fields: []field{
		moved("cluster_name", "prefix_routes.catch_all_route.cluster", "keys lead to clusters by prefix"),
		moved("stat_prefix", "stat_prefix", ""),
		nested("conn_pool", "settings", "", func() schema {
			return schema{name: "conn_pool", message: network + "redis_proxy.v3.RedisProxy.ConnPoolSettings", fields: []field{millis("op_timeout_ms", "op_timeout")}}
		}),
	}}
}

func tcpProxy() schema {
	return schema{name: "tcp_proxy", fields: []field{
		moved("stat_prefix", "stat_prefix", ""),
		many("access_log", "access_log", "", accessLog),
		required(flat("route_config", "a connection is led by the match of its filter chain", func() schema {
			return schema{name: "route_config of a tcp_proxy", message: network + "tcp_proxy.v3.TcpProxy", fields: []field{
				required(made("routes", "cluster", "a connection is led by the match of its filter chain", tcpRoutes)),
			}}
		})),
	}}
}

// tcpRoutes takes one route that leads everything to one cluster: that is what a TCP
// proxy of v3 does.
func tcpRoutes(c *conversion, v *yaml.Node, path string) *yaml.Node {
	routes := c.items(v, path)
	if len(routes) != 1 {
		c.Refuse(v, path, "a TCP proxy leads to one cluster since v3", "give a listener of v3 a filter chain with a filter_chain_match for each route")
		return nil
	}
	match := func(name string) field {
		return refused(name, "routes by addresses and ports are no longer a TCP proxy's", "give a listener of v3 a filter chain with a filter_chain_match for each route")
	}
	m := c.object(routes[0], element(path, 0), schema{name: "route of a tcp_proxy", fields: []field{
		required(moved("cluster", "cluster", "")),
		match("source_ip_list"), match("source_ports"), match("destination_ip_list"), match("destination_ports"),
	}})
	_, cluster := tree.Get(m, "cluster")
	return cluster
}
