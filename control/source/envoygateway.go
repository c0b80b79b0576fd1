// SPDX-License-Identifier: Apache-2.0

package source

import (
	"reflect"

	"weir.dev/weir/control/api/envoygateway"
)

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
	zoned := func(k Kind, resource string, create func() Object) Type {
		out := t(k, resource, create)
		out.Needs = neededByZones
		return out
	}
	proxy := zoned(EnvoyProxy, "envoyproxies", func() Object { return &envoygateway.EnvoyProxy{} })
	proxy.Former = []Former{{Kind: OldEnvoyProxy, Versions: []string{envoygateway.Version}}}
	return []Type{
		zoned(BackendTrafficPolicy, "backendtrafficpolicies", func() Object { return &envoygateway.BackendTrafficPolicy{} }),
		zoned(SecurityPolicy, "securitypolicies", func() Object { return &envoygateway.SecurityPolicy{} }),
		t(ClientTrafficPolicy, "clienttrafficpolicies", func() Object { return &envoygateway.ClientTrafficPolicy{} }),
		zoned(EnvoyExtensionPolicy, "envoyextensionpolicies", func() Object { return &envoygateway.EnvoyExtensionPolicy{} }),
		t(EnvoyPatchPolicy, "envoypatchpolicies", func() Object { return &envoygateway.Foreign{} }),
		t(HTTPRouteFilter, "httproutefilters", func() Object { return &envoygateway.HTTPRouteFilter{} }),
		t(RateLimitFilter, "ratelimitfilters", func() Object { return &envoygateway.RateLimitFilter{} }),
		t(AuthenticationFilter, "authenticationfilters", func() Object { return &envoygateway.AuthenticationFilter{} }),
		t(EnvoyBackend, "backends", func() Object { return &envoygateway.Backend{} }),
		proxy,
	}
}

// neededByZones tells that of an object of which something is to stay in a zone, or be shared over zones, it has to be
// known where Nodes are.
func neededByZones(o Object) []Kind {
	if zoneAware(reflect.ValueOf(o).Elem().FieldByName("Spec")) {
		return []Kind{Node}
	}
	return nil
}

// zoneAware reports whether there is a ZoneAware in a value.
func zoneAware(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer:
		return !v.IsNil() && (v.Type() == reflect.TypeFor[*envoygateway.ZoneAware]() || zoneAware(v.Elem()))
	case reflect.Struct:
		for _, f := range v.Fields() {
			if zoneAware(f) {
				return true
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if zoneAware(v.Index(i)) {
				return true
			}
		}
	}
	return false
}
