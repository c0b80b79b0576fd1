// SPDX-License-Identifier: Apache-2.0

package hashing

import (
	commonlbv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"

	"weir.dev/weir/proxy/route"
	"weir.dev/weir/xds"
)

// Parse compiles the consistent_hashing_lb_config that ring_hash and maglev share,
// with the hash policies in it.
func Parse(c *commonlbv3.ConsistentHashingLbConfig) (Options, route.HashPolicies, error) {
	o := Options{UseHostname: c.GetUseHostnameForHashing(), Balance: c.GetHashBalanceFactor().GetValue()}
	p, err := route.CompileHashPolicies(c.GetHashPolicy())
	if err != nil {
		return o, nil, xds.Problem{Path: "consistent_hashing_lb_config", Reason: err.Error(), Remedy: "see the reason"}
	}
	return o, p, nil
}
