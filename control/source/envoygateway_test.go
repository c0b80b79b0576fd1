// SPDX-License-Identifier: Apache-2.0

package source

import (
	"slices"
	"testing"

	"weir.dev/weir/control/api/envoygateway"
)

// Where Nodes are has to be known as soon as anything of Envoy Gateway's goes by zones, and not before.
func TestNeededByZones(t *testing.T) {
	zones := &envoygateway.ClusterSettings{LoadBalancer: &envoygateway.LoadBalancer{ZoneAware: &envoygateway.ZoneAware{}}}
	needs := map[Kind]func(Object) []Kind{}
	for _, typ := range envoyGatewayTypes() {
		needs[typ.Kind] = typ.Needs
	}
	for _, tt := range []struct {
		name string
		kind Kind
		of   Object
		want bool
	}{
		{"nothing is said", BackendTrafficPolicy, &envoygateway.BackendTrafficPolicy{}, false},
		{"a balancer alone", BackendTrafficPolicy, &envoygateway.BackendTrafficPolicy{Spec: envoygateway.BackendTrafficPolicySpec{
			ClusterSettings: envoygateway.ClusterSettings{LoadBalancer: &envoygateway.LoadBalancer{Type: "Random"}},
		}}, false},
		{"requests", BackendTrafficPolicy, &envoygateway.BackendTrafficPolicy{Spec: envoygateway.BackendTrafficPolicySpec{ClusterSettings: *zones}}, true},
		{"calls", EnvoyExtensionPolicy, &envoygateway.EnvoyExtensionPolicy{Spec: envoygateway.EnvoyExtensionPolicySpec{
			ExtProc: []envoygateway.ExtProc{{}, {BackendCluster: envoygateway.BackendCluster{BackendSettings: zones}}},
		}}, true},
	} {
		if got := slices.Contains(needs[tt.kind](tt.of), Node); got != tt.want {
			t.Errorf("%s: it is %v that Nodes are needed", tt.name, got)
		}
	}
	for _, kind := range []Kind{SecurityPolicy, EnvoyProxy} {
		if needs[kind] == nil {
			t.Errorf("%s needs nothing", kind)
		}
	}
}
