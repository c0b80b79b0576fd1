// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/load"
)

// message reads one resource.
func message[M proto.Message](t testing.TB, m M, yaml string) M {
	t.Helper()
	yaml = strings.ReplaceAll(yaml, "{{router}}", router)
	if _, problems := load.Message("resource.yaml", []byte(yaml), m, load.Options{}); xds.HasErrors(problems) {
		t.Fatal(xds.Err(problems))
	}
	return m
}

func putListener(t testing.TB, b *xds.Builder, name, routes string) {
	t.Helper()
	b.Listeners().Put(name, message(t, &listenerv3.Listener{}, `{name: `+name+`, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [
  {name: hcm, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
    stat_prefix: test, http_filters: [{{router}}], rds: {config_source: {ads: {}, initial_fetch_timeout: 0.2s}, route_config_name: `+routes+`}}}]}]}`), xds.Origin{})
}

func putRoutes(t testing.TB, b *xds.Builder, name, routes string) {
	t.Helper()
	b.Routes().Put(name, message(t, &routev3.RouteConfiguration{}, `{name: `+name+`, virtual_hosts: [{name: v, domains: ["*"], routes: [`+routes+`]}]}`), xds.Origin{Object: "HTTPRoute " + name})
}

func putCluster(t testing.TB, b *xds.Builder, name string) {
	t.Helper()
	b.Clusters().Put(name, message(t, &clusterv3.Cluster{}, `{name: `+name+`, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}`), xds.Origin{})
}

func putEndpoints(t testing.TB, b *xds.Builder, name string, addresses ...string) {
	t.Helper()
	var list []string
	for _, a := range addresses {
		list = append(list, "{endpoint: {address: "+proxytest.Address(a)+"}}")
	}
	b.Endpoints().Put(name, message(t, &endpointv3.ClusterLoadAssignment{}, `{cluster_name: `+name+`, endpoints: [{lb_endpoints: [`+strings.Join(list, ", ")+`]}]}`), xds.Origin{})
}

func empty(t testing.TB) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, "static_resources: {}", proxytest.Options{Extensions: all.Extensions(), Concurrency: 2})
}

func apply(t testing.TB, p *proxytest.Proxy, b *xds.Builder, version string) *xds.Snapshot {
	t.Helper()
	s := b.Build(version)
	if problems := p.Apply(s); len(problems) > 0 {
		t.Fatalf("version %s: %v", version, problems)
	}
	return s
}

const toUp = `{match: {prefix: "/"}, route: {cluster: up}}`

// A snapshot's routes and endpoints reach those who name them; each changes alone.
func TestApplyGivesResourcesByName(t *testing.T) {
	one := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("one")))
	two := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("two")))
	p := empty(t)
	b := &xds.Builder{}
	putListener(t, b, "edge", "routes")
	putRoutes(t, b, "routes", toUp)
	putCluster(t, b, "up")
	putEndpoints(t, b, "up", one.Addr())
	s := apply(t, p, b, "1")
	c := p.Dial()
	if r := c.Do(plain); r.Content != "one" {
		t.Fatalf("got %v", r)
	}
	b = s.Edit()
	putEndpoints(t, b, "up", two.Addr())
	s = apply(t, p, b, "2")
	if r := c.Do(plain); r.Content != "two" || r.Close {
		t.Fatalf("with other endpoints got %v", r)
	}
	b = s.Edit()
	putRoutes(t, b, "routes", `{match: {prefix: "/"}, direct_response: {status: 200, body: {inline_string: direct}}}`)
	s = apply(t, p, b, "3")
	if r := c.Do(plain); r.Content != "direct" || r.Close {
		t.Fatalf("with other routes got %v: a connection is not to be closed for them", r)
	}
	for name, want := range map[string]uint64{
		"http.test.rds.routes.update_success": 2, "cluster.up.update_success": 2, "cluster_manager.cluster_modified": 0, "cluster_manager.cluster_added": 1,
	} {
		if got := p.Counter(name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	// What is wrong is told by its name, and the last good stays.
	b = s.Edit()
	putRoutes(t, b, "routes", `{match: {safe_regex: {regex: "("}}, route: {cluster: up}}`)
	putEndpoints(t, b, "up", one.Addr())
	problems := p.Apply(b.Build("4"))
	if len(problems) != 1 || problems[0].Kind != xds.KindRoutes || problems[0].Name != "routes" || !strings.Contains(problems[0].Path, "virtual_hosts[0].routes[0]") {
		t.Errorf("problems: %v", problems)
	}
	if r := c.Do(plain); r.Content != "direct" {
		t.Errorf("after a bad route got %v", r)
	}
	// It is told until it is right.
	if again := p.Apply(b.Build("5")); len(again) != 1 {
		t.Errorf("problems of what has not changed: %v", again)
	}
	putRoutes(t, b, "routes", toUp)
	apply(t, p, b, "6")
	if r := c.Do(plain); r.Content != "one" {
		t.Errorf("got %v", r)
	}
}

// Routes to a cluster that is not there answer 503, as Envoy does for routes by RDS;
// validate_clusters refuses them.
func TestApplyRoutesToNoCluster(t *testing.T) {
	p := empty(t)
	b := &xds.Builder{}
	putListener(t, b, "edge", "routes")
	putRoutes(t, b, "routes", toUp)
	apply(t, p, b, "1")
	if r := p.Dial().Do(plain); r.StatusCode != 503 {
		t.Errorf("got %v", r)
	}
	rc := message(t, &routev3.RouteConfiguration{}, `{name: routes, validate_clusters: true, virtual_hosts: [{name: v, domains: ["*"], routes: [`+toUp+`]}]}`)
	b.Routes().Put("routes", rc, xds.Origin{})
	if problems := p.Apply(b.Build("2")); len(problems) != 1 || !strings.Contains(problems[0].Error(), `cluster "up" does not exist`) {
		t.Errorf("problems: %v", problems)
	}
}

// A listener waits for its routes and then, when they have not come in time, answers
// without; those that come later are used.
func TestListenerWaitsForItsRoutes(t *testing.T) {
	p := empty(t)
	b := &xds.Builder{}
	putListener(t, b, "edge", "late")
	s := apply(t, p, b, "1")
	proxytest.Eventually(t, "the number of listeners", func() (int, bool) { n := len(p.Listeners()); return n, n == 1 })
	addr := p.Addr()
	if r := proxytest.Dial(t, addr).Do(plain); r.StatusCode != 404 {
		t.Errorf("without routes got %v", r)
	}
	if n := p.Counter("http.test.rds.late.init_fetch_timeout"); n != 1 {
		t.Errorf("%d time outs", n)
	}
	b = s.Edit()
	putRoutes(t, b, "late", `{match: {prefix: "/"}, direct_response: {status: 200, body: {inline_string: late}}}`)
	apply(t, p, b, "2")
	if r := proxytest.Dial(t, addr).Do(plain); r.Content != "late" {
		t.Errorf("got %v", r)
	}
}

// Clusters, endpoints and routes come and go together under load, and nothing fails.
func TestApplyChurnOfResources(t *testing.T) {
	ups := []*proxytest.Upstream{
		proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("a"))), proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("b"))),
	}
	p := empty(t)
	b := &xds.Builder{}
	putListener(t, b, "edge", "routes")
	generation := func(i int) {
		name := fmt.Sprintf("up-%d", i)
		putCluster(t, b, name)
		putEndpoints(t, b, name, ups[i%2].Addr())
		putRoutes(t, b, "routes", `{match: {prefix: "/"}, route: {cluster: `+name+`}}`)
		if i > 0 {
			b.Clusters().Delete(fmt.Sprintf("up-%d", i-1))
			b.Endpoints().Delete(fmt.Sprintf("up-%d", i-1))
		}
	}
	generation(0)
	s := apply(t, p, b, "0")
	addr := p.Addr()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			c := proxytest.Dial(t, addr)
			defer c.Close()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r := c.Do(plain); r.StatusCode != 200 || r.Close {
					t.Errorf("got %v", r)
					return
				}
			}
		})
	}
	for i := 1; i <= 200; i++ {
		b = s.Edit()
		generation(i)
		s = apply(t, p, b, fmt.Sprint(i))
	}
	close(stop)
	wg.Wait()
}
