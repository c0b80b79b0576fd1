// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"weir.dev/weir/proxy/tls/tlstest"
	"weir.dev/weir/xds"
)

type google = corev3.GrpcService_GoogleGrpc

func inline(text string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
}

func ssl(root, chain, key *corev3.DataSource) *corev3.GrpcService_GoogleGrpc_ChannelCredentials {
	return &corev3.GrpcService_GoogleGrpc_ChannelCredentials{CredentialSpecifier: &corev3.GrpcService_GoogleGrpc_ChannelCredentials_SslCredentials{
		SslCredentials: &corev3.GrpcService_GoogleGrpc_SslCredentials{RootCerts: root, CertChain: chain, PrivateKey: key},
	}}
}

func token(text string) []*corev3.GrpcService_GoogleGrpc_CallCredentials {
	return []*corev3.GrpcService_GoogleGrpc_CallCredentials{{
		CredentialSpecifier: &corev3.GrpcService_GoogleGrpc_CallCredentials_AccessToken{AccessToken: text},
	}}
}

func direct(g *google) *corev3.ApiConfigSource {
	return &corev3.ApiConfigSource{ApiType: corev3.ApiConfigSource_GRPC, GrpcServices: []*corev3.GrpcService{{
		TargetSpecifier: &corev3.GrpcService_GoogleGrpc_{GoogleGrpc: g},
	}}}
}

// serveAt serves streams where a google_grpc can reach them.
func serveAt(t *testing.T, network, at string, handle func(*call) error, options ...grpc.ServerOption) string {
	t.Helper()
	ln, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(append(options, grpc.UnknownServiceHandler(func(_ any, ss grpc.ServerStream) error { return handle(&call{ServerStream: ss, t: t}) }))...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(ln)
	}()
	t.Cleanup(func() { g.Stop(); <-done })
	return ln.Addr().String()
}

// google_grpc asks a server by itself: in plain text, by TLS whose certificate is
// checked, with a certificate of its own, with a token, and through a socket in the file
// system.
func TestGoogleGRPC(t *testing.T) {
	ca, stranger := tlstest.NewCA(t, "ca"), tlstest.NewCA(t, "stranger")
	pair := ca.Issue(t, tlstest.Leaf{DNS: []string{"localhost"}})
	client := ca.Issue(t, tlstest.Leaf{DNS: []string{"edge-1"}})
	handle := func(c *call) error {
		version := "plain"
		if got := c.header("authorization"); len(got) > 0 {
			version = strings.Join(got, ",")
		}
		return errors.Join(c.say(version, cluster(t, "c")), wait(c))
	}
	plain := serveAt(t, "tcp", "127.0.0.1:0", handle)
	socket := serveAt(t, "unix", filepath.Join(t.TempDir(), "s"), handle)
	_, port, err := net.SplitHostPort(serveAt(t, "tcp", "127.0.0.1:0", handle, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair.TLS()}, ClientCAs: ca.Pool(), ClientAuth: tls.VerifyClientCertIfGiven,
	}))))
	if err != nil {
		t.Fatal(err)
	}
	_, mutual, err := net.SplitHostPort(serveAt(t, "tcp", "127.0.0.1:0", handle, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair.TLS()}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert,
	}))))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("WEIR_TEST_ROOTS", ca.CertPEM)
	environment := &corev3.DataSource{Specifier: &corev3.DataSource_EnvironmentVariable{EnvironmentVariable: "WEIR_TEST_ROOTS"}}
	chain, key := client.Write(t, t.TempDir(), "client")
	file := func(path string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
	}
	tests := []struct {
		name string
		g    *google
		want string // a version, or what the log says
	}{
		{"plain", &google{TargetUri: plain}, "plain"},
		{"local", &google{TargetUri: plain, ChannelCredentials: &corev3.GrpcService_GoogleGrpc_ChannelCredentials{
			CredentialSpecifier: &corev3.GrpcService_GoogleGrpc_ChannelCredentials_LocalCredentials{},
		}}, "plain"},
		{"a socket", &google{TargetUri: "unix:" + socket}, "plain"},
		{"TLS", &google{TargetUri: "localhost:" + port, ChannelCredentials: ssl(inline(ca.CertPEM), nil, nil)}, "plain"},
		{"roots of the environment", &google{TargetUri: "localhost:" + port, ChannelCredentials: ssl(environment, nil, nil)}, "plain"},
		{"a token", &google{TargetUri: "localhost:" + port, ChannelCredentials: ssl(inline(ca.CertPEM), nil, nil), CallCredentials: token("secret")}, "Bearer secret"},
		{"mutual TLS", &google{TargetUri: "localhost:" + mutual, ChannelCredentials: ssl(inline(ca.CertPEM), file(chain), file(key))}, "plain"},
		{"a stranger's certificate", &google{TargetUri: "localhost:" + port, ChannelCredentials: ssl(inline(stranger.CertPEM), nil, nil)}, "certificate signed by unknown authority"},
		{"another name", &google{TargetUri: "127.0.0.1:" + port, ChannelCredentials: ssl(inline(ca.CertPEM), nil, nil)}, "127.0.0.1"},
		{"no certificate", &google{TargetUri: "localhost:" + mutual, ChannelCredentials: ssl(inline(ca.CertPEM), nil, nil)}, "Unavailable"},
		{"no TLS there", &google{TargetUri: plain, ChannelCredentials: ssl(inline(ca.CertPEM), nil, nil)}, "first record does not look like a TLS handshake"},
		{"a token in plain text", &google{TargetUri: plain, CallCredentials: token("secret")}, "transport level security"},
		{"no roots", &google{TargetUri: "localhost:" + port, ChannelCredentials: ssl(inline("x"), nil, nil)}, "google_grpc.channel_credentials: ssl_credentials.root_certs: has no certificate in PEM"},
		{"no key", &google{TargetUri: "localhost:" + port, ChannelCredentials: ssl(nil, inline(client.CertPEM), nil)}, "ssl_credentials.private_key: is missing"},
		{"a file that is not there", &google{TargetUri: "localhost:" + port, ChannelCredentials: ssl(file("/nowhere"), nil, nil)}, "ssl_credentials.root_certs: open /nowhere"},
		{"nobody there", &google{TargetUri: "unix:/nowhere/s"}, "/nowhere/s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tg, s := newTarget(), &server{t: t}
			c := s.client(tg, direct(tt.g))
			c.Subscribe("ads", aggregated, xds.KindCluster, Wildcard)
			<-tg.news
			if got := tg.has("c"); got != tt.want && (got != "" || !strings.Contains(s.logged(), tt.want)) {
				t.Errorf("has %q, want %q; the log is %s", got, tt.want, s.logged())
			}
			c.Close()
		})
	}
}

func TestNoServer(t *testing.T) {
	tg, s := newTarget(), &server{t: t}
	c := s.client(tg, &corev3.ApiConfigSource{ApiType: corev3.ApiConfigSource_GRPC})
	c.Subscribe("ads", aggregated, xds.KindCluster, Wildcard)
	<-tg.news
	if !strings.Contains(s.logged(), "grpc_services: is empty: name the management server") {
		t.Errorf("the log is %s", s.logged())
	}
}
