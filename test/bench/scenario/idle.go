// SPDX-License-Identifier: Apache-2.0

package scenario

import "weir.dev/weir/test/bench/load"

// idle is the memory that a connection holds between requests. The kernel's own memory for it is not counted.
func idle() Scenario {
	return Scenario{
		Name:   "idle-10k",
		About:  "10,000 idle keep-alive connections that have done one request each: resident memory per connection over the process after a single request.",
		Figure: PerConn,
		Load:   load.Spec{Conns: 10_000, Host: "bench.test", Path: "/100", Length: 100},
	}
}
