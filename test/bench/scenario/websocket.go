// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"weir.dev/weir/test/bench/load"
	"weir.dev/weir/test/bench/peer"
)

// webSocket is the cost of a message each way once a connection is upgraded.
func webSocket() Scenario {
	return Scenario{
		Name:   "websocket",
		About:  "WebSocket messages of 100 bytes echoed by the backend, 64 connections with one message on its way each: CPU per message and its echo.",
		Figure: PerMessage,
		Mode:   peer.WebSocket,
		Peers:  []string{"nginx", "haproxy"},
		Load:   load.Spec{Protocol: load.WebSocket, Conns: 64, Host: "bench.test", Path: "/ws", Length: 100},
	}
}
