// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A Certificate is what every proxy shows: a key on P-256, signed by itself, for bench.test.
type Certificate struct {
	// DER is the certificate; Chain and Key are it and its key in PEM.
	DER, Chain, Key []byte
}

// NewCertificate makes one for a day.
func NewCertificate() (Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certificate{}, fmt.Errorf("generate a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench.test"}, DNSNames: []string{"bench.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Certificate{}, fmt.Errorf("sign a certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Certificate{}, fmt.Errorf("encode a key: %w", err)
	}
	return Certificate{
		DER:   der,
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}, nil
}

// ChainFile, KeyFile and PairFile are where the certificate, its key, and both in one are.
func (s Setup) ChainFile() string { return filepath.Join(s.Dir, "cert.pem") }
func (s Setup) KeyFile() string   { return filepath.Join(s.Dir, "key.pem") }
func (s Setup) PairFile() string  { return filepath.Join(s.Dir, "pair.pem") }

// opensslFile configures OpenSSL where a program has no words for it: HAProxy's no-tls-tickets alone has OpenSSL send
// tickets of another kind, which cost as much.
func (s Setup) opensslFile() string { return filepath.Join(s.Dir, "openssl.cnf") }

const opensslConfig = `openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = contexts
[contexts]
NumTickets = 0
`

// writeCert puts the files of TLS in place.
func (s Setup) writeCert() error {
	for file, content := range map[string][]byte{
		s.ChainFile(): s.Cert.Chain, s.KeyFile(): s.Cert.Key, s.PairFile(): slices.Concat(s.Cert.Chain, s.Cert.Key),
		s.opensslFile(): []byte(opensslConfig),
	} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return fmt.Errorf("write the certificate: %w", err)
		}
	}
	return nil
}
