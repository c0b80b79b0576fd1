// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"weir.dev/weir/test/bench/load"
	"weir.dev/weir/test/bench/peer"
)

// udp is the cost of a datagram each way within a session. HAProxy does not carry UDP.
func udp() Scenario {
	return Scenario{
		Name:   "udp",
		About:  "UDP datagrams of 100 bytes echoed by the backend, 64 sessions with one datagram on its way each: CPU per datagram and its echo.",
		Figure: PerMessage,
		Mode:   peer.UDP,
		Peers:  []string{"nginx"},
		Load:   load.Spec{Protocol: load.UDP, Conns: 64, Length: 100},
	}
}
