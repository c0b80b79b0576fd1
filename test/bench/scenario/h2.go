// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"weir.dev/weir/test/bench/load"
	"weir.dev/weir/test/bench/peer"
)

// h2Load has paths, cookies and user agents that vary, so that header tables are at work.
func h2Load() load.Spec {
	return load.Spec{Protocol: load.HTTP2, Conns: 8, Streams: 32, Host: "bench.test", Path: "/shop/{n}/100", Spread: 2_000, Length: 100}
}

// h2 is the cost of a request that came in over HTTP/2 and goes out over HTTP/1.1.
func h2() Scenario {
	return Scenario{
		Name:  "h2-h1",
		About: "HTTP/2 in cleartext (prior knowledge) to an HTTP/1.1 backend: GET of 100 bytes with varied headers, 8 connections of 32 streams in a closed loop.",
		Mode:  peer.HTTP2,
		Peers: []string{"nginx", "haproxy"},
		Load:  h2Load(),
	}
}

// h2TLS is h2 as browsers do it.
func h2TLS() Scenario {
	s := h2()
	s.Name, s.TLS = "h2-tls-h1", true
	s.About = "As h2-h1, over TLS 1.3 by ALPN."
	return s
}
