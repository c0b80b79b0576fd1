// SPDX-License-Identifier: Apache-2.0

package httpinspector_test

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

func start(t *testing.T, filters, fields string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, proxytest.Told(filters, fields,
		"{transport_protocol: raw_buffer, application_protocols: [http/1.0]}", "{transport_protocol: raw_buffer, application_protocols: [http/1.1]}",
		"{transport_protocol: raw_buffer, application_protocols: [h2c]}", "{transport_protocol: raw_buffer}",
	), proxytest.Options{Extensions: proxytest.WithTeller(t, all.Extensions(), "%FILTER_CHAIN_NAME%")})
}

func inspector() string {
	return proxytest.ListenerFilter("http_inspector.v3.HttpInspector", "")
}

func TestVersions(t *testing.T) {
	p := start(t, inspector(), "")
	counts := map[string]uint64{}
	for _, tt := range []struct{ send, chain, counter string }{
		{"GET / HTTP/1.0\r\n\r\n", "c0", "http10_found"},
		{"GET / HTTP/1.1\r\n", "c1", "http11_found"},
		{"GET / HTTP/1.1\n", "c1", "http11_found"},
		{"M-SEARCH * HTTP/1.1\r\n", "c1", "http11_found"},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "c2", "http2_found"},
		{"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "c0", "http10_found"}, // As Envoy has it: whatever is not 1.1.
		{"GET / HTTP/1.2\r\n", "c0", "http10_found"},
		{"GET /" + strings.Repeat("x", 30000) + " HTTP/1.1\r\n", "c1", "http11_found"},
		{"\r\nGET / HTTP/1.1\r\n", "c3", "http_not_found"},
		{"\x00", "c3", "http_not_found"},
		{"\x16\x03\x01", "c3", "http_not_found"},
		{"GET\t/ HTTP/1.1\r\n", "c3", "http_not_found"},
		{"GET /\r\n", "c3", "http_not_found"},
		{"GET  HTTP/1.1\r\n", "c3", "http_not_found"},
		{"GET / HTTP/11\r\n", "c3", "http_not_found"},
		{"GET / FTP/1.1\r\n", "c3", "http_not_found"},
		{" / HTTP/1.1\r\n", "c3", "http_not_found"},
		{"\n", "c3", "http_not_found"},
	} {
		for _, piece := range []int{len(tt.send), 1 + len(tt.send)/40} {
			c := p.Dial()
			for rest := tt.send; rest != ""; {
				n := min(piece, len(rest))
				c.Send(rest[:n])
				rest = rest[n:]
			}
			if got := c.ReadN(3 + len(tt.send)); got != tt.chain+"\n"+tt.send {
				t.Errorf("%.40q in pieces of %d: %.40q, want %s", tt.send, piece, got, tt.chain)
			}
			counts["http_inspector."+tt.counter]++
			c.Close()
		}
	}
	for name, want := range counts {
		if got := p.Counter(name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

// TestEndless: a request line that does not end is closed.
func TestEndless(t *testing.T) {
	p := start(t, inspector(), "")
	c := p.Dial()
	// The proxy closes before all of it is sent, or after.
	_ = c.TrySend("GET /" + strings.Repeat("x", 70000))
	p.WaitCounter("http_inspector.read_error", 1)
}

// TestBehindTLS: filters see the same bytes, and nothing is said of what is
// encrypted.
func TestBehindTLS(t *testing.T) {
	p := start(t, proxytest.ListenerFilter("tls_inspector.v3.TlsInspector", "")+inspector(), "")
	c := p.Dial()
	c.Send("GET / HTTP/1.1\r\n")
	if got := c.ReadN(3); got != "c1\n" {
		t.Errorf("%q", got)
	}
	if p.Counter("tls_inspector.tls_not_found") != 1 || p.Counter("http_inspector.http11_found") != 1 {
		t.Error("one of the filters saw nothing")
	}
}
