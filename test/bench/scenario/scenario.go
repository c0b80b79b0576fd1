// SPDX-License-Identifier: Apache-2.0

// Package scenario lists what the benchmark measures, one file for each. To add one, write its file and name it in All.
package scenario

import (
	"weir.dev/weir/test/bench/load"
	"weir.dev/weir/test/bench/peer"
)

// A Figure is what a scenario's main column shows.
type Figure int

// The figures: microseconds of CPU per answered request, milliseconds of CPU per GiB of body, KiB of resident memory
// per idle connection, microseconds of CPU per full handshake with the one request that follows it, and microseconds of
// CPU per message.
const (
	PerRequest Figure = iota
	PerGiB
	PerConn
	PerHandshake
	PerMessage
)

// A Scenario is one table of the report.
type Scenario struct {
	// Name is what -only selects; About is one sentence for the reader.
	Name, About string
	Figure      Figure
	// Load is what the client does; the harness fills in Addr, Warmup and Measure, and Cert where TLS is set.
	Load load.Spec
	// Mode and TLS are how the proxies are configured, in all variants.
	Mode peer.Mode
	TLS  bool
	// Peers names the proxies that are compared with Weir; none means all.
	Peers []string
	// Variants are measured of each proxy, interleaved; none means one without a name.
	Variants []Variant
	// AgainstSelf divides each variant by the first of the same proxy rather than by nginx and haproxy.
	AgainstSelf bool
}

// A Variant is one way to configure the proxies.
type Variant struct {
	// Name follows the proxy's name in the table.
	Name string
	// Only names the one proxy that has this variant; "" means all.
	Only string
	// Setup has the fields that differ; the harness fills in addresses and directory.
	Setup peer.Setup
}

// All lists the scenarios in the order of the report.
func All() []Scenario {
	return []Scenario{
		h1Small(), h1Medium(), h1Large(), h1Open(), accessLog(), vhosts(), routes(), idle(),
		tlsSmall(), tlsHandshake(), h2(), h2TLS(), h2Large(), grpcUnary(), grpcStream(), grpcChat(), tcp(), webSocket(), udp(),
	}
}
