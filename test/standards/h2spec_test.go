// SPDX-License-Identifier: Apache-2.0

package standards

import (
	"encoding/xml"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/echo"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
	"weir.dev/weir/test/tool"
)

// TestH2Spec runs every case of h2spec, strict ones included, against listeners in
// cleartext and with TLS, before hosts of HTTP/1 and of HTTP/2.
func TestH2Spec(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	program := tool.Install(t, tool.H2Spec)
	pair := tlstest.NewCA(t, "h2spec CA").Issue(t, tlstest.Leaf{DNS: []string{"localhost"}})
	for _, tt := range []struct {
		name, chain, manager string
		args                 []string
	}{
		// One of AUTO answers what is no preface like a bad request of HTTP/1, as Envoy
		// does; a case of h2spec expects anything but that.
		{"cleartext", "", "codec_type: HTTP2", nil},
		{"TLS", tlsChain(pair), "", []string{"-t", "-k"}},
	} {
		for _, up := range []string{"HTTP/1", "HTTP/2"} {
			t.Run(tt.name+" to "+up, func(t *testing.T) {
				server := httptest.NewUnstartedServer(echo.Handler("up"))
				cluster := ""
				if up == "HTTP/2" {
					server.Config.Protocols = new(http.Protocols)
					server.Config.Protocols.SetUnencryptedHTTP2(true)
					cluster = http2Cluster
				}
				server.Start()
				t.Cleanup(server.Close)
				p := proxytest.Start(t, proxytest.Edge{Chain: tt.chain, Manager: tt.manager, Cluster: cluster}.YAML(), proxytest.Options{
					Extensions: all.Extensions(), Backends: map[string]string{"up": server.Listener.Addr().String()},
				})
				runH2Spec(t, program, p, tt.args)
			})
		}
	}
}

// tlsChain is a transport socket for a filter chain that prefers HTTP/2.
func tlsChain(p *tlstest.Pair) string {
	return `transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
    common_tls_context:
      alpn_protocols: [h2, http/1.1]
      tls_certificates: [` + p.Certificate() + `]
`
}

// http2Cluster has a cluster speak HTTP/2.
const http2Cluster = `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http2_protocol_options: {}}
`

func runH2Spec(t *testing.T, program string, p *proxytest.Proxy, more []string) {
	t.Helper()
	host, port, err := net.SplitHostPort(p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	args := append([]string{"-h", host, "-p", port, "-S", "-o", "2", "-j", report}, more...)
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		_, failures, _ := strings.Cut(string(out), "Failures:")
		t.Errorf("h2spec: %v\n%s", err, failures)
	}
	if n := cases(t, report); n != h2specCases {
		t.Errorf("%d cases ran, want %d", n, h2specCases)
	}
	if n := p.Counter("server.panics"); n != 0 {
		t.Errorf("%d tasks panicked", n)
	}
}

// h2specCases is how many cases there are with the strict ones.
const h2specCases = 146

func cases(t *testing.T, report string) int {
	t.Helper()
	b, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Suites []struct {
			Tests   int `xml:"tests,attr"`
			Skipped int `xml:"skipped,attr"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, s := range r.Suites {
		n += s.Tests - s.Skipped
	}
	return n
}
