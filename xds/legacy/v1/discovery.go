// SPDX-License-Identifier: Apache-2.0

package v1

// What follows finds listeners, clusters and routes by version 1 of the API.

const (
	noClient = "discovery of this kind by version 1 is not supported"
	byV3     = "give the resources here, or serve them by xDS v3"
)

func listenerDiscovery() schema {
	return schema{name: "lds", message: core + "ConfigSource", fields: []field{refused("cluster", noClient, byV3), millis("refresh_delay_ms", "api_config_source.refresh_delay")}}
}

func routeDiscovery() schema {
	return schema{name: "rds", message: network + "http_connection_manager.v3.Rds", fields: []field{
		refused("cluster", noClient, byV3), moved("route_config_name", "route_config_name", ""), millis("refresh_delay_ms", "config_source.api_config_source.refresh_delay"),
	}}
}

func clusterDiscovery() schema {
	return schema{name: "cds", message: "envoy.config.bootstrap.v3.Bootstrap", fields: []field{
		refused("cluster", noClient, byV3), millis("refresh_delay_ms", "dynamic_resources.cds_config.api_config_source.refresh_delay"),
	}}
}
