// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
	"weir.dev/weir/xds"
)

func administered(yaml string) string {
	return strings.Replace(yaml, "{node:", "{admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}, node:", 1)
}

func ask(t *testing.T, p *proxytest.Proxy, path string) (int, string) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	r, err := (&http.Client{Transport: tr}).Get("http://" + p.AdminAddr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

type dumped struct {
	clusters  adminv3.ClustersConfigDump
	listeners adminv3.ListenersConfigDump
	routes    adminv3.RoutesConfigDump
	secrets   adminv3.SecretsConfigDump
	endpoints adminv3.EndpointsConfigDump
	ecds      adminv3.EcdsConfigDump
	scopes    adminv3.ScopedRoutesConfigDump
	text      string
}

// dump is what /config_dump tells, by the type of its parts.
func dump(t *testing.T, p *proxytest.Proxy) *dumped {
	t.Helper()
	all := new(dumped)
	var d adminv3.ConfigDump
	_, all.text = ask(t, p, "/config_dump?include_eds")
	if err := protojson.Unmarshal([]byte(all.text), &d); err != nil {
		t.Fatal(err)
	}
	for _, c := range d.GetConfigs() {
		for _, m := range []proto.Message{&all.clusters, &all.listeners, &all.routes, &all.secrets, &all.endpoints, &all.ecds, &all.scopes} {
			if c.MessageIs(m) {
				if err := c.UnmarshalTo(m); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return all
}

func unpack[M proto.Message](t *testing.T, a *anypb.Any, m M) M {
	t.Helper()
	if err := a.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// The admin tells what was fetched, in which version, what waits, and what was refused
// and why.
func TestDumpTellsWhatWasFetched(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up")))
	s := newServer(t, true)
	w := world{aggregated, "c", up.Addr()}
	ca := tlstest.NewCA(t, "ca")
	pair := ca.Issue(t, tlstest.Leaf{DNS: []string{"edge.test"}})
	secure := func() *listenerv3.Listener {
		l := w.listener(t)
		l.Name = "secure"
		l.FilterChains[0].TransportSocket = message(t, &listenerv3.FilterChain{}, `{transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext,
    common_tls_context: {tls_certificate_sds_secret_configs: [{name: server, sds_config: {ads: {}, initial_fetch_timeout: 0s}}]}}}}`).GetTransportSocket()
		return l
	}
	at := func(version string, change func(*cachev3.Snapshot)) {
		t.Helper()
		snapshot := w.snapshot(t, version)
		change(snapshot)
		for i := range snapshot.Resources {
			snapshot.Resources[i].Version = version
		}
		s.set(t, snapshot)
	}
	put := func(s *cachev3.Snapshot, kind types.ResponseType, name string, m types.Resource) {
		if s.Resources[kind].Items == nil {
			s.Resources[kind].Items = map[string]types.ResourceWithTTL{}
		}
		s.Resources[kind].Items[name] = types.ResourceWithTTL{Resource: m}
	}
	at("1", func(s *cachev3.Snapshot) { put(s, types.Listener, "secure", secure()) })
	p := start(t, administered(bootstrap("GRPC", aggregated)), s.addr)
	answered(t, listening(t, p), "up")

	d := dump(t, p)
	if c := d.clusters.GetDynamicActiveClusters(); d.clusters.GetVersionInfo() != "1" || len(d.clusters.GetStaticClusters()) != 1 || len(c) != 1 ||
		c[0].GetVersionInfo() != "1" || c[0].GetLastUpdated() == nil || unpack(t, c[0].GetCluster(), &clusterv3.Cluster{}).GetName() != "c" {
		t.Errorf("clusters are %v", &d.clusters)
	}
	l := d.listeners.GetDynamicListeners()
	if len(l) != 2 || d.listeners.GetVersionInfo() != "1" || l[0].GetName() != "edge" || l[0].GetActiveState().GetVersionInfo() != "1" || l[0].GetActiveState().GetLastUpdated() == nil ||
		l[0].GetWarmingState() != nil || l[1].GetName() != "secure" || l[1].GetActiveState() != nil || l[1].GetWarmingState().GetVersionInfo() != "1" {
		t.Errorf("listeners are %v", l)
	}
	if r := d.routes.GetDynamicRouteConfigs(); len(r) != 1 || r[0].GetVersionInfo() != "1" || unpack(t, r[0].GetRouteConfig(), &routev3.RouteConfiguration{}).GetName() != "routes" {
		t.Errorf("routes are %v", &d.routes)
	}
	if e := d.endpoints.GetDynamicEndpointConfigs(); len(e) != 1 || e[0].GetVersionInfo() != "1" {
		t.Errorf("endpoints are %v", &d.endpoints)
	}
	if x := d.secrets.GetDynamicWarmingSecrets(); len(x) != 1 || x[0].GetName() != "server" {
		t.Errorf("secrets are %v", &d.secrets)
	}
	if _, text := ask(t, p, "/init_dump"); !strings.Contains(text, "secret server") {
		t.Errorf("/init_dump tells %s", text)
	}

	at("2", func(s *cachev3.Snapshot) {
		put(s, types.Listener, "secure", secure())
		put(s, types.Secret, "server", &tlsv3.Secret{Name: "server", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(pair.CertPEM), PrivateKey: inline(pair.KeyPEM),
		}}})
		put(s, types.Cluster, "c", &clusterv3.Cluster{Name: "c", LbPolicy: clusterv3.Cluster_LbPolicy(77)})
		put(s, types.Route, "routes", message(t, &routev3.RouteConfiguration{}, `{name: routes, virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {safe_regex: {regex: "("}}, route: {cluster: c}}]}]}`))
		bad := w.listener(t)
		bad.Address.GetSocketAddress().Address = "nowhere"
		put(s, types.Listener, "edge", bad)
	})
	proxytest.Eventually(t, "the listeners", func() (int, bool) { n := len(p.Listeners()); return n, n == 2 })
	proxytest.Eventually(t, "refusals", func() (uint64, bool) {
		n := min(p.Counter("http.test.rds.routes.update_rejected"), p.Counter("cluster_manager.cds.update_rejected"), p.Counter("listener_manager.lds.update_rejected"))
		return n, n > 0
	})
	d = dump(t, p)
	refused := func(what string, e *adminv3.UpdateFailureState, details string) {
		t.Helper()
		if e.GetVersionInfo() != "2" || !strings.Contains(e.GetDetails(), details) || e.GetFailedConfiguration() == nil || e.GetLastUpdateAttempt() == nil {
			t.Errorf("the refusal of the %s is %v", what, e)
		}
	}
	c := d.clusters.GetDynamicActiveClusters()[0]
	refused("cluster", c.GetErrorState(), "lb_policy")
	if c.GetVersionInfo() != "1" || d.clusters.GetVersionInfo() != "1" {
		t.Errorf("the cluster is %v", c)
	}
	r := d.routes.GetDynamicRouteConfigs()[0]
	refused("routes", r.GetErrorState(), "virtual_hosts[0].routes[0]")
	if r.GetVersionInfo() != "1" {
		t.Errorf("the routes are %v", r)
	}
	l = d.listeners.GetDynamicListeners()
	refused("listener", l[0].GetErrorState(), "address")
	if l[0].GetActiveState().GetVersionInfo() != "1" || l[1].GetActiveState().GetVersionInfo() != "1" || l[1].GetWarmingState() != nil {
		t.Errorf("listeners are %v", l)
	}
	x := d.secrets.GetDynamicActiveSecrets()
	if len(x) != 1 || x[0].GetVersionInfo() != "2" || strings.Contains(d.text, "PRIVATE KEY") || strings.Contains(d.text, "UFJJVkFURSBLRVk") {
		t.Errorf("secrets are %v", x)
	}
	if _, text := ask(t, p, "/certs"); !strings.Contains(text, "edge.test") {
		t.Errorf("/certs tells %s", text)
	}
	if _, text := ask(t, p, "/config_dump?resource=dynamic_listeners&mask=name,error_state.details"); strings.Contains(text, "active_state") || !strings.Contains(text, "nowhere") {
		t.Errorf("the mask gives %s", text)
	}
	if _, text := ask(t, p, "/clusters"); !strings.Contains(text, "c::added_via_api::true") || !strings.Contains(text, "xds::added_via_api::false") {
		t.Errorf("/clusters tells %s", text)
	}
	for name, want := range map[string]string{"cluster_manager.cds.version_text": "1", "cluster.c.version_text": "2", "http.test.rds.routes.version_text": "1"} {
		if m, _ := p.Metric(name); m.Text != want {
			t.Errorf("%s is %q", name, m.Text)
		}
	}
	for _, name := range []string{"listener_manager.lds.update_time", "cluster_manager.cds.update_time", "cluster.c.update_time"} {
		if p.Gauge(name) == 0 {
			t.Errorf("%s is 0", name)
		}
	}
}

// The admin tells of scopes, and of the virtual hosts that were delivered for a route
// configuration.
func TestDumpTellsOfScopesAndHosts(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up")))
	var store xds.Store
	_, at := weirServer(t, &store)
	b := &xds.Builder{}
	b.Listeners().Put("edge", edge(t, scopedManager(aggregated)), xds.Origin{})
	b.ScopedRoutes().Put("a", scope(t, "a", "one", "routes"), xds.Origin{})
	b.Routes().Put("routes", message(t, &routev3.RouteConfiguration{}, fmt.Sprintf(vhds, aggregated)), xds.Origin{})
	b.VirtualHosts().Put("routes/late", host(t, "late", "late.test", "c0"), xds.Origin{})
	b.Clusters().Put("c0", static(t, "c0", up.Addr()), xds.Origin{})
	store.Publish(b.Build("1"))
	p := start(t, administered(bootstrap("DELTA_GRPC", aggregated)), at)
	got(t, listening(t, p), "GET / HTTP/1.1\r\nhost: late.test\r\nx-tenant: one\r\n\r\n", "up")
	d := dump(t, p)
	scopes := d.scopes.GetDynamicScopedRouteConfigs()
	if len(scopes) != 1 || scopes[0].GetName() != "tenants" || len(scopes[0].GetScopedRouteConfigs()) != 1 || scopes[0].GetVersionInfo() == "" {
		t.Fatalf("scopes: %v", scopes)
	}
	if s := unpack(t, scopes[0].GetScopedRouteConfigs()[0], &routev3.ScopedRouteConfiguration{}); s.GetName() != "a" {
		t.Errorf("the scope is %v", s)
	}
	var hosts []string
	for _, r := range d.routes.GetDynamicRouteConfigs() {
		for _, v := range unpack(t, r.GetRouteConfig(), &routev3.RouteConfiguration{}).GetVirtualHosts() {
			hosts = append(hosts, v.GetName())
		}
	}
	if !slices.Equal(hosts, []string{"own", "late"}) {
		t.Errorf("virtual hosts: %v", hosts)
	}
}
