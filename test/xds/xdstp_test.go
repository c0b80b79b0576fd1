// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"context"
	"fmt"
	"strings"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// Names of the collections that the proxy of edge-1 asks for, and of what is in them.
const (
	ofListeners = "xdstp://corp/envoy.config.listener.v3.Listener/edges/"
	ofClusters  = "xdstp://corp/envoy.config.cluster.v3.Cluster/edges/"
	ofRoutes    = "xdstp://corp/envoy.config.route.v3.RouteConfiguration/edges/"
	ofNode      = "?xds.node.id=edge-1"
)

// collections makes go-control-plane's cache, which knows none, answer who asks for a
// collection with all that there is of its type; the proxy takes what is in it. It notes what
// was asked for.
type collections struct {
	cachev3.SnapshotCache
	asked chan string
}

// everything is a subscription to a collection, for the cache.
type everything struct{ cachev3.Subscription }

func (everything) IsWildcard() bool { return true }

func (c collections) CreateDeltaWatch(r *cachev3.DeltaRequest, s cachev3.Subscription, out chan cachev3.DeltaResponse) (func(), error) {
	for name := range s.SubscribedResources() {
		if strings.Contains(name, "/*") {
			select {
			case c.asked <- name:
			default:
			}
			s = everything{s}
		}
	}
	return c.SnapshotCache.CreateDeltaWatch(r, s, out)
}

// collected is a bootstrap that asks {{xds}} for two collections, and {{corp}} for what is of
// the authority corp.
func collected(mode, more string) string {
	yaml := strings.Replace(bootstrap("DELTA_GRPC", aggregated), "{node:", `{node_context_params: [id], `+more+` node:`, 1)
	locators := `lds_resources_locator: "` + ofListeners + `*", cds_resources_locator: "` + ofClusters + `*", `
	switch mode {
	case "ADS":
		yaml = strings.Replace(yaml, "lds_config:", locators+"lds_config:", 1)
	case "authority":
		yaml = strings.Replace(yaml, " lds_config: "+aggregated+", cds_config: "+aggregated, locators, 1)
	}
	const xdsCluster = `{name: xds, type: STATIC`
	i := strings.Index(yaml, xdsCluster)
	whole := yaml[i:strings.LastIndex(yaml, "]}}")]
	return strings.Replace(yaml, whole, whole+", "+strings.NewReplacer("name: xds", "name: corp", "cluster_name: xds", "cluster_name: corp", "{{xds}}", "{{corp}}").Replace(whole), 1)
}

const corp = `{api_config_source: {api_type: AGGREGATED_DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: corp}}]}, authorities: [{name: corp}]}`

// A proxy takes the listeners and clusters of its collections, their routes and endpoints by
// names that say of which authority they are, and their changes under load.
func TestCollections(t *testing.T) {
	ups := []*proxytest.Upstream{
		proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up-0"))), proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up-1"))),
	}
	for name, tt := range map[string]struct{ mode, more string }{
		"by ADS":                      {"ADS", ""},
		"by the authority's server":   {"authority", "config_sources: [" + corp + "],"},
		"by the server of all others": {"authority", "default_config_source: " + strings.Replace(corp, ", authorities: [{name: corp}]", "", 1) + ","},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, true)
			asked := make(chan string, 100)
			addr := serveDeltas(t, collections{s.cache, asked})
			set := func(i int, more ...types.Resource) {
				w := world{source: "{ads: {}, resource_api_version: V3}", cluster: fmt.Sprint("xdstp://corp/envoy.config.cluster.v3.Cluster/edges/c", i%2, ofNode), backend: ups[i%2].Addr()}
				l := edge(t, `rds: {config_source: `+w.source+`, route_config_name: "`+ofRoutes+`r?b=2&a=1"}`)
				l.Name = ofListeners + "web" + ofNode
				// The server has its parameters in another order, and says the same.
				r := routes(t, `"`+ofRoutes+`r?a=1&b=2"`, `"`+w.cluster+`"`)
				other := edge(t, `rds: {config_source: `+w.source+`, route_config_name: none}`)
				other.Name = "xdstp://corp/envoy.config.listener.v3.Listener/others/web" + ofNode
				c := static(t, "x", w.backend)
				c.Name = w.cluster
				s.set(t, snapshot(t, fmt.Sprint(i), append(more, l, other, r, c)...))
			}
			set(0)
			p := proxytest.Start(t, collected(tt.mode, tt.more), proxytest.Options{Extensions: all.Extensions(), Concurrency: 2, Backends: map[string]string{"xds": addr, "corp": addr}})
			at := listening(t, p) // The other listener is of no collection of this proxy.
			answered(t, at, "up-0")
			end := pound(t, at, 1)
			for i := 1; i <= 8; i++ {
				set(i)
				answered(t, at, fmt.Sprint("up-", i%2))
			}
			end()
			names := map[string]bool{}
			for len(names) < 2 {
				names[<-asked] = true
			}
			if !names[ofListeners+"*"+ofNode] || !names[ofClusters+"*"+ofNode] {
				t.Errorf("it was asked for %v", names)
			}
			for _, n := range []string{"listener_manager.lds.update_rejected", "cluster_manager.cds.update_rejected"} {
				if got := p.Counter(n); got != 0 {
					t.Errorf("%s is %d", n, got)
				}
			}
			if got := p.Counter("listener_manager.lds.update_success"); got == 0 {
				t.Error("no update of listeners is counted")
			}
		})
	}
}

// Scopes of a collection come one by one, and others of the same server are not those of the
// connection manager; a collection without any is an answer.
func TestScopesOfACollection(t *testing.T) {
	const ofScopes = "xdstp://corp/envoy.config.route.v3.ScopedRouteConfiguration/edges/"
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up")))
	s := newServer(t, true)
	asked := make(chan string, 100)
	addr := serveDeltas(t, collections{s.cache, asked})
	manager := edge(t, strings.Replace(scopedManager(aggregated), "scoped_rds: {", `scoped_rds: {srds_resources_locator: "`+ofScopes+`*", `, 1))
	version := 0
	set := func(more ...types.Resource) {
		version++
		s.set(t, snapshot(t, fmt.Sprint(version), append(more, manager, static(t, "c", up.Addr()), routes(t, "r", "c"))...))
	}
	named := func(name string) string { return `"` + name + ofNode + `"` }
	set(scope(t, named(ofScopes+"a"), "one", "r"), scope(t, named(strings.Replace(ofScopes, "edges", "others", 1)+"b"), "two", "r"))
	yaml := strings.Replace(bootstrap("DELTA_GRPC", aggregated), "{node:", `{node_context_params: [id], node:`, 1)
	p := proxytest.Start(t, yaml, proxytest.Options{Extensions: all.Extensions(), Concurrency: 2, Backends: map[string]string{"xds": addr}})
	at := listening(t, p)
	got(t, at, tenant("one"), "up")
	got(t, at, tenant("two"), "404")
	set(scope(t, named(ofScopes+"c"), "three", "r"))
	got(t, at, tenant("three"), "up")
	got(t, at, tenant("one"), "404")
	set()
	got(t, at, tenant("three"), "404")
	if name := <-asked; name != ofScopes+"*"+ofNode {
		t.Errorf("it was asked for %s", name)
	}
	if n := p.Counter("http.test.scoped_rds.tenants.update_rejected"); n != 0 {
		t.Errorf("%d updates are refused", n)
	}
}

// Endpoints of an authority come from its server, also to a cluster that does not say where
// they are asked for.
func TestEndpointsOfAnAuthority(t *testing.T) {
	const of = "xdstp://corp/envoy.config.endpoint.v3.ClusterLoadAssignment/up?a=1"
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up")))
	s := newServer(t, true)
	s.set(t, snapshot(t, "1", message(t, &endpointv3.ClusterLoadAssignment{}, `{cluster_name: "`+of+`", endpoints: [{lb_endpoints: [{endpoint: {address: `+proxytest.Address(up.Addr())+`}}]}]}`)))
	for _, mode := range []string{"AGGREGATED_GRPC", "AGGREGATED_DELTA_GRPC"} {
		yaml := `{node: {id: edge-1, cluster: edges}, config_sources: [` + strings.Replace(corp, "AGGREGATED_DELTA_GRPC", mode, 1) + `],
static_resources: {listeners: [{name: edge, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [
    {name: hcm, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
      stat_prefix: test, http_filters: [` + router + `], route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: up}}]}]}}}]}]}],
  clusters: [{name: up, type: EDS, eds_cluster_config: {service_name: "` + of + `"}},
  {name: corp, type: STATIC, connect_timeout: 1s,
    typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}},
    load_assignment: {cluster_name: corp, endpoints: [{lb_endpoints: [{endpoint: {address: {{corp}}}}]}]}}]}}`
		p := proxytest.Start(t, yaml, proxytest.Options{Extensions: all.Extensions(), Concurrency: 1, Backends: map[string]string{"corp": s.addr}})
		answered(t, p.Addr(), "up")
	}
}

func TestBadNamesOfAuthorities(t *testing.T) {
	for want, yaml := range map[string]string{
		"lds_resources_locator: \"file:///x\": only xdstp:// is supported": strings.Replace(bootstrap("DELTA_GRPC", aggregated), "lds_config:", "lds_resources_locator: file:///x, lds_config:", 1),
		"cds_resources_locator: collections are delivered as deltas only":  strings.Replace(bootstrap("GRPC", aggregated), "cds_config:", `cds_resources_locator: "`+ofClusters+`*", cds_config:`, 1),
		"config_sources[0].authorities: is empty":                          strings.Replace(bootstrap("GRPC", aggregated), "{node:", "{config_sources: ["+strings.Replace(corp, "[{name: corp}]", "[]", 1)+"], node:", 1),
	} {
		_, err := proxytest.TryStart(t, yaml, proxytest.Options{Extensions: all.Extensions(), Concurrency: 1, Backends: map[string]string{"xds": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}

// serveDeltas has go-control-plane's server answer from a cache.
func serveDeltas(t *testing.T, c cachev3.Cache) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	g := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, serverv3.NewServer(ctx, c, nil))
	return listen(t, g)
}
