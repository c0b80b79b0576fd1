// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/serve"
)

// weirServer serves a store to nodes of the cluster "edges".
func weirServer(t *testing.T, store *xds.Store) (*serve.Server, string) {
	t.Helper()
	s := serve.New(serve.Options{Identifier: "weir-test", Store: func(_ context.Context, n *corev3.Node) (*xds.Store, error) {
		if n.GetCluster() != "edges" {
			return nil, status.Error(codes.PermissionDenied, "not one of us")
		}
		return store, nil
	}})
	g := grpc.NewServer()
	s.Register(g)
	return s, listen(t, g)
}

// listen has a gRPC server listen until the test ends.
func listen(t *testing.T, g *grpc.Server) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(ln)
	}()
	t.Cleanup(func() { g.Stop(); <-done })
	return ln.Addr().String()
}

func (w world) put(t testing.TB, b *xds.Builder) {
	b.Listeners().Put("edge", w.listener(t), xds.Origin{})
	b.Routes().Put("routes", w.routes(t), xds.Origin{})
	b.Clusters().Put(w.cluster, w.clusters(t), xds.Origin{})
	b.Endpoints().Put(w.cluster, w.endpoints(t), xds.Origin{})
}

// client waits until the only client is as it should be.
func client(t *testing.T, s *serve.Server, what string, ok func(serve.Client) bool) {
	t.Helper()
	proxytest.Eventually(t, what, func() (string, bool) {
		all := s.Clients()
		if len(all) != 1 {
			return fmt.Sprint(len(all), " clients"), false
		}
		c := all[0]
		return fmt.Sprintf("%s: sent %s, acked %s, refused %v", c.Node.GetId(), c.Sent, c.Acked, c.Refused), ok(c)
	})
}

// Our server configures our proxies by both protocols, knows what each has taken, and
// changes them under load without a request that fails.
func TestServe(t *testing.T) {
	ups := []*proxytest.Upstream{
		proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up-0"))), proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up-1"))),
	}
	for name, kind := range map[string]string{"delta": "DELTA_GRPC", "state of the world": "GRPC"} {
		t.Run(name, func(t *testing.T) {
			var store xds.Store
			s, at := weirServer(t, &store)
			p := start(t, bootstrap(kind, aggregated), at)
			b := &xds.Builder{}
			put := func(i int) {
				world{aggregated, fmt.Sprint("c", i), ups[i%2].Addr()}.put(t, b)
				if i > 0 {
					b.Clusters().Delete(fmt.Sprint("c", i-1))
					b.Endpoints().Delete(fmt.Sprint("c", i-1))
				}
				store.Publish(b.Build(fmt.Sprint("v", i)))
			}
			acked := func(version string) {
				t.Helper()
				client(t, s, "the client", func(c serve.Client) bool {
					return c.Acked == version && len(c.Refused) == 0 && c.Node.GetId() == "edge-1"
				})
			}
			put(0)
			addr := listening(t, p)
			answered(t, addr, "up-0")
			acked("v0")
			end := pound(t, addr, 1)
			for i := 1; i <= 20; i++ {
				put(i)
				if i%5 == 0 {
					acked(fmt.Sprint("v", i))
					answered(t, addr, fmt.Sprint("up-", i%2))
				}
			}
			end()
			b.Routes().Put("routes", message(t, &routev3.RouteConfiguration{},
				`{name: routes, virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {safe_regex: {regex: "("}}, route: {cluster: c}}]}]}`), xds.Origin{})
			store.Publish(b.Build("bad"))
			client(t, s, "the refusal", func(c serve.Client) bool {
				return c.Acked == "bad" && strings.Contains(c.Refused[xds.KindRoutes], "virtual_hosts[0].routes[0]")
			})
			answered(t, addr, "up-0")
			p.Close()
			proxytest.Eventually(t, "the number of clients", func() (int, bool) { n := len(s.Clients()); return n, n == 0 })
		})
	}
}

// A change goes to those who subscribe to it, and alone.
func TestServeSendsOnlyWhatChanged(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up")))
	var store xds.Store
	s, at := weirServer(t, &store)
	b := &xds.Builder{}
	world{aggregated, "c", up.Addr()}.put(t, b)
	for i := range 500 {
		name := fmt.Sprint("other-", i)
		b.Routes().Put(name, &routev3.RouteConfiguration{Name: name}, xds.Origin{})
	}
	store.Publish(b.Build("1"))
	p := start(t, bootstrap("DELTA_GRPC", aggregated), at)
	answered(t, listening(t, p), "up")
	client(t, s, "the client", func(c serve.Client) bool { return c.Acked == "1" })
	before := p.Counter("http.test.rds.routes.update_attempt")
	b.Routes().Put("other-7", &routev3.RouteConfiguration{Name: "other-7", VhostHeader: "x"}, xds.Origin{})
	store.Publish(b.Build("2"))
	client(t, s, "the client", func(c serve.Client) bool { return c.Acked == "2" })
	if n := p.Counter("http.test.rds.routes.update_attempt"); n != before {
		t.Errorf("the routes were told %d times more", n-before)
	}
}

// Whoever is not of a group is refused.
func TestServeRefusesStrangers(t *testing.T) {
	var store xds.Store
	store.Publish((&xds.Builder{}).Build("1"))
	s, at := weirServer(t, &store)
	start(t, strings.Replace(bootstrap("DELTA_GRPC", `{ads: {}, initial_fetch_timeout: 0.1s}`), "cluster: edges", "cluster: strangers", 1), at)
	p := start(t, bootstrap("DELTA_GRPC", aggregated), at)
	client(t, s, "the client", func(c serve.Client) bool { return c.Acked == "1" && c.Node.GetCluster() == "edges" })
	p.WaitGauge("control_plane.connected_state", 1)
}

// A listener has the secret that it names, and each new one.
func TestSecretsAreFetched(t *testing.T) {
	var store xds.Store
	_, at := weirServer(t, &store)
	ca := tlstest.NewCA(t, "ca")
	b := &xds.Builder{}
	put := func(version string) {
		pair := ca.Issue(t, tlstest.Leaf{DNS: []string{version + ".test"}})
		b.Secrets().Put("server", &tlsv3.Secret{Name: "server", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(pair.CertPEM), PrivateKey: inline(pair.KeyPEM),
		}}}, xds.Origin{})
		store.Publish(b.Build(version))
	}
	b.Listeners().Put("edge", message(t, &listenerv3.Listener{}, `{name: edge, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{
  transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext,
    common_tls_context: {tls_certificate_sds_secret_configs: [{name: server, sds_config: {ads: {}, initial_fetch_timeout: 0s}}]}}},
  filters: [{name: echo, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}]}]}`), xds.Origin{})
	p := start(t, bootstrap("DELTA_GRPC", aggregated), at)
	for _, version := range []string{"one", "two"} {
		put(version)
		addr := listening(t, p)
		proxytest.Eventually(t, "the certificate", func() (string, bool) {
			c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: ca.Pool(), ServerName: version + ".test"})
			if err != nil {
				return err.Error(), false
			}
			return "", c.Close() == nil
		})
	}
}

func inline(text string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
}
