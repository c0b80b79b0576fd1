// SPDX-License-Identifier: Apache-2.0

package scenario

import "weir.dev/weir/test/bench/load"

// tlsSmall is what TLS adds to h1-100b: a record each way.
func tlsSmall() Scenario {
	return Scenario{
		Name:  "tls-100b",
		About: "As h1-100b, over TLS 1.3 (AES-128-GCM) from the client: keep-alive on both sides, 64 connections in a closed loop.",
		TLS:   true,
		Peers: []string{"nginx", "haproxy"},
		Load:  load.Spec{Conns: 64, Host: "bench.test", Path: "/100", Length: 100},
	}
}
