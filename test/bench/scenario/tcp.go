// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"weir.dev/weir/test/bench/load"
	"weir.dev/weir/test/bench/peer"
)

// tcp is the cost of moving bytes that nobody looks at. HAProxy is measured with splicing as well, as in h1-1m.
func tcp() Scenario {
	return Scenario{
		Name:   "tcp",
		About:  "TCP carried as it is: the requests of h1-1m through proxies that know nothing of HTTP, CPU per GiB.",
		Figure: PerGiB,
		Mode:   peer.TCP,
		Peers:  []string{"nginx", "haproxy"},
		Load:   load.Spec{Conns: 64, Host: "bench.test", Path: "/1m", Length: 1 << 20},
		Variants: []Variant{
			{},
			{Name: "splice-auto", Only: "haproxy", Setup: peer.Setup{Splice: true}},
		},
	}
}
