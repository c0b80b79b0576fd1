// SPDX-License-Identifier: Apache-2.0

package brief

import (
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"weir.dev/weir/internal/golden"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/load"
)

func TestSnapshot(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, a *golden.Archive) map[string]string {
		in, ok := a.Get("edge.yaml")
		if !ok {
			t.Fatal("no edge.yaml")
		}
		b, pos, problems := load.Bootstrap("edge.yaml", []byte(in), load.Options{})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		s := xds.FromBootstrap(b, "1", pos.Origin)
		return map[string]string{"brief": Snapshot(s)}
	})
}

func TestDiscoveredResources(t *testing.T) {
	b := &xds.Builder{}
	b.Routes().Put("r", &routev3.RouteConfiguration{Name: "r", VirtualHosts: []*routev3.VirtualHost{{Name: "a b", Domains: []string{"*"}}}}, xds.Origin{})
	b.Endpoints().Put("c", &endpointv3.ClusterLoadAssignment{ClusterName: "c", Endpoints: []*endpointv3.LocalityLbEndpoints{{Priority: 1}}}, xds.Origin{})
	b.VirtualHosts().Put("r/x\n", &routev3.VirtualHost{Name: "x", Routes: []*routev3.Route{{}}}, xds.Origin{})
	const want = `routes r
  host "a b" *
virtual host "r/x\n"
  host x
    any path -> nothing
endpoints c
  priority=1 no hosts
`
	if got := Snapshot(b.Build("1")); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := Snapshot(nil); got != "" {
		t.Errorf("nil: %q", got)
	}
}
