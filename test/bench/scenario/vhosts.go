// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"weir.dev/weir/test/bench/load"
	"weir.dev/weir/test/bench/peer"
)

// vhosts shows whether a request costs more when there are many virtual hosts. The client spreads its requests over the
// same 10,000 names in both variants.
func vhosts() Scenario {
	return Scenario{
		Name:  "vhosts-10k",
		About: "As h1-100b, requests spread over 10,000 host names: one virtual host for all of them, and one for each.",
		Load:  load.Spec{Conns: 64, Host: "h{n}.bench.test", Path: "/100", Spread: 10_000, Length: 100},
		Variants: []Variant{
			{Name: "1 host"},
			{Name: "10,000 hosts", Setup: peer.Setup{Hosts: 10_000}},
		},
		AgainstSelf: true,
	}
}
