// SPDX-License-Identifier: Apache-2.0

package tls_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

// dial shakes hands and asks once; the error is that of either.
func dial(t *testing.T, p *proxytest.Proxy, c *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	d := &net.Dialer{Timeout: proxytest.Patience}
	k, err := tls.DialWithDialer(d, "tcp", p.Addr(), c)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer k.Close()
	if err := k.SetDeadline(time.Now().Add(proxytest.Patience)); err != nil {
		t.Fatal(err)
	}
	// In TLS 1.3 a client learns only by reading that it was refused.
	if _, err := fmt.Fprintf(k, "GET / HTTP/1.1\r\nhost: example.com\r\n\r\n"); err != nil {
		return tls.ConnectionState{}, err
	}
	if _, err := k.Read(make([]byte, 1)); err != nil {
		return tls.ConnectionState{}, err
	}
	return k.ConnectionState(), nil
}

// stat finds a statistic of the listener, whatever its port.
func stat(t *testing.T, p *proxytest.Proxy, name string) uint64 {
	t.Helper()
	m, _ := p.Metric("listener." + strings.ReplaceAll(p.Addr(), ":", "_") + "." + name)
	return m.Count
}

func waitStat(t *testing.T, p *proxytest.Proxy, name string, want uint64) {
	t.Helper()
	proxytest.Eventually(t, name, func() (uint64, bool) { n := stat(t, p, name); return n, n == want })
}

func TestParameters(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	server := ca.Issue(t, tlstest.Leaf{DNS: []string{"example.com"}, Key: tlstest.RSA2048}).Certificate()
	client := func(f func(*tls.Config)) *tls.Config {
		c := &tls.Config{RootCAs: ca.Pool(), ServerName: "example.com"}
		f(c)
		return c
	}
	for _, tt := range []struct {
		name, params string
		client       func(*tls.Config)
		refused      bool
		stats        []string
	}{
		{"defaults", "", func(*tls.Config) {}, false, []string{"versions.TLSv1.3", "ciphers.TLS_AES_128_GCM_SHA256", "curves.X25519"}},
		{"no TLS 1.1", "", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, true, nil},
		{"at most 1.2", "tls_params: {tls_maximum_protocol_version: TLSv1_2}", func(*tls.Config) {}, false, []string{"versions.TLSv1.2", "ciphers.ECDHE-RSA-AES128-GCM-SHA256"}},
		{"at least 1.3", "tls_params: {tls_minimum_protocol_version: TLSv1_3}", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, true, nil},
		{"cipher suites", "tls_params: {tls_maximum_protocol_version: TLSv1_2, cipher_suites: ['[ECDHE-RSA-CHACHA20-POLY1305|ECDHE-ECDSA-CHACHA20-POLY1305]']}", func(*tls.Config) {}, false, []string{"ciphers.ECDHE-RSA-CHACHA20-POLY1305"}},
		{"other cipher suite", "tls_params: {tls_maximum_protocol_version: TLSv1_2, cipher_suites: [ECDHE-RSA-AES256-GCM-SHA384]}", func(c *tls.Config) {
			c.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
		}, true, nil},
		{"curve", "tls_params: {ecdh_curves: [P-256]}", func(*tls.Config) {}, false, []string{"curves.P-256"}},
		{"hybrid", "tls_params: {ecdh_curves: [X25519MLKEM768, X25519]}", func(*tls.Config) {}, false, []string{"curves.X25519MLKEM768"}},
		{"other curve", "tls_params: {ecdh_curves: [P-384]}", func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }, true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, listener("common_tls_context:\n  tls_certificates: ["+server+"]\n  "+tt.params))
			_, err := dial(t, p, client(tt.client))
			if (err != nil) != tt.refused {
				t.Fatalf("refused: %v, want %v", err, tt.refused)
			}
			if tt.refused {
				waitStat(t, p, "ssl.connection_error", 1)
				return
			}
			for _, s := range append(tt.stats, "handshake", "no_certificate") {
				if n := stat(t, p, "ssl."+s); n != 1 {
					t.Errorf("%s is %d", s, n)
				}
			}
		})
	}
}

func TestALPN(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	server := ca.Issue(t, tlstest.Leaf{DNS: []string{"example.com"}}).Certificate()
	p := start(t, listener("common_tls_context: {alpn_protocols: [http/1.1], tls_certificates: ["+server+"]}"))
	cs, err := dial(t, p, &tls.Config{RootCAs: ca.Pool(), ServerName: "example.com", NextProtos: []string{"h3", "http/1.1"}})
	if err != nil || cs.NegotiatedProtocol != "http/1.1" {
		t.Errorf("got %q, %v", cs.NegotiatedProtocol, err)
	}
}

func TestChoosesCertificate(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	var certs []string
	for _, l := range []tlstest.Leaf{
		{CommonName: "first", DNS: []string{"first.test"}, Key: tlstest.RSA2048},
		{CommonName: "rsa", DNS: []string{"both.test"}, Key: tlstest.RSA2048},
		{CommonName: "ecdsa", DNS: []string{"both.test"}},
		{CommonName: "wild", DNS: []string{"*.wild.test"}},
		{CommonName: "cn.test"},
		{CommonName: "p384", DNS: []string{"p384.test"}, Key: tlstest.P384},
	} {
		certs = append(certs, ca.Issue(t, l).Certificate())
	}
	context := "common_tls_context: {tls_params: {ecdh_curves: [X25519, P-256, P-384]}, tls_certificates: [" + strings.Join(certs, ", ") + "]}\n"
	first := start(t, listener(context))
	full := start(t, listener(context+"full_scan_certs_on_sni_mismatch: true"))
	noECDSA := func(c *tls.Config) {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	}
	for _, tt := range []struct {
		name   string
		p      *proxytest.Proxy
		sni    string
		client func(*tls.Config)
		want   string
	}{
		{"exact", first, "first.test", nil, "first"},
		{"in capitals", first, "FIRST.test", nil, "first"},
		{"ECDSA is preferred", first, "both.test", nil, "ecdsa"},
		{"RSA for those without ECDSA", first, "both.test", noECDSA, "rsa"},
		{"wildcard", first, "a.wild.test", nil, "wild"},
		{"wildcard is one label", first, "a.b.wild.test", nil, "first"},
		{"wildcard is not its parent", first, "wild.test", nil, "first"},
		{"common name without SAN", first, "cn.test", nil, "cn.test"},
		{"common name with SAN", first, "ecdsa", nil, "first"},
		{"no match", first, "other.test", nil, "first"},
		{"no match, all are looked at", full, "other.test", nil, "ecdsa"},
		{"no match, all are looked at, RSA", full, "other.test", noECDSA, "first"},
		{"no name", first, "", nil, "ecdsa"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &tls.Config{InsecureSkipVerify: true, ServerName: tt.sni}
			if tt.client != nil {
				tt.client(c)
			}
			cs, err := dial(t, tt.p, c)
			if err != nil {
				t.Fatal(err)
			}
			if got := cs.PeerCertificates[0].Subject.CommonName; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRequireSNI(t *testing.T) {
	server := tlstest.NewCA(t, "test CA").Issue(t, tlstest.Leaf{DNS: []string{"example.com"}}).Certificate()
	p := start(t, listener("require_sni: true\ncommon_tls_context: {tls_certificates: ["+server+"]}"))
	if _, err := dial(t, p, &tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Error("served without a name")
	}
	if _, err := dial(t, p, &tls.Config{InsecureSkipVerify: true, ServerName: "example.com"}); err != nil {
		t.Error(err)
	}
}

func TestClientCertificates(t *testing.T) {
	ca, other := tlstest.NewCA(t, "client CA"), tlstest.NewCA(t, "other CA")
	server := ca.Issue(t, tlstest.Leaf{DNS: []string{"example.com"}}).Certificate()
	good := ca.Issue(t, tlstest.Leaf{CommonName: "good", DNS: []string{"good.test"}, URIs: []string{"spiffe://test/good"}, Emails: []string{"a@b.test"}, IPs: []string{"10.1.2.3"}})
	wild := ca.Issue(t, tlstest.Leaf{DNS: []string{"*.wild.test"}})
	revoked := ca.Issue(t, tlstest.Leaf{CommonName: "revoked"})
	expired := ca.Issue(t, tlstest.Leaf{NotBefore: time.Now().Add(-3 * time.Hour), NotAfter: time.Now().Add(-2 * time.Hour)})
	foreign := other.Issue(t, tlstest.Leaf{DNS: []string{"good.test"}})
	serverOnly := ca.Issue(t, tlstest.Leaf{Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	noSigning := ca.Issue(t, tlstest.Leaf{KeyUsage: x509.KeyUsageKeyEncipherment})
	mid := ca.Intermediate(t, "intermediate")
	below := mid.Issue(t, tlstest.Leaf{CommonName: "below"})
	trust := "trusted_ca: " + tlstest.Inline(ca.CertPEM)
	spki, hash := sha256.Sum256(good.Cert.RawSubjectPublicKeyInfo), sha256.Sum256(good.Cert.Raw)
	crl := ", crl: " + tlstest.Inline(ca.Revoke(t, revoked))
	sans := func(s string) string { return trust + ", match_typed_subject_alt_names: [" + s + "]" }
	const require = "require_client_certificate: true\n"
	for _, tt := range []struct {
		name, top, validation string
		client                *tlstest.Pair
		fails                 string // the statistic, "" if accepted
	}{
		{"none is needed", "", trust, nil, ""},
		{"given", "", trust, good, ""},
		{"given, foreign", "", trust, foreign, "fail_verify_error"},
		{"required, none", require, trust, nil, "fail_verify_no_cert"},
		{"required", require, trust, good, ""},
		{"required, nothing to verify", require, "", foreign, ""},
		{"expired", require, trust, expired, "fail_verify_error"},
		{"expired is allowed", require, trust + ", allow_expired_certificate: true", expired, ""},
		{"foreign where expired is allowed", require, trust + ", allow_expired_certificate: true", foreign, "fail_verify_error"},
		{"untrusted is accepted", require, trust + ", trust_chain_verification: ACCEPT_UNTRUSTED", foreign, ""},
		{"for servers only", require, trust, serverOnly, "fail_verify_error"},
		{"not for signatures", require, trust, noSigning, "was_key_usage_invalid"},
		{"chain", require, trust, below, ""},
		{"chain too long", require, trust + ", max_verify_depth: 1", below, "fail_verify_error"},
		{"chain long enough", require, trust + ", max_verify_depth: 2", below, ""},
		{"anchor is an intermediate", require, "trusted_ca: " + tlstest.Inline(mid.CertPEM), below, ""},
		{"spki", "", "verify_certificate_spki: ['" + base64.StdEncoding.EncodeToString(spki[:]) + "']", good, ""},
		{"other spki", "", "verify_certificate_spki: ['" + base64.StdEncoding.EncodeToString(spki[:]) + "']", foreign, "fail_verify_cert_hash"},
		{"spki, none", "", "verify_certificate_spki: ['" + base64.StdEncoding.EncodeToString(spki[:]) + "']", nil, "fail_verify_no_cert"},
		{"hash", "", trust + ", verify_certificate_hash: ['" + hex.EncodeToString(hash[:]) + "']", good, ""},
		{"hash with colons", "", trust + ", verify_certificate_hash: ['" + colons(hash[:]) + "']", good, ""},
		{"other hash", "", trust + ", verify_certificate_hash: ['" + hex.EncodeToString(hash[:]) + "']", wild, "fail_verify_cert_hash"},
		{"DNS", "", sans("{san_type: DNS, matcher: {exact: good.test}}"), good, ""},
		{"DNS of a foreigner", "", sans("{san_type: DNS, matcher: {exact: good.test}}"), foreign, "fail_verify_error"},
		{"DNS prefix", "", sans("{san_type: DNS, matcher: {prefix: goo}}"), good, ""},
		{"other DNS", "", sans("{san_type: DNS, matcher: {exact: bad.test}}"), good, "fail_verify_san"},
		{"DNS as URI", "", sans("{san_type: URI, matcher: {exact: good.test}}"), good, "fail_verify_san"},
		{"URI", "", sans("{san_type: URI, matcher: {prefix: 'spiffe://test/'}}"), good, ""},
		{"mail", "", sans("{san_type: EMAIL, matcher: {suffix: '@b.test'}}"), good, ""},
		{"IP", "", sans("{san_type: IP_ADDRESS, matcher: {exact: 10.1.2.3}}"), good, ""},
		{"one of two", "", sans("{san_type: DNS, matcher: {exact: x}}, {san_type: URI, matcher: {safe_regex: {regex: '.*good'}}}"), good, ""},
		{"wildcard", "", sans("{san_type: DNS, matcher: {exact: a.wild.test}}"), wild, ""},
		{"wildcard, two labels", "", sans("{san_type: DNS, matcher: {exact: a.b.wild.test}}"), wild, "fail_verify_san"},
		{"older field", "", trust + ", match_subject_alt_names: [{exact: 'spiffe://test/good'}]", good, ""},
		{"not revoked", require, trust + crl, good, ""},
		{"revoked", require, trust + crl, revoked, "fail_verify_error"},
		{"no CRL of the intermediate", require, trust + crl, below, "fail_verify_error"},
		{"CRL of the leaf's issuer only", require, trust + ", only_verify_leaf_cert_crl: true, crl: " + tlstest.Inline(mid.Revoke(t)), below, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			validation := ""
			if tt.validation != "" {
				validation = ", validation_context: {" + tt.validation + "}"
			}
			p := start(t, listener(tt.top+"common_tls_context: {tls_certificates: ["+server+"]"+validation+"}"))
			for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				c := &tls.Config{RootCAs: ca.Pool(), ServerName: "example.com", MaxVersion: v}
				if tt.client != nil {
					c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { p := tt.client.TLS(); return &p, nil }
				}
				if _, err := dial(t, p, c); (err != nil) != (tt.fails != "") {
					t.Fatalf("%x: got %v, want failure %q", v, err, tt.fails)
				}
			}
			if tt.fails == "" {
				return
			}
			waitStat(t, p, "ssl."+tt.fails, 2)
			if n := stat(t, p, "ssl.connection_error"); n != 0 {
				t.Errorf("a failure that has its own statistic is counted as connection_error too: %d", n)
			}
		})
	}
}

func colons(b []byte) string {
	var parts []string
	for _, x := range b {
		parts = append(parts, fmt.Sprintf("%02X", x))
	}
	return strings.Join(parts, ":")
}

func TestStapling(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	for _, tt := range []struct {
		name   string
		must   bool
		staple time.Duration // how long it is valid; 0 is none
		policy string
		want   string
	}{
		{"valid", false, time.Hour, "LENIENT_STAPLING", "responses"},
		{"none", false, 0, "LENIENT_STAPLING", "omitted"},
		{"expired", false, -time.Minute, "LENIENT_STAPLING", "omitted"},
		{"strict, none", false, 0, "STRICT_STAPLING", "omitted"},
		{"strict, valid", false, time.Hour, "STRICT_STAPLING", "responses"},
		{"strict, expired", false, -time.Minute, "STRICT_STAPLING", "failed"},
		{"must, valid", false, time.Hour, "MUST_STAPLE", "responses"},
		{"must, expired", false, -time.Minute, "MUST_STAPLE", "failed"},
		{"certificate demands it", true, -time.Minute, "LENIENT_STAPLING", "failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pair := ca.Issue(t, tlstest.Leaf{DNS: []string{"example.com"}, MustStaple: tt.must})
			cert := strings.TrimSuffix(pair.Certificate(), "}")
			if tt.staple != 0 {
				cert += ", ocsp_staple: {inline_bytes: " + base64.StdEncoding.EncodeToString(ca.Staple(t, pair, time.Now().Add(tt.staple))) + "}"
			}
			p := start(t, listener("ocsp_staple_policy: "+tt.policy+"\ncommon_tls_context: {tls_certificates: ["+cert+"}]}"))
			cs, err := dial(t, p, &tls.Config{RootCAs: ca.Pool(), ServerName: "example.com"})
			if (err != nil) != (tt.want == "failed") {
				t.Fatal(err)
			}
			if stapled := len(cs.OCSPResponse) > 0; stapled != (tt.want == "responses") {
				t.Errorf("stapled: %v", stapled)
			}
			waitStat(t, p, "ssl.ocsp_staple_"+tt.want, 1)
			waitStat(t, p, "ssl.ocsp_staple_requests", 1)
		})
	}
}

func TestRefusesConfiguration(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	a, b := ca.Issue(t, tlstest.Leaf{}), ca.Issue(t, tlstest.Leaf{})
	small := ca.Issue(t, tlstest.Leaf{Key: tlstest.RSA1024})
	cert := func(chain, key string) string {
		return "common_tls_context: {tls_certificates: [{certificate_chain: " + chain + ", private_key: " + key + "}]}"
	}
	with := func(more string) string {
		return "common_tls_context: {tls_certificates: [" + a.Certificate() + "], " + more + "}"
	}
	in := tlstest.Inline
	for _, tt := range []struct{ name, context, want string }{
		{"no certificate", "common_tls_context: {}", "common_tls_context.tls_certificates: there is none"},
		{"other's key", cert(in(a.CertPEM), in(b.KeyPEM)), "tls_certificates[0].private_key: does not belong to the certificate"},
		{"no such file", cert("{filename: /nonexistent/a.crt}", in(b.KeyPEM)), "tls_certificates[0].certificate_chain: open /nonexistent/a.crt: no such file"},
		{"no PEM", cert(in("hello"), in(b.KeyPEM)), "certificate_chain: has no PEM block CERTIFICATE"},
		{"no key", cert(in(a.CertPEM), in(a.CertPEM)), "private_key: has no PEM block with a private key"},
		{"small key", cert(in(small.CertPEM), in(small.KeyPEM)), "RSA key of 1024 bits"},
		{"unset variable", cert("{environment_variable: WEIR_TEST_UNSET}", in(b.KeyPEM)), "the environment variable WEIR_TEST_UNSET is not set"},
		{"cipher", with("tls_params: {cipher_suites: [NULL-SHA]}"), `cipher_suites: "NULL-SHA" is not a cipher suite that is supported`},
		{"cipher of a group", with("tls_params: {cipher_suites: ['[ECDHE-RSA-AES128-GCM-SHA256|X]']}"), `"X" is not`},
		{"operator", with("tls_params: {cipher_suites: ['!aNULL']}"), "operators are not supported"},
		{"curve", with("tls_params: {ecdh_curves: [P-224]}"), `ecdh_curves[0]: "P-224" is not a curve`},
		{"versions", with("tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_2}"), "is newer than"},
		{"signature algorithms", with("tls_params: {signature_algorithms: [ed25519]}"), "signature_algorithms: is not supported: cannot be chosen"},
		{"names without CA", with("validation_context: {match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]}"), "needs trusted_ca"},
		{"hash", with("validation_context: {verify_certificate_hash: ['" + strings.Repeat("zz", 32) + "']}"), "verify_certificate_hash[0]: is not a SHA-256 sum"},
		{"handshaker", with(`custom_handshaker: {name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.Empty}}`), "custom_handshaker: is not supported"},
		{"ticket key", "session_ticket_keys: {keys: [{inline_string: short}]}\n" + with("alpn_protocols: []"), "session_ticket_keys.keys[0]: has 5 bytes: a key has 80"},
		{"unknown secret", "common_tls_context: {tls_certificate_sds_secret_configs: [{name: nope}]}", `there is no tls_certificate "nope" in static_resources.secrets`},
		{"unknown secret of ADS", "common_tls_context: {tls_certificate_sds_secret_configs: [{name: nope, sds_config: {ads: {}}}]}", `no tls_certificate "nope" came with this configuration`},
		{"key provider", "common_tls_context: {tls_certificates: [{certificate_chain: " + in(a.CertPEM) + ", private_key_provider: {provider_name: x}}]}", "private_key_provider: is not supported"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := proxytest.TryStart(t, listener(tt.context), options())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// The listener's log says why a handshake failed.
func TestLogsFailures(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	server := ca.Issue(t, tlstest.Leaf{}).Certificate()
	yaml := strings.Replace(listener("require_client_certificate: true\ncommon_tls_context: {tls_certificates: ["+server+"], validation_context: {trusted_ca: "+tlstest.Inline(ca.CertPEM)+"}}"), "      filter_chains:", `      access_log:
        - name: file
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
            path: {{log}}
            log_format: {text_format_source: {inline_string: "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%\n"}}
      filter_chains:`, 1)
	p := start(t, yaml)
	foreign := tlstest.NewCA(t, "other CA").Issue(t, tlstest.Leaf{}).TLS()
	for i, c := range []*tls.Config{
		{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &foreign, nil }},
		{InsecureSkipVerify: true},
		{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
	} {
		if _, err := dial(t, p, c); err == nil {
			t.Fatal("not refused")
		}
		want := []string{"TLS_error:|CERTIFICATE_VERIFY_FAILED:verify cert failed: x509: certificate signed by unknown authority", "TLS_error:|PEER_DID_NOT_RETURN_A_CERTIFICATE", "TLS_error:|client offered only unsupported versions: [302 301]"}[i]
		if got := p.LogLines(i + 1)[i]; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// /certs lists what is loaded, and the gauge tells when the first of it expires.
func TestListsCertificates(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	server := ca.Issue(t, tlstest.Leaf{DNS: []string{"example.com"}, NotAfter: time.Now().Add(3*24*time.Hour + time.Hour), Serial: 0x1234})
	yaml := "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n" +
		listener("common_tls_context: {tls_certificates: ["+server.Certificate()+"], validation_context: {trusted_ca: "+tlstest.Inline(ca.CertPEM)+"}}")
	p := start(t, yaml)
	res, err := http.Get("http://" + p.AdminAddr() + "/certs")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"ca_cert"`, `"cert_chain"`, `"1234"`, `"example.com"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
	res, err = http.Get("http://" + p.AdminAddr() + "/stats?filter=days_until")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err = io.ReadAll(res.Body); err != nil || strings.TrimSpace(string(b)) != "server.days_until_first_cert_expiring: 3" {
		t.Errorf("got %q, %v", b, err)
	}
}
