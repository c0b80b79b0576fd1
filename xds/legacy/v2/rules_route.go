// SPDX-License-Identifier: Apache-2.0

package v2

import (
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/xds/legacy/tree"
)

const (
	regexWhy   = "expressions are RE2's"
	matcherWhy = "texts are matched by a StringMatcher"
	earlyWhy   = "the field left v2 before 1.9"
)

func routeRules() map[protoreflect.FullName]message {
	perFilter := rule{old: "per_filter_config", now: "typed_per_filter_config", why: "a configuration says of what type it is", apply: perFilterConfig}
	names := rule{old: "typed_per_filter_config", now: "typed_per_filter_config", why: "filters are named by where they plug in since 1.14",
		when: namesOldFilter, apply: renameFilters}
	return map[protoreflect.FullName]message{
		routePackage + "VirtualHost":                   {fields: []rule{perFilter, names}},
		routePackage + "WeightedCluster.ClusterWeight": {fields: []rule{perFilter, names}},
		routePackage + "RouteConfiguration":            {fields: []rule{names}},
		routePackage + "Route":                         {fields: []rule{perFilter, names}, then: headersOfAction},
		routePackage + "RouteMatch": {fields: []rule{
			into("regex", "safe_regex", regexWhy, regexOf),
			{old: "runtime", now: "runtime_fraction", why: "shares are fractions since 1.8", apply: runtimeShare},
		}},
		routePackage + "RouteAction": {fields: []rule{
			rename("auto_host_rewrite_header", "host_rewrite_header", "the field was renamed"),
			into("request_mirror_policy", "request_mirror_policies", "a request can be mirrored to several clusters", func(_ *walker, _ object, key, value *yaml.Node) *yaml.Node {
				return tree.List(key, value)
			}),
			{old: "use_websocket", now: "upgrade_configs", why: "WebSocket is one of several upgrades", apply: useWebsocket},
			drop("websocket_config", "a WebSocket has the limits of its connections"),
		}},
		routePackage + "RouteAction.RequestMirrorPolicy": {fields: []rule{
			into("runtime_key", "runtime_fraction", "shares are fractions since 1.8", func(_ *walker, _ object, key, value *yaml.Node) *yaml.Node {
				// What a key says that the runtime does not have was nothing.
				f := fraction(key, 0, "TEN_THOUSAND")
				tree.Put(f, key, "runtime_key", value)
				return f
			}),
		}},
		routePackage + "RetryPolicy.RetryHostPredicate": {extension: &retryHosts},
		routePackage + "RetryPolicy.RetryPriority":      {extension: &retryPriorities},
		routePackage + "CorsPolicy": {fields: []rule{
			each("allow_origin", "allow_origin_string_match", matcherWhy, func(at, item *yaml.Node) *yaml.Node {
				return tree.Map(at, "exact", item)
			}),
			each("allow_origin_regex", "allow_origin_string_match", matcherWhy, func(at, item *yaml.Node) *yaml.Node {
				return tree.Map(at, "safe_regex", tree.Map(at, "regex", item))
			}),
			into("enabled", "filter_enabled", "a share of requests can be given", func(_ *walker, _ object, key, value *yaml.Node) *yaml.Node {
				share := 0
				if tree.True(value) {
					share = 100
				}
				return fraction(key, share, "HUNDRED")
			}),
		}},
		routePackage + "HeaderMatcher": {
			fields: []rule{
				into("regex_match", "safe_regex_match", regexWhy, regexOf),
				{old: "value", now: "exact_match, safe_regex_match", why: earlyWhy, apply: valueOrRegex("exact_match", "safe_regex_match")},
				drop("regex", "without a value it says nothing"),
			},
		},
		routePackage + "QueryParameterMatcher": {fields: []rule{
			{old: "value", now: "string_match", why: matcherWhy, apply: parameterValue},
			drop("regex", "without a value it says nothing"),
		}},
		routePackage + "VirtualCluster": {fields: []rule{
			{old: "pattern", now: "headers", why: "a virtual cluster is chosen by any headers", apply: clusterPattern},
			{old: "method", now: "headers", why: "a virtual cluster is chosen by any headers", apply: clusterMethod},
		}},
		"envoy.type.matcher.v3.StringMatcher": {fields: []rule{into("regex", "safe_regex", regexWhy, regexOf)}},
	}
}

// regexOf makes a RegexMatcher of an expression.
func regexOf(_ *walker, _ object, key, value *yaml.Node) *yaml.Node {
	return tree.Map(key, "regex", value)
}

// valueOrRegex is for a value that a flag beside it makes an expression.
func valueOrRegex(exact, safe string) func(*walker, object, rule, *yaml.Node, *yaml.Node) {
	return func(w *walker, o object, r rule, key, value *yaml.Node) {
		if _, flag := tree.Take(o.node, "regex"); tree.True(flag) {
			w.note(o, key, "value, regex", safe, r.why)
			w.put(o, key, safe, tree.Map(key, "regex", value))
			return
		}
		w.note(o, key, "value", exact, r.why)
		w.put(o, key, exact, value)
	}
}

func parameterValue(w *walker, o object, r rule, key, value *yaml.Node) {
	form := tree.Map(key, "exact", value)
	if _, flag := tree.Take(o.node, "regex"); tree.True(flag) {
		form = tree.Map(key, "safe_regex", tree.Map(key, "regex", value))
	}
	w.note(o, key, r.old, r.now, r.why)
	w.put(o, key, r.now, form)
}

// clusterPattern matches the path without its query, as the pattern did: the header
// has both.
func clusterPattern(w *walker, o object, r rule, key, value *yaml.Node) {
	w.note(o, key, r.old, r.now, r.why)
	pattern := tree.Text(value, "(?:"+value.Value+`)(?:\?.*)?`)
	tree.Append(o.node, key, r.now, tree.Map(key, "name", ":path",
		"string_match", tree.Map(key, "safe_regex", tree.Map(key, "regex", pattern))))
}

func clusterMethod(w *walker, o object, r rule, key, value *yaml.Node) {
	if value.Value == "METHOD_UNSPECIFIED" {
		w.note(o, key, "method METHOD_UNSPECIFIED", "", "every method is meant without it")
		return
	}
	w.note(o, key, r.old, r.now, r.why)
	tree.Append(o.node, key, r.now, tree.Map(key, "name", ":method", "string_match", tree.Map(key, "exact", value)))
}

// runtimeShare turns a share in percent into a fraction.
func runtimeShare(w *walker, o object, r rule, key, value *yaml.Node) {
	_, share := tree.Get(value, "default_value")
	if share == nil {
		share = tree.Int(key, 0)
	}
	form := fraction(key, share, "HUNDRED")
	if k, name := tree.Get(value, "runtime_key"); k != nil {
		tree.Put(form, k, "runtime_key", name)
	}
	w.note(o, key, r.old, r.now, r.why)
	w.put(o, key, r.now, form)
}

func useWebsocket(w *walker, o object, r rule, key, value *yaml.Node) {
	if !tree.True(value) {
		w.note(o, key, "use_websocket "+value.Value, "", "a route takes no upgrade that it does not name")
		return
	}
	w.note(o, key, r.old, r.now, r.why)
	tree.Append(o.node, key, r.now, tree.Map(key, "upgrade_type", "websocket"))
}

// headersOfAction moves what early files have in route: to the route itself.
func headersOfAction(w *walker, o object) {
	_, action := tree.Get(o.node, "route")
	for _, name := range []string{"request_headers_to_add", "response_headers_to_add", "response_headers_to_remove"} {
		key, value := tree.Take(action, name)
		if key == nil {
			continue
		}
		w.note(o, key, "route."+name, name, "every kind of route can have it")
		if _, other := tree.Get(o.node, name); other != nil && other.Kind == yaml.SequenceNode && value.Kind == yaml.SequenceNode {
			other.Content = append(other.Content, value.Content...)
			continue
		}
		tree.Put(o.node, key, name, value)
	}
}

// perFilterConfig gives the configurations of filters by route their types.
func perFilterConfig(w *walker, o object, r rule, key, value *yaml.Node) {
	if !isMap(value) {
		w.Refuse(value, join(o.path, r.old), "found "+tree.Describe(value)+", want a mapping", "write typed_per_filter_config: {...}")
		return
	}
	w.note(o, key, r.old, r.now, r.why)
	out := tree.Inner(o.node, key, r.now)
	for i := 0; i+1 < len(value.Content); i += 2 {
		name, config := value.Content[i], value.Content[i+1]
		x, ok := httpFilters.find(name.Value)
		at := join(o.path, r.old) + "[" + tree.Quote(name.Value) + "]"
		switch {
		case !ok:
			w.Unknown(name, at, httpFilters.Name, name.Value, httpFilters.names(), "a filter of v3 has typed_per_filter_config, with an \"@type\"")
		case x.PerRoute == "":
			w.Refuse(name, at, x.Name+" has no configuration by route", "remove it")
		case !isMap(config):
			w.Refuse(config, at, "found "+tree.Describe(config)+", want a mapping", "")
		default:
			tree.Put(out, name, x.Name, w.withType(name, x.PerRoute, config))
		}
	}
}

func namesOldFilter(value *yaml.Node) bool {
	for i := 0; i+1 < len(value.Content); i += 2 {
		if x, ok := httpFilters.find(value.Content[i].Value); ok && x.Name != value.Content[i].Value {
			return isMap(value)
		}
	}
	return false
}

// renameFilters names the filters of a map as their chain does.
func renameFilters(w *walker, o object, r rule, key, value *yaml.Node) {
	for i := 0; i+1 < len(value.Content); i += 2 {
		name := value.Content[i]
		if x, ok := httpFilters.find(name.Value); ok && x.Name != name.Value {
			w.note(o, name, r.old+": "+name.Value, x.Name, r.why)
			name.Value = x.Name
		}
	}
	if other, _ := tree.Get(o.node, r.now); other == nil {
		tree.Put(o.node, key, r.now, value)
		return
	}
	_, has := tree.Get(o.node, r.now)
	has.Content = append(has.Content, value.Content...)
}
