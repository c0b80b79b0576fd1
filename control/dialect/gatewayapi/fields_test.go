// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	_ "embed"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/fieldstest"
)

//go:embed fields.txt
var fields string

// TestFields holds fields.txt to the types of the kinds that are read: each leaf of a
// spec has a line.
func TestFields(t *testing.T) {
	fieldstest.Run(t, fields, map[string][]string{
		"gateway.networking.k8s.io.GatewayClass":            fieldstest.Spec(gwapiv1.GatewayClassSpec{}),
		"gateway.networking.k8s.io.Gateway":                 fieldstest.Spec(gwapiv1.GatewaySpec{}),
		"gateway.networking.k8s.io.ListenerSet":             fieldstest.Spec(gwapiv1.ListenerSetSpec{}),
		"gateway.networking.k8s.io.HTTPRoute":               fieldstest.Spec(gwapiv1.HTTPRouteSpec{}),
		"gateway.networking.k8s.io.GRPCRoute":               fieldstest.Spec(gwapiv1.GRPCRouteSpec{}),
		"gateway.networking.k8s.io.TLSRoute":                fieldstest.Spec(gwapiv1.TLSRouteSpec{}),
		"gateway.networking.k8s.io.TCPRoute":                fieldstest.Spec(gwapiv1.TCPRouteSpec{}),
		"gateway.networking.k8s.io.UDPRoute":                fieldstest.Spec(gwapiv1.UDPRouteSpec{}),
		"gateway.networking.k8s.io.BackendTLSPolicy":        fieldstest.Spec(gwapiv1.BackendTLSPolicySpec{}),
		"gateway.networking.k8s.io.ReferenceGrant":          fieldstest.Spec(gwapiv1.ReferenceGrantSpec{}),
		"weir.dev.Backend":                                  fieldstest.Spec(v1alpha1.BackendSpec{}),
		"weir.dev.Function":                                 fieldstest.Spec(v1alpha1.FunctionSpec{}),
		"gateway.envoyproxy.io.Backend":                     fieldstest.Spec(envoygateway.BackendSpec{}),
		"gateway.networking.x_k8s.io.XBackend":              fieldstest.Spec(gwxv1alpha1.BackendSpec{}),
		"gateway.networking.x_k8s.io.XBackendTrafficPolicy": fieldstest.Spec(gwxv1alpha1.BackendTrafficPolicySpec{}),
		"weir.dev.GatewayParameters":                        fieldstest.Spec(v1alpha1.GatewayParametersSpec{}),
		"multicluster.x_k8s.io.ServiceImport":               fieldstest.Spec(v1alpha1.ServiceImportSpec{}),
		"core.Service":                                      fieldstest.Spec(corev1.ServiceSpec{}),
		"discovery.k8s.io.EndpointSlice":                    fieldstest.Leaves(discoveryv1.EndpointSlice{}, ""),
	})
}
