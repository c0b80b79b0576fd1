// SPDX-License-Identifier: Apache-2.0

package scenario

import "weir.dev/weir/test/bench/load"

// h1Open is the cost and the latency at a load that leaves room, as most proxies run most of the time.
func h1Open() Scenario {
	return Scenario{
		Name:  "h1-100b-open10k",
		About: "HTTP/1.1 GET of 100 bytes, Poisson arrivals at 10,000 requests per second over 64 connections; latency from the time a request was due.",
		Load:  load.Spec{Conns: 64, Host: "bench.test", Path: "/100", Length: 100, Rate: 10_000},
	}
}
