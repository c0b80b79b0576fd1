// SPDX-License-Identifier: Apache-2.0

package envoygateway_test

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"weir.dev/weir/control"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/controltest"
)

const zoned = oneGateway + `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: default}
spec:
  parentRefs: [{name: gw}]
  rules: [{backendRefs: [{name: app, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: default}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: app-1, namespace: default, labels: {kubernetes.io/service-name: app}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
- {addresses: [10.1.0.1], zone: a}
- {addresses: [10.1.0.2], zone: a}
- {addresses: [10.1.0.3], zone: b}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: app, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}]
  loadBalancer: {TYPE, zoneAware: {AWARE}}
`

// TestZones holds what zoneAware comes to, for a proxy in zone a: the balancer, and the endpoints where the balancer takes
// their localities' weights into account.
func TestZones(t *testing.T) {
	const (
		shares = `weightedZones: [{zone: a, weight: 70}, {zone: b, weight: 30}]`
		stays  = `preferLocal: {minEndpointsThreshold: 3, force: {minEndpointsInZoneThreshold: 2}}`
		mostly = `preferLocal: {minEndpointsThreshold: 3, percentageEnabled: 80, force: {minEndpointsInZoneThreshold: 2}}`
		few    = `preferLocal: {force: {}}`
		weighs = `locality_lb_config {locality_weighted_lb_config {}}`
		a      = `endpoints {locality {zone: "a"} WEIGHT lb_endpoints {endpoint {address {socket_address {address: "10.1.0.1" port_value: 8080}}}} lb_endpoints {endpoint {address {socket_address {address: "10.1.0.2" port_value: 8080}}}}}`
		b      = `endpoints {locality {zone: "b"} WEIGHT lb_endpoints {endpoint {address {socket_address {address: "10.1.0.3" port_value: 8080}}}}}`
	)
	weighted := func(a1, b1 string) string {
		return strings.Replace(a, "WEIGHT", a1, 1) + strings.Replace(b, "WEIGHT", b1, 1)
	}
	bySeventy := weighted("load_balancing_weight {value: 70}", "load_balancing_weight {value: 30}")
	byEighty := weighted("load_balancing_weight {value: 280}", "load_balancing_weight {value: 20}")
	first := weighted("", "priority: 1") + `policy {overprovisioning_factor {value: 100}}`
	alike := weighted("", "")
	utilization := policyOf("client_side_weighted_round_robin", "ClientSideWeightedRoundRobin", "")
	for _, tt := range []struct{ name, kind, aware, balancer, endpoints string }{
		{"RoundRobin shared", "type: RoundRobin", shares, policyOf("round_robin", "RoundRobin", weighs), bySeventy},
		{"LeastRequest shared", "type: LeastRequest", shares, policyOf("least_request", "LeastRequest", weighs), bySeventy},
		{"Random shared", "type: Random", shares, policyOf("random", "Random", weighs), bySeventy},
		{
			"ConsistentHash shared", "type: ConsistentHash, consistentHash: {type: SourceIP, tableSize: 11}", shares,
			policyOf("maglev", "Maglev", `table_size {value: 11} locality_weighted_lb_config {}`), bySeventy,
		},
		{
			"BackendUtilization shared", "type: BackendUtilization, backendUtilization: {}", shares,
			policyOf("wrr_locality", "WrrLocality", "endpoint_picking_policy {"+utilization+"}"), bySeventy,
		},
		{"RoundRobin stays", "type: RoundRobin", stays, policyOf("round_robin", "RoundRobin", ""), first},
		{"LeastRequest stays", "type: LeastRequest", stays, policyOf("least_request", "LeastRequest", ""), first},
		{"Random stays", "type: Random", stays, policyOf("random", "Random", ""), first},
		{"Random mostly stays", "type: Random", mostly, policyOf("random", "Random", weighs), byEighty},
		{"too few stay", "type: Random", few, policyOf("random", "Random", ""), alike},
		{"nothing is said", "type: Random", "", policyOf("random", "Random", ""), alike},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := controltest.NewWorld(t, control.Options{})
			w.Apply(controltest.Objects(t, strings.NewReplacer("TYPE", tt.kind, "AWARE", tt.aware).Replace(zoned))...)
			if got := w.Status(); strings.Contains(got, "Warning") || strings.Contains(got, "not Accepted") {
				t.Fatalf("it is not taken:\n%s", got)
			}
			of := ""
			for _, c := range w.Snapshot().Clusters().All() {
				of = c.GetEdsClusterConfig().GetServiceName()
				want := parse(t, tt.balancer, &clusterv3.LoadBalancingPolicy{})
				if d := cmp.Diff(want, c.GetLoadBalancingPolicy(), protocmp.Transform()); d != "" {
					t.Errorf("the balancer:\n%s", d)
				}
			}
			m, _ := w.Snapshot().Endpoints().Get(of)
			want := parse(t, tt.endpoints, &endpointv3.ClusterLoadAssignment{})
			want.ClusterName = of
			if d := cmp.Diff(want, build.Near(m, build.Place{Zone: "a"}), protocmp.Transform()); d != "" {
				t.Errorf("the endpoints:\n%s", d)
			}
		})
	}
}

// policyOf is a load balancing policy of Envoy's, as text.
func policyOf(name, message, text string) string {
	return `policies {typed_extension_config {name: "envoy.load_balancing_policies.` + name + `" typed_config {
		[type.googleapis.com/envoy.extensions.load_balancing_policies.` + name + `.v3.` + message + `] {` + text + `}}}}`
}
