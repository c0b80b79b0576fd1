// SPDX-License-Identifier: Apache-2.0

package conn

import "weir.dev/weir/proxy/stats"

// TLSStats are one loop's statistics of the TLS handshakes of a listener or a
// cluster, under Envoy's names below "ssl.".
type TLSStats struct {
	Handshake       stats.Counter `stat:"handshake"`
	ConnectionError stats.Counter `stat:"connection_error"`
	SessionReused   stats.Counter `stat:"session_reused"`
	NoCertificate   stats.Counter `stat:"no_certificate"`
	// Presented counts handshakes in which the client sent a certificate.
	Presented       stats.Counter `stat:"client_certificate_presented"`
	FailNoCert      stats.Counter `stat:"fail_verify_no_cert"`
	FailError       stats.Counter `stat:"fail_verify_error"`
	FailSAN         stats.Counter `stat:"fail_verify_san"`
	FailHash        stats.Counter `stat:"fail_verify_cert_hash"`
	StapleFailed    stats.Counter `stat:"ocsp_staple_failed"`
	StapleOmitted   stats.Counter `stat:"ocsp_staple_omitted"`
	StapleResponses stats.Counter `stat:"ocsp_staple_responses"`
	StapleRequests  stats.Counter `stat:"ocsp_staple_requests"`
	BadKeyUsage     stats.Counter `stat:"was_key_usage_invalid"`
	// Unverified counts handshakes in which the peer's certificate was not verified
	// because no CA is configured. Envoy has no such counter.
	Unverified stats.Counter `stat:"no_verification"`
}

// TLSCounters are the statistics of the TLS handshakes of a listener or a cluster.
type TLSCounters struct {
	sharded *stats.Sharded[TLSStats]
	// Names has what is named by the handshake's outcome: versions.*, ciphers.*,
	// curves.* and sigalgs.*.
	Names *stats.Scope
	// Context has what concerns contexts, not handshakes (server_ssl_socket_factory.*
	// and client_ssl_socket_factory.*).
	Context *stats.Scope
}

// NewTLSCounters registers the statistics below a listener's or a cluster's scope for
// a number of loops.
func NewTLSCounters(s *stats.Scope, loops int) *TLSCounters {
	names := s.Scope("ssl.")
	return &TLSCounters{stats.Register[TLSStats](names, loops), names, s.Scope("")}
}

// At is the part of one loop.
func (c *TLSCounters) At(loop int) *TLSStats { return c.sharded.At(loop) }

// Close takes the names away.
func (c *TLSCounters) Close() {
	c.sharded.Close()
	c.Names.Close()
	c.Context.Close()
}
