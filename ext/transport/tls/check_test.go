// SPDX-License-Identifier: Apache-2.0

package tls_test

import (
	"fmt"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy"
	"weir.dev/weir/proxy/tls/tlstest"
	"weir.dev/weir/xds/load"
)

// TestCheck: a configuration whose clusters name secrets is good when it is only checked,
// as it is when it serves.
func TestCheck(t *testing.T) {
	text := fmt.Sprintf(`
static_resources:
  clusters:
  - name: first
    connect_timeout: 1s
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: {validation_context_sds_secret_config: {name: authorities}}
  secrets:
  - {name: authorities, validation_context: {trusted_ca: {inline_string: %q}}}
`, tlstest.NewCA(t, "ca").CertPEM)
	b, _, problems := load.Bootstrap("test.yaml", []byte(text), load.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if err := proxy.Check(proxy.Options{Bootstrap: b, Extensions: all.Extensions()}); err != nil {
		t.Error(err)
	}
}
