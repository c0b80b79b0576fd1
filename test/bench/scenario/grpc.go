// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"weir.dev/weir/test/bench/backend"
	"weir.dev/weir/test/bench/load"
	"weir.dev/weir/test/bench/peer"
)

// grpcUnary is HTTP/2 on both sides: a message, an answer of one message, and trailers.
func grpcUnary() Scenario {
	return Scenario{
		Name:  "grpc-unary",
		About: "Unary gRPC calls in cleartext, HTTP/2 on both sides: 100 bytes each way, 8 connections of 32 streams in a closed loop.",
		Mode:  peer.GRPC,
		Peers: []string{"nginx", "haproxy"},
		Load: load.Spec{
			Protocol: load.HTTP2, Conns: 8, Streams: 32, Host: "bench.test", Path: backend.UnaryPath,
			Messages: 1, Length: backend.MessageLen,
		},
	}
}

// grpcStream is the cost of a message in a stream: next to no headers, small frames, and windows.
func grpcStream() Scenario {
	return Scenario{
		Name:   "grpc-stream",
		About:  "gRPC server streams in cleartext, HTTP/2 on both sides: 1,000 messages of 100 bytes each, 8 connections of 8 streams in a closed loop.",
		Figure: PerMessage,
		Mode:   peer.GRPC,
		Peers:  []string{"nginx", "haproxy"},
		Load: load.Spec{
			Protocol: load.HTTP2, Conns: 8, Streams: 8, Host: "bench.test", Path: backend.StreamPath,
			Messages: backend.StreamLen, Length: backend.StreamLen * backend.MessageLen,
		},
	}
}

// grpcChat is the cost of a message each way in a stream: no batches but what chance brings.
func grpcChat() Scenario {
	return Scenario{
		Name:   "grpc-bidi",
		About:  "Bidirectional gRPC streams in cleartext, HTTP/2 on both sides: 1,000 messages of 100 bytes, each echoed before the next is sent, 8 connections of 32 streams in a closed loop. CPU per message and its echo.",
		Figure: PerMessage,
		Mode:   peer.GRPC,
		Peers:  []string{"nginx", "haproxy"},
		Load: load.Spec{
			Protocol: load.HTTP2, Conns: 8, Streams: 32, Host: "bench.test", Path: backend.ChatPath,
			Chat: true, Messages: 1_000, Length: 1_000 * backend.MessageLen,
		},
	}
}
