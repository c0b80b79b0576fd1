// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"weir.dev/weir/test/bench/load"
	"weir.dev/weir/test/bench/peer"
)

// h2Large is the cost of moving bytes in frames: every one is looked at and copied, and many streams share a connection.
func h2Large() Scenario {
	return Scenario{
		Name:   "h2-1m",
		About:  "HTTP/2 in cleartext to an HTTP/1.1 backend: GET of 1 MiB, 8 connections of 4 streams in a closed loop: CPU per GiB.",
		Figure: PerGiB,
		Mode:   peer.HTTP2,
		Peers:  []string{"nginx", "haproxy"},
		Load:   load.Spec{Protocol: load.HTTP2, Conns: 8, Streams: 4, Host: "bench.test", Path: "/1m", Length: 1 << 20},
	}
}
