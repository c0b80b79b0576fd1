// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"testing"

	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"weir.dev/weir/proxy/proxytest"
)

// switched answers "one" or, where the runtime says so, "two".
func switched(ads string) string {
	return `{node: {id: edge-1, cluster: edges},
dynamic_resources: {ads_config: {api_type: ` + ads + `, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}},
layered_runtime: {layers: [
  {name: base, static_layer: {share: 0}},
  {name: fetched, rtds_layer: {name: switches, rtds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}}},
  {name: admin, admin_layer: {}}]},
static_resources: {
  listeners: [{name: edge, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [
    {name: hcm, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
      stat_prefix: test, http_filters: [` + router + `], route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [
        {match: {prefix: /, runtime_fraction: {runtime_key: share, default_value: {numerator: 0}}}, direct_response: {status: 200, body: {inline_string: two}}},
        {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: one}}}]}]}}}]}]}],
  clusters: [{name: xds, type: STATIC, connect_timeout: 1s,
    typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}},
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {{xds}}}}]}]}}]}}`
}

// A layer of the runtime comes from go-control-plane's server: listeners wait for it, it
// changes under load without a request that fails, a bad one is refused, and where it is
// gone the layers below hold.
func TestRuntimeIsFetched(t *testing.T) {
	for _, ads := range []string{"GRPC", "DELTA_GRPC"} {
		t.Run(ads, func(t *testing.T) {
			s := newServer(t, true)
			set := func(version, layer string) {
				t.Helper()
				res := map[resourcev3.Type][]types.Resource{}
				if layer != "" {
					res[resourcev3.RuntimeType] = []types.Resource{message(t, &runtimev3.Runtime{}, `{name: switches, layer: `+layer+`}`)}
				}
				snapshot, err := cachev3.NewSnapshot(version, res)
				if err != nil {
					t.Fatal(err)
				}
				s.set(t, snapshot)
			}
			p := start(t, switched(ads), s.addr)
			p.WaitGauge("control_plane.connected_state", 0)
			if n := len(p.Listeners()); n != 0 {
				t.Fatalf("%d listeners are active before the runtime has come", n)
			}
			set("1", "{share: 100}")
			addr := listening(t, p)
			answered(t, addr, "two")
			end := pound(t, addr, 2)
			for i := range 50 {
				set(fmt.Sprint("load", i), fmt.Sprintf("{share: %d}", i%2*100))
			}
			set("2", "{share: 0, last: 1}")
			p.WaitGauge("runtime.num_keys", 2) // Answers were such before it came, too.
			answered(t, addr, "one")
			end()
			before := p.Counter("runtime.update_rejected")
			set("3", "{share: [1]}")
			proxytest.Eventually(t, "the refusals", func() (uint64, bool) {
				n := p.Counter("runtime.update_rejected")
				return n, n > before
			})
			answered(t, addr, "one")
			set("4", "{share: 100}")
			answered(t, addr, "two")
			if ads == "DELTA_GRPC" { // A state of the world cannot tell that a layer is gone.
				set("5", "")
				answered(t, addr, "one")
			}
		})
	}
}
