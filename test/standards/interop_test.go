// SPDX-License-Identifier: Apache-2.0

package standards

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weir.dev/weir/test/tool"
	"weir.dev/weir/test/weirtest"
)

// interopCases are the cases of gRPC's interop client that pass without a proxy
// between it and its server.
var interopCases = []string{
	"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
	"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response",
	"status_code_and_message", "special_status_message", "custom_metadata",
	"unimplemented_method", "unimplemented_service", "rpc_soak", "channel_soak",
}

// edge is the bootstrap between the interop client and server: HTTP/2 on both sides.
const edge = `
static_resources:
  listeners:
  - name: grpc
    address: {socket_address: {address: 127.0.0.1, port_value: 8080}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: grpc
          codec_type: AUTO
          http_filters:
          - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, route: {cluster: server, timeout: 0s}}]
  clusters:
  - name: server
    type: STATIC
    connect_timeout: 1s
    load_assignment: {cluster_name: server, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 10000}}}}]}]}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`

// TestGRPCInterop runs gRPC's own interop client and server with the proxy between
// them. The server binds every address, so all of them run in a network of their own.
func TestGRPCInterop(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds for each case")
	}
	if os.Getuid() != 0 {
		t.Skip("only root may make a network namespace")
	}
	client, server := tool.Install(t, tool.InteropClient), tool.Install(t, tool.InteropServer)
	config := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(config, []byte(edge), 0o644); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`
ip link set lo up
%s --port 10000 >/dev/null 2>&1 &
%s proxy -c %s &
ask() { timeout 30 %s --server_host 127.0.0.1 --server_port 8080 --test_case "$1" 2>&1; }
for i in $(seq 100); do ask empty_unary >/dev/null && break; sleep 0.1; done
for c in %s; do out=$(ask $c) && echo "pass $c" || echo "fail $c: $out"; done
kill $(jobs -p)
`, server, weirtest.Binary(), config, client, strings.Join(interopCases, " "))
	out, err := exec.CommandContext(t.Context(), "unshare", "--net", "sh", "-c", script).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "pass") {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range interopCases {
		if !strings.Contains(string(out), "pass "+c+"\n") {
			t.Errorf("%s did not pass", c)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
