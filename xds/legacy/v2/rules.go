// SPDX-License-Identifier: Apache-2.0

package v2

import (
	"strings"

	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/xds/legacy/tree"
	"weir.dev/weir/xds/legacy/v1"
)

// A message is what v2's form of a message had otherwise.
type message struct {
	// extension is the kind of extension that the message names and configures.
	extension *Kind
	fields    []rule
	// then runs after the others.
	then func(w *walker, o object)
}

// A rule is for one field that v3 does not have, or has in another form.
type rule struct {
	// old is the field's name.
	old string
	// now is what it became, in words of v3; "" if it means nothing any more, nowhere if
	// it is refused.
	now string
	// why it changed.
	why string
	// when limits the rule to values that it is for: where v3 has a field of the
	// same name.
	when func(value *yaml.Node) bool
	// apply rewrites the field, which is no longer in o.
	apply func(w *walker, o object, r rule, key, value *yaml.Node)
}

// nowhere is where what is refused goes.
const nowhere = "refused"

// rename is for a field that is called otherwise.
func rename(old, now, why string) rule {
	return rule{old: old, now: now, why: why, apply: func(w *walker, o object, r rule, key, value *yaml.Node) {
		w.note(o, key, r.old, r.now, r.why)
		w.put(o, key, r.now, value)
	}}
}

// drop is for a field without a meaning today: leaving it out changes nothing.
func drop(old, why string) rule {
	return rule{old: old, why: why, apply: func(w *walker, o object, r rule, key, _ *yaml.Node) {
		w.note(o, key, r.old, "", r.why)
	}}
}

// refuse is for a field that asked for what nobody does any more.
func refuse(old, why, remedy string) rule {
	return rule{old: old, now: nowhere, why: why, apply: func(w *walker, o object, r rule, key, _ *yaml.Node) {
		w.Refuse(key, join(o.path, r.old), r.why, remedy)
	}}
}

// inside moves a field into another message.
func inside(old, outer, name, why string) rule {
	return rule{old: old, now: outer + "." + name, why: why, apply: func(w *walker, o object, r rule, key, value *yaml.Node) {
		w.note(o, key, r.old, r.now, r.why)
		inner := tree.Inner(o.node, key, outer)
		if other, _ := tree.Get(inner, name); other != nil || inner.Kind != yaml.MappingNode {
			w.Refuse(key, o.path, tree.Quote(key.Value)+" is the older form of "+r.now+", and both are given", "keep "+r.now)
			return
		}
		tree.Put(inner, key, name, value)
	}}
}

// into is for a field whose value takes another form under another name.
func into(old, now, why string, form func(w *walker, o object, key, value *yaml.Node) *yaml.Node) rule {
	return rule{old: old, now: now, why: why, apply: func(w *walker, o object, r rule, key, value *yaml.Node) {
		v := form(w, o, key, value)
		if v == nil {
			return
		}
		w.note(o, key, r.old, r.now, r.why)
		w.put(o, key, r.now, v)
	}}
}

// each is for a list whose elements become elements of another one, after those that
// it has.
func each(old, now, why string, form func(at, item *yaml.Node) *yaml.Node) rule {
	return rule{old: old, now: now, why: why, apply: func(w *walker, o object, r rule, key, value *yaml.Node) {
		if value.Kind != yaml.SequenceNode {
			w.Refuse(value, join(o.path, r.old), "found "+tree.Describe(value)+", want a list", "write "+r.old+": [...]")
			return
		}
		w.note(o, key, r.old, r.now, r.why)
		if _, other := tree.Get(o.node, r.now); other != nil && other.Kind != yaml.SequenceNode {
			return // which is refused where it is read.
		}
		for _, item := range value.Content {
			tree.Append(o.node, key, r.now, form(item, item))
		}
	}}
}

func isMap(n *yaml.Node) bool    { return n.Kind == yaml.MappingNode }
func isScalar(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode }

// A value is one of an enum's that was called otherwise.
type value struct{ old, number, now, why string }

var values = map[protoreflect.FullName][]value{
	"envoy.config.cluster.v3.Cluster.LbPolicy": {
		{"ORIGINAL_DST_LB", "4", "CLUSTER_PROVIDED", "a cluster of type ORIGINAL_DST chooses by itself"},
	},
	"envoy.config.listener.v3.FilterChainMatch.ConnectionSourceType": {
		{"LOCAL", "", "SAME_IP_OR_LOOPBACK", "the value was renamed"},
	},
	"envoy.config.trace.v3.ZipkinConfig.CollectorEndpointVersion": {
		{"HTTP_JSON_V1", "", "HTTP_JSON", "no collector takes the first version any more"},
	},
}

const (
	listenerPackage = protoreflect.FullName("envoy.config.listener.v3.")
	routePackage    = protoreflect.FullName("envoy.config.route.v3.")
	corePackage     = protoreflect.FullName("envoy.config.core.v3.")
	clusterPackage  = protoreflect.FullName("envoy.config.cluster.v3.")
)

// rules are what is known of all messages, by their names in v3.
func rules() map[protoreflect.FullName]message {
	out := map[protoreflect.FullName]message{}
	for _, part := range []map[protoreflect.FullName]message{
		bootstrapRules(), listenerRules(), routeRules(), clusterRules(), filterRules(),
	} {
		for name, m := range part {
			out[name] = m
		}
	}
	return out
}

func bootstrapRules() map[protoreflect.FullName]message {
	return map[protoreflect.FullName]message{
		"envoy.config.bootstrap.v3.Bootstrap": {fields: []rule{
			{old: "runtime", now: "layered_runtime", why: "v3 has layers of runtime", apply: layers},
			refuse("rate_limit_service", "the service is named by each filter that asks it since 1.9",
				"put rate_limit_service: {grpc_service: {envoy_grpc: {cluster_name: ...}}, transport_api_version: V3} into the ratelimit filters"),
		}},
		"envoy.config.bootstrap.v3.Bootstrap.DynamicResources": {fields: []rule{
			refuse("deprecated_v1", "says whom the clusters that come by version 1 of discovery ask for their hosts",
				"say so in cds_config: its config_validators, as `weir convert` writes them, take sds_cluster and sds_refresh_delay"),
		}},
		corePackage + "ApiConfigSource": {fields: []rule{
			{old: "api_type", now: "config_validators", why: "version 1 of discovery is an extension", when: isRESTLegacy, apply: byVersion1},
		}},
		corePackage + "Node":                       {fields: []rule{drop("build_version", "the proxy tells its own version")}},
		"envoy.config.metrics.v3.StatsSink":        {extension: &statSinks},
		"envoy.config.trace.v3.Tracing.Http":       {extension: &tracers},
		"envoy.config.overload.v3.ResourceMonitor": {extension: &resourceMonitors},
		"envoy.admin.v3.CommandLineOptions": {fields: []rule{
			drop("max_stats", "statistics have no fixed room"), drop("max_obj_name_len", "names have no fixed room"),
		}},
		"envoy.service.ratelimit.v3.RateLimitResponse": {fields: []rule{rename("headers", "response_headers_to_add", "the field was renamed")}},
	}
}

// isRESTLegacy reports whether a value asks for discovery of version 1.
func isRESTLegacy(value *yaml.Node) bool {
	return value.Value == "REST_LEGACY" || value.Value == "UNSUPPORTED_REST_LEGACY"
}

// byVersion1 makes a source of REST ask by version 1 of the API, as Envoy 1.5 to 1.7 did for
// clusters, listeners and routes; endpoints have an extension of their own.
func byVersion1(w *walker, o object, r rule, key, value *yaml.Node) {
	if strings.HasSuffix(o.path, "eds_config.api_config_source") {
		return // The rules of a cluster have told what is wrong with it.
	}
	asks := false
	for _, of := range []string{"cds_config", "lds_config", "rds.config_source"} {
		asks = asks || strings.HasSuffix(o.path, of+".api_config_source")
	}
	if !asks {
		w.Refuse(key, join(o.path, "api_type"), "version 1 of discovery has clusters, listeners, routes and the endpoints of clusters alone", "set api_type: GRPC or REST, of a server that speaks v3")
		return
	}
	if k, _ := tree.Get(o.node, "refresh_delay"); k == nil {
		w.Refuse(key, join(o.path, "refresh_delay"), "is missing", `write refresh_delay: "30s"`)
		return
	}
	w.note(o, key, "api_type "+value.Value, r.now+" "+v1.DiscoveryName, r.why)
	w.put(o, key, "api_type", tree.Text(value, "REST"))
	w.put(o, key, "config_validators", v1.Discovery(key, tree.Map(key)))
}

// layers turns the runtime of the bootstrap into the layers that Envoy makes of it.
func layers(w *walker, o object, r rule, key, old *yaml.Node) {
	if !isMap(old) {
		w.Refuse(old, join(o.path, "runtime"), "found "+tree.Describe(old)+", want a mapping", "write layered_runtime: {layers: [...]}")
		return
	}
	w.note(o, key, r.old, r.now, r.why)
	list := tree.List(key)
	if k, base := tree.Take(old, "base"); k != nil {
		list.Content = append(list.Content, tree.Map(k, "name", "base", "static_layer", base))
	}
	rootKey, root := tree.Take(old, "symlink_root")
	_, sub := tree.Take(old, "subdirectory")
	overKey, over := tree.Take(old, "override_subdirectory")
	if rootKey != nil {
		disk := tree.Map(rootKey, "symlink_root", root)
		if sub != nil {
			tree.Put(disk, rootKey, "subdirectory", sub)
		}
		list.Content = append(list.Content, tree.Map(rootKey, "name", "root", "disk_layer", disk))
		if overKey != nil {
			list.Content = append(list.Content, tree.Map(overKey, "name", "override",
				"disk_layer", tree.Map(overKey, "symlink_root", root, "subdirectory", over, "append_service_cluster", true)))
		}
	}
	list.Content = append(list.Content, tree.Map(key, "name", "admin", "admin_layer", tree.Map(key)))
	for i := 0; i+1 < len(old.Content); i += 2 {
		w.Unknown(old.Content[i], join(o.path, "runtime"), "field", old.Content[i].Value,
			func(yield func(string) bool) {
				_ = yield("base") && yield("symlink_root") && yield("subdirectory") && yield("override_subdirectory")
			}, "the runtime of v2 has base, symlink_root, subdirectory and override_subdirectory")
	}
	w.put(o, key, r.now, tree.Map(key, "layers", list))
}

func listenerRules() map[protoreflect.FullName]message {
	return map[protoreflect.FullName]message{
		listenerPackage + "Filter":         {extension: &networkFilters},
		listenerPackage + "ListenerFilter": {extension: &listenerFilters},
		listenerPackage + "FilterChain": {fields: []rule{
			into("tls_context", "transport_socket", "TLS is one of several transport sockets", socketOf),
		}},
		listenerPackage + "FilterChainMatch": {fields: []rule{rename("sni_domains", "server_names", "the field was renamed in 1.7")}},
		listenerPackage + "UdpListenerConfig": {fields: []rule{
			{old: "udp_listener_name", why: "datagrams are read in one way only", apply: udpListener},
			drop("config", "datagrams are read in one way only"),
			drop("typed_config", "datagrams are read in one way only"),
		}},
		listenerPackage + "QuicProtocolOptions": {fields: []rule{
			inside("max_concurrent_streams", "quic_protocol_options", "max_concurrent_streams", "what is QUIC's stands in one message"),
		}},
		corePackage + "TransportSocket":       {extension: &transportSockets},
		"envoy.config.accesslog.v3.AccessLog": {extension: &accessLoggers},
		"envoy.config.accesslog.v3.ExtensionFilter": {fields: []rule{
			refuse("config", "the type of a filter that has no name in Envoy cannot be guessed", "write typed_config, with an \"@type\""),
		}},
		socket + "tls.v3.CertificateValidationContext": {fields: []rule{
			each("verify_subject_alt_name", "match_subject_alt_names", "names are matched like other texts", func(at, item *yaml.Node) *yaml.Node {
				return tree.Map(at, "exact", item)
			}),
			refuse("require_ocsp_staple", "it never had an effect on clients", "set ocsp_staple_policy: MUST_STAPLE in the DownstreamTlsContext"),
		}},
		socket + "tls.v3.PrivateKeyProvider": {fields: []rule{
			refuse("config", "a provider of v3 has a type", "write typed_config, with an \"@type\""),
		}},
	}
}

// socketOf makes a transport socket of a tls_context.
func socketOf(w *walker, o object, key, value *yaml.Node) *yaml.Node {
	if !isMap(value) {
		w.Refuse(value, join(o.path, "tls_context"), "found "+tree.Describe(value)+", want a mapping", "write transport_socket: {...}")
		return nil
	}
	x := transportSockets.Extensions[0]
	return tree.Map(key, "name", x.Name, "typed_config", w.withType(key, w.typeOf(x), value))
}

func udpListener(w *walker, o object, r rule, key, value *yaml.Node) {
	switch value.Value {
	case "raw_udp_listener", "":
		w.note(o, key, r.old, "", r.why)
	default:
		w.Refuse(value, join(o.path, r.old), "there is no UDP listener "+tree.Quote(value.Value)+" in v3", "QUIC is configured by quic_options")
	}
}

// fraction is RuntimeFractionalPercent with a numerator of a number out of a
// denominator.
func fraction(at *yaml.Node, numerator any, denominator string) *yaml.Node {
	return tree.Map(at, "default_value", tree.Map(at, "numerator", numerator, "denominator", denominator))
}
