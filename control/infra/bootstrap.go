// SPDX-License-Identifier: Apache-2.0

package infra

import "fmt"

// bootstrap is what a proxy starts from: where it asks for its configuration, and where it
// says that it is ready, which is once it has some. It is for Weir; what a proxy of Envoy
// needs besides, an account to be shown by other means, is in docs/guide/kubernetes.md.
func (w *writer) bootstrap() string {
	return fmt.Sprintf(bootstrap, w.plan.Gateway.String(), w.o.Server, configDir+"/ca.crt", tokenDir+"/token", adminPort, readyPort)
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
          route_config: {virtual_hosts: [{name: ready, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 404}}]}]}
          http_filters:
          - name: envoy.filters.http.health_check
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck
              pass_through_mode: false
              headers: [{name: ":path", string_match: {exact: /ready}}]
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
`
