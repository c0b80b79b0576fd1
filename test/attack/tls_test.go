// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

// tlsEdge is a proxy with TLS and keys of both kinds.
func tlsEdge(t *testing.T, params string) *proxytest.Proxy {
	t.Helper()
	ca := tlstest.NewCA(t, "attack CA")
	ec, rsa := ca.Issue(t, tlstest.Leaf{DNS: []string{"a.test"}}), ca.Issue(t, tlstest.Leaf{DNS: []string{"a.test"}, Key: tlstest.RSA2048})
	chain := strings.Replace(tlsChain(ec, ""), "tls_certificates: [", "tls_certificates: ["+rsa.Certificate()+", ", 1)
	if params != "" {
		chain += "      tls_params: " + params + "\n"
	}
	return edge(t, newBackend(t, false), proxytest.Edge{Chain: "transport_socket_connect_timeout: 1s\n" + chain})
}

// TestTLSOffers tries each version, cipher suite and group by itself, as scanners do:
// what is old or weak is not agreed on.
func TestTLSOffers(t *testing.T) {
	for _, tt := range []struct {
		name, params               string
		versions, suites12, groups string
	}{
		{"defaults", "", "TLS 1.2 TLS 1.3",
			"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 " +
				"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "CurveP256 X25519"},
		{"limits", "{tls_maximum_protocol_version: TLSv1_2, cipher_suites: [ECDHE-ECDSA-AES256-GCM-SHA384], ecdh_curves: [P-256]}", "TLS 1.2",
			"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "CurveP256"},
		{"1.3 alone", "{tls_minimum_protocol_version: TLSv1_3}", "TLS 1.3", "", "CurveP256 X25519"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := tlsEdge(t, tt.params)
			try := func(c *tls.Config) bool {
				c.InsecureSkipVerify, c.ServerName = true, "a.test" // What is offered is under test.
				conn, err := tls.DialWithDialer(&net.Dialer{Timeout: proxytest.Patience}, "tcp", p.Addr(), c)
				if err == nil {
					_ = conn.Close() // It has served.
				}
				return err == nil
			}
			var versions, suites, groups []string
			for v := uint16(tls.VersionTLS10); v <= tls.VersionTLS13; v++ {
				if try(&tls.Config{MinVersion: v, MaxVersion: v}) {
					versions = append(versions, tls.VersionName(v))
				}
			}
			same(t, "versions", versions, tt.versions)
			for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
				if s.SupportedVersions[0] < tls.VersionTLS13 && try(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{s.ID}}) {
					suites = append(suites, s.Name)
				}
			}
			same(t, "cipher suites", suites, tt.suites12)
			for _, g := range []tls.CurveID{tls.CurveP256, tls.CurveP384, tls.CurveP521, tls.X25519} {
				if try(&tls.Config{CurvePreferences: []tls.CurveID{g}}) {
					groups = append(groups, g.String())
				}
			}
			same(t, "groups", groups, tt.groups)
			unmoved(t, p)
		})
	}
}

func same(t *testing.T, what string, got []string, want string) {
	t.Helper()
	set := map[string]bool{}
	for _, s := range got {
		set[s] = true
	}
	if what == "versions" {
		if g := strings.Join(got, " "); g != want {
			t.Errorf("%s: %s, want %s", what, g, want)
		}
		return
	}
	fields := strings.Fields(want)
	for _, s := range fields {
		if !set[s] {
			t.Errorf("%s: %s is missing", what, s)
		}
	}
	if len(got) != len(fields) {
		t.Errorf("%s: %v, want %s", what, got, want)
	}
}

// unmoved holds the proxy against openssl's client: old versions, weak suites, and
// what a session must not do.
func unmoved(t *testing.T, p *proxytest.Proxy) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	for _, args := range []string{
		"-tls1 -cipher ALL:@SECLEVEL=0", "-tls1_1 -cipher ALL:@SECLEVEL=0",
		"-tls1_2 -cipher aNULL:@SECLEVEL=0", "-tls1_2 -cipher eNULL:@SECLEVEL=0", "-tls1_2 -cipher kRSA:@SECLEVEL=0",
		"-tls1_2 -cipher DHE:@SECLEVEL=0", "-tls1_2 -cipher PSK:@SECLEVEL=0", "-tls1_2 -cipher SHA1:@SECLEVEL=0",
	} {
		if out := openssl(t, p, "", args); strings.Contains(out, "Cipher is") && !strings.Contains(out, "Cipher is (NONE)") {
			t.Errorf("%s is agreed on", args)
		}
	}
	out := openssl(t, p, "R\n", "-tls1_2 -comp -legacy_renegotiation")
	if strings.Contains(out, "Compression: zlib") || strings.Contains(out, "heartbeat") {
		t.Errorf("a feature that was to be refused: %s", out)
	}
	if strings.Contains(out, "RENEGOTIATING\ndepth") {
		t.Error("the session was renegotiated")
	}
}

func openssl(t *testing.T, p *proxytest.Proxy, stdin, args string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "timeout", append([]string{"5", "openssl", "s_client", "-connect", p.Addr(), "-servername", "a.test"}, strings.Fields(args)...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, _ := cmd.CombinedOutput() // Refusals are what is hoped for.
	return string(out)
}

// TestTLSRecords plays with records.
func TestTLSRecords(t *testing.T) {
	p := tlsEdge(t, "")
	hello := func(n int) string { // The head of a ClientHello that is n bytes long.
		return string([]byte{1, byte(n >> 16), byte(n >> 8), byte(n)})
	}
	record := func(typ byte, payload string) string {
		return string([]byte{typ, 3, 1, byte(len(payload) >> 8), byte(len(payload))}) + payload
	}
	for _, tt := range []struct{ name, bytes string }{
		{"a request in cleartext", "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"},
		{"HTTP/2 in cleartext", preface},
		{"a huge hello", strings.Repeat(record(22, hello(1<<24-1)+strings.Repeat("x", 16000)), 20)},
		{"empty records", strings.Repeat(record(22, ""), 10000)},
		{"empty records after a part", record(22, hello(100)) + strings.Repeat(record(22, ""), 10000)},
		{"a record too large", "\x16\x03\x01\xff\xff" + strings.Repeat("x", 1<<16)},
		{"warnings", strings.Repeat(record(21, "\x01\x00"), 10000)},
		{"changes of the cipher", strings.Repeat(record(20, "\x01"), 10000)},
		{"heartbeat", record(24, "\x01\x40\x00")},
		{"application data first", record(23, "GET / HTTP/1.1\r\n\r\n")},
		{"SSLv2", "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + strings.Repeat("x", 37)},
		{"one byte a record", strings.Join(strings.Split(record(22, hello(16)+strings.Repeat("x", 16)), ""), "")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := heap()
			c := p.Dial()
			_ = c.TrySend(tt.bytes) // It may be refused at once.
			if got, _ := c.ReadAll(); strings.Contains(got, "HTTP/") {
				t.Errorf("got %q", got)
			}
			if grown := heap() - before; grown > 8<<20 {
				t.Errorf("the heap has grown by %d", grown)
			}
		})
	}
	for _, size := range []int{1, 7, 1 << 14} {
		t.Run(fmt.Sprintf("pieces of %d bytes", size), func(t *testing.T) {
			raw, err := net.Dial("tcp", p.Addr())
			if err != nil {
				t.Fatal(err)
			}
			conn := tls.Client(pieces{raw, size}, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) // The names are not under test.
			w := newWire(t, conn)
			for _, b := range []byte(preface + frame(tSettings, 0, 0, "")) {
				if err := w.send(string(b)); err != nil { // A record for each byte.
					t.Fatal(err)
				}
			}
			w.alive(1, "/")
			_ = raw.Close() // Without close_notify.
		})
	}
	p.WaitGauge("http.test.downstream_cx_active", 0)
	settled(t, p)
}

// pieces writes no more than size bytes at a time.
type pieces struct {
	net.Conn
	size int
}

// Write writes b in pieces.
func (p pieces) Write(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k, err := p.Conn.Write(b[n:min(n+p.size, len(b))])
		if n += k; err != nil {
			return n, err
		}
	}
	return n, nil
}

var _ io.Writer = pieces{}
