// SPDX-License-Identifier: Apache-2.0

package tls_test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

// The server name is the request's, from its authority or the header that is named
// for it, and is what the host has to prove; connections are shared by those that ask
// for the same.
func TestAutoSNI(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	server := ca.Issue(t, tlstest.Leaf{DNS: []string{"one.test", "two.test"}})
	context := "common_tls_context: {validation_context: {trusted_ca: " + tlstest.Inline(ca.CertPEM) + "}}\nsni: fixed.test"
	type request struct {
		host, header string
		status       int
	}
	for _, tt := range []struct {
		name, options string
		requests      []request
		want          string // the server names of the connections, in order
	}{
		{"off", "", []request{{"one.test", "", 200}, {"two.test", "", 200}}, "fixed.test"},
		{"on", "auto_sni: true", []request{
			{"one.test", "", 200}, {"two.test:8443", "", 200}, {"one.test", "", 200}, {"other.test", "", 200},
		}, "one.test two.test other.test"},
		{"verified", "auto_sni: true, auto_san_validation: true", []request{
			{"one.test", "", 200}, {"other.test", "", 503}, {"two.test", "", 200},
		}, "one.test two.test"},
		{"verified only", "auto_san_validation: true", []request{{"one.test", "", 200}, {"other.test", "", 503}}, "fixed.test"},
		{"from a header", "auto_sni: true, auto_san_validation: true, override_auto_sni_header: x-name", []request{
			{"other.test", "one.test", 200}, {"two.test", "", 200}, {"one.test", "other.test", 503},
		}, "one.test two.test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := serve(t, &tls.Config{Certificates: []tls.Certificate{server.TLS()}})
			more := `  typed_extension_protocol_options:
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
      explicit_http_config: {http_protocol_options: {}}
      upstream_http_protocol_options: {` + tt.options + "}\n"
			p := proxytest.Start(t, edge(context, more), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.addr}})
			c := p.Dial()
			for _, q := range tt.requests {
				head := fmt.Sprintf("GET / HTTP/1.1\r\nhost: %s\r\n", q.host)
				if q.header != "" {
					head += "x-name: " + q.header + "\r\n"
				}
				c.Send(head + "\r\n")
				if res := c.Response("GET"); res.StatusCode != q.status {
					t.Errorf("%+v: got %s: %s", q, res.Status, res.Content)
				}
			}
			var names []string
			for _, s := range up.states() {
				names = append(names, s.ServerName)
			}
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("the host was asked for %q, want %q", got, tt.want)
			}
		})
	}
}
