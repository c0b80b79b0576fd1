// SPDX-License-Identifier: Apache-2.0

package scenario

import "weir.dev/weir/test/bench/load"

// h1Medium is a body that fills one or a few buffers.
func h1Medium() Scenario {
	return Scenario{
		Name:  "h1-16k",
		About: "HTTP/1.1 GET of 16 KiB, keep-alive on both sides, 64 connections in a closed loop.",
		Load:  load.Spec{Conns: 64, Host: "bench.test", Path: "/16k", Length: 16 << 10},
	}
}
