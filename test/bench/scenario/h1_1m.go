// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"weir.dev/weir/test/bench/load"
	"weir.dev/weir/test/bench/peer"
)

// h1Large is the cost of moving bytes. HAProxy is measured with splicing as well, which it does not do by default.
func h1Large() Scenario {
	return Scenario{
		Name:   "h1-1m",
		About:  "HTTP/1.1 GET of 1 MiB, keep-alive on both sides, 64 connections in a closed loop: CPU per GiB.",
		Figure: PerGiB,
		Load:   load.Spec{Conns: 64, Host: "bench.test", Path: "/1m", Length: 1 << 20},
		Variants: []Variant{
			{},
			{Name: "splice-auto", Only: "haproxy", Setup: peer.Setup{Splice: true}},
		},
	}
}
