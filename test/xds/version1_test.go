// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// version1 serves version 1 of discovery: a body for each path.
type version1 struct {
	mu     sync.Mutex
	bodies map[string]string
}

func (v *version1) set(path, body string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.bodies[path] = body
}

func (v *version1) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	body, ok := v.bodies[r.URL.Path]
	v.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = fmt.Fprint(w, body)
}

func (v *version1) cluster(name string) {
	v.set("/v1/clusters/edges/edge-1", `{"clusters": [{"name": "`+name+`", "type": "sds", "service_name": "`+name+`.default", "connect_timeout_ms": 1000, "lb_type": "round_robin"}]}`)
}

func (v *version1) hosts(t *testing.T, name, addr string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	v.set("/v1/registration/"+name+".default", `{"hosts": [{"ip_address": "`+host+`", "port": `+port+`, "tags": {}}]}`)
}

func (v *version1) route(cluster string) {
	v.set("/v1/routes/routes/edges/edge-1", `{"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"prefix": "/", "cluster": "`+cluster+`"}]}]}`)
}

// A file of v1 whose listeners, clusters, routes and hosts are all found by version 1 of
// discovery serves what that says, follows it, and keeps what was good when it does not
// make sense or goes away.
func TestVersion1(t *testing.T) {
	ups := []*proxytest.Upstream{
		proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up-0"))), proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up-1"))),
	}
	v := &version1{bodies: map[string]string{}}
	srv := httptest.NewServer(v)
	t.Cleanup(srv.Close)
	v.cluster("shop")
	v.hosts(t, "shop", ups[0].Addr())
	v.route("shop")
	v.set("/v1/listeners/edges/edge-1", `{"listeners": [{"name": "edge", "address": "tcp://127.0.0.1:0", "filters": [{"type": "read", "name": "http_connection_manager", "config": {
  "codec_type": "auto", "stat_prefix": "test", "rds": {"cluster": "discovery", "route_config_name": "routes", "refresh_delay_ms": 10},
  "filters": [{"type": "decoder", "name": "router", "config": {}}]}}]}]}`)
	asked := func(name string) string {
		return `{"name": "` + name + `", "type": "static", "connect_timeout_ms": 1000, "lb_type": "round_robin", "hosts": [{"url": "tcp://` + strings.TrimPrefix(srv.URL, "http://") + `"}]}`
	}
	p := proxytest.Start(t, `{"listeners": [], "lds": {"cluster": "discovery", "refresh_delay_ms": 10},
  "cluster_manager": {"clusters": [], "sds": {"cluster": `+asked("sds")+`, "refresh_delay_ms": 10}, "cds": {"cluster": `+asked("discovery")+`, "refresh_delay_ms": 10}}}`,
		proxytest.Options{Extensions: all.Extensions(), Concurrency: 2, ServiceNode: "edge-1", ServiceCluster: "edges"})
	addr := listening(t, p)
	answered(t, addr, "up-0")
	end := pound(t, addr, 1)
	// Hosts change, then a cluster beside the old one, then the route to it.
	v.hosts(t, "shop", ups[1].Addr())
	answered(t, addr, "up-1")
	v.hosts(t, "cart", ups[0].Addr())
	v.set("/v1/clusters/edges/edge-1", `{"clusters": [{"name": "shop", "type": "sds", "service_name": "shop.default", "connect_timeout_ms": 1000, "lb_type": "round_robin"},
  {"name": "cart", "type": "sds", "service_name": "cart.default", "connect_timeout_ms": 1000, "lb_type": "round_robin"}]}`)
	p.WaitGauge("cluster.cart.membership_total", 1)
	v.route("cart")
	answered(t, addr, "up-0")
	for path, counter := range map[string]string{
		"/v1/clusters/edges/edge-1": "cluster_manager.cds.update_failure", "/v1/listeners/edges/edge-1": "listener_manager.lds.update_failure",
		"/v1/routes/routes/edges/edge-1": "http.test.rds.routes.update_failure",
	} {
		for _, bad := range []string{"<html>", `{"clusters": [{}], "listeners": [{}], "virtual_hosts": 7}`} {
			v.set(path, bad)
			before := p.Counter(counter)
			proxytest.Eventually(t, counter, func() (uint64, bool) { n := p.Counter(counter); return n, n > before })
		}
	}
	srv.CloseClientConnections()
	answered(t, addr, "up-0")
	end()
}
