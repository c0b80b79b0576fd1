// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"strings"
)

// Complete makes a bootstrap of a fragment of one, as the README of an extension shows it. It knows by the
// fragment's fields where it belongs: an HTTP filter, fields of the connection manager, of a virtual host, of a
// route's action, or of a cluster, a whole cluster, the overload manager, or sinks of
// statistics.
func Complete(fragment string) (string, error) {
	var top, filters, manager, host, action, cluster string
	app := "      name: app\n" + endpoints
	key, _, _ := strings.Cut(fragment, ":")
	switch has := func(field string) bool { return strings.Contains("\n"+fragment, "\n"+field+":") }; {
	case has("name") && has("typed_config"):
		filters = item(18, fragment)
	case has("name") && (has("load_assignment") || has("eds_cluster_config")):
		cluster = item(4, fragment)
	case key == "access_log":
		manager = indent(16, fragment)
	case key == "typed_per_filter_config", key == "retry_policy":
		host = indent(22, fragment)
	case key == "internal_redirect_policy", key == "hedge_policy":
		action = indent(28, fragment)
	case key == "overload_manager", key == "stats_sinks":
		top = fragment
	case key == "lb_policy", key == "load_balancing_policy", key == "health_checks":
		app += indent(6, fragment)
	default:
		return "", fmt.Errorf("nobody knows where a fragment that begins with %q belongs: show a whole bootstrap, and mark it so", key)
	}
	return top + fmt.Sprintf(bootstrap, manager, filters, action, host, strings.Replace(app, "      name", "    - name", 1)+cluster), nil
}

// endpoints are the last field of a cluster, so that more can follow.
const endpoints = `      load_assignment:
        cluster_name: app
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 9001}}}}]}]
`

const bootstrap = `static_resources:
  listeners:
    - name: web
      address: {socket_address: {address: 127.0.0.1, port_value: 8080}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: web
%s                http_filters:
%s                  - name: envoy.filters.http.router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes:
                        - match: {prefix: /}
                          route:
                            cluster: app
%s%s  clusters:
%s`

// indent moves all lines to the right.
func indent(by int, text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(strings.Repeat(" ", by) + line)
	}
	return out.String()
}

// item makes a list's item of fields.
func item(by int, text string) string {
	moved := indent(by+2, text)
	return moved[:by] + "-" + moved[by+1:]
}
