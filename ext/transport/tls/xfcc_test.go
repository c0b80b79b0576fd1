// SPDX-License-Identifier: Apache-2.0

package tls_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

// What upstreams and logs are told of a client's certificate.
func TestTellsOfClients(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	server := ca.Issue(t, tlstest.Leaf{URIs: []string{"spiffe://test/edge"}, CommonName: "edge"})
	client := ca.Issue(t, tlstest.Leaf{
		CommonName: "me", Organization: "Example, Inc.", DNS: []string{"a.test", "b.test"}, URIs: []string{"spiffe://test/me"}, Serial: 0xabcd,
	})
	bare := ca.Issue(t, tlstest.Leaf{CommonName: "bare"})
	sum := func(p *tlstest.Pair) string { s := sha256.Sum256(p.Cert.Raw); return hex.EncodeToString(s[:]) }
	by := "By=spiffe://test/edge;Hash=" + sum(client)
	pem := strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D", " ", "%20", "\n", "%0A").Replace(client.CertPEM)
	if back, err := url.PathUnescape(pem); err != nil || back != client.CertPEM {
		t.Fatal("the escaping of the test is wrong")
	}
	for _, tt := range []struct {
		name, manager string
		client        *tlstest.Pair
		send, want    string
	}{
		{"sanitize", "", client, "By=x", ""},
		{"forward only", "forward_client_cert_details: FORWARD_ONLY", client, "By=x", "By=x"},
		{"forward only, no certificate", "forward_client_cert_details: FORWARD_ONLY", nil, "By=x", ""},
		{"always forward", "forward_client_cert_details: ALWAYS_FORWARD_ONLY", nil, "By=x", "By=x"},
		{"set", "forward_client_cert_details: SANITIZE_SET", client, "By=x", by},
		{"set, no certificate", "forward_client_cert_details: SANITIZE_SET", nil, "By=x", ""},
		{"append", "forward_client_cert_details: APPEND_FORWARD", client, "By=x", "By=x," + by},
		{"append to nothing", "forward_client_cert_details: APPEND_FORWARD", client, "", by},
		{"details", "forward_client_cert_details: SANITIZE_SET\nset_current_client_cert_details: {subject: true, uri: true, dns: true}", client, "",
			by + `;Subject="CN=me,O=Example\, Inc.";URI=spiffe://test/me;DNS=a.test;DNS=b.test`},
		{"details that are not there", "forward_client_cert_details: SANITIZE_SET\nset_current_client_cert_details: {subject: true, uri: true, dns: true}", bare, "",
			"By=spiffe://test/edge;Hash=" + sum(bare) + `;Subject="CN=bare";URI=`},
		{"certificate", "forward_client_cert_details: SANITIZE_SET\nset_current_client_cert_details: {cert: true, chain: true}", client, "",
			by + `;Cert="` + pem + `";Chain="` + pem + `"`},
		{"issuer", "forward_client_cert_details: SANITIZE_SET\nset_current_client_cert_details: {issuer: true}", client, "", by + `;Issuer="CN=test CA"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := proxytest.NewUpstream(t, proxytest.Answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"))
			e := proxytest.Edge{Manager: tt.manager, AccessLog: "%DOWNSTREAM_PEER_SUBJECT%|%DOWNSTREAM_PEER_URI_SAN%|%DOWNSTREAM_PEER_SERIAL%|%DOWNSTREAM_PEER_ISSUER%|%DOWNSTREAM_PEER_FINGERPRINT_256%|%DOWNSTREAM_LOCAL_URI_SAN%|%DOWNSTREAM_TLS_GROUP%"}
			yaml := strings.Replace(e.YAML(), "    filter_chains:\n    - filters:", `    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates: [`+server.Certificate()+`]
            validation_context: {trusted_ca: `+tlstest.Inline(ca.CertPEM)+`}
      filters:`, 1)
			p := proxytest.Start(t, yaml, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
			cfg := &tls.Config{InsecureSkipVerify: true}
			if tt.client != nil {
				cfg.Certificates = []tls.Certificate{tt.client.TLS()}
			}
			c, err := tls.Dial("tcp", p.Addr(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			header := ""
			if tt.send != "" {
				header = "x-forwarded-client-cert: " + tt.send + "\r\n"
			}
			for range 2 {
				if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nhost: a\r\n%s\r\n", header); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Read(make([]byte, 4096)); err != nil {
					t.Fatal(err)
				}
			}
			for i, r := range up.WaitRequests(2) {
				got := ""
				for line := range strings.SplitSeq(r, "\r\n") {
					if v, ok := strings.CutPrefix(line, "x-forwarded-client-cert: "); ok {
						got += v
					}
				}
				if got != tt.want {
					t.Errorf("request %d: got  %q\nwant %q", i, got, tt.want)
				}
			}
			if tt.client != client {
				return
			}
			want := `CN=me,O=Example\, Inc.|spiffe://test/me|abcd|CN=test CA|` + sum(client) + "|spiffe://test/edge|X25519"
			if got := p.LogLines(2)[0]; got != want {
				t.Errorf("the log has\n%s, want\n%s", got, want)
			}
		})
	}
}
