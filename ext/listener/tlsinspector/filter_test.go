// SPDX-License-Identifier: Apache-2.0

package tlsinspector_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

const told = "%FILTER_CHAIN_NAME% %REQUESTED_SERVER_NAME% %TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT%"

func start(t *testing.T, yaml string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, yaml, proxytest.Options{Extensions: proxytest.WithTeller(t, all.Extensions(), told)})
}

func inspector(fields string) string {
	return proxytest.ListenerFilter("tls_inspector.v3.TlsInspector", fields)
}

// hello is what crypto/tls says first.
func hello(t *testing.T, name string, protocols ...string) string {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The other side never answers: the handshake cannot succeed.
		_ = tls.Client(a, &tls.Config{ServerName: name, NextProtos: protocols, InsecureSkipVerify: true}).Handshake()
	}()
	buf := make([]byte, 1<<14)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	return string(buf[:n])
}

// TestChains: one listener serves TLS and cleartext, each name and protocol by
// its own chain, which sees every byte.
func TestChains(t *testing.T) {
	p := start(t, proxytest.Told(inspector(""), "",
		`{transport_protocol: tls, server_names: [a.test]}`,
		`{transport_protocol: tls, server_names: ["*.a.test"]}`,
		`{transport_protocol: tls, server_names: ["*.b.a.test"], application_protocols: [h2]}`,
		`{transport_protocol: raw_buffer}`,
		`{transport_protocol: tls, application_protocols: [acme]}`,
		`{transport_protocol: tls}`,
	))
	for _, tt := range []struct{ send, want string }{
		{hello(t, "a.test"), "c0 a.test"},
		{hello(t, "A.Test", "h2"), "c0 a.test"},
		{hello(t, "x.a.test", "h2"), "c1 x.a.test"},
		{hello(t, "x.b.a.test", "http/1.1", "h2"), "c2 x.b.a.test"},
		{"GET / HTTP/1.1\r\n\r\n", "c3 -"},
		{"x", "c3 -"},
		{hello(t, "other.test", "acme"), "c4 other.test"},
		{hello(t, "other.test", "h2"), "c5 other.test"},
		{hello(t, ""), "c5 -"},
	} {
		for _, piece := range []int{len(tt.send), 1, 100} {
			c := p.Dial()
			for rest := tt.send; rest != ""; {
				n := min(piece, len(rest))
				c.Send(rest[:n])
				rest = rest[n:]
			}
			if line := c.ReadN(len(tt.want)); line != tt.want {
				t.Fatalf("%q in pieces of %d: %q, want %q", tt.send[:min(20, len(tt.send))], piece, line, tt.want)
			}
			if got := c.ReadN(len(" - -\n") + len(tt.send)); !strings.HasSuffix(got, tt.send) {
				t.Errorf("%s: the chain saw other bytes: %q", tt.want, got)
			}
			c.Close()
		}
	}
	// A chain that matches by name and not by protocol is not left for another.
	c := p.Dial()
	c.Send(hello(t, "x.b.a.test", "http/1.1"))
	c.ExpectClosed()
	p.WaitCounter("listener.l.no_filter_chain_match", 1)
	for name, want := range map[string]uint64{
		"tls_inspector.tls_found": 22, "tls_inspector.tls_not_found": 6, "tls_inspector.sni_found": 19, "tls_inspector.sni_not_found": 3,
		"tls_inspector.alpn_found": 16, "tls_inspector.alpn_not_found": 6, "tls_inspector.client_hello_too_large": 0,
		"listener.l.downstream_cx_total": 27,
	} {
		if got := p.Counter(name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	if m, ok := p.Metric("tls_inspector.bytes_processed"); !ok || m.Name == "" {
		t.Error("there is no tls_inspector.bytes_processed")
	}
}

// TestImplied: chains that match what only this filter finds have it, as in Envoy.
func TestImplied(t *testing.T) {
	p := start(t, proxytest.Told("", "", "{server_names: [a.test]}", "{transport_protocol: raw_buffer}"))
	for send, want := range map[string]string{hello(t, "a.test"): "c0 a.test", "GET /": "c1 -"} {
		c := p.Dial()
		c.Send(send)
		if got := c.ReadN(len(want)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestFingerprints(t *testing.T) {
	p := start(t, proxytest.Told(inspector(", enable_ja3_fingerprinting: true, enable_ja4_fingerprinting: true, initial_read_buffer_size: 256"), ""))
	c := p.Dial()
	c.Send(hello(t, "a.test", "h2"))
	f := strings.Fields(c.ReadN(len("c0 a.test ") + 32 + 1 + 36))
	if len(f) != 4 || len(f[2]) != 32 || !strings.HasPrefix(f[3], "t13d") {
		t.Errorf("%q", f)
	}
}

// split breaks one record into records of n bytes.
func split(record string, n int) string {
	out := ""
	for body := record[5:]; body != ""; {
		k := min(n, len(body))
		out += record[:3] + string([]byte{byte(k >> 8), byte(k)}) + body[:k]
		body = body[k:]
	}
	return out
}

func TestFragments(t *testing.T) {
	p := start(t, proxytest.Told(inspector(""), "", "{server_names: [a.test]}"))
	for _, n := range []int{1, 7, 100} {
		c := p.Dial()
		s := split(hello(t, "a.test"), n)
		c.Send(s)
		if got := c.ReadN(len("c0 a.test - -\n") + len(s)); !strings.HasSuffix(got, s) {
			t.Errorf("records of %d: %q", n, got)
		}
		c.Close()
	}
}

func TestHostile(t *testing.T) {
	broken := []byte(hello(t, "a.test"))
	broken[5+4+2+32] = 255 // The session ID overlaps with what follows.
	for name, tt := range map[string]struct {
		fields, send string
		closed       bool
		counter      string
	}{
		"malformed":        {"", string(broken), false, "tls_inspector.tls_not_found"},
		"malformed, close": {", close_connection_on_client_hello_parsing_errors: true", string(broken), true, ""},
		"cleartext, close": {", close_connection_on_client_hello_parsing_errors: true", "GET /", true, ""},
		"too large":        {", max_client_hello_size: 256, initial_read_buffer_size: 256", split(hello(t, "a.test"), 1), true, "tls_inspector.client_hello_too_large"},
		"16 MiB":           {"", "\x16\x03\x01\x40\x00\x01\xff\xff\xff", true, "tls_inspector.client_hello_too_large"},
		"an end":           {"", "\x16\x03", true, "tls_inspector.connection_closed"},
	} {
		p := start(t, proxytest.Told(inspector(tt.fields), ""))
		c := p.Dial()
		c.Send(tt.send)
		if name == "an end" {
			c.CloseWrite()
			p.WaitCounter("listener.l.downstream_listener_filter_remote_close", 1)
		}
		if tt.closed {
			c.ExpectClosed()
			p.WaitGauge("listener.l.downstream_pre_cx_active", 0)
		} else if got := c.ReadN(4); got != "c0 -" {
			t.Errorf("%s: %q", name, got)
		}
		if tt.counter != "" {
			p.WaitCounter(tt.counter, 1)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, fields := range []string{", max_client_hello_size: 16385", ", initial_read_buffer_size: 1"} {
		yaml := proxytest.Told(inspector(fields), "")
		if _, err := proxytest.TryStart(t, yaml, proxytest.Options{Extensions: proxytest.WithTeller(t, all.Extensions(), told)}); err == nil || !strings.Contains(err.Error(), "listener_filters[0]") {
			t.Errorf("%s: %v", fields, err)
		}
	}
}

// TestSlow: who sends nothing, or half of a hello, is closed in time, or served
// if the listener says so.
func TestSlow(t *testing.T) {
	for _, sent := range []string{"", "\x16\x03\x01\x02"} {
		p := start(t, proxytest.Told(inspector(""), "listener_filters_timeout: 0.05s"))
		c := p.Dial()
		c.Send(sent)
		c.ExpectClosed()
		p.WaitCounter("listener.l.downstream_pre_cx_timeout", 1)

		p = start(t, proxytest.Told(inspector(""), "listener_filters_timeout: 0.05s\ncontinue_on_listener_filters_timeout: true"))
		c = p.Dial()
		c.Send(sent)
		if want := "c0 - - -\n" + sent; c.ReadN(len(want)) != want {
			t.Errorf("after %q the chain was not served", sent)
		}
	}
}
