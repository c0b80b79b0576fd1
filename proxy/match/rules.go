// SPDX-License-Identifier: Apache-2.0

package match

import "strings"

// HeaderRules say which fields of a head something outside, such as an authorization
// service, may change (envoy.config.common.mutation_rules.v3.HeaderMutationRules). The
// zero value is Envoy's default: all but those that route a request, and Envoy's own.
type HeaderRules struct {
	routing, envoy, noSystem, none bool
	allow, disallow                *Regex // nil is none
	// Fatal tells that a change which is not allowed ends the request.
	Fatal bool
}

// Allows reports whether a field of this name, in lower case, may be changed.
func (r *HeaderRules) Allows(name string) bool {
	switch {
	case r.disallow != nil && r.disallow.Match(name):
		return false
	case r.allow != nil && r.allow.Match(name):
		return true
	case r.none, r.noSystem && strings.HasPrefix(name, ":"):
		return false
	}
	switch name {
	case "host", ":authority", ":scheme", ":method":
		return r.routing
	}
	return r.envoy || !strings.HasPrefix(name, "x-envoy")
}
