// SPDX-License-Identifier: Apache-2.0

package v2

import (
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/xds/legacy/tree"
	"weir.dev/weir/xds/legacy/v1"
)

func clusterRules() map[protoreflect.FullName]message {
	return map[protoreflect.FullName]message{
		clusterPackage + "Cluster": {fields: []rule{
			into("hosts", "load_assignment", "an endpoint has more than an address", assignment),
			into("tls_context", "transport_socket", "TLS is one of several transport sockets", socketOf),
			rename("drain_connections_on_host_removal", "ignore_health_on_host_removal", "the field was renamed"),
			{old: "extension_protocol_options", now: "typed_extension_protocol_options", why: "a configuration says of what type it is", apply: protocolOptions},
		}, then: registration},
		clusterPackage + "Cluster.RingHashLbConfig": {fields: []rule{
			{old: "deprecated_v1", now: "hash_function", why: "hash functions have names", apply: stdHash},
		}},
		clusterPackage + "LoadBalancingPolicy.Policy": {fields: []rule{
			refuse("name", "a policy of v3 is known by its configuration's type", "write typed_extension_config: {name: ..., typed_config: {\"@type\": ...}}"),
			refuse("config", "a policy of v3 is known by its configuration's type", "write typed_extension_config: {name: ..., typed_config: {\"@type\": ...}}"),
			refuse("typed_config", "a policy of v3 is known by its configuration's type", "write typed_extension_config: {name: ..., typed_config: {\"@type\": ...}}"),
		}},
		"envoy.config.endpoint.v3.ClusterLoadAssignment.Policy": {fields: []rule{
			{old: "disable_overprovisioning", now: "overprovisioning_factor: 100", why: "the factor can be given", apply: noOverprovisioning},
		}},
		corePackage + "HealthCheck.CustomHealthCheck": {extension: &healthCheckers},
		corePackage + "HealthCheck.HttpHealthCheck": {fields: []rule{
			into("service_name", "service_name_matcher", matcherWhy, func(_ *walker, _ object, key, value *yaml.Node) *yaml.Node {
				return tree.Map(key, "prefix", value)
			}),
			{old: "receive", now: "receive", why: "a response may have one of several texts", when: isMap, apply: one},
			{old: "use_http2", now: "codec_client_type", why: "there is more than one other version of HTTP", apply: useHTTP2},
		}},
		corePackage + "HealthCheck": {fields: []rule{
			into("redis_health_check", "custom_health_check", earlyWhy, func(w *walker, _ object, key, value *yaml.Node) *yaml.Node {
				x := healthCheckers.Extensions[0]
				return tree.Map(key, "name", x.Name, "typed_config", w.withType(key, x.Type, value))
			}),
		}},
		corePackage + "GrpcService.GoogleGrpc.CallCredentials.MetadataCredentialsFromPlugin": {fields: []rule{
			refuse("config", "credentials of v3 have a type", "write typed_config, with an \"@type\""),
		}},
	}
}

// registration makes a cluster whose endpoints come from version 1 of discovery find them
// by the extension that has it.
func registration(w *walker, o object) {
	_, eds := tree.Get(o.node, "eds_cluster_config")
	_, config := tree.Get(eds, "eds_config")
	_, source := tree.Get(config, "api_config_source")
	key, kind := tree.Get(source, "api_type")
	if kind == nil || !isRESTLegacy(kind) {
		return
	}
	at := join(o.path, "eds_cluster_config.eds_config.api_config_source")
	_, names := tree.Get(source, "cluster_names")
	if names == nil || names.Kind != yaml.SequenceNode || len(names.Content) != 1 || !isScalar(names.Content[0]) {
		w.Refuse(key, join(at, "cluster_names"), "one cluster is asked by version 1 of discovery", "name it")
		return
	}
	_, delay := tree.Get(source, "refresh_delay")
	if delay == nil {
		w.Refuse(key, join(at, "refresh_delay"), "is missing", `write refresh_delay: "30s"`)
		return
	}
	_, service := tree.Get(eds, "service_name")
	if service == nil {
		service = tree.Text(key, o.name())
	}
	w.note(o, key, "eds_cluster_config of "+kind.Value, "cluster_type "+v1.RegistrationName, "version 1 of discovery is an extension")
	tree.Take(o.node, "type")
	tree.Take(o.node, "eds_cluster_config")
	w.put(o, key, "cluster_type", v1.Registration(key, names.Content[0].Value, service, delay))
}

// assignment makes endpoints of addresses.
func assignment(w *walker, o object, key, value *yaml.Node) *yaml.Node {
	if value.Kind != yaml.SequenceNode {
		w.Refuse(value, join(o.path, "hosts"), "found "+tree.Describe(value)+", want a list", "write load_assignment: {...}")
		return nil
	}
	endpoints := tree.List(key)
	for _, address := range value.Content {
		endpoints.Content = append(endpoints.Content, tree.Map(address, "endpoint", tree.Map(address, "address", address)))
	}
	return tree.Map(key, "cluster_name", o.name(), "endpoints", tree.List(key, tree.Map(key, "lb_endpoints", endpoints)))
}

// protocolOptions gives the options of a cluster's protocols their types.
func protocolOptions(w *walker, o object, r rule, key, value *yaml.Node) {
	if !isMap(value) {
		w.Refuse(value, join(o.path, r.old), "found "+tree.Describe(value)+", want a mapping", "write typed_extension_protocol_options: {...}")
		return
	}
	types := map[string]string{
		"envoy.filters.network.redis_proxy":  network + "redis_proxy.v3.RedisProtocolOptions",
		"envoy.filters.network.thrift_proxy": network + "thrift_proxy.v3.ThriftProtocolOptions",
	}
	w.note(o, key, r.old, r.now, r.why)
	out := tree.Inner(o.node, key, r.now)
	for i := 0; i+1 < len(value.Content); i += 2 {
		name, config := value.Content[i], value.Content[i+1]
		x, _ := networkFilters.find(name.Value)
		if types[x.Name] == "" || !isMap(config) {
			w.Refuse(name, join(o.path, r.old)+"["+tree.Quote(name.Value)+"]", "no such options in v2", "there are those of envoy.filters.network.redis_proxy and thrift_proxy")
			continue
		}
		tree.Put(out, name, x.Name, w.withType(name, types[x.Name], config))
	}
}

// stdHash names the function that C++'s standard library has where Envoy is built.
func stdHash(w *walker, o object, r rule, key, value *yaml.Node) {
	_, std := tree.Get(value, "use_std_hash")
	if std == nil || !tree.True(std) {
		w.note(o, key, r.old+".use_std_hash", "", "xxHash is the default")
		return
	}
	w.note(o, key, r.old+".use_std_hash", "hash_function: MURMUR_HASH_2", r.why)
	w.put(o, key, r.now, tree.Text(key, "MURMUR_HASH_2"))
}

func noOverprovisioning(w *walker, o object, r rule, key, value *yaml.Node) {
	if !tree.True(value) {
		w.note(o, key, r.old+" "+value.Value, "", "that is the default")
		return
	}
	w.note(o, key, r.old, r.now, r.why)
	w.put(o, key, "overprovisioning_factor", tree.Int(key, 100))
}

// one makes a list of what was one.
func one(w *walker, o object, r rule, key, value *yaml.Node) {
	w.note(o, key, r.old, "a list of "+r.now, r.why)
	tree.Put(o.node, key, r.now, tree.List(key, value))
}

func useHTTP2(w *walker, o object, r rule, key, value *yaml.Node) {
	if !tree.True(value) {
		w.note(o, key, r.old+" "+value.Value, "", "that is the default")
		return
	}
	w.note(o, key, r.old, r.now+": HTTP2", r.why)
	w.put(o, key, r.now, tree.Text(key, "HTTP2"))
}
