// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// class is a GatewayClass that is ours.
type class struct {
	generation int64
	problems   []graph.Problem
	parameters v1alpha1.GatewayParametersSpec
	// proxy is the name of its EnvoyProxy, or zero.
	proxy source.Name
	// merges tells that its Gateways share their proxies.
	merges bool
}

// readClass returns a GatewayClass, or nil if it is not ours.
func (d *Dialect) readClass(c *memo.Ctx, name string) *class {
	o, ok := source.Get[*gwapiv1.GatewayClass](c, source.GatewayClass, source.Name{Name: name})
	if !ok || o.Spec.ControllerName != d.controller {
		return nil
	}
	out := &class{generation: o.Generation}
	if x := d.proxies.Proxy(c, source.Name{}, source.Name{}); x != nil {
		out.parameters = x.Parameters
	}
	if p := o.Spec.ParametersRef; p != nil {
		namespace := ""
		if p.Namespace != nil {
			namespace = string(*p.Namespace)
		}
		kind, at := source.Kind{Group: string(p.Group), Kind: string(p.Kind)}, source.Name{Namespace: namespace, Name: p.Name}
		spec, problem := d.parametersOf(c, kind, at, source.Name{})
		if isProxy(kind) {
			out.proxy = at
		}
		if problem != "" {
			out.problems = append(out.problems, graph.Problem{Path: "spec.parametersRef", Reason: string(gwapiv1.GatewayClassReasonInvalidParameters), Message: problem})
		}
		out.parameters = spec.Over(out.parameters)
	}
	out.merges = out.parameters.MergeGateways != nil && *out.parameters.MergeGateways
	return out
}

// isProxy reports whether parameters are an EnvoyProxy, of today or of old.
func isProxy(k source.Kind) bool { return k == source.EnvoyProxy || k == source.OldEnvoyProxy }

// parametersOf reads how proxies are run, from an EnvoyProxy, merged over base if it asks
// for it, or from GatewayParameters. With a problem the parameters are what there is, which
// cannot be used.
func (d *Dialect) parametersOf(c *memo.Ctx, kind source.Kind, name, base source.Name) (spec v1alpha1.GatewayParametersSpec, problem string) {
	if !isProxy(kind) {
		return parameters(c, kind, name)
	}
	if name.Namespace == "" {
		return spec, "it names no namespace: give that of the EnvoyProxy"
	}
	p := d.proxies.Proxy(c, name, base)
	switch {
	case p == nil:
		return spec, fmt.Sprintf("there is no EnvoyProxy %s", name)
	case len(p.Refused) > 0:
		return p.Parameters, fmt.Sprintf("EnvoyProxy %s: %s", name, status.Message(p.Refused))
	}
	return p.Parameters, ""
}

// statusOfProxy tells what is wrong with an EnvoyProxy.
func (d *Dialect) statusOfProxy(c *memo.Ctx, name source.Name) *status.Update {
	u := &status.Update{Key: source.Key{Kind: source.EnvoyProxy, Name: name}}
	if p := d.proxies.Proxy(c, name, source.Name{}); p != nil {
		u.Problems = append(append(u.Problems, p.Refused...), p.Notes...)
	}
	return u
}

// parameters reads how proxies are run, and says what is wrong with the reference.
func parameters(c *memo.Ctx, kind source.Kind, name source.Name) (spec v1alpha1.GatewayParametersSpec, problem string) {
	if kind != source.GatewayParameters {
		return spec, fmt.Sprintf("parameters of kind %s are not known: refer to a %s, or leave parametersRef out", kind, source.GatewayParameters)
	}
	if name.Namespace == "" {
		return spec, fmt.Sprintf("it names no namespace: give that of the %s", source.GatewayParameters.Kind)
	}
	o, ok := source.Get[*v1alpha1.GatewayParameters](c, source.GatewayParameters, name)
	if !ok {
		return spec, fmt.Sprintf("there is no %s %s", source.GatewayParameters.Kind, name)
	}
	if problems := infra.Check(&o.Spec); len(problems) > 0 {
		return o.Spec, fmt.Sprintf("%s %s: %v", source.GatewayParameters.Kind, name, &problems[0])
	}
	return o.Spec, ""
}

// Parameters returns how the proxies of a fleet are run: as a Gateway's own parameters say and, what
// these leave out, its class's.
func (d *Dialect) Parameters(c *memo.Ctx, fleet source.Name) v1alpha1.GatewayParametersSpec {
	for _, name := range d.sharers.Get(c, fleet) {
		return d.gateway.Get(c, name).parameters // Those who share have no others.
	}
	return v1alpha1.GatewayParametersSpec{}
}

func (d *Dialect) statusOfClass(c *memo.Ctx, name string) *status.Update {
	cl := d.class.Get(c, name)
	if cl == nil {
		return nil
	}
	s := &gwapiv1.GatewayClassStatus{
		Conditions: []metav1.Condition{status.Judge(gwapiv1.GatewayClassConditionStatusAccepted, cl.problems,
			gwapiv1.GatewayClassReasonAccepted, "its Gateways are served", cl.generation)},
		SupportedFeatures: d.features(),
	}
	return &status.Update{Key: source.Key{Kind: source.GatewayClass, Name: source.Name{Name: name}}, Status: s, Problems: cl.problems}
}

// features are those supported, in order.
func (d *Dialect) features() []gwapiv1.SupportedFeature {
	out := supportedFeatures()
	if !d.provisions {
		return out
	}
	i, _ := slices.BinarySearchFunc(out, infrastructure, func(f gwapiv1.SupportedFeature, name gwapiv1.FeatureName) int {
		return strings.Compare(string(f.Name), string(name))
	})
	return slices.Insert(out, i, gwapiv1.SupportedFeature{Name: infrastructure}, gwapiv1.SupportedFeature{Name: propagation})
}

// The feature that who runs no proxies cannot have: its name up to v1.6 of the API, and the one after.
const (
	infrastructure = gwapiv1.FeatureName("GatewayInfrastructure")
	propagation    = gwapiv1.FeatureName("GatewayInfrastructurePropagation")
)

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
