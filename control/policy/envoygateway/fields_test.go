// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	_ "embed"
	"testing"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/fieldstest"
)

//go:embed fields.txt
var fields string

// TestFields holds fields.txt to the types of the kinds that are read.
func TestFields(t *testing.T) {
	fieldstest.Run(t, fields, map[string][]string{
		"gateway.envoyproxy.io.BackendTrafficPolicy": fieldstest.Spec(api.BackendTrafficPolicySpec{}),
		"gateway.envoyproxy.io.ClientTrafficPolicy":  fieldstest.Spec(api.ClientTrafficPolicySpec{}),
		"gateway.envoyproxy.io.SecurityPolicy":       fieldstest.Spec(api.SecurityPolicySpec{}),
		"gateway.envoyproxy.io.HTTPRouteFilter":      fieldstest.Spec(api.HTTPRouteFilterSpec{}),
		"gateway.envoyproxy.io.RateLimitFilter":      fieldstest.Spec(api.RateLimit{}),
		"gateway.envoyproxy.io.AuthenticationFilter": fieldstest.Spec(api.AuthenticationFilterSpec{}),
		"gateway.envoyproxy.io.EnvoyExtensionPolicy": fieldstest.Spec(api.EnvoyExtensionPolicySpec{}),
		"gateway.envoyproxy.io.EnvoyProxy":           fieldstest.Spec(api.EnvoyProxySpec{}),
	})
}
