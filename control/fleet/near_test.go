// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/control/build"
	"weir.dev/weir/control/fleet"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/source"
	"weir.dev/weir/xds/wire"
)

const zones = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: app, port: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {ports: [{port: 80}], trafficDistribution: PreferSameNode}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: app-1, labels: {kubernetes.io/service-name: app}}
addressType: IPv4
ports: [{port: 3000}]
endpoints:
- {addresses: [10.1.0.1], zone: a, nodeName: a-1}
- {addresses: [10.1.0.2], zone: b, nodeName: b-1}
- {addresses: [10.1.0.3], zone: b, nodeName: b-2}
`

const nodeOf = `
---
apiVersion: v1
kind: Node
metadata: {name: NODE, labels: {topology.kubernetes.io/zone: ZONE}}
`

// near returns the endpoints that a proxy is served next, by their priorities.
func (p *proxy) near() string {
	p.t.Helper()
	r := p.nextOf("ClusterLoadAssignment")
	m := &endpointv3.ClusterLoadAssignment{}
	if len(r.GetResources()) != 1 {
		p.t.Fatalf("it is served %v", r)
	}
	if err := r.GetResources()[0].GetResource().UnmarshalTo(m); err != nil {
		p.t.Fatal(err)
	}
	var out []string
	for _, l := range m.GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			out = append(out, fmt.Sprintf("%d:%s", l.GetPriority(), strings.TrimPrefix(e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress(), "10.1.0.")))
		}
	}
	return strings.Join(out, " ")
}

// placed connects a proxy that is somewhere, and asks for endpoints.
func (p *plane) placed(endpoints, zone, node string, features ...string) *proxy {
	p.t.Helper()
	n := edge(zone + node)
	n.Locality, n.ClientFeatures = &corev3.Locality{Zone: zone}, features
	n.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{infra.NodeMetadata: structpb.NewStringValue(node)}}
	c := p.connect(n)
	q := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: wire.Prefix + "envoy.config.endpoint.v3.ClusterLoadAssignment", ResourceNamesSubscribe: []string{endpoints}}
	if err := c.stream.Send(q); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// A proxy is served the endpoints of its own node and zone first, which it says itself or its Node does; who says nothing
// is served all alike, and a change reaches everybody.
func TestNear(t *testing.T) {
	p := start(t, fleet.Options{})
	node := strings.NewReplacer("NODE", "b-2", "ZONE", "b").Replace(nodeOf)
	p.apply(objects + zones + node)
	<-p.runner.Begun()
	of := func(zone, node string, features ...string) *proxy {
		return p.placed("default/app/80", zone, node, features...)
	}
	moved := of("", "b-2")
	all := []struct {
		of          *proxy
		want, later string
	}{
		{of("", ""), "0:1 0:2 0:3", "0:1 0:3"},
		{of("", "", wire.DeliversHosts), "0:1 0:2 0:3", "0:1 0:3"},
		{of("a", ""), "0:1 1:2 1:3", "0:1 1:3"},
		{of("b", "b-1", wire.DeliversHosts), "0:2 1:3 2:1", "0:3 1:1"},
		{of("b", "b-1"), "0:2 1:3 2:1", "0:3 1:1"},
		{of("c", "c-1"), "0:1 0:2 0:3", "0:1 0:3"},
		{moved, "0:3 1:2 2:1", "0:3 1:1"},
	}
	for i, c := range all {
		if got := c.of.near(); got != c.want {
			t.Errorf("proxy %d is served %q, want %q", i, got, c.want)
		}
	}
	p.apply(strings.Replace(node, "zone: b", "zone: a", 1))
	if got, want := moved.near(), "0:3 1:1 2:2"; got != want {
		t.Errorf("once its node is in another zone, it is served %q, want %q", got, want)
	}
	p.apply(strings.Replace(zones, "- {addresses: [10.1.0.2], zone: b, nodeName: b-1}\n", "", 1))
	for i, c := range all {
		if got := c.of.near(); got != c.later {
			t.Errorf("after a change proxy %d is served %q, want %q", i, got, c.later)
		}
	}
	for _, c := range all {
		c.of.end()
	}
	p.until("nothing to be kept of proxies that have gone", func() (string, bool) {
		n := p.runner.Views()
		return fmt.Sprint(n), n == 0
	})
}

const stays = `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: app}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}]
  loadBalancer: {type: RoundRobin, zoneAware: {preferLocal: {minEndpointsThreshold: 3, force: {minEndpointsInZoneThreshold: 2}}}}
`

// A policy that has requests stay in the zone holds for each proxy by where it is, whatever the Service says; and only as
// long as there are as many endpoints as it asks for.
func TestStays(t *testing.T) {
	p := start(t, fleet.Options{})
	node := strings.NewReplacer("NODE", "b-2", "ZONE", "b").Replace(nodeOf)
	p.apply(objects + zones + node + stays)
	<-p.runner.Begun()
	spread := build.Spread{Home: &build.Home{Least: 3, Here: 2, Percent: 100}}
	endpoints := graph.ClusterID{Backend: source.Key{Kind: source.Service, Name: source.Name{Namespace: "default", Name: "app"}}, Port: 80, Spread: spread.Text()}.Name()
	all := []struct {
		of          *proxy
		want, later string
	}{
		{p.placed(endpoints, "", ""), "0:1 0:2 0:3", "0:1 0:3"},
		{p.placed(endpoints, "a", "a-1"), "0:1 0:2 0:3", "0:1 0:3"},
		{p.placed(endpoints, "b", "b-1"), "1:1 0:2 0:3", "0:1 0:3"},
		{p.placed(endpoints, "", "b-2", wire.DeliversHosts), "1:1 0:2 0:3", "0:1 0:3"},
	}
	for i, c := range all {
		if got := c.of.near(); got != c.want {
			t.Errorf("proxy %d is served %q, want %q", i, got, c.want)
		}
	}
	p.apply(strings.Replace(zones, "- {addresses: [10.1.0.2], zone: b, nodeName: b-1}\n", "", 1))
	for i, c := range all {
		if got := c.of.near(); got != c.later {
			t.Errorf("after a change proxy %d is served %q, want %q", i, got, c.later)
		}
	}
	for _, c := range all {
		c.of.end()
	}
}
