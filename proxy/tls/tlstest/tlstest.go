// SPDX-License-Identifier: Apache-2.0

// Package tlstest makes authorities and certificates for tests, in memory:
//
//	ca := tlstest.NewCA(t, "test CA")
//	server := ca.Issue(t, tlstest.Leaf{DNS: []string{"example.com"}})
//	cert := server.TLS() // for crypto/tls
//	server.CertPEM, server.KeyPEM // for configurations
//
// Keys are ECDSA on P-256 unless a leaf asks for another kind.
package tlstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// KeyType is a kind of private key.
type KeyType uint8

// Kinds of keys.
const (
	P256 KeyType = iota
	P384
	RSA2048
	RSA1024
	Ed25519
)

// Leaf says what a certificate is to be like. The zero Leaf is a valid certificate
// for nothing.
type Leaf struct {
	CommonName   string
	Organization string
	DNS          []string
	IPs          []string
	URIs         []string
	Emails       []string
	Key          KeyType
	// NotBefore and NotAfter are an hour ago and a day from now if zero.
	NotBefore, NotAfter time.Time
	// Usage is for both servers and clients if nil.
	Usage []x509.ExtKeyUsage
	// KeyUsage is digital signature if 0.
	KeyUsage   x509.KeyUsage
	MustStaple bool
	Extra      []pkix.Extension
	// Serial is random if 0.
	Serial int64
}

// A Pair is a certificate with its key.
type Pair struct {
	Cert            *x509.Certificate
	Key             crypto.Signer
	CertPEM, KeyPEM string
	issuers         [][]byte
	issuersPEM      string
	FullChainPEM    string
	issuer          *x509.Certificate
	issuerKey       crypto.Signer
}

// A CA is an authority.
type CA struct{ Pair }

// NewCA makes a self-signed authority.
func NewCA(t testing.TB, name string) *CA {
	t.Helper()
	return newCA(t, name, nil)
}

// Intermediate makes an authority signed by this one.
func (ca *CA) Intermediate(t testing.TB, name string) *CA {
	t.Helper()
	return newCA(t, name, ca)
}

func newCA(t testing.TB, name string, parent *CA) *CA {
	t.Helper()
	key := newKey(t, P256)
	tmpl := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	if parent == nil {
		return &CA{sign(t, tmpl, key, nil)}
	}
	return &CA{sign(t, tmpl, key, &parent.Pair)}
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func newKey(t testing.TB, k KeyType) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch k {
	case P256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA2048:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case RSA1024:
		key, err = rsa.GenerateKey(rand.Reader, 1024)
	case Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Issue makes a certificate signed by the authority.
func (ca *CA) Issue(t testing.TB, l Leaf) *Pair {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: l.CommonName}, DNSNames: l.DNS, EmailAddresses: l.Emails,
		NotBefore: l.NotBefore, NotAfter: l.NotAfter, ExtKeyUsage: l.Usage, KeyUsage: l.KeyUsage, ExtraExtensions: l.Extra,
	}
	if l.Serial != 0 {
		tmpl.SerialNumber = big.NewInt(l.Serial)
	}
	if l.Organization != "" {
		tmpl.Subject.Organization = []string{l.Organization}
	}
	if tmpl.NotBefore.IsZero() {
		tmpl.NotBefore = time.Now().Add(-time.Hour)
	}
	if tmpl.NotAfter.IsZero() {
		tmpl.NotAfter = time.Now().Add(24 * time.Hour)
	}
	if tmpl.ExtKeyUsage == nil {
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	if tmpl.KeyUsage == 0 {
		tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	}
	for _, ip := range l.IPs {
		tmpl.IPAddresses = append(tmpl.IPAddresses, net.ParseIP(ip))
	}
	for _, u := range l.URIs {
		v, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		tmpl.URIs = append(tmpl.URIs, v)
	}
	if l.MustStaple {
		// RFC 7633: a sequence with the feature 5, status_request.
		tmpl.ExtraExtensions = append(tmpl.ExtraExtensions, pkix.Extension{Id: []int{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}})
	}
	p := sign(t, tmpl, newKey(t, l.Key), &ca.Pair)
	return &p
}

func sign(t testing.TB, tmpl *x509.Certificate, key crypto.Signer, parent *Pair) Pair {
	t.Helper()
	p := Pair{Key: key}
	issuer, issuerKey := tmpl, key
	if parent != nil {
		issuer, issuerKey = parent.Cert, parent.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, issuer, key.Public(), issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	if p.Cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p.CertPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	p.KeyPEM = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	p.issuer, p.issuerKey = issuer, issuerKey
	if parent == nil {
		p.issuer = p.Cert
	} else if parent.issuer != parent.Cert { // An intermediate belongs in the chain.
		p.issuers = append([][]byte{parent.Cert.Raw}, parent.issuers...)
		p.issuersPEM = parent.CertPEM + parent.issuersPEM
	}
	p.FullChainPEM = p.CertPEM + p.issuersPEM
	return p
}

// TLS is the pair for crypto/tls, with the intermediates of its chain.
func (p *Pair) TLS() tls.Certificate {
	return tls.Certificate{Certificate: append([][]byte{p.Cert.Raw}, p.issuers...), PrivateKey: p.Key, Leaf: p.Cert}
}

// Pool holds the certificate as a trust anchor.
func (p *Pair) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Cert)
	return pool
}

// Write writes the chain to dir/name.crt and the key to dir/name.key, each in one
// step, and returns the paths.
func (p *Pair) Write(t testing.TB, dir, name string) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	Replace(t, key, p.KeyPEM)
	Replace(t, cert, p.FullChainPEM)
	return cert, key
}

// Replace puts a file in the place of another in one step.
func Replace(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// Staple makes an OCSP response (DER) that says the pair's certificate is good from an
// hour ago until a time.
func (ca *CA) Staple(t testing.TB, p *Pair, until time.Time) []byte {
	t.Helper()
	der, err := ocsp.CreateResponse(ca.Cert, ca.Cert, ocsp.Response{
		Status: ocsp.Good, SerialNumber: p.Cert.SerialNumber, ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: until,
	}, ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Revoke makes a CRL in PEM that revokes the pairs' certificates.
func (ca *CA) Revoke(t testing.TB, pairs ...*Pair) string {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, p := range pairs {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: p.Cert.SerialNumber, RevocationTime: l.ThisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, ca.Cert, ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// Inline is a data source with a text, for YAML in flow style on one line.
func Inline(text string) string {
	return `{inline_string: "` + strings.ReplaceAll(text, "\n", `\n`) + `"}`
}

// Certificate is an entry of tls_certificates for YAML, on one line.
func (p *Pair) Certificate() string {
	return "{certificate_chain: " + Inline(p.FullChainPEM) + ", private_key: " + Inline(p.KeyPEM) + "}"
}
