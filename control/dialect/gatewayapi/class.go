// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// class is a GatewayClass that is ours.
type class struct {
	generation int64
	problems   []graph.Problem
}

// readClass returns a GatewayClass, or nil if it is not ours.
func (d *Dialect) readClass(c *memo.Ctx, name string) *class {
	o, ok := source.Get[*gwapiv1.GatewayClass](c, source.GatewayClass, source.Name{Name: name})
	if !ok || o.Spec.ControllerName != d.controller {
		return nil
	}
	out := &class{generation: o.Generation}
	if p := o.Spec.ParametersRef; p != nil {
		out.problems = append(out.problems, graph.Problem{
			Path: "spec.parametersRef", Reason: string(gwapiv1.GatewayClassReasonInvalidParameters),
			Message: fmt.Sprintf("parameters of kind %s are not known: leave parametersRef out", source.Kind{Group: string(p.Group), Kind: string(p.Kind)}),
		})
	}
	return out
}

func (d *Dialect) statusOfClass(c *memo.Ctx, name string) *status.Update {
	cl := d.class.Get(c, name)
	if cl == nil {
		return nil
	}
	s := &gwapiv1.GatewayClassStatus{
		Conditions: []metav1.Condition{status.Judge(gwapiv1.GatewayClassConditionStatusAccepted, cl.problems,
			gwapiv1.GatewayClassReasonAccepted, "its Gateways are served", cl.generation)},
		SupportedFeatures: supportedFeatures(),
	}
	return &status.Update{Key: source.Key{Kind: source.GatewayClass, Name: source.Name{Name: name}}, Status: s, Problems: cl.problems}
}

// supportedFeatures are the API's names of what is supported, in order.
func supportedFeatures() []gwapiv1.SupportedFeature {
	names := []gwapiv1.FeatureName{
		"BackendTLSPolicy", "BackendTLSPolicySANValidation",
		"GRPCRoute", "GRPCRouteNamedRouteRule", "GRPCRouteRequestHeaderModifier",
		"Gateway", "GatewayAddressEmpty", "GatewayBackendClientCertificate",
		"GatewayFrontendClientCertificateValidation", "GatewayFrontendClientCertificateValidationInsecureFallback",
		"GatewayHTTPListenerIsolation", "GatewayHTTPSListenerDetectMisdirectedRequests",
		"GatewayPort8080", "GatewayStaticAddresses",
		"HTTPRoute", "HTTPRoute303RedirectStatusCode", "HTTPRoute307RedirectStatusCode", "HTTPRoute308RedirectStatusCode",
		"HTTPRouteBackendProtocolH2C", "HTTPRouteBackendProtocolWebSocket", "HTTPRouteBackendRequestHeaderModification",
		"HTTPRouteBackendRequestRedirect", "HTTPRouteBackendTimeout", "HTTPRouteBackendURLRewrite", "HTTPRouteCORS",
		"HTTPRouteDestinationPortMatching", "HTTPRouteHostRewrite", "HTTPRouteMethodMatching", "HTTPRouteNamedRouteRule",
		"HTTPRouteParentRefPort", "HTTPRoutePathRedirect", "HTTPRoutePathRewrite", "HTTPRoutePortRedirect",
		"HTTPRouteQueryParamMatching", "HTTPRouteRequestMirror", "HTTPRouteRequestMultipleMirrors",
		"HTTPRouteRequestPercentageMirror", "HTTPRouteRequestTimeout", "HTTPRouteResponseHeaderModification",
		"HTTPRouteRetry", "HTTPRouteRetryBackendTimeout", "HTTPRouteRetryConnectionError", "HTTPRouteSchemeRedirect",
		"ListenerSet", "ReferenceGrant", "TCPRoute", "TLSRoute", "TLSRouteModeMixed", "TLSRouteModeTerminate", "UDPRoute",
	}
	out := make([]gwapiv1.SupportedFeature, len(names))
	for i, n := range names {
		out[i].Name = n
	}
	return out
}
