// SPDX-License-Identifier: Apache-2.0

package proxytest

// NetworkType begins the typed_config of a network filter in YAML's flow style; the
// rest of its message's name follows.
const NetworkType = `"@type": type.googleapis.com/envoy.extensions.filters.network.`

// Echo is the echo filter in YAML's flow style.
const Echo = `{name: echo, typed_config: {` + NetworkType + `echo.v3.Echo}}`

// Network is a bootstrap of one listener, on a free port of 127.0.0.1, with the given
// network filters in YAML's flow style. Its access log in {{log}} has why a
// connection was closed here, and the details.
func Network(filters string) string {
	return `
static_resources:
  listeners:
  - name: test
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    access_log: [{name: file, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: "{{log}}", log_format: {text_format_source: {inline_string: "%DOWNSTREAM_LOCAL_CLOSE_REASON% %CONNECTION_TERMINATION_DETAILS%\n"}}}}]
    filter_chains: [{filters: [` + filters + `]}]
`
}
