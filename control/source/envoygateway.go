// SPDX-License-Identifier: Apache-2.0

package source

import "weir.dev/weir/control/api/envoygateway"

// The kinds of Envoy Gateway that are read.
var (
	BackendTrafficPolicy = Kind{envoygateway.Group, "BackendTrafficPolicy"}
	SecurityPolicy       = Kind{envoygateway.Group, "SecurityPolicy"}
	ClientTrafficPolicy  = Kind{envoygateway.Group, "ClientTrafficPolicy"}
	EnvoyExtensionPolicy = Kind{envoygateway.Group, "EnvoyExtensionPolicy"}
	EnvoyPatchPolicy     = Kind{envoygateway.Group, "EnvoyPatchPolicy"}
	HTTPRouteFilter      = Kind{envoygateway.Group, "HTTPRouteFilter"}
	RateLimitFilter      = Kind{envoygateway.Group, "RateLimitFilter"}
	AuthenticationFilter = Kind{envoygateway.Group, "AuthenticationFilter"}
	EnvoyProxy           = Kind{envoygateway.Group, "EnvoyProxy"}
	// EnvoyBackend is its Backend.
	EnvoyBackend = Kind{envoygateway.Group, "Backend"}
)

// OldEnvoyProxy is what an EnvoyProxy was until v0.5. References may still say so.
var OldEnvoyProxy = Kind{envoygateway.OldGroup, "EnvoyProxy"}

func envoyGatewayTypes() []Type {
	t := func(k Kind, resource string, create func() Object) Type {
		return Type{Kind: k, Versions: []string{envoygateway.Version}, Resource: resource, Namespaced: true, Optional: true, New: create}
	}
	proxy := t(EnvoyProxy, "envoyproxies", func() Object { return &envoygateway.EnvoyProxy{} })
	proxy.Former = []Former{{Kind: OldEnvoyProxy, Versions: []string{envoygateway.Version}}}
	return []Type{
		t(BackendTrafficPolicy, "backendtrafficpolicies", func() Object { return &envoygateway.BackendTrafficPolicy{} }),
		t(SecurityPolicy, "securitypolicies", func() Object { return &envoygateway.SecurityPolicy{} }),
		t(ClientTrafficPolicy, "clienttrafficpolicies", func() Object { return &envoygateway.ClientTrafficPolicy{} }),
		t(EnvoyExtensionPolicy, "envoyextensionpolicies", func() Object { return &envoygateway.EnvoyExtensionPolicy{} }),
		t(EnvoyPatchPolicy, "envoypatchpolicies", func() Object { return &envoygateway.Foreign{} }),
		t(HTTPRouteFilter, "httproutefilters", func() Object { return &envoygateway.HTTPRouteFilter{} }),
		t(RateLimitFilter, "ratelimitfilters", func() Object { return &envoygateway.RateLimitFilter{} }),
		t(AuthenticationFilter, "authenticationfilters", func() Object { return &envoygateway.AuthenticationFilter{} }),
		t(EnvoyBackend, "backends", func() Object { return &envoygateway.Backend{} }),
		proxy,
	}
}
