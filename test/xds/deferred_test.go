// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"weir.dev/weir/proxy/proxytest"
)

// deferred has a bootstrap's proxy make clusters when they are asked for.
func deferred(bootstrap string) string {
	return strings.Replace(bootstrap, "dynamic_resources:", "cluster_manager: {enable_deferred_cluster_creation: true}, dynamic_resources:", 1)
}

// A cluster that no request has asked for is known and not made; the first request has it made, with the newest endpoints,
// also if the management server is gone by then.
func TestDeferredClusters(t *testing.T) {
	one, two := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("one"))), proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("two")))
	for name, mode := range modes() {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, mode.ads != "")
			set := func(version, backend string, names ...string) {
				t.Helper()
				w := world{mode.source, names[0], backend}
				resources := map[resourcev3.Type][]types.Resource{resourcev3.ListenerType: {w.listener(t)}, resourcev3.RouteType: {w.routes(t)}}
				for _, n := range names {
					w := world{mode.source, n, backend}
					resources[resourcev3.ClusterType] = append(resources[resourcev3.ClusterType], w.clusters(t))
					resources[resourcev3.EndpointType] = append(resources[resourcev3.EndpointType], w.endpoints(t))
				}
				snapshot, err := cachev3.NewSnapshot(version, resources)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.cache.SetSnapshot(context.Background(), "edge-1", snapshot); err != nil {
					t.Fatal(err)
				}
			}
			set("1", one.Addr(), "used", "spare")
			p := start(t, administered(deferred(bootstrap(mode.ads, mode.source))), s.addr)
			addr := listening(t, p)
			p.WaitGauge("cluster_manager.deferred_clusters", 2)
			p.WaitGauge("cluster_manager.active_clusters", 3)
			if _, text := ask(t, p, "/clusters"); !strings.Contains(text, "spare::deferred::true") || strings.Contains(text, one.Addr()) {
				t.Errorf("/clusters tells %s", text)
			}
			if _, text := ask(t, p, "/stats?filter=cluster.used"); strings.Contains(text, "upstream_rq_total") {
				t.Errorf("what nobody has asked for counts: %s", text)
			}
			if r := p.Do(plain); r.StatusCode != 200 || r.Content != "one" {
				t.Fatalf("the first request got %v", r)
			}
			p.WaitGauge("cluster_manager.deferred_clusters", 1)
			if _, text := ask(t, p, "/clusters"); !strings.Contains(text, "used::"+one.Addr()+"::rq_total::1") {
				t.Errorf("/clusters tells %s", text)
			}

			end := func() int64 { return 0 }
			if mode.ads != "" { // Streams of their own have no order.
				end = pound(t, addr, 1)
			}
			set("2", two.Addr(), "used", "spare", "late")
			answered(t, addr, "two")
			set("3", two.Addr(), "late", "used", "spare") // The route leads to one that was deferred until now.
			asked := func() {
				t.Helper()
				proxytest.Eventually(t, "the clusters not asked for", func() (int64, bool) {
					p.Do(plain)
					m, _ := p.Metric("cluster_manager.deferred_clusters")
					return m.Level, m.Level == 1
				})
			}
			asked()
			for i := 4; i < 12; i++ {
				set(fmt.Sprint(i), two.Addr(), "late", "used", fmt.Sprint("spare-", i))
			}
			p.WaitGauge("cluster_manager.active_clusters", 4)
			asked() // Without order, the route may have come to it only now.
			end()
			if got := p.Counter("cluster_manager.cds.update_rejected"); got != 0 {
				t.Errorf("%d updates were rejected", got)
			}
			if got := p.Counter("http.test.no_cluster"); got != 0 && mode.ads != "" {
				t.Errorf("%d requests found no cluster", got)
			}
		})
	}
}
