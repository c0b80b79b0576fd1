// SPDX-License-Identifier: Apache-2.0

package status

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/source"
)

// A Leaving is the status of an object that is written by nobody else yet and is not ours
// any more: it is as that of an object of which no controller has taken care.
type Leaving struct {
	Conditions []metav1.Condition
}

// Left returns as the Status of an Update what becomes of that of an object that is not
// ours any more; nil leaves it.
func Left(kind source.Kind) any {
	switch kind {
	case source.HTTPRoute, source.GRPCRoute, source.TLSRoute, source.TCPRoute, source.UDPRoute:
		return &gwapiv1.RouteStatus{}
	case source.BackendTLSPolicy:
		return &gwapiv1.PolicyStatus{}
	case source.Gateway, source.ListenerSet:
		// As the definitions of both have it by default.
		pending := func(kind gwapiv1.GatewayConditionType) metav1.Condition {
			return metav1.Condition{Type: string(kind), Status: metav1.ConditionUnknown, Reason: string(gwapiv1.GatewayReasonPending), Message: "Waiting for controller"}
		}
		return &Leaving{[]metav1.Condition{pending(gwapiv1.GatewayConditionAccepted), pending(gwapiv1.GatewayConditionProgrammed)}}
	}
	return nil
}
