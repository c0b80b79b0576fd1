// SPDX-License-Identifier: Apache-2.0

package status

import (
	networkingv1 "k8s.io/api/networking/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"weir.dev/weir/control/api/envoygateway"
	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/source"
)

// Of returns where an object keeps its status, in the type that an Update has; nil if
// objects of its kind have none of ours.
func Of(o source.Object) any {
	switch o := o.(type) {
	case *gwapiv1.GatewayClass:
		return &o.Status
	case *gwapiv1.Gateway:
		return &o.Status
	case *gwapiv1.ListenerSet:
		return &o.Status
	case *gwapiv1.HTTPRoute:
		return &o.Status.RouteStatus
	case *gwapiv1.GRPCRoute:
		return &o.Status.RouteStatus
	case *gwapiv1.TLSRoute:
		return &o.Status.RouteStatus
	case *gwapiv1.TCPRoute:
		return &o.Status.RouteStatus
	case *gwapiv1.UDPRoute:
		return &o.Status.RouteStatus
	case *gwapiv1.BackendTLSPolicy:
		return &o.Status
	case *gwxv1alpha1.XBackend:
		return &o.Status
	case *gwxv1alpha1.XBackendTrafficPolicy:
		return &o.Status
	case *v1alpha1.Backend:
		return &o.Status
	case *envoygateway.Backend:
		return &o.Status
	case *envoygateway.BackendTrafficPolicy:
		return &o.Status
	case *envoygateway.SecurityPolicy:
		return &o.Status
	case *envoygateway.ClientTrafficPolicy:
		return &o.Status
	case *envoygateway.EnvoyExtensionPolicy:
		return &o.Status
	case *envoygateway.Foreign:
		return &o.Status
	case *emissaryv3.Host:
		return &o.Status
	case *emissaryv3.Mapping:
		return &o.Status
	case *networkingv1.Ingress:
		return &o.Status
	}
	return istioStatus(o)
}

// istioStatus returns where an object of Istio's keeps its status, or nil.
func istioStatus(o source.Object) any {
	switch o := o.(type) {
	case *istiov1.Gateway:
		return &o.Status
	case *istiov1.VirtualService:
		return &o.Status
	case *istiov1.DestinationRule:
		return &o.Status
	case *istiov1.ServiceEntry:
		return &o.Status
	case *istiov1.WorkloadEntry:
		return &o.Status
	case *istiov1.Foreign:
		return &o.Status
	}
	return nil
}

// those returns what of a list is so.
func those[T any](list []T, is func(*T) bool) []T {
	var out []T
	for i := range list {
		if is(&list[i]) {
			out = append(out, list[i])
		}
	}
	return out
}

// Ours returns of an object's status what a controller has written, as an Update has
// it; nil if that is nothing.
func Ours(o source.Object, controller string) any {
	switch s := Of(o).(type) {
	case *gwapiv1.RouteStatus:
		if own := those(s.Parents, func(x *gwapiv1.RouteParentStatus) bool { return string(x.ControllerName) == controller }); len(own) > 0 {
			return &gwapiv1.RouteStatus{Parents: own}
		}
	case *gwapiv1.PolicyStatus:
		if own := those(s.Ancestors, func(x *gwapiv1.PolicyAncestorStatus) bool { return string(x.ControllerName) == controller }); len(own) > 0 {
			return &gwapiv1.PolicyStatus{Ancestors: own}
		}
	case *gwapiv1.GatewayClassStatus:
		if len(s.Conditions) > 0 {
			return s
		}
	case *gwapiv1.GatewayStatus:
		if len(s.Conditions) > 0 {
			return s
		}
	case *gwapiv1.ListenerSetStatus:
		if len(s.Conditions) > 0 {
			return s
		}
	case *gwxv1alpha1.BackendStatus:
		if own := those(s.Ancestors, func(x *gwxv1alpha1.BackendAncestorStatus) bool { return string(x.ControllerName) == controller }); len(own) > 0 {
			return &gwxv1alpha1.BackendStatus{Ancestors: own}
		}
	case *v1alpha1.BackendStatus:
		if len(s.Conditions) > 0 {
			return s
		}
	case *emissaryv3.HostStatus:
		if s.State != "" {
			return s
		}
	case *emissaryv3.MappingStatus:
		if s.State != "" {
			return s
		}
	case *istiov1.Status:
		if len(s.Conditions) > 0 {
			return s
		}
	case *networkingv1.IngressStatus:
		if len(s.LoadBalancer.Ingress) > 0 {
			return s
		}
	}
	return nil
}
