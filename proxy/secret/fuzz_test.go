// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"strings"
	"testing"

	"weir.dev/weir/proxy/tls/tlstest"
)

// FuzzPEM reads chains, keys and CRLs of any text.
func FuzzPEM(f *testing.F) {
	ca := tlstest.NewCA(f, "test CA")
	p := ca.Issue(f, tlstest.Leaf{DNS: []string{"a.test"}})
	f.Add(p.CertPEM+p.KeyPEM, "")
	f.Add(ca.Revoke(f, p), "")
	f.Add(strings.ReplaceAll(p.KeyPEM, "PRIVATE", "ENCRYPTED PRIVATE"), "secret")
	f.Fuzz(func(t *testing.T, text, password string) {
		certs, err := chain([]byte(text))
		if err == nil && len(certs) == 0 {
			t.Error("no certificate and no error")
		}
		key, err := privateKey([]byte(text), []byte(password))
		if err == nil && key == nil {
			t.Error("no key and no error")
		}
		if len(certs) > 0 && key != nil {
			if c, err := pair(certs, key); err == nil && c.TLS.Leaf == nil {
				t.Error("a pair without a leaf")
			}
		}
		_ = revocations([]byte(text), map[string][]*Revocations{})
	})
}

// FuzzTicketKey takes keys of 80 bytes only.
func FuzzTicketKey(f *testing.F) {
	f.Add(make([]byte, 80))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := ticketKey(b); (err == nil) != (len(b) == ticketKeySize) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	})
}

// FuzzStaple reads OCSP responses.
func FuzzStaple(f *testing.F) {
	ca := tlstest.NewCA(f, "test CA")
	p := ca.Issue(f, tlstest.Leaf{})
	f.Add(ca.Staple(f, p, p.Cert.NotAfter))
	certs, err := chain([]byte(p.CertPEM))
	if err != nil {
		f.Fatal(err)
	}
	c, err := pair(certs, p.Key)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k := *c
		if err := k.staple(b); err == nil && k.OCSPFrom.IsZero() {
			t.Error("a response without a time")
		}
	})
}
