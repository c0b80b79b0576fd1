// SPDX-License-Identifier: Apache-2.0

package scenario

import "weir.dev/weir/test/bench/load"

// tlsHandshake is the cost of a new client. Nothing can be resumed: the client keeps no session and the proxies give none
// out, and the client checks each.
func tlsHandshake() Scenario {
	return Scenario{
		Name:   "tls-handshake",
		About:  "Full TLS 1.3 handshakes (X25519, a P-256 certificate, nothing resumed), one GET of 100 bytes on each connection, 16 clients in a closed loop.",
		Figure: PerHandshake,
		TLS:    true,
		Peers:  []string{"nginx", "haproxy"},
		Load:   load.Spec{Protocol: load.Handshake, Conns: 16, Host: "bench.test", Path: "/100", Length: 100},
	}
}
