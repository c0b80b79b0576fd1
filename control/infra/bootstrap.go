// SPDX-License-Identifier: Apache-2.0

package infra

import (
	encoding "encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/util/json"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/load"
)

// bootstrap is what a proxy starts from: where it asks for its configuration, and where it
// says that it is ready, which is once it has some; and what parameters add. It is for
// Weir; what a proxy of Envoy needs besides, an account to be shown by other means, is in
// docs/guide/kubernetes.md.
func (w *writer) bootstrap() (string, error) {
	own := fmt.Sprintf(bootstrap, w.plan.Gateway.String(), w.o.Server, configDir+"/ca.crt", tokenDir+"/token", graph.AdminPort, graph.ReadyPort)
	m, b := w.plan.Parameters.Metrics, w.plan.Parameters.Bootstrap
	if b == nil && m == nil {
		return own, nil
	}
	before, err := readYAML(own)
	if err != nil {
		panic("BUG: the bootstrap cannot be read: " + err.Error())
	}
	after := measured(before, m)
	if b != nil {
		if after, err = changed(after, b); err != nil {
			return own, err
		}
	}
	for _, kept := range []struct{ path, why string }{
		{"node.cluster", "by it the control plane knows its proxies"},
		{"dynamic_resources", "by it proxies reach the control plane"},
		{"admin.address.socket_address.address", "who else reaches the admin can do anything; its port_value may be another"},
	} {
		path := strings.Split(kept.path, ".")
		if !reflect.DeepEqual(at(before, path), at(after, path)) {
			return own, fmt.Errorf("%s has to stay: %s", kept.path, kept.why)
		}
	}
	port := at(after, []string{"admin", "address", "socket_address", "port_value"})
	if fmt.Sprint(port) == fmt.Sprint(graph.ReadyPort) {
		return own, fmt.Errorf("admin.address.socket_address.port_value is that of /ready, by which Kubernetes finds proxies ready: give another")
	}
	asks(after, port)
	data, err := encoding.MarshalIndent(after, "", "  ")
	if err != nil {
		return own, err
	}
	_, _, problems := load.Bootstraps([]load.Document{{Data: data}}, load.Options{})
	for _, p := range problems {
		if p.Severity == xds.Error {
			p.Line = 0 // Of a text that nobody has but here.
			return own, p
		}
	}
	return string(data), nil
}

// changed returns a bootstrap as parameters would have it.
func changed(own fields, b *v1alpha1.BootstrapParameters) (fields, error) {
	kind := value(b.Type, "Merge")
	if kind == "JSONPatch" {
		return operated(own, b.JSONPatches)
	}
	given, err := readYAML(value(b.Value, ""))
	if err != nil {
		return nil, err
	}
	switch kind {
	case "Merge":
		return joined(own, given).(fields), nil
	case "Replace":
		for _, name := range []string{"node", "dynamic_resources", "admin"} {
			delete(given, name)
		}
		without(given, "clusters", "xds_cluster", "wasm_cluster", "prometheus_stats")
		without(given, "listeners", "envoy-gateway-proxy-")
		return joined(own, given).(fields), nil
	}
	return nil, fmt.Errorf("the type %q is not known: there are Merge, Replace and JSONPatch", kind)
}

// without removes from the static resources those that are Envoy Gateway's, not the
// user's: their names begin with one of prefixes.
func without(b fields, resources string, prefixes ...string) {
	static, _ := b["static_resources"].(fields)
	all, ok := static[resources].([]any)
	if !ok {
		return
	}
	static[resources] = slices.DeleteFunc(all, func(r any) bool {
		name, _ := at(r, []string{"name"}).(string)
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	})
}

// joined merges maps, and puts lists after each other, as messages are merged.
func joined(to, from any) any {
	switch f := from.(type) {
	case fields:
		t, ok := to.(fields)
		if !ok {
			return from
		}
		out := maps.Clone(t)
		for k, v := range f {
			out[k] = joined(t[k], v)
		}
		return out
	case []any:
		t, _ := to.([]any)
		return slices.Concat(t, f)
	}
	return from
}

// operated applies operations of RFC 6902.
func operated(own fields, operations []v1alpha1.JSONPatchOperation) (fields, error) {
	data, err := json.Marshal(operations)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.DecodePatch(data)
	if err != nil {
		return nil, err
	}
	doc, err := json.Marshal(own)
	if err == nil {
		doc, err = patch.Apply(doc)
	}
	if err != nil {
		return nil, err
	}
	var out fields
	return out, json.Unmarshal(doc, &out)
}

// readYAML reads a map.
func readYAML(text string) (fields, error) {
	var out fields
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		return nil, err
	}
	return generic(out)
}

const bootstrap = `node: {cluster: %q}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services:
    - google_grpc:
        target_uri: %q
        stat_prefix: control
        credentials_factory_name: envoy.grpc_credentials.file_based_metadata
        channel_credentials: {ssl_credentials: {root_certs: {filename: %q}}}
        call_credentials:
        - from_plugin:
            name: envoy.grpc_credentials.file_based_metadata
            typed_config:
              "@type": type.googleapis.com/envoy.config.grpc_credential.v3.FileBasedMetadataConfig
              secret_data: {filename: %q}
              header_key: authorization
              header_prefix: "Bearer "
  # Without configuration a proxy is not ready, however long that takes.
  cds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
  lds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
# Most of many Services are asked for by few proxies or none.
cluster_manager: {enable_deferred_cluster_creation: true}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}
static_resources:
  listeners:
  - name: weir.dev/ready
    address: {socket_address: {address: 0.0.0.0, port_value: %d}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ready
          route_config:
            virtual_hosts:
            - name: ready
              domains: ["*"]
              routes:
              - {match: {path: /stats/prometheus, headers: [{name: ":method", string_match: {exact: GET}}]}, route: {cluster: prometheus_stats}}
              - {match: {prefix: /}, direct_response: {status: 404}}
          http_filters:
          - name: envoy.filters.http.health_check
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck
              pass_through_mode: false
              headers: [{name: ":path", string_match: {exact: /ready}}]
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: prometheus_stats
    type: STATIC
    load_assignment:
      cluster_name: prometheus_stats
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[5]d}}}}]}]
`
