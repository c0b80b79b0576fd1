// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"weir.dev/weir/xds/legacy/tree"
)

const (
	route      = "envoy.config.route.v3."
	matchWhy   = "what a route is for stands together"
	actionWhy  = "what a route does stands together"
	matcherWhy = "texts are matched by a StringMatcher"
)

func routeConfig() schema {
	return schema{name: "route_config", message: route + "RouteConfiguration", fields: all(
		same("name", "internal_only_headers", "response_headers_to_remove", "validate_clusters"),
		[]field{
			required(many("virtual_hosts", "virtual_hosts", "", virtualHost)),
			headers("response_headers_to_add"), headers("request_headers_to_add"),
		})}
}

func virtualHost() schema {
	return schema{name: "virtual host", message: route + "VirtualHost", fields: []field{
		required(moved("name", "name", "")), required(moved("domains", "domains", "")),
		required(many("routes", "routes", "", routeEntry)),
		upper("require_ssl", "require_tls", "all", "external_only"),
		many("virtual_clusters", "virtual_clusters", "", virtualCluster),
		many("rate_limits", "rate_limits", "", rateLimit),
		headers("request_headers_to_add"),
		nested("cors", "cors", "", cors),
	}}
}

func virtualCluster() schema {
	return schema{name: "virtual cluster", message: route + "VirtualCluster", fields: []field{
		required(moved("name", "name", "")),
		// The header has the query, which the pattern did not see.
		required(field{name: "pattern", to: "headers", why: "a virtual cluster is chosen by any headers", put: func(c *conversion, f field, o object, key, v *yaml.Node) {
			if text, ok := c.text(v, o.at(f.name)); ok {
				tree.Append(o.out, key, f.to, tree.Map(v, "name", ":path",
					"string_match", tree.Map(v, "safe_regex", tree.Map(v, "regex", "(?:"+text+`)(?:\?.*)?`))))
			}
		}}),
		{name: "method", to: "headers", why: "a virtual cluster is chosen by any headers", put: func(_ *conversion, f field, o object, key, v *yaml.Node) {
			tree.Append(o.out, key, f.to, tree.Map(v, "name", ":method", "string_match", tree.Map(v, "exact", v)))
		}},
		dropped("priority", "it never had an effect"),
	}}
}

func routeEntry() schema {
	act := func(name, to string) field { return moved(name, "route."+to, actionWhy) }
	return schema{name: "route", message: route + "Route", fields: []field{
		moved("prefix", "match.prefix", matchWhy),
		moved("path", "match.path", matchWhy),
		moved("regex", "match.safe_regex.regex", "expressions are RE2's"),
		moved("case_sensitive", "match.case_sensitive", matchWhy),
		many("headers", "match.headers", matchWhy, headerMatch),
		many("query_parameters", "match.query_parameters", matchWhy, parameterMatch),
		nested("runtime", "match.runtime_fraction", "shares are fractions", func() schema {
			return schema{name: "runtime", message: core + "RuntimeFractionalPercent", fields: []field{
				required(moved("key", "runtime_key", "")), required(percent("default", "default_value")),
			}}
		}),
		act("cluster", "cluster"), act("cluster_header", "cluster_header"),
		nested("weighted_clusters", "route.weighted_clusters", actionWhy, weightedClusters),
		moved("host_redirect", "redirect.host_redirect", actionWhy), moved("path_redirect", "redirect.path_redirect", actionWhy),
		act("prefix_rewrite", "prefix_rewrite"), act("host_rewrite", "host_rewrite_literal"), act("auto_host_rewrite", "auto_host_rewrite"),
		made("use_websocket", "route.upgrade_configs", "WebSocket is one of several upgrades", func(_ *conversion, v *yaml.Node, _ string) *yaml.Node {
			if !tree.True(v) {
				return nil
			}
			return tree.List(v, tree.Map(v, "upgrade_type", "websocket"))
		}),
		because(millis("timeout_ms", "route.timeout"), durationWhy),
		nested("retry_policy", "route.retry_policy", actionWhy, func() schema {
			return schema{name: "retry_policy", message: route + "RetryPolicy", fields: []field{
				required(moved("retry_on", "retry_on", "")), moved("num_retries", "num_retries", ""), millis("per_try_timeout_ms", "per_try_timeout"),
			}}
		}),
		made("shadow", "route.request_mirror_policies", "a request can be mirrored to several clusters", shadow),
		upper("priority", "route.priority", "default", "high"),
		many("rate_limits", "route.rate_limits", actionWhy, rateLimit),
		act("include_vh_rate_limits", "include_vh_rate_limits"),
		made("hash_policy", "route.hash_policy", "a hash can be of several things", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
			m := c.object(v, path, schema{name: "hash_policy", message: route + "RouteAction.HashPolicy", fields: []field{required(moved("header_name", "header.header_name", ""))}})
			if m == nil {
				return nil
			}
			return tree.List(v, m)
		}),
		headers("request_headers_to_add"),
		made("opaque_config", "metadata", "what other things are told is metadata", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
			if v.Kind != yaml.MappingNode {
				c.wrong(v, path, "a mapping")
				return nil
			}
			return tree.Map(v, "filter_metadata", tree.Map(v, "envoy.filters.http.router", v))
		}),
		nested("cors", "route.cors", actionWhy, cors),
		nested("decorator", "decorator", "", func() schema {
			return schema{name: "decorator", message: route + "Decorator", fields: same("operation")}
		}),
	}}
}

func weightedClusters() schema {
	return schema{name: "weighted_clusters", message: route + "WeightedCluster", fields: all([]field{
		many("clusters", "clusters", "", func() schema {
			return schema{name: "weighted cluster", message: route + "WeightedCluster.ClusterWeight", fields: same("name", "weight")}
		}),
	}, same("runtime_key_prefix"))}
}

func shadow(c *conversion, v *yaml.Node, path string) *yaml.Node {
	m := c.object(v, path, schema{name: "shadow", message: route + "RouteAction.RequestMirrorPolicy", fields: []field{
		required(moved("cluster", "cluster", "")),
		// What a key says that the runtime does not have was nothing.
		made("runtime_key", "runtime_fraction", "shares are fractions", func(_ *conversion, v *yaml.Node, _ string) *yaml.Node {
			return tree.Map(v, "default_value", tree.Map(v, "numerator", 0, "denominator", "TEN_THOUSAND"), "runtime_key", v)
		}),
	}})
	if m == nil {
		return nil
	}
	return tree.List(v, m)
}

func headerMatch() schema {
	return schema{name: "header", message: route + "HeaderMatcher", fields: []field{
		required(moved("name", "name", "")),
		{name: "value", to: "string_match", why: matcherWhy, put: matchText},
		{name: "regex", to: "string_match.safe_regex", why: "it tells what the value is", put: func(*conversion, field, object, *yaml.Node, *yaml.Node) {}},
		nested("range_match", "range_match", "", func() schema {
			return schema{name: "range", message: "envoy.type.v3.Int64Range", fields: same("start", "end")}
		}),
	}, then: func(_ *conversion, o object) {
		if value, _ := tree.Get(o.out, "string_match"); value != nil {
			return
		}
		if ranged, _ := tree.Get(o.out, "range_match"); ranged == nil {
			tree.Put(o.out, o.in, "present_match", tree.Bool(o.in, true))
		}
	}}
}

func parameterMatch() schema {
	return schema{name: "query parameter", message: route + "QueryParameterMatcher", fields: []field{
		required(moved("name", "name", "")),
		{name: "value", to: "string_match", why: matcherWhy, put: matchText},
		{name: "regex", to: "string_match.safe_regex", why: "it tells what the value is", put: func(*conversion, field, object, *yaml.Node, *yaml.Node) {}},
	}, then: func(_ *conversion, o object) {
		if value, _ := tree.Get(o.out, "string_match"); value == nil {
			tree.Put(o.out, o.in, "present_match", tree.Bool(o.in, true))
		}
	}}
}

// matchText matches a text, or an expression if the object says so.
func matchText(c *conversion, f field, o object, key, v *yaml.Node) {
	text, ok := c.text(v, o.at(f.name))
	if !ok {
		return
	}
	_, flag := tree.Get(o.in, "regex")
	switch {
	case tree.True(flag):
		place(o.out, key, f.to, tree.Map(v, "safe_regex", tree.Map(v, "regex", text)))
	case text != "": // An empty value counts as none.
		place(o.out, key, f.to, tree.Map(v, "exact", text))
	}
}

func cors() schema {
	return schema{name: "cors", message: route + "CorsPolicy", fields: all([]field{
		made("enabled", "filter_enabled", "a share of requests can be given", func(_ *conversion, v *yaml.Node, _ string) *yaml.Node {
			share := 0
			if tree.True(v) {
				share = 100
			}
			return tree.Map(v, "default_value", hundredth(v, tree.Int(v, share)))
		}),
		texts("allow_origin", "allow_origin_string_match", matcherWhy, func(item *yaml.Node) *yaml.Node { return tree.Map(item, "exact", item) }),
	}, same("allow_methods", "allow_headers", "expose_headers", "max_age", "allow_credentials"))}
}

func rateLimit() schema {
	return schema{name: "rate limit", message: route + "RateLimit", fields: all(same("stage", "disable_key"), []field{
		required(made("actions", "actions", "", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
			return c.list(v, path, func(item *yaml.Node, at string) *yaml.Node { return rateLimitAction(c, item, at) })
		})),
	})}
}

func rateLimitAction(c *conversion, v *yaml.Node, path string) *yaml.Node {
	kinds := map[string]func() schema{
		"source_cluster": nothing("action"), "destination_cluster": nothing("action"), "remote_address": nothing("action"),
		"request_headers": func() schema {
			return schema{name: "action", message: route + "RateLimit.Action.RequestHeaders", fields: all([]field{typeField()}, same("header_name", "descriptor_key"))}
		},
		"generic_key": func() schema {
			return schema{name: "action", message: route + "RateLimit.Action.GenericKey", fields: all([]field{typeField()}, same("descriptor_value"))}
		},
		"header_value_match": func() schema {
			return schema{name: "action", message: route + "RateLimit.Action.HeaderValueMatch", fields: all([]field{typeField(), many("headers", "headers", "", headerMatch)},
				same("descriptor_value", "expect_match"))}
		},
	}
	_, kind := tree.Get(v, "type")
	if kind == nil || kinds[kind.Value] == nil {
		unknownKind(c, v, path, kind, slices.Sorted(maps.Keys(kinds)))
		return nil
	}
	config := c.object(v, path, kinds[kind.Value]())
	if config == nil {
		return nil
	}
	return tree.Map(v, kind.Value, config)
}

// unknownKind refuses an object whose type is none of those that there are.
func unknownKind(c *conversion, v *yaml.Node, path string, kind *yaml.Node, words []string) {
	switch {
	case v.Kind != yaml.MappingNode:
		c.wrong(v, path, "a mapping with a type")
	case kind == nil:
		c.Refuse(v, path, "no type", "add one of "+strings.Join(words, ", "))
	default:
		c.choice(kind, join(path, "type"), words)
	}
}

// cidr reads an address with or without the length of a prefix.
func (c *conversion) cidr(n *yaml.Node, path string) *yaml.Node {
	text, ok := c.text(n, path)
	if !ok {
		return nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, err := netip.ParseAddr(text)
		if err != nil {
			c.Refuse(n, path, tree.Quote(text)+" is neither an address nor a range of them", `write "10.0.0.0/8"`)
			return nil
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	return tree.Map(n, "address_prefix", p.Addr().String(), "prefix_len", p.Bits())
}
