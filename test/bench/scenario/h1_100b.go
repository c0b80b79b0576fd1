// SPDX-License-Identifier: Apache-2.0

package scenario

import "weir.dev/weir/test/bench/load"

// h1Small is the cost of a request itself: the body is next to nothing.
func h1Small() Scenario {
	return Scenario{
		Name:  "h1-100b",
		About: "HTTP/1.1 GET of 100 bytes, keep-alive on both sides, 64 connections in a closed loop.",
		Load:  load.Spec{Conns: 64, Host: "bench.test", Path: "/100", Length: 100},
	}
}
