// SPDX-License-Identifier: Apache-2.0

package istio

import (
	_ "embed"
	"testing"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	istiov1alpha2 "weir.dev/weir/control/api/istio/v1alpha2"
	"weir.dev/weir/control/fieldstest"
)

//go:embed fields.txt
var fields string

// TestFields holds fields.txt to the types of the kinds that are read.
func TestFields(t *testing.T) {
	messages := map[string][]string{
		"networking.istio.io.Gateway":         fieldstest.Spec(istiov1.GatewaySpec{}),
		"networking.istio.io.VirtualService":  fieldstest.Spec(istiov1.VirtualServiceSpec{}),
		"networking.istio.io.DestinationRule": fieldstest.Spec(istiov1.DestinationRuleSpec{}),
		"networking.istio.io.ServiceEntry":    fieldstest.Spec(istiov1.ServiceEntrySpec{}),
		"networking.istio.io.WorkloadEntry":   fieldstest.Spec(istiov1.WorkloadEntrySpec{}),
		"config.istio.io.RouteRule":           fieldstest.Spec(istiov1alpha2.RouteRuleSpec{}),
		"config.istio.io.DestinationPolicy":   fieldstest.Spec(istiov1alpha2.DestinationPolicySpec{}),
	}
	for kind := range foreign() {
		messages[kind.Group+"."+kind.Kind] = []string{"spec"}
	}
	fieldstest.Run(t, fields, messages)
}
