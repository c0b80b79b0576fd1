// SPDX-License-Identifier: Apache-2.0

package tls_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

// backend is an upstream that speaks HTTP/1.1 over TLS and tells what it saw.
type backend struct {
	addr string
	mu   sync.Mutex
	// seen are the states of the connections' handshakes.
	seen []tls.ConnectionState
}

func serve(t *testing.T, c *tls.Config) *backend {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", c)
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			k, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { b.conn(k.(*tls.Conn)) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return b
}

func (b *backend) conn(k *tls.Conn) {
	defer k.Close()
	if k.Handshake() != nil {
		return
	}
	b.mu.Lock()
	b.seen = append(b.seen, k.ConnectionState())
	b.mu.Unlock()
	r := bufio.NewReader(k)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		fmt.Fprintf(k, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
		if req.URL.Path == "/close" {
			return
		}
	}
}

func (b *backend) states() []tls.ConnectionState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]tls.ConnectionState(nil), b.seen...)
}

func edge(context, more string) string {
	return proxytest.Edge{Routes: "- {match: {prefix: /}, route: {cluster: tls}}", Clusters: `
- name: tls
  connect_timeout: 5s
  load_assignment:
    cluster_name: tls
    endpoints:
      - lb_endpoints:
          - endpoint: {address: {{up}}, hostname: host.test}
  transport_socket:
    name: tls
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
` + indent(context, 6) + "\n" + more}.YAML()
}

func TestUpstream(t *testing.T) {
	ca, other := tlstest.NewCA(t, "test CA"), tlstest.NewCA(t, "other CA")
	server := ca.Issue(t, tlstest.Leaf{DNS: []string{"host.test", "*.wild.test"}})
	client := ca.Issue(t, tlstest.Leaf{CommonName: "client"})
	trust := "trusted_ca: " + tlstest.Inline(ca.CertPEM)
	common := func(s string) string { return "common_tls_context: {" + s + "}\n" }
	for _, tt := range []struct {
		name, context string
		status        int
		stat          string
		check         func(tls.ConnectionState) bool
	}{
		{"not verified", common("") + "sni: a.test", 200, "no_verification", func(c tls.ConnectionState) bool { return c.ServerName == "a.test" && c.Version == tls.VersionTLS12 }},
		{"verified", common("validation_context: {" + trust + "}"), 200, "handshake", nil},
		{"newest", common("tls_params: {tls_maximum_protocol_version: TLSv1_3}, validation_context: {" + trust + "}"), 200, "versions.TLSv1.3", nil},
		{"other authority", common("validation_context: {trusted_ca: " + tlstest.Inline(other.CertPEM) + "}"), 503, "fail_verify_error", nil},
		{"name", common("validation_context: {" + trust + ", match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: host.test}}]}"), 200, "handshake", nil},
		{"other name", common("validation_context: {" + trust + ", match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: x.test}}]}"), 503, "fail_verify_san", nil},
		{"name of the SNI", common("validation_context: {"+trust+"}") + "sni: host.test\nauto_sni_san_validation: true", 200, "handshake", nil},
		{"wildcard of the SNI", common("validation_context: {"+trust+"}") + "sni: a.wild.test\nauto_sni_san_validation: true", 200, "handshake", nil},
		{"other name of the SNI", common("validation_context: {"+trust+"}") + "sni: x.test\nauto_sni_san_validation: true", 503, "fail_verify_san", nil},
		{"host's name", common("validation_context: {"+trust+"}") + "sni: x.test\nauto_host_sni: true\nauto_sni_san_validation: true", 200, "handshake",
			func(c tls.ConnectionState) bool { return c.ServerName == "host.test" }},
		{"client certificate", common("tls_certificates: [" + client.Certificate() + "]"), 200, "handshake",
			func(c tls.ConnectionState) bool {
				return len(c.PeerCertificates) == 1 && c.PeerCertificates[0].Subject.CommonName == "client"
			}},
		{"ALPN", common("alpn_protocols: [http/1.1]"), 200, "handshake", func(c tls.ConnectionState) bool { return c.NegotiatedProtocol == "http/1.1" }},
		{"too new", common("tls_params: {tls_minimum_protocol_version: TLSv1_3}"), 200, "handshake", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := serve(t, &tls.Config{Certificates: []tls.Certificate{server.TLS()}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"http/1.1"}})
			p := proxytest.Start(t, edge(tt.context, ""), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.addr}})
			c := p.Dial()
			for range 5 {
				c.Send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
				res := c.Response("GET")
				if res.StatusCode != tt.status {
					t.Fatalf("got %s", res.Status)
				}
				if tt.status == 503 && !strings.Contains(string(res.Content), "TLS_error") {
					t.Errorf("the reason is not told: %s", res.Content)
				}
			}
			if n := p.Counter("cluster.tls.ssl." + tt.stat); n == 0 {
				t.Errorf("%s is 0", tt.stat)
			}
			if tt.status != 200 {
				return
			}
			// Session tickets that come after the handshake do not make a connection unfit.
			seen := up.states()
			if len(seen) != 1 {
				t.Fatalf("%d connections were opened for 5 requests", len(seen))
			}
			if tt.check != nil && !tt.check(seen[0]) {
				t.Errorf("the server saw %+v", seen[0])
			}
		})
	}
}

func TestUpstreamSessions(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	server := ca.Issue(t, tlstest.Leaf{DNS: []string{"host.test"}})
	for _, tt := range []struct {
		name, context string
		resumed       uint64
	}{
		{"kept", "sni: host.test", 2},
		{"kept without a name", "common_tls_context: {}", 2},
		{"off", "sni: host.test\nmax_session_keys: 0", 0},
		{"newest", "sni: host.test\ncommon_tls_context: {tls_params: {tls_maximum_protocol_version: TLSv1_3}}", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := serve(t, &tls.Config{Certificates: []tls.Certificate{server.TLS()}})
			p := proxytest.Start(t, edge(tt.context, ""), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.addr}})
			c := p.Dial()
			for range 3 {
				c.Send("GET /close HTTP/1.1\r\nhost: a\r\n\r\n")
				if res := c.Response("GET"); res.StatusCode != 200 {
					t.Fatalf("got %s", res.Status)
				}
				p.WaitGauge("cluster.tls.upstream_cx_active", 0)
			}
			if n := p.Counter("cluster.tls.ssl.session_reused"); n != tt.resumed {
				t.Errorf("%d sessions were reused, want %d", n, tt.resumed)
			}
		})
	}
}

// A handshake that the host does not answer ends with the time to connect.
func TestUpstreamHandshakeTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	yaml := strings.Replace(edge("sni: a", ""), "connect_timeout: 5s", "connect_timeout: 0.05s", 1)
	p := proxytest.Start(t, yaml, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": l.Addr().String()}})
	c := p.Dial()
	c.Send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
	if res := c.Response("GET"); res.StatusCode != 503 {
		t.Errorf("got %d", res.StatusCode)
	}
	if n := p.Counter("cluster.tls.upstream_cx_connect_timeout"); n != 1 {
		t.Errorf("upstream_cx_connect_timeout is %d", n)
	}
}

// That hosts are not verified is never silent.
func TestWarnsOfNoVerification(t *testing.T) {
	log := &lines{}
	proxytest.Start(t, edge("sni: a", ""), proxytest.Options{
		Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if got := log.String(); !strings.Contains(got, "has no trusted CA, so hosts are not verified") {
		t.Errorf("no warning in %s", got)
	}
}

type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
