// SPDX-License-Identifier: Apache-2.0

package format

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/proxy/streaminfo"
)

// certificate returns a self-signed certificate with every kind of name.
func certificate(t *testing.T, serial int64) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw := func(class, tag int, compound bool, parts ...any) asn1.RawValue {
		v := asn1.RawValue{Class: class, Tag: tag, IsCompound: compound}
		for _, p := range parts {
			b, ok := p.([]byte)
			if !ok {
				if b, err = asn1.Marshal(p); err != nil {
					t.Fatal(err)
				}
			}
			v.Bytes = append(v.Bytes, b...)
		}
		return v
	}
	const ctx = asn1.ClassContextSpecific
	utf8 := asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagUTF8String, Bytes: []byte("user@realm\n")}
	names, err := asn1.Marshal([]asn1.RawValue{
		raw(ctx, 0, true, asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}, raw(ctx, 0, true, utf8)),
		raw(ctx, 0, true, asn1.ObjectIdentifier{1, 2, 3}, raw(ctx, 0, true, 5)), // no string
		raw(ctx, 1, false, []byte("a@example.com")), raw(ctx, 2, false, []byte("a.example.com")), raw(ctx, 2, false, []byte("b.example.com")),
		raw(ctx, 6, false, []byte("spiffe://td/a")), raw(ctx, 7, false, []byte(net.IPv4(10, 0, 0, 1).To4())),
	})
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{Organization: []string{"Weir, Inc"}, CommonName: "leaf", Country: []string{"DE"}},
		NotBefore: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC), NotAfter: time.Date(2034, 1, 2, 3, 4, 5, 0, time.UTC),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := url.Parse(cert.URIs[0].String()); err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestTLS(t *testing.T) {
	leaf, ca := certificate(t, 0x0a1b2c), certificate(t, 255)
	sum := sha256.Sum256(leaf.Raw)
	caSum := sha256.Sum256(ca.Raw)
	sum1 := sha1.Sum(leaf.Raw)
	f256, ca256, f1 := hex.EncodeToString(sum[:]), hex.EncodeToString(caSum[:]), hex.EncodeToString(sum1[:])
	session := &streaminfo.TLS{
		Version: "TLSv1.3", CipherSuite: "TLS_AES_128_GCM_SHA256", Group: "X25519", SessionID: "0102",
		LocalCert: ca, PeerCerts: []*x509.Certificate{leaf, ca}, PeerVerified: true, PeerIssuer: ca,
	}
	info := &streaminfo.Stream{Conn: &streaminfo.Connection{TLS: session}, Upstream: streaminfo.Upstream{TLS: session, ServerName: "up"}}
	const name = `CN=leaf,O=Weir\, Inc,C=DE`
	tests := []struct{ in, want string }{
		{"%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_TLS_GROUP% %DOWNSTREAM_TLS_SESSION_ID%", "TLSv1.3 TLS_AES_128_GCM_SHA256 X25519 0102"},
		{"%UPSTREAM_TLS_VERSION% %UPSTREAM_SERVER_NAME% %UPSTREAM_PEER_DNS_SAN%", "TLSv1.3 up a.example.com,b.example.com"},
		{"%DOWNSTREAM_PEER_SUBJECT%|%DOWNSTREAM_PEER_ISSUER%|%DOWNSTREAM_LOCAL_SUBJECT%", name + "|" + name + "|" + name},
		{"%DOWNSTREAM_PEER_SERIAL% %DOWNSTREAM_PEER_CHAIN_SERIALS% %DOWNSTREAM_PEER_ISSUER_SERIAL%", "0a1b2c 0a1b2c,ff ff"},
		{"%DOWNSTREAM_PEER_FINGERPRINT_256% %DOWNSTREAM_PEER_FINGERPRINT_1%", f256 + " " + f1},
		{"%DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256% %DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256%", f256 + "," + ca256 + " " + ca256},
		{"%DOWNSTREAM_PEER_DNS_SAN% %DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_IP_SAN%", "a.example.com,b.example.com spiffe://td/a 10.0.0.1"},
		{"%DOWNSTREAM_PEER_EMAIL_SAN% %DOWNSTREAM_LOCAL_OTHERNAME_SAN%", "a@example.com user@realm_"},
		{"%DOWNSTREAM_PEER_CERT_V_START% %UPSTREAM_PEER_CERT_V_END(%b %e %H:%M:%S %Y)%", "2024-01-02T03:04:05.000Z Jan  2 03:04:05 2034"},
	}
	for _, tt := range tests {
		f, err := Compile(tt.in, testOptions())
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if got := string(f.AppendTo(nil, info)); got != tt.want {
			t.Errorf("%s\n got %q\nwant %q", tt.in, got, tt.want)
		}
	}
	f, err := Compile("%DOWNSTREAM_PEER_CERT%", testOptions())
	if err != nil {
		t.Fatal(err)
	}
	got := string(f.AppendTo(nil, info))
	if !strings.HasPrefix(got, "-----BEGIN%20CERTIFICATE-----%0A") || strings.ContainsAny(got, "+/=\n ") {
		t.Errorf("PEM: %s", got)
	}
	session.PeerVerified = false
	if f, err = Compile("%DOWNSTREAM_PEER_ISSUER_SERIAL%", testOptions()); err != nil {
		t.Fatal(err)
	}
	if got := string(f.AppendTo(nil, info)); got != "-" {
		t.Errorf("the issuer of a chain that was not verified: %s", got)
	}
}
