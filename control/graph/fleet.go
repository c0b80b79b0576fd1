// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"strings"

	"weir.dev/weir/control/source"
)

// prefix begins the names of fleets that all Gateways of a class share.
const prefix = "class-"

// FleetOfClass is the name of the fleet that all Gateways of a GatewayClass share, if they
// do, as Envoy Gateway's EnvoyProxy asks for by mergeGateways. Other fleets of Gateways have
// the name of their Gateway.
func FleetOfClass(class string) source.Name { return source.Name{Name: prefix + class} }

// ClassOfFleet is the opposite of FleetOfClass; ok tells that a fleet is shared.
func ClassOfFleet(fleet source.Name) (class string, ok bool) {
	if fleet.Namespace != "" {
		return "", false
	}
	return strings.CutPrefix(fleet.Name, prefix)
}
