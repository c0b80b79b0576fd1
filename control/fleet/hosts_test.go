// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"weir.dev/weir/control/fleet"
	"weir.dev/weir/xds/wire"
)

// routeTo is a route of a host, to nowhere.
const routeTo = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: NAME}
spec: {parentRefs: [{name: edge}], hostnames: [NAME.example.com], rules: [{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 302}}]}]}
`

// of asks for what belongs to a table and returns the answer, after what else comes.
func (p *proxy) of(kind string) *discoveryv3.DeltaDiscoveryResponse {
	p.t.Helper()
	url := wire.Prefix + "envoy.config.route.v3." + kind
	if err := p.stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: url, ResourceNamesSubscribe: []string{"default/edge/80"}}); err != nil {
		p.t.Fatal(err)
	}
	return p.nextOf(kind)
}

func (p *proxy) nextOf(kind string) *discoveryv3.DeltaDiscoveryResponse {
	p.t.Helper()
	for {
		r, err := p.stream.Recv()
		if err != nil {
			p.t.Fatal(err)
		}
		p.answer(r, "")
		if strings.HasSuffix(r.GetTypeUrl(), "."+kind) {
			return r
		}
	}
}

func routesIn(t *testing.T, r *discoveryv3.DeltaDiscoveryResponse) *routev3.RouteConfiguration {
	t.Helper()
	rc := &routev3.RouteConfiguration{}
	if len(r.GetResources()) != 1 {
		t.Fatalf("it is served %v", r)
	}
	if err := r.GetResources()[0].GetResource().UnmarshalTo(rc); err != nil {
		t.Fatal(err)
	}
	return rc
}

// Who takes virtual hosts by themselves is told of a route that comes by its host alone;
// others have the route configuration with all of them.
func TestVirtualHosts(t *testing.T) {
	p := start(t, fleet.Options{})
	one := objects + strings.ReplaceAll(routeTo, "NAME", "one")
	p.apply(one)
	takes := p.connect(&corev3.Node{Id: "takes", Cluster: "default/edge", ClientFeatures: []string{wire.DeliversHosts}})
	takes.answer(takes.next(), "")
	if rc := routesIn(t, takes.of("RouteConfiguration")); rc.GetVhds() == nil || len(rc.GetVirtualHosts()) > 0 {
		t.Errorf("who takes virtual hosts is served %v", rc)
	}
	if r := takes.of("VirtualHost"); len(r.GetResources()) != 2 {
		t.Errorf("the virtual hosts are %v", r)
	}
	other := p.connect(edge("other"))
	other.answer(other.next(), "")
	if rc := routesIn(t, other.of("RouteConfiguration")); rc.GetVhds() != nil || len(rc.GetVirtualHosts()) != 2 {
		t.Errorf("who does not is served %v", rc)
	}
	p.apply(strings.ReplaceAll(routeTo, "NAME", "two"))
	if r := takes.nextOf("VirtualHost"); len(r.GetResources()) != 1 || r.GetResources()[0].GetName() != "default/edge/80/two.example.com" {
		t.Errorf("of a route that came it is told %v", r)
	}
	if rc := routesIn(t, other.nextOf("RouteConfiguration")); len(rc.GetVirtualHosts()) != 3 {
		t.Errorf("who does not is served %v", rc)
	}
}
