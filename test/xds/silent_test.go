// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"strings"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds/wire"
)

// moody is a management server that says what a test has it say, and takes what it is told
// without an answer. Its streams stay open.
type moody struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	t *testing.T

	mu     sync.Mutex
	asked  map[string][]string // names by type
	stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer
	says   map[string]*discoveryv3.DiscoveryResponse // to the first question of a type
}

func (m *moody) StreamAggregatedResources(g discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	m.mu.Lock()
	m.stream = g
	m.mu.Unlock()
	for {
		q, err := g.Recv()
		if err != nil {
			return err
		}
		m.mu.Lock()
		m.asked[q.GetTypeUrl()] = q.GetResourceNames()
		r := m.says[q.GetTypeUrl()]
		delete(m.says, q.GetTypeUrl())
		if r != nil {
			err = g.Send(r)
		}
		m.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// say has a response sent: at once if its type was asked for, else as the answer.
func (m *moody) say(version string, all ...proto.Message) {
	m.t.Helper()
	by := map[string]*discoveryv3.DiscoveryResponse{}
	for _, r := range all {
		a, err := anypb.New(r)
		if err != nil {
			m.t.Fatal(err)
		}
		if by[a.GetTypeUrl()] == nil {
			by[a.GetTypeUrl()] = &discoveryv3.DiscoveryResponse{VersionInfo: version, Nonce: version, TypeUrl: a.GetTypeUrl()}
		}
		by[a.GetTypeUrl()].Resources = append(by[a.GetTypeUrl()].Resources, a)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for url, r := range by {
		if _, asked := m.asked[url]; !asked {
			m.says[url] = r
			continue
		}
		if err := m.stream.Send(r); err != nil {
			m.t.Error(err)
		}
	}
}

// wanted waits until names of a type are asked for.
func (m *moody) wanted(message, name string) {
	m.t.Helper()
	proxytest.Eventually(m.t, "what is asked for of "+message, func() ([]string, bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		names := m.asked[wire.Prefix+message]
		for _, n := range names {
			if n == name {
				return names, true
			}
		}
		return names, false
	})
}

func newMoody(t *testing.T) (*moody, string) {
	t.Helper()
	m := &moody{t: t, asked: map[string][]string{}, says: map[string]*discoveryv3.DiscoveryResponse{}}
	g := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, m)
	return m, listen(t, g)
}

// A server that falls silent on an open stream, tells of half a configuration, or of a whole
// one whose parts do not come, stops no request that was answered before; what it says at
// last is used.
func TestHalfAndSilent(t *testing.T) {
	ups := []*proxytest.Upstream{
		proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up-0"))), proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up-1"))),
	}
	// What does not come is waited for as long as the test takes.
	const source = "{ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}"
	w, next := world{source, "c0", ups[0].Addr()}, world{source, "c1", ups[1].Addr()}
	for name, half := range map[string]func(*moody){
		"nothing more": func(*moody) {},
		"a listener whose routes never come": func(m *moody) {
			l := w.listener(t)
			l.FilterChains[0].Filters[0].GetTypedConfig().Value = edge(t, `rds: {config_source: `+source+`, route_config_name: never}`).FilterChains[0].Filters[0].GetTypedConfig().Value
			m.say("2", l)
			m.wanted("envoy.config.route.v3.RouteConfiguration", "never")
		},
		"a cluster whose endpoints never come": func(m *moody) {
			m.say("2", &clusterv3.Cluster{Name: "c0", ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}, EdsClusterConfig: message(t, &clusterv3.Cluster_EdsClusterConfig{}, `{service_name: never, eds_config: `+source+`}`)})
			m.wanted("envoy.config.endpoint.v3.ClusterLoadAssignment", "never")
		},
		"routes to a cluster after one whose endpoints never come": func(m *moody) {
			m.say("2", w.clusters(t), next.clusters(t))
			m.wanted("envoy.config.endpoint.v3.ClusterLoadAssignment", "c1")
			m.say("2", next.routes(t)) // It waits for the cluster.
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, addr := newMoody(t)
			m.say("1", w.listener(t), w.routes(t), w.clusters(t), w.endpoints(t))
			p := start(t, bootstrap("GRPC", source), addr)
			at := listening(t, p)
			answered(t, at, "up-0")
			end := pound(t, at, 1)
			half(m)
			for range 200 {
				if r := p.Do(plain); r.Content != "up-0" {
					t.Fatalf("with half a configuration: %v", r)
				}
			}
			if p.Gauge("control_plane.connected_state") != 1 {
				t.Error("the stream is gone")
			}
			// The whole comes.
			m.say("3", w.clusters(t), next.clusters(t))
			m.wanted("envoy.config.endpoint.v3.ClusterLoadAssignment", "c1")
			m.say("3", w.endpoints(t), next.endpoints(t))
			m.say("3", w.listener(t))
			m.wanted("envoy.config.route.v3.RouteConfiguration", "routes")
			m.say("3", next.routes(t))
			answered(t, at, "up-1")
			end()
		})
	}
}

// A proxy whose server takes its stream and never says a word serves what the bootstrap has.
func TestSilentFromTheBeginning(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("own")))
	m, addr := newMoody(t)
	yaml := strings.Replace(bootstrap("GRPC", "{ads: {}, resource_api_version: V3, initial_fetch_timeout: 0.05s}"), "{clusters: [", `{listeners: [{name: own, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [
  {name: hcm, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
    stat_prefix: own, http_filters: [`+router+`], route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: own}}]}]}}}]}]}],
  clusters: [{name: own, type: STATIC, load_assignment: {cluster_name: own, endpoints: [{lb_endpoints: [{endpoint: {address: `+proxytest.Address(up.Addr())+`}}]}]}}, `, 1)
	p := start(t, yaml, addr)
	proxytest.Eventually(t, "the question for clusters", func() (int, bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		_, asked := m.asked[wire.Prefix+"envoy.config.cluster.v3.Cluster"]
		return len(m.asked), asked
	})
	answered(t, p.Addr(), "own")
	p.WaitCounter("listener_manager.lds.init_fetch_timeout", 1)
	p.WaitCounter("cluster_manager.cds.init_fetch_timeout", 1)
	answered(t, p.Addr(), "own")
}
