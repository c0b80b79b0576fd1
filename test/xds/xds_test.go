// SPDX-License-Identifier: Apache-2.0

// Package xds holds the tests of proxies that are configured by management servers:
// by those that others wrote, and by our own.
package xds

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	clusterservice "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservice "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	listenerservice "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	routeservice "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	secretservice "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/load"
)

func TestMain(m *testing.M) { leak.Main(m) }

const plain = "GET / HTTP/1.1\r\nhost: a\r\n\r\n"

const router = `{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}`

// message reads one resource.
func message[M proto.Message](t testing.TB, m M, yaml string) M {
	t.Helper()
	if _, problems := load.Message("resource.yaml", []byte(yaml), m, load.Options{}); xds.HasErrors(problems) {
		t.Fatal(xds.Err(problems))
	}
	return m
}

// world is a configuration of one route to one cluster.
type world struct {
	source  string // a ConfigSource
	cluster string
	backend string
}

func (w world) listener(t testing.TB) *listenerv3.Listener {
	return message(t, &listenerv3.Listener{}, `{name: edge, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [
  {name: hcm, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
    stat_prefix: test, http_filters: [`+router+`], rds: {config_source: `+w.source+`, route_config_name: routes}}}]}]}`)
}

func (w world) routes(t testing.TB) *routev3.RouteConfiguration {
	return message(t, &routev3.RouteConfiguration{}, `{name: routes, virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: `+w.cluster+`}}]}]}`)
}

func (w world) clusters(t testing.TB) *clusterv3.Cluster {
	return message(t, &clusterv3.Cluster{}, `{name: `+w.cluster+`, type: EDS, eds_cluster_config: {eds_config: `+w.source+`}}`)
}

func (w world) endpoints(t testing.TB) *endpointv3.ClusterLoadAssignment {
	return message(t, &endpointv3.ClusterLoadAssignment{}, `{cluster_name: `+w.cluster+`, endpoints: [{lb_endpoints: [{endpoint: {address: `+proxytest.Address(w.backend)+`}}]}]}`)
}

func (w world) snapshot(t testing.TB, version string) *cachev3.Snapshot {
	t.Helper()
	s, err := cachev3.NewSnapshot(version, map[resourcev3.Type][]types.Resource{
		resourcev3.ListenerType: {w.listener(t)}, resourcev3.RouteType: {w.routes(t)},
		resourcev3.ClusterType: {w.clusters(t)}, resourcev3.EndpointType: {w.endpoints(t)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// server is go-control-plane's.
type server struct {
	cache cachev3.SnapshotCache
	addr  string
}

func newServer(t testing.TB, ads bool) *server {
	t.Helper()
	c := cachev3.NewSnapshotCache(ads, cachev3.IDHash{}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	srv := serverv3.NewServer(ctx, c, nil)
	g := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, srv)
	clusterservice.RegisterClusterDiscoveryServiceServer(g, srv)
	endpointservice.RegisterEndpointDiscoveryServiceServer(g, srv)
	listenerservice.RegisterListenerDiscoveryServiceServer(g, srv)
	routeservice.RegisterRouteDiscoveryServiceServer(g, srv)
	routeservice.RegisterScopedRoutesDiscoveryServiceServer(g, srv)
	routeservice.RegisterVirtualHostDiscoveryServiceServer(g, srv)
	secretservice.RegisterSecretDiscoveryServiceServer(g, srv)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(ln)
	}()
	gateway := &serverv3.HTTPGateway{Server: srv}
	rest := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, code, err := gateway.ServeHTTP(r)
		if err != nil {
			http.Error(w, err.Error(), code)
			return
		}
		if b == nil {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(b)
	}))
	t.Cleanup(func() { cancel(); g.Stop(); <-done; rest.Close() })
	s := &server{cache: c, addr: ln.Addr().String()}
	return s
}

func (s *server) set(t testing.TB, snapshot *cachev3.Snapshot) {
	t.Helper()
	if err := s.cache.SetSnapshot(context.Background(), "edge-1", snapshot); err != nil {
		t.Fatal(err)
	}
}

// bootstrap asks the management server {{xds}}.
func bootstrap(ads, source string) string {
	if ads != "" {
		ads = "ads_config: {api_type: " + ads + ", transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]},"
	}
	return `{node: {id: edge-1, cluster: edges}, dynamic_resources: {` + ads + ` lds_config: ` + source + `, cds_config: ` + source + `},
static_resources: {clusters: [{name: xds, type: STATIC, connect_timeout: 1s,
  typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}},
  load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {{xds}}}}]}]}}]}}`
}

const aggregated = "{ads: {}, resource_api_version: V3}"

func api(kind string) string {
	return "{api_config_source: {api_type: " + kind + ", transport_api_version: V3, set_node_on_first_message_only: true, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}, resource_api_version: V3}"
}

func modes() map[string]struct{ ads, source string } {
	return map[string]struct{ ads, source string }{
		"ADS":            {"GRPC", aggregated},
		"delta ADS":      {"DELTA_GRPC", aggregated},
		"streams":        {"", api("GRPC")},
		"streams, delta": {"", api("DELTA_GRPC")},
	}
}

func start(t testing.TB, yaml, addr string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, yaml, proxytest.Options{Extensions: all.Extensions(), Concurrency: 2, Backends: map[string]string{"xds": addr}})
}

func listening(t testing.TB, p *proxytest.Proxy) string {
	t.Helper()
	proxytest.Eventually(t, "the number of listeners", func() (int, bool) { n := len(p.Listeners()); return n, n == 1 })
	return p.Addr()
}

// answered waits until a request is answered by a body.
func answered(t testing.TB, addr, want string) {
	t.Helper()
	c := proxytest.Dial(t, addr)
	defer func() { c.Close() }()
	proxytest.Eventually(t, "the answer", func() (string, bool) {
		r := c.Do(plain)
		if r.Close {
			c.Close()
			c = proxytest.Dial(t, addr)
		}
		return r.Content, r.Content == want
	})
}

// go-control-plane's server configures the proxy in all its ways, and changes it under
// load without a request that fails.
func TestGoControlPlane(t *testing.T) {
	ups := []*proxytest.Upstream{
		proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up-0"))), proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up-1"))),
	}
	for name, mode := range modes() {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, mode.ads != "")
			at := func(i int) *cachev3.Snapshot {
				return world{mode.source, fmt.Sprint("c", i), ups[i%2].Addr()}.snapshot(t, fmt.Sprint(i))
			}
			s.set(t, at(0))
			p := start(t, bootstrap(mode.ads, mode.source), s.addr)
			addr := listening(t, p)
			answered(t, addr, "up-0")
			end := func() int64 { return 0 }
			if mode.ads != "" { // Streams of their own have no order.
				end = pound(t, addr, 1)
			}
			for i := 1; i <= 20; i++ {
				s.set(t, at(i))
				answered(t, addr, fmt.Sprint("up-", i%2))
			}
			end()
			states := []string{"control_plane.connected_state"}
			if mode.ads == "" { // Each subscription has a stream of its own.
				states = []string{"listener_manager.lds.control_plane.connected_state", "cluster_manager.cds.control_plane.connected_state",
					"http.test.rds.routes.control_plane.connected_state", "cluster.c20.control_plane.connected_state"}
			}
			for _, n := range states {
				p.WaitGauge(n, 1)
			}
			if n := p.Counter("http.test.rds.routes.config_reload"); n != 21 {
				t.Errorf("routes were taken %d times, want 21", n)
			}
			for _, n := range []string{"listener_manager.lds.update_rejected", "cluster_manager.cds.update_rejected", "http.test.rds.routes.update_rejected"} {
				if got := p.Counter(n); got != 0 {
					t.Errorf("%s is %d", n, got)
				}
			}
		})
	}
}

// What is wrong is refused with its reason, and the last good stays; a server that goes
// away and comes back is asked again.
func TestRefusedAndGone(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up")))
	s := newServer(t, true)
	w := world{aggregated, "c", up.Addr()}
	s.set(t, w.snapshot(t, "1"))
	p := start(t, bootstrap("GRPC", aggregated), s.addr)
	addr := listening(t, p)
	answered(t, addr, "up")
	bad := w.snapshot(t, "2")
	bad.Resources[types.Route].Items["routes"] = types.ResourceWithTTL{Resource: message(t, &routev3.RouteConfiguration{},
		`{name: routes, virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {safe_regex: {regex: "("}}, route: {cluster: c}}]}]}`)}
	s.set(t, bad)
	refused(t, p, "http.test.rds.routes.update_rejected")
	answered(t, addr, "up")
	badCluster := w.snapshot(t, "3")
	badCluster.Resources[types.Cluster].Items["c"] = types.ResourceWithTTL{Resource: &clusterv3.Cluster{Name: "c", LbPolicy: clusterv3.Cluster_LbPolicy(77)}}
	s.set(t, badCluster)
	refused(t, p, "cluster_manager.cds.update_rejected")
	answered(t, addr, "up")
	before := p.Counter("cluster_manager.cds.update_success")
	s.set(t, w.snapshot(t, "4"))
	proxytest.Eventually(t, "the successes", func() (uint64, bool) {
		n := p.Counter("cluster_manager.cds.update_success")
		return n, n > before
	})
	answered(t, addr, "up")
	if g := p.Gauge("control_plane.connected_state"); g != 1 {
		t.Errorf("connected_state is %d", g)
	}
}

// refused waits until a counter of refusals moves, and sees to it that it does not run:
// go-control-plane answers each refusal with the same at once.
func refused(t *testing.T, p *proxytest.Proxy, counter string) {
	t.Helper()
	proxytest.Eventually(t, counter, func() (uint64, bool) {
		n := p.Counter(counter)
		return n, n > 0
	})
	if n := p.Counter(counter); n > 10 {
		t.Errorf("%s is %d", counter, n)
	}
}

// nobody is a server that takes streams and says what it is told to.
type nobody struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	say  func(*discoveryv3.DiscoveryRequest) []*discoveryv3.DiscoveryResponse
	told chan *discoveryv3.DiscoveryRequest
}

func (n *nobody) StreamAggregatedResources(g discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	for {
		q, err := g.Recv()
		if err != nil {
			return err
		}
		select {
		case n.told <- q:
		default:
		}
		for _, r := range n.say(q) {
			if err := g.Send(r); err != nil {
				return err
			}
		}
	}
}

// A server that sends garbage hears what is wrong, and traffic goes on.
func TestGarbage(t *testing.T) {
	g := grpc.NewServer()
	n := &nobody{told: make(chan *discoveryv3.DiscoveryRequest, 100)}
	n.say = func(q *discoveryv3.DiscoveryRequest) []*discoveryv3.DiscoveryResponse {
		if q.GetResponseNonce() != "" {
			return nil
		}
		r := &discoveryv3.DiscoveryResponse{VersionInfo: "1", Nonce: "1", TypeUrl: q.GetTypeUrl()}
		r.Resources = []*anypb.Any{{TypeUrl: q.GetTypeUrl(), Value: []byte("\xff\xff\xff")}}
		return []*discoveryv3.DiscoveryResponse{{TypeUrl: "type.googleapis.com/nobody.Knows", VersionInfo: "1", Nonce: "x"}, r}
	}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, n)
	addr := listen(t, g)
	yaml := strings.Replace(bootstrap("GRPC", aggregated), "static_resources: {", `static_resources: {listeners: [{name: own, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [
  {name: hcm, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
    stat_prefix: test, http_filters: [{{router}}], route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: own}}}]}]}}}]}]}], `, 1)
	p := start(t, yaml, addr)
	for {
		q := <-n.told
		if q.GetErrorDetail() != nil {
			if !strings.Contains(q.GetErrorDetail().GetMessage(), "cannot be read") || q.GetVersionInfo() != "" {
				t.Errorf("the server is told %v", q)
			}
			if q.GetNode().GetId() != "edge-1" || q.GetNode().GetCluster() != "edges" {
				t.Errorf("the node is %v", q.GetNode())
			}
			break
		}
	}
	answered(t, p.Addr(), "own")
}
