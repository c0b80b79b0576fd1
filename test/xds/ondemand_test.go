// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/wire"
)

const onDemand = `{name: od, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand%s}}`

// edge is a listener whose connection manager has these routes and filters.
func edge(t testing.TB, routes string, filters ...string) *listenerv3.Listener {
	t.Helper()
	return message(t, &listenerv3.Listener{}, `{name: edge, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [
  {name: hcm, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
    stat_prefix: test, http_filters: [`+strings.Join(append(filters, router), ", ")+`], `+routes+`}}]}]}`)
}

// static is a cluster of one host.
func static(t testing.TB, name, addr string) *clusterv3.Cluster {
	return message(t, &clusterv3.Cluster{}, `{name: `+name+`, type: STATIC, load_assignment: {cluster_name: `+name+`, endpoints: [{lb_endpoints: [{endpoint: {address: `+proxytest.Address(addr)+`}}]}]}}`)
}

func host(t testing.TB, name, domain, cluster string) *routev3.VirtualHost {
	return message(t, &routev3.VirtualHost{}, `{name: "`+name+`", domains: ["`+domain+`"], routes: [{match: {prefix: /}, route: {cluster: `+cluster+`}}]}`)
}

// got waits until a request is answered by a body, or by a status if that is a number.
func got(t testing.TB, addr, request, want string) {
	t.Helper()
	c := proxytest.Dial(t, addr)
	defer func() { c.Close() }()
	proxytest.Eventually(t, "the answer to "+strings.ReplaceAll(request, "\r\n", " "), func() (string, bool) {
		r := c.Do(request)
		if r.Close {
			c.Close()
			c = proxytest.Dial(t, addr)
		}
		answer := r.Content
		if r.StatusCode != 200 {
			answer = fmt.Sprint(r.StatusCode)
		}
		return answer, answer == want
	})
}

func tenant(name string) string { return "GET / HTTP/1.1\r\nhost: a\r\nx-tenant: " + name + "\r\n\r\n" }

func to(host string) string { return "GET / HTTP/1.1\r\nhost: " + host + "\r\n\r\n" }

// loaded sends a request again and again, until the function that it returns is called,
// and sees to it that each is answered 200.
func loaded(t *testing.T, addr, request string) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		c := proxytest.Dial(t, addr)
		defer c.Close()
		for {
			select {
			case <-done:
				return
			default:
			}
			if r := c.Do(request); r.StatusCode != 200 || r.Close {
				t.Errorf("%q: got %v", request, r)
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

func scopedManager(source string) string {
	return `scoped_routes: {name: tenants, rds_config_source: ` + source + `, scoped_rds: {scoped_rds_config_source: ` + source + `},
  scope_key_builder: {fragments: [{header_value_extractor: {name: x-tenant, element_separator: ",", index: 0}}]}}`
}

func scope(t testing.TB, name, key, routes string) *routev3.ScopedRouteConfiguration {
	return message(t, &routev3.ScopedRouteConfiguration{}, `{name: `+name+`, route_configuration_name: `+routes+`, key: {fragments: [{string_key: `+key+`}]}}`)
}

func routes(t testing.TB, name, cluster string) *routev3.RouteConfiguration {
	return message(t, &routev3.RouteConfiguration{}, `{name: `+name+`, virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: `+cluster+`}}]}]}`)
}

// snapshot makes one of go-control-plane's.
func snapshot(t testing.TB, version string, all ...types.Resource) *cachev3.Snapshot {
	t.Helper()
	by := map[resourcev3.Type][]types.Resource{}
	for _, r := range all {
		url := wire.Prefix + string(r.ProtoReflect().Descriptor().FullName())
		by[url] = append(by[url], r)
	}
	s, err := cachev3.NewSnapshot(version, by)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Scopes and their routes come from go-control-plane's server in all its ways, and change
// under load without a request that fails.
func TestScopedRoutes(t *testing.T) {
	ups := []*proxytest.Upstream{
		proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up-0"))), proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up-1"))),
	}
	for name, mode := range modes() {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, mode.ads != "")
			version := 0
			set := func(more ...types.Resource) {
				version++
				s.set(t, snapshot(t, fmt.Sprint(version), append([]types.Resource{
					edge(t, scopedManager(mode.source)), static(t, "c0", ups[0].Addr()), static(t, "c1", ups[1].Addr()),
				}, more...)...))
			}
			set(scope(t, "a", "one", "r0"), scope(t, "b", "two", "r1"), routes(t, "r0", "c0"), routes(t, "r1", "c1"))
			p := start(t, bootstrap(mode.ads, mode.source), s.addr)
			addr := listening(t, p)
			got(t, addr, tenant("one,x"), "up-0")
			got(t, addr, tenant("two"), "up-1")
			got(t, addr, tenant("three"), "404")
			got(t, addr, plain, "404")
			stop := loaded(t, addr, tenant("one"))
			for i := range 6 {
				// The scope's routes change, then the scope names others.
				set(scope(t, "a", "one", "r0"), scope(t, "b", "two", "r1"), routes(t, "r0", fmt.Sprint("c", 1-i%2)), routes(t, "r1", "c1"))
				got(t, addr, tenant("one"), fmt.Sprint("up-", 1-i%2))
				set(scope(t, "a", "one", "r1"), scope(t, "c", "three", "r0"), routes(t, "r0", fmt.Sprint("c", 1-i%2)), routes(t, "r1", "c1"))
				got(t, addr, tenant("one"), "up-1")
				got(t, addr, tenant("two"), "404")
				got(t, addr, tenant("three"), fmt.Sprint("up-", 1-i%2))
			}
			stop()
			// Two scopes of one key: the first stays.
			set(scope(t, "a", "one", "r1"), scope(t, "d", "one", "r0"), routes(t, "r0", "c0"), routes(t, "r1", "c1"))
			refused(t, p, "http.test.scoped_rds.tenants.update_rejected")
			got(t, addr, tenant("one"), "up-1")
			if n := p.Gauge("http.test.scoped_rds.tenants.all_scopes"); n != 1 && n != 2 {
				t.Errorf("there are %d scopes", n)
			}
			if n := p.Counter("http.test.scoped_rds.tenants.update_empty"); n != 0 {
				t.Errorf("update_empty is %d, and there were scopes", n)
			}
			if strings.Contains(mode.source+mode.ads, "DELTA") { // go-control-plane does not answer a state of the world with nothing.
				set(routes(t, "r1", "c1"))
				got(t, addr, tenant("one"), "404")
				proxytest.Eventually(t, "update_empty", func() (uint64, bool) {
					n := p.Counter("http.test.scoped_rds.tenants.update_empty")
					return n, n == 1
				})
			}
		})
	}
}

// The routes of a scope on demand are fetched when a request needs them, which waits.
func TestScopeOnDemand(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up")))
	for name, filters := range map[string][]string{"with the filter": {fmt.Sprintf(onDemand, "")}, "without": nil} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, true)
			lazy := scope(t, "a", "one", "r0")
			lazy.OnDemand = true
			s.set(t, snapshot(t, "1", edge(t, scopedManager(aggregated), filters...), static(t, "c0", up.Addr()), lazy, scope(t, "b", "two", "r1"), routes(t, "r0", "c0"), routes(t, "r1", "c0")))
			p := start(t, bootstrap("DELTA_GRPC", aggregated), s.addr)
			addr := listening(t, p)
			got(t, addr, tenant("two"), "up")
			if n := p.Gauge("http.test.scoped_rds.tenants.on_demand_scopes"); n != 1 {
				t.Errorf("%d scopes on demand", n)
			}
			want := map[bool]int{true: 200, false: 404}[filters != nil]
			c := proxytest.Dial(t, addr)
			defer c.Close()
			if r := c.Do(tenant("one")); r.StatusCode != want {
				t.Errorf("got %v, want %d", r, want)
			}
		})
	}
}

const vhds = `{name: routes, vhds: {config_source: %s}, virtual_hosts: [{name: own, domains: [own.test], routes: [{match: {prefix: /}, route: {cluster: c0}}]}]}`

func quick(source string) string {
	return strings.Replace(source, "{", "{initial_fetch_timeout: 0.1s, ", 1)
}

// Virtual hosts come from go-control-plane's server, which gives what is named: on
// demand. They change under load without a request that fails.
func TestVirtualHostsOnDemand(t *testing.T) {
	ups := []*proxytest.Upstream{
		proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up-0"))), proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up-1"))),
	}
	for name, mode := range modes() {
		if !strings.Contains(name, "delta") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := newServer(t, mode.ads != "")
			rc := message(t, &routev3.RouteConfiguration{}, fmt.Sprintf(vhds, quick(mode.source)))
			version := 0
			set := func(more ...types.Resource) {
				version++
				s.set(t, snapshot(t, fmt.Sprint(version), append([]types.Resource{
					edge(t, "rds: {route_config_name: routes, config_source: "+mode.source+"}", fmt.Sprintf(onDemand, "")),
					rc, static(t, "c0", ups[0].Addr()), static(t, "c1", ups[1].Addr()),
				}, more...)...))
			}
			set(host(t, "routes/a.test", "a.test", "c0"), host(t, "routes/b.test", "b.test", "c1"))
			p := start(t, bootstrap(mode.ads, mode.source), s.addr)
			addr := listening(t, p)
			got(t, addr, to("own.test"), "up-0")
			c := proxytest.Dial(t, addr)
			defer c.Close()
			for h, want := range map[string]string{"A.test": "up-0", "b.test": "up-1", "own.test": "up-0"} {
				if r := c.Do(to(h)); r.Content != want {
					t.Errorf("%s: got %v, want %s", h, r, want)
				}
			}
			stop := loaded(t, addr, to("a.test"))
			for i := range 10 {
				set(host(t, "routes/a.test", "a.test", fmt.Sprint("c", 1-i%2)), host(t, "routes/b.test", "b.test", "c1"))
				got(t, addr, to("a.test"), fmt.Sprint("up-", 1-i%2))
			}
			stop()
			if n := p.Counter("http.test.rds.routes.update_rejected"); n != 0 {
				t.Errorf("%d refusals", n)
			}
		})
	}
}

// Who asks our server for the virtual hosts of a route configuration has all of them, and
// what comes, changes and goes.
func TestServeVirtualHosts(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up")))
	var store xds.Store
	_, at := weirServer(t, &store)
	b := &xds.Builder{}
	b.Listeners().Put("edge", edge(t, "rds: {route_config_name: routes, config_source: "+aggregated+"}", fmt.Sprintf(onDemand, "")), xds.Origin{})
	b.Routes().Put("routes", message(t, &routev3.RouteConfiguration{}, fmt.Sprintf(vhds, aggregated)), xds.Origin{})
	b.Clusters().Put("c0", static(t, "c0", up.Addr()), xds.Origin{})
	put := func(name, domain, cluster string) {
		b.VirtualHosts().Put("routes/"+name, host(t, name, domain, cluster), xds.Origin{})
	}
	for i := range 20 {
		put(fmt.Sprint("h", i), fmt.Sprintf("h%d.test", i), "c0")
	}
	b.VirtualHosts().Put("routes-2/other", host(t, "other", "other.test", "c0"), xds.Origin{})
	store.Publish(b.Build("1"))
	p := start(t, bootstrap("DELTA_GRPC", aggregated), at)
	addr := listening(t, p)
	c := proxytest.Dial(t, addr)
	defer c.Close()
	for h, want := range map[string]int{"h0.test": 200, "h19.test": 200, "own.test": 200, "other.test": 404, "unknown.test": 404} {
		if r := c.Do(to(h)); r.StatusCode != want {
			t.Errorf("%s: got %v, want %d", h, r, want)
		}
	}
	put("late", "*.late.test", "c0")
	b.VirtualHosts().Delete("routes/h3")
	// One that cannot be used leaves the others alone.
	put("bad", "h1.test", "c0")
	store.Publish(b.Build("2"))
	got(t, addr, to("x.late.test"), "up")
	got(t, addr, to("h3.test"), "404")
	got(t, addr, to("h1.test"), "up")
}

// lazy is a server of deltas that knows what it is asked for by other names.
type lazy struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	all   map[string][]*discoveryv3.Resource // by type URL: what there is from the start
	alias func(name string) *discoveryv3.Resource
}

func (l *lazy) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	for nonce := 0; ; nonce++ {
		q, err := g.Recv()
		if err != nil {
			return err
		}
		if q.GetResponseNonce() != "" {
			continue
		}
		r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: q.GetTypeUrl(), Nonce: fmt.Sprint(nonce), Resources: l.all[q.GetTypeUrl()]}
		if q.GetTypeUrl() == resourcev3.VirtualHostType {
			for _, n := range q.GetResourceNamesSubscribe() {
				r.Resources = append(r.Resources, l.alias(n))
			}
		}
		if err := g.Send(r); err != nil {
			return err
		}
	}
}

func packed(t testing.TB, name string, m proto.Message) *discoveryv3.Resource {
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return &discoveryv3.Resource{Name: name, Version: "1", Resource: a}
}

// A virtual host may be called otherwise than it is asked for, and an empty resource says
// that there is none.
func TestAliases(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up")))
	asked := make(chan string, 100)
	l := &lazy{all: map[string][]*discoveryv3.Resource{
		resourcev3.ListenerType: {packed(t, "edge", edge(t, "rds: {route_config_name: routes, config_source: "+aggregated+"}", fmt.Sprintf(onDemand, "")))},
		resourcev3.RouteType:    {packed(t, "routes", message(t, &routev3.RouteConfiguration{}, fmt.Sprintf(vhds, quick(aggregated))))},
		resourcev3.ClusterType:  {packed(t, "c0", static(t, "c0", up.Addr()))},
	}, alias: func(name string) *discoveryv3.Resource {
		asked <- name
		if name != "routes/www.test:80" {
			return &discoveryv3.Resource{Name: name, Version: "1", Aliases: []string{name}}
		}
		r := packed(t, "routes/site", host(t, "site", "www.test:80", "c0"))
		r.Aliases = []string{name}
		return r
	}}
	g := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, l)
	p := start(t, bootstrap("DELTA_GRPC", aggregated), listen(t, g))
	addr := listening(t, p)
	c := proxytest.Dial(t, addr)
	defer c.Close()
	for range 2 {
		for _, tt := range []struct {
			host string
			want int
		}{{"WWW.test:80", 200}, {"none.test", 404}} {
			if r := c.Do(to(tt.host)); r.StatusCode != tt.want {
				t.Errorf("%s: got %v, want %d", tt.host, r, tt.want)
			}
		}
	}
	for _, want := range []string{"routes", "routes/www.test:80", "routes/none.test", "routes/none.test"} {
		if n := <-asked; n != want {
			t.Errorf("the server was asked for %s, want %s", n, want)
		}
	}
}

// Virtual hosts come as deltas only: other sources are refused, with the reason.
func TestVirtualHostsNeedDeltas(t *testing.T) {
	s := newServer(t, true)
	s.set(t, snapshot(t, "1", edge(t, "rds: {route_config_name: routes, config_source: "+aggregated+"}"),
		message(t, &routev3.RouteConfiguration{}, fmt.Sprintf(vhds, aggregated)), static(t, "c0", "127.0.0.1:1")))
	p := start(t, bootstrap("GRPC", aggregated), s.addr)
	listening(t, p)
	refused(t, p, "http.test.rds.routes.update_rejected")
}

// A cluster is asked for when a request needs it, which waits until it is ready.
func TestClustersOnDemand(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up")))
	var store xds.Store
	_, ours := weirServer(t, &store)
	b := &xds.Builder{}
	b.Clusters().Put("lazy", static(t, "lazy", up.Addr()), xds.Origin{})
	store.Publish(b.Build("1"))
	theirs := newServer(t, false)
	theirs.set(t, snapshot(t, "1", static(t, "lazy", up.Addr())))
	for name, server := range map[string]struct{ at, kind string }{"ours": {ours, "AGGREGATED_DELTA_GRPC"}, "go-control-plane's": {theirs.addr, "DELTA_GRPC"}} {
		t.Run(name, func(t *testing.T) {
			yaml := strings.Replace(bootstrap("", ""), "static_resources: {", `static_resources: {listeners: [{name: edge, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [
  {name: hcm, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
    stat_prefix: test, http_filters: [`+fmt.Sprintf(onDemand, ", odcds: {timeout: 2s, source: "+api(server.kind)+"}")+`, {{router}}],
    route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster_header: x-cluster}}]}]}}}]}]}], `, 1)
			yaml = strings.Replace(yaml, "dynamic_resources: { lds_config: , cds_config: },", "", 1)
			p := start(t, yaml, server.at)
			ask := func(cluster string) int {
				c := proxytest.Dial(t, p.Addr())
				defer c.Close()
				return c.Do("GET / HTTP/1.1\r\nhost: a\r\nx-cluster: " + cluster + "\r\n\r\n").StatusCode
			}
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if got := ask("lazy"); got != 200 {
						t.Errorf("lazy: got %d", got)
					}
				})
			}
			wg.Wait()
			if got := ask("absent"); got != 503 {
				t.Errorf("absent: got %d", got)
			}
			if got := ask("lazy"); got != 200 {
				t.Errorf("lazy: got %d", got)
			}
		})
	}
}
