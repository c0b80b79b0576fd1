// SPDX-License-Identifier: Apache-2.0

package standards

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
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

// edge returns the bootstrap between the interop client and server: HTTP/2 on both
// sides, from the client in cleartext or with TLS.
func edge(chain string) string {
	e := proxytest.Edge{
		Address: proxytest.Address("127.0.0.1:8080"), Chain: chain, Cluster: http2Cluster,
		Routes: "- {match: {prefix: /}, route: {cluster: up, timeout: 0s}}",
	}
	return strings.NewReplacer(
		"{{up}}", proxytest.Address("127.0.0.1:10000"),
		"{{router}}", `{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}`,
	).Replace(e.YAML())
}

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
	ca := tlstest.NewCA(t, "interop CA")
	dir := t.TempDir()
	anchor, _ := ca.Write(t, dir, "ca")
	chain := tlsChain(ca.Issue(t, tlstest.Leaf{DNS: []string{"interop.test"}}))
	for _, tt := range []struct{ name, chain, args string }{
		{"cleartext", "", ""},
		{"TLS", chain, "--use_tls --use_test_ca --server_host_override interop.test --ca_file " + anchor},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := filepath.Join(dir, tt.name+".yaml")
			if err := os.WriteFile(config, []byte(edge(tt.chain)), 0o600); err != nil {
				t.Fatal(err)
			}
			script := fmt.Sprintf(`
ip link set lo up
%s --port 10000 >/dev/null 2>&1 & server=$!
%s proxy -c %s & proxy=$!
trap 'kill $server $proxy; wait' EXIT
ask() { timeout 30 %s --server_host 127.0.0.1 --server_port 8080 %s --test_case "$1" 2>&1; }
for i in $(seq 100); do ask empty_unary >/dev/null && break; sleep 0.1; done
for c in %s; do out=$(ask $c) && echo "pass $c" || echo "fail $c: $out"; done
`, server, weirtest.Binary(), config, client, tt.args, strings.Join(interopCases, " "))
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
		})
	}
}
