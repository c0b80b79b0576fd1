// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/control/trust"
)

// A certificate is one of the authority for the names, and another in time.
func TestServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert, key, err := trust.Make(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		a, err := trust.Read(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(cert)
		config := a.Server("weir-control.weir-system.svc", "192.0.2.1")
		shown := func() *x509.Certificate {
			t.Helper()
			c, err := config.GetCertificate(&tls.ClientHelloInfo{})
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"weir-control.weir-system.svc", "192.0.2.1"} {
				if _, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: time.Now()}); err != nil {
					t.Fatal(err)
				}
			}
			return c.Leaf
		}
		first := shown()
		time.Sleep(4 * 24 * time.Hour)
		if !shown().Equal(first) {
			t.Error("a certificate that holds is made anew")
		}
		time.Sleep(2 * 24 * time.Hour)
		if shown().Equal(first) {
			t.Error("a certificate that is soon too old is shown")
		}
		if _, err := trust.Read(cert, []byte("no key")); err == nil {
			t.Error("what is no key is read")
		}
	})
}
