// SPDX-License-Identifier: Apache-2.0

package tls_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

// listener is a bootstrap with one listener that answers "ok" itself, over TLS.
func listener(context string) string {
	return `
static_resources:
  listeners:
    - name: l
      address: {socket_address: {address: 127.0.0.1, port_value: 0}}
      filter_chains:
        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
` + indent(context, 14) + `
          filters:
            - name: hcm
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: test
                access_log:
                  - name: file
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
                      path: {{log}}
                      log_format: {text_format_source: {inline_string: "%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %REQUESTED_SERVER_NAME% %DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_LOCAL_SUBJECT%\n"}}
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes:
                        - match: {prefix: "/"}
                          direct_response: {status: 200, body: {inline_string: ok}}
                http_filters: [{{router}}]
`
}

func indent(s string, n int) string {
	lines := strings.Split(strings.Trim(s, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.Repeat(" ", n) + lines[i]
	}
	return strings.Join(lines, "\n")
}

func start(t *testing.T, yaml string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, yaml, options())
}

func options() proxytest.Options { return proxytest.Options{Extensions: all.Extensions()} }

// get sends a request over an open connection and returns the body.
func get(t *testing.T, c io.ReadWriter) string {
	t.Helper()
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nhost: example.com\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestServes(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	server := ca.Issue(t, tlstest.Leaf{DNS: []string{"example.com"}, CommonName: "server"})
	p := start(t, listener("common_tls_context: {tls_certificates: ["+server.Certificate()+"]}"))
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, err := tls.Dial("tcp", p.Addr(), &tls.Config{RootCAs: ca.Pool(), ServerName: "example.com", MinVersion: v, MaxVersion: v})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if got := get(t, c); got != "ok" {
				t.Errorf("got %q", got)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	want := []string{"TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256 example.com - CN=server", "TLSv1.3 TLS_AES_128_GCM_SHA256 example.com - CN=server"}
	for i, l := range p.LogLines(6) {
		if l != want[i/3] {
			t.Errorf("line %d is %q, want %q", i, l, want[i/3])
		}
	}
}
