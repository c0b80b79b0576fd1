// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// ofIstio is a bootstrap in the form of those that Istio's agent writes.
const ofIstio = `{
  "node": {"id": "router~10.0.0.1~edge.default~default.svc.cluster.local", "cluster": "istio-gateway.default", "locality": {"region": "r", "zone": "z"},
    "metadata": {"CLUSTER_ID": "Kubernetes", "NAMESPACE": "default", "ISTIO_VERSION": "1.28.0", "LABELS": {"istio": "ingressgateway"}, "PROXY_CONFIG": {"concurrency": 2}}},
  "application_log_config": {"log_format": {"text_format": "%Y-%m-%dT%T.%fZ\\t%l\\tenvoy %n %g:%#\\t%v\\tthread=%t"}},
  "layered_runtime": {"layers": [{"name": "global config", "static_layer": {"re2.max_program_size.error_level": "32768"}}, {"name": "admin", "admin_layer": {}}]},
  "bootstrap_extensions": [{"name": "envoy.bootstrap.internal_listener", "typed_config": {
    "@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener", "value": {"buffer_size_kb": 64}}}],
  "stats_config": {"use_all_default_tags": false,
    "stats_tags": [
      {"tag_name": "cluster_name", "regex": "^cluster(\\.(.+);)"},
      {"tag_name": "http_conn_manager_listener_prefix", "regex": "^listener(?=\\.).*?\\.http\\.(((?:[_.[:digit:]]*|[_\\[\\]aAbBcCdDeEfF[:digit:]]*))\\.)"}],
    "stats_matcher": {"inclusion_list": {"patterns": [{"prefix": "reporter="}, {"prefix": "listener_manager"}, {"prefix": "istio"}]}}},
  "dynamic_resources": {
    "lds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
    "cds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
    "ads_config": {"api_type": "MODE", "set_node_on_first_message_only": true, "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]}},
  "static_resources": {"clusters": [{
    "name": "xds-grpc", "alt_stat_name": "xds-grpc;", "type": "STATIC", "connect_timeout": "1s", "lb_policy": "ROUND_ROBIN",
    "load_assignment": {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {{xds}}}}]}]},
    "circuit_breakers": {"thresholds": [{"priority": "DEFAULT", "max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}]},
    "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 300}}, "max_requests_per_connection": 1,
    "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
      "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}}}]}}`

// A bootstrap of Istio's is taken as it is, by both of its modes, and the server's configuration is served.
func TestBootstrapOfIstio(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up")))
	for _, mode := range []string{"GRPC", "DELTA_GRPC"} {
		t.Run(mode, func(t *testing.T) {
			s := newServer(t, true)
			snapshot := snapshot(t, "1", edge(t, "rds: {config_source: "+aggregated+", route_config_name: r}"), static(t, "c", up.Addr()), routes(t, "r", "c"))
			if err := s.cache.SetSnapshot(t.Context(), "router~10.0.0.1~edge.default~default.svc.cluster.local", snapshot); err != nil {
				t.Fatal(err)
			}
			p := proxytest.Start(t, strings.Replace(ofIstio, "MODE", mode, 1), proxytest.Options{Extensions: all.Extensions(), Concurrency: 2, Backends: map[string]string{"xds": s.addr}})
			got(t, listening(t, p), plain, "up")
		})
	}
}

// Another extension of the bootstrap is refused by its name.
func TestBootstrapExtension(t *testing.T) {
	text := strings.NewReplacer("bootstrap.internal_listener.v3.InternalListener", "filters.http.router.v3.Router", `{"buffer_size_kb": 64}`, "{}", "MODE", "GRPC").Replace(ofIstio)
	_, err := proxytest.TryStart(t, text, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"xds": "127.0.0.1:1"}})
	if err == nil || !strings.Contains(err.Error(), "bootstrap_extensions[0].typed_config: envoy.extensions.filters.http.router.v3.Router: there is no such extension of the bootstrap") {
		t.Errorf("got %v", err)
	}
}
