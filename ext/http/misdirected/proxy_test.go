// SPDX-License-Identifier: Apache-2.0

package misdirected_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

const filter = `
- name: weir.filters.http.misdirected
  typed_config:
    "@type": type.googleapis.com/xds.type.v3.TypedStruct
    type_url: type.googleapis.com/weir.dev.filters.http.Misdirected
    value: {allow: {www.example.com: [example.com]}}`

func edge(transport, filter string) string {
	e := proxytest.Edge{Filters: filter, Routes: `- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: ok}}}`}
	return strings.Replace(e.YAML(), "- filters:", "- "+transport+"\n      filters:", 1)
}

func TestOverTLS(t *testing.T) {
	ca := tlstest.NewCA(t, "ca")
	pair := ca.Issue(t, tlstest.Leaf{DNS: []string{"www.example.com", "shop.example.com", "example.com"}})
	transport := `transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates: [{certificate_chain: ` + tlstest.Inline(pair.CertPEM) + `, private_key: ` + tlstest.Inline(pair.KeyPEM) + `}]`
	for _, udpa := range []bool{false, true} {
		f := filter
		if udpa {
			f = strings.Replace(f, "xds.type.v3", "udpa.type.v1", 1)
		}
		p := proxytest.Start(t, edge(transport, f), options())
		for _, h2 := range []bool{false, true} {
			var protocols http.Protocols
			protocols.SetHTTP1(!h2)
			protocols.SetHTTP2(h2)
			tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "www.example.com"}, Protocols: &protocols}
			for host, want := range map[string]int{"www.example.com": 200, "shop.example.com": 421, "example.com:443": 200} {
				req, err := http.NewRequest("GET", "https://"+p.Addr()+"/", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = host
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close() // It was read to its end.
				if err != nil || resp.StatusCode != want || (resp.ProtoMajor == 2) != h2 {
					t.Errorf("%s by %s: %d %q %v, want %d", host, resp.Proto, resp.StatusCode, body, err, want)
				}
			}
			tr.CloseIdleConnections()
		}
		if n := p.Counter("http.test.misdirected.refused"); n != 2 {
			t.Errorf("refused: %d", n)
		}
	}
}

func TestCleartextPasses(t *testing.T) {
	p := proxytest.Start(t, edge("name: plain", filter), options())
	if r := p.Do("GET / HTTP/1.1\r\nhost: any\r\n\r\n"); !strings.HasPrefix(r.Status, "200") {
		t.Errorf("%v", r)
	}
}

// TestConfigurationErrors tells where in the file a TypedStruct is wrong.
func TestConfigurationErrors(t *testing.T) {
	for _, tt := range []struct{ old, new, place, want string }{
		{"[example.com]", "[\"example.com:1\"]", "test.yaml:17: ", `"example.com:1" is not the name of a host`},
		{"allow:", "alow:", "test.yaml:17: ", `typed_config.value["alow"]: unknown field (did you mean "allow"?)`},
		{"Misdirected", "Misdirect", "test.yaml:14: ", "the extension weir.dev.filters.http.Misdirect is not supported"},
		{"xds.type.v3.TypedStruct\n    type_url: type.googleapis.com/", "", "test.yaml:15: ", "an extension of Weir's own has no message"},
	} {
		text := edge("name: plain", strings.Replace(filter, tt.old, tt.new, 1))
		_, err := proxytest.TryStart(t, text, options())
		if err == nil || !strings.HasPrefix(err.Error(), tt.place) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.new, err)
		}
	}
}

func options() proxytest.Options {
	return proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}}
}
