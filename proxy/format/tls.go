// SPDX-License-Identifier: Apache-2.0

package format

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"time"

	"weir.dev/weir/proxy/othername"
	"weir.dev/weir/proxy/streaminfo"
)

// session picks the TLS session of one side; nil on cleartext.
type session func(*streaminfo.Stream) *streaminfo.TLS

func downstreamTLS(s *streaminfo.Stream) *streaminfo.TLS {
	if s.Conn == nil {
		return nil
	}
	return s.Conn.TLS
}

func upstreamTLS(s *streaminfo.Stream) *streaminfo.TLS { return s.Upstream.TLS }

// ofTLS makes an operator that prints a string of the session.
func ofTLS(side session, get func(*streaminfo.TLS) string) entry {
	return entry{bare, text(func(s *streaminfo.Stream) string {
		if t := side(s); t != nil {
			return get(t)
		}
		return ""
	})}
}

// cert picks a certificate of a session; nil if there is none.
type cert func(*streaminfo.TLS) *x509.Certificate

func peerCert(t *streaminfo.TLS) *x509.Certificate {
	if len(t.PeerCerts) == 0 {
		return nil
	}
	return t.PeerCerts[0]
}

func localCert(t *streaminfo.TLS) *x509.Certificate { return t.LocalCert }

func peerIssuer(t *streaminfo.TLS) *x509.Certificate {
	if !t.PeerVerified {
		return nil
	}
	return t.PeerIssuer
}

// ofCert makes an operator that prints something of a certificate; an empty
// text is a missing value.
func ofCert(side session, pick cert, put func([]byte, *x509.Certificate) []byte) entry {
	run := Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
		t := side(c.Stream)
		if t == nil {
			return dst, false
		}
		x := pick(t)
		if x == nil {
			return dst, false
		}
		out := put(dst, x)
		return out, len(out) > len(dst)
	}}
	return entry{bare, func(string, bool) (Operator, error) { return run, nil }}
}

// ofChain prints something of each of the peer's certificates, joined by
// commas.
func ofChain(side session, put func([]byte, *x509.Certificate) []byte) entry {
	run := Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
		t := side(c.Stream)
		if t == nil {
			return dst, false
		}
		for i, x := range t.PeerCerts {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = put(dst, x)
		}
		return dst, len(t.PeerCerts) > 0
	}}
	return entry{bare, func(string, bool) (Operator, error) { return run, nil }}
}

func fingerprint256(dst []byte, x *x509.Certificate) []byte {
	sum := sha256.Sum256(x.Raw)
	return hex.AppendEncode(dst, sum[:])
}

func fingerprint1(dst []byte, x *x509.Certificate) []byte {
	sum := sha1.Sum(x.Raw)
	return hex.AppendEncode(dst, sum[:])
}

// serial appends the serial number as whole bytes in hexadecimal.
func serial(dst []byte, x *x509.Certificate) []byte {
	if x.SerialNumber == nil {
		return dst
	}
	return hex.AppendEncode(dst, x.SerialNumber.Bytes())
}

func subject(dst []byte, x *x509.Certificate) []byte {
	return appendName(dst, x.RawSubject, x.Subject)
}

func issuer(dst []byte, x *x509.Certificate) []byte {
	return appendName(dst, x.RawIssuer, x.Issuer)
}

// AppendSubject appends a certificate's subject as RFC 2253 writes it, as
// %DOWNSTREAM_PEER_SUBJECT% does.
func AppendSubject(dst []byte, x *x509.Certificate) []byte { return subject(dst, x) }

// AppendIssuer appends a certificate's issuer as RFC 2253 writes it.
func AppendIssuer(dst []byte, x *x509.Certificate) []byte { return issuer(dst, x) }

// AppendPEM appends a certificate in PEM, escaped as Envoy escapes it in headers.
func AppendPEM(dst []byte, x *x509.Certificate) []byte { return pemText(dst, x) }

// appendName appends a distinguished name as RFC 2253 writes it, in the order
// of the certificate, which the parsed name has lost.
func appendName(dst, raw []byte, parsed pkix.Name) []byte {
	var rdns pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &rdns); err != nil || len(rest) > 0 {
		return append(dst, parsed.String()...)
	}
	return append(dst, rdns.String()...)
}

// escapePEM are the characters that Envoy escapes in a PEM block.
var escapePEM = strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D")

func pemText(dst []byte, x *x509.Certificate) []byte {
	return append(dst, escapePEM.Replace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.Raw})))...)
}

// join appends a string after a comma if it is not the first since start.
func join(dst []byte, start int, s string) []byte {
	if len(dst) > start {
		dst = append(dst, ',')
	}
	return append(dst, s...)
}

func uriSAN(dst []byte, x *x509.Certificate) []byte {
	start := len(dst)
	for _, u := range x.URIs {
		dst = join(dst, start, u.String())
	}
	return dst
}

func dnsSAN(dst []byte, x *x509.Certificate) []byte {
	start := len(dst)
	for _, n := range x.DNSNames {
		dst = join(dst, start, n)
	}
	return dst
}

func ipSAN(dst []byte, x *x509.Certificate) []byte {
	start := len(dst)
	for _, ip := range x.IPAddresses {
		dst = join(dst, start, ip.String())
	}
	return dst
}

func emailSAN(dst []byte, x *x509.Certificate) []byte {
	start := len(dst)
	for _, a := range x.EmailAddresses {
		dst = join(dst, start, a)
	}
	return dst
}

// otherNameSAN appends the other names (RFC 5280 §4.2.1.6) whose value is a string.
func otherNameSAN(dst []byte, x *x509.Certificate) []byte {
	start := len(dst)
	for _, n := range othername.Of(x) {
		switch n.Tag {
		case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagT61String,
			asn1.TagNumericString, asn1.TagOctetString, asn1.TagGeneralString:
			dst = join(dst, start, n.Value)
		}
	}
	return dst
}

func notBefore(x *x509.Certificate) time.Time { return x.NotBefore }
func notAfter(x *x509.Certificate) time.Time  { return x.NotAfter }

func downstreamCert(get func(*x509.Certificate) time.Time) func(Context) time.Time {
	return certTime(downstreamTLS, get)
}

func upstreamCert(get func(*x509.Certificate) time.Time) func(Context) time.Time {
	return certTime(upstreamTLS, get)
}

func certTime(side session, get func(*x509.Certificate) time.Time) func(Context) time.Time {
	return func(c Context) time.Time {
		if t := side(c.Stream); t != nil {
			if x := peerCert(t); x != nil {
				return get(x)
			}
		}
		return time.Time{}
	}
}
