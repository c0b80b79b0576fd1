// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"weir.dev/weir/test/bench/load"
	"weir.dev/weir/test/bench/peer"
)

// accessLog is h1-100b with a line per request written to a file by each proxy, in its usual format.
func accessLog() Scenario {
	return Scenario{
		Name:     "accesslog",
		About:    "As h1-100b, with the access log on: a file each, in each proxy's usual format.",
		Load:     load.Spec{Conns: 64, Host: "bench.test", Path: "/100", Length: 100},
		Variants: []Variant{{Setup: peer.Setup{AccessLog: true}}},
	}
}
