// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"weir.dev/weir/test/bench/load"
	"weir.dev/weir/test/bench/peer"
)

// routes shows whether a request costs more when a virtual host has many routes. The client spreads its requests over
// the same 10,000 paths in both variants.
func routes() Scenario {
	return Scenario{
		Name:  "routes-10k",
		About: "As h1-100b, requests spread over 10,000 paths: one route for all of them, and a prefix route for each.",
		Load:  load.Spec{Conns: 64, Host: "bench.test", Path: "/r/{n}/100", Spread: 10_000, Length: 100},
		Variants: []Variant{
			{Name: "1 route"},
			{Name: "10,000 routes", Setup: peer.Setup{Routes: 10_000}},
		},
		AgainstSelf: true,
	}
}
