// SPDX-License-Identifier: Apache-2.0

// Package wrrlocality is the load balancing policy that chooses a locality by its weight
// and leaves the choice among its hosts to another policy. It is Envoy's
// envoy.load_balancing_policies.wrr_locality. How localities are weighed stands in
// upstream.Layered.
package wrrlocality

import (
	_ "embed"
	"fmt"

	wrrlocalityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.load_balancing_policies.wrr_locality"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Factory makes the extension known.
func Factory() upstream.PolicyFactory {
	return upstream.PolicyFactory{Name: Name, Config: &wrrlocalityv3.WrrLocality{}, Fields: supported, Nest: compile}
}

func compile(m proto.Message, in *upstream.Nesting) (upstream.Policy, error) {
	c, ok := m.(*wrrlocalityv3.WrrLocality)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", m, Name)
	}
	p, err := in.Policy("endpoint_picking_policy", c.GetEndpointPickingPolicy())
	if err != nil {
		return nil, err
	}
	l, ok := p.(upstream.LocalityPolicy)
	if !ok {
		return nil, xds.Problem{Path: "endpoint_picking_policy", Reason: "does not choose among localities", Remedy: "use round_robin, least_request, random, ring_hash, maglev or client_side_weighted_round_robin"}
	}
	return l.ByLocality(), nil
}
