// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ocsp"
)

// minRSABits is the smallest RSA key that is taken, as in Envoy.
const minRSABits = 2048

var (
	oidSAN        = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidTLSFeature = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}
)

// chain reads the certificates of a PEM text.
func chain(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := text; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" && b.Type != "TRUSTED CERTIFICATE" && b.Type != "X509 CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("has no PEM block CERTIFICATE")
	}
	return out, nil
}

// pair puts a chain and its key together.
func pair(certs []*x509.Certificate, key any) (*Certificate, error) {
	leaf := certs[0]
	c := &Certificate{Chain: certs, Names: names(leaf), MustStaple: mustStaple(leaf)}
	c.TLS.Leaf, c.TLS.PrivateKey = leaf, key
	for _, x := range certs {
		c.TLS.Certificate = append(c.TLS.Certificate, x.Raw)
	}
	return c, matches(leaf, key)
}

// usable tells whether the key of a certificate is one that is safe to serve with.
func usable(leaf *x509.Certificate) error {
	switch pub := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := pub.N.BitLen(); n < minRSABits {
			return fmt.Errorf("has an RSA key of %d bits: use one of %d bits or more", n, minRSABits)
		}
	case *ecdsa.PublicKey:
		switch pub.Curve.Params().Name {
		case "P-256", "P-384", "P-521":
		default:
			return fmt.Errorf("has an ECDSA key on curve %s: use P-256, P-384 or P-521", pub.Curve.Params().Name)
		}
	}
	return nil
}

var errMismatch = errors.New("does not belong to the certificate: its public key is another")

// matches tells whether the key is the certificate's.
func matches(leaf *x509.Certificate, key any) error {
	k, ok := key.(crypto.Signer)
	if !ok {
		return fmt.Errorf("is of a kind that cannot sign: %T", key)
	}
	pub, ok := leaf.PublicKey.(interface{ Equal(x crypto.PublicKey) bool })
	if !ok {
		return fmt.Errorf("cannot be compared with the certificate's key of type %T", leaf.PublicKey)
	}
	if !pub.Equal(k.Public()) {
		return errMismatch
	}
	return nil
}

// names are those a leaf is served for.
func names(leaf *x509.Certificate) []string {
	hasSAN := slices.ContainsFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidSAN) })
	var out []string
	switch {
	case hasSAN:
		for _, n := range leaf.DNSNames {
			out = append(out, strings.ToLower(n))
		}
	case leaf.Subject.CommonName != "":
		out = append(out, strings.ToLower(leaf.Subject.CommonName))
	}
	return out
}

func mustStaple(leaf *x509.Certificate) bool {
	// RFC 7633: a sequence of features; status_request is 5.
	return slices.ContainsFunc(leaf.Extensions, func(e pkix.Extension) bool {
		return e.Id.Equal(oidTLSFeature) && slices.Contains(e.Value, 5)
	})
}

// ParsePrivateKey reads the first key of a PEM text, which must not be encrypted: PKCS#8,
// PKCS#1 or SEC 1. An error tells what the text is not, as in "the key ERROR".
func ParsePrivateKey(text []byte) (crypto.Signer, error) {
	key, err := privateKey(text, nil)
	if err != nil {
		return nil, err
	}
	k, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("is of a kind that cannot sign: %T", key)
	}
	return k, nil
}

// privateKey reads the first key of a PEM text.
func privateKey(text, password []byte) (any, error) {
	for rest := text; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return nil, errors.New("has no PEM block with a private key")
		}
		if b.Type == "ENCRYPTED PRIVATE KEY" {
			return decryptPKCS8(b.Bytes, password)
		}
		if !strings.HasSuffix(b.Type, "PRIVATE KEY") {
			continue
		}
		der := b.Bytes
		//lint:ignore SA1019 What OpenSSL once wrote is still about.
		if x509.IsEncryptedPEMBlock(b) {
			var err error
			//lint:ignore SA1019 As above.
			if der, err = x509.DecryptPEMBlock(b, password); err != nil {
				return nil, errPassword
			}
		}
		return parseKey(der)
	}
}

var errPassword = errors.New("cannot be decrypted: the password is missing or wrong")

func parseKey(der []byte) (any, error) {
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return k, nil
	}
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k, nil
	}
	return nil, errors.New("is not a PKCS#8, PKCS#1 or SEC 1 private key")
}

// staple adds an OCSP response (DER) to the certificate.
func (c *Certificate) staple(der []byte) error {
	var issuer *x509.Certificate
	if len(c.Chain) > 1 {
		issuer = c.Chain[1]
	}
	r, err := ocsp.ParseResponseForCert(der, c.Chain[0], nil)
	if err != nil {
		return fmt.Errorf("is not an OCSP response for the certificate: %w", err)
	}
	if issuer != nil {
		if r, err = ocsp.ParseResponseForCert(der, c.Chain[0], issuer); err != nil {
			return fmt.Errorf("is not signed for the certificate's issuer: %w", err)
		}
	}
	c.TLS.OCSPStaple, c.OCSPFrom, c.OCSPUntil = der, r.ThisUpdate, r.NextUpdate
	if c.OCSPUntil.IsZero() {
		// RFC 6960 §4.2.2.1: newer information is there at any time.
		c.OCSPUntil = r.ThisUpdate
	}
	return nil
}

// revocations reads the CRLs of a PEM or DER text.
func revocations(text []byte, into map[string][]*Revocations) error {
	found := false
	add := func(der []byte) error {
		l, err := x509.ParseRevocationList(der)
		if err != nil {
			return err
		}
		r := &Revocations{List: l, Serials: make(map[string]struct{}, len(l.RevokedCertificateEntries))}
		for _, e := range l.RevokedCertificateEntries {
			r.Serials[string(e.SerialNumber.Bytes())] = struct{}{}
		}
		into[string(l.RawIssuer)] = append(into[string(l.RawIssuer)], r)
		found = true
		return nil
	}
	for rest := text; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type == "X509 CRL" {
			if err := add(b.Bytes); err != nil {
				return err
			}
		}
	}
	if !found {
		return errors.New("has no PEM block X509 CRL")
	}
	return nil
}

// spki reads a sum in base64, as HTTP public key pinning has it.
func spki(s string) ([sha256.Size]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	return sum(b, err, "base64")
}

// certHash reads a sum in hexadecimal, with or without colons.
func certHash(s string) ([sha256.Size]byte, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	return sum(b, err, "hexadecimal")
}

func sum(b []byte, err error, form string) (out [sha256.Size]byte, _ error) {
	if err != nil || len(b) != len(out) {
		return out, fmt.Errorf("is not a SHA-256 sum in %s", form)
	}
	return [sha256.Size]byte(b), nil
}

// ticketKeySize is that of Envoy's (and nginx's) ticket keys: a name of 16 bytes, an
// HMAC key and an AES key of 32 bytes each.
const ticketKeySize = 80

// ticketKey makes the key that crypto/tls wants of one of Envoy's: all of its bytes
// count, so proxies with the same keys take each other's tickets.
func ticketKey(b []byte) (k [32]byte, err error) {
	if len(b) != ticketKeySize {
		return k, fmt.Errorf("has %d bytes: a key has %d, such as of 'openssl rand %d'", len(b), ticketKeySize, ticketKeySize)
	}
	return sha256.Sum256(b), nil
}
