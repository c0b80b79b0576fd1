// SPDX-License-Identifier: Apache-2.0

package proxytest

import "strings"

// Edge is the bootstrap most tests want: one listener on a free port of
// 127.0.0.1, a connection manager with stat_prefix "test", one virtual host for
// every domain, and a cluster "up" with one endpoint, the backend "up". Each
// field is YAML to put in where it says; it may have several lines and is
// indented as a whole.
type Edge struct {
	// Bootstrap adds top-level fields.
	Bootstrap string
	// Listener adds fields to the listener. Address replaces its address.
	Listener, Address string
	// Chain adds fields to the filter chain.
	Chain string
	// Manager adds fields to the connection manager.
	Manager string
	// Filters are HTTP filters before the router, a list.
	Filters string
	// Host adds fields to the virtual host, RouteConfig to the route
	// configuration.
	Host, RouteConfig string
	// Routes replaces the routes, a list; without it everything goes to "up".
	Routes string
	// Cluster adds fields to the cluster, Clusters further clusters, a list.
	Cluster, Clusters string
	// AccessLog is the format of an access log in {{log}}: one line of text.
	AccessLog string
}

// YAML is the bootstrap.
func (e Edge) YAML() string {
	address := e.Address
	if address == "" {
		address = "{socket_address: {address: 127.0.0.1, port_value: 0}}"
	}
	routes := e.Routes
	if routes == "" {
		routes = `- {match: {prefix: /}, route: {cluster: up}}`
	}
	log := ""
	if e.AccessLog != "" {
		log = "access_log:\n- name: file\n  typed_config:\n" +
			"    \"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog\n" +
			"    path: {{log}}\n    log_format: {text_format_source: {inline_string: \"" + e.AccessLog + "\\n\"}}\n"
	}
	var b strings.Builder
	add := func(indent int, text string) {
		pad := strings.Repeat(" ", indent)
		for line := range strings.Lines(text) {
			if strings.TrimSpace(line) != "" {
				b.WriteString(pad + strings.TrimSuffix(line, "\n") + "\n")
			}
		}
	}
	add(0, e.Bootstrap)
	add(0, "static_resources:")
	add(2, "listeners:")
	add(2, "- name: test\n  address: "+address)
	add(4, e.Listener)
	add(4, "filter_chains:\n- filters:\n  - name: hcm\n    typed_config:")
	add(10, "\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\nstat_prefix: test")
	add(10, e.Manager)
	add(10, log)
	add(10, "http_filters:")
	add(10, e.Filters)
	add(10, "- {{router}}")
	add(10, "route_config:\n  name: test")
	add(12, e.RouteConfig)
	add(12, "virtual_hosts:\n- name: all\n  domains: [\"*\"]")
	add(14, e.Host)
	add(14, "routes:")
	add(14, routes)
	add(6, e.Chain)
	add(2, "clusters:")
	add(2, "- name: up\n  connect_timeout: 1s\n  type: STATIC")
	add(4, e.Cluster)
	add(4, "load_assignment: {cluster_name: up, endpoints: [{lb_endpoints: [{endpoint: {address: {{up}}}}]}]}")
	add(2, e.Clusters)
	return b.String()
}
