// SPDX-License-Identifier: Apache-2.0

package envoygateway_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/control/source"
)

// authority returns a certificate of an authority and a list of what it has revoked.
func authority(t *testing.T, from, to, listUntil time.Time) (ca, crl []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: from, NextUpdate: listUntil}, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list})
}

const trusting = oneGateway + `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: clients, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  tls:
    clientValidation:
      caCertificateRefs: [{name: clients}]
      crl: {refs: [{name: clients}]}
`

// TestValidity tells of authorities and lists whose time is over, when it is,
// and not only when something else changes.
func TestValidity(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ca, crl := authority(t, from, from.AddDate(2, 0, 0), from.AddDate(1, 0, 0))
	secret := func(ca []byte) source.Change {
		return source.Change{Key: source.Key{Kind: source.Secret, Name: source.Name{Namespace: "default", Name: "clients"}}, Object: &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "clients"}, Data: map[string][]byte{"ca.crt": ca, "ca.crl": crl},
		}}
	}
	w := controltest.NewWorld(t, control.Options{})
	w.Apply(append(controltest.Objects(t, trusting), secret(ca))...)
	const (
		late = `holds no certificate that is valid now: that of "clients" has expired at 2028-01-01T00:00:00Z`
		list = `the key ca.crl of Secret default/clients holds a list of revoked certificates, of "clients", that has expired at 2027-01-01T00:00:00Z: renew it`
	)
	check := func(when string, want ...string) {
		t.Helper()
		got := w.Status()
		for _, text := range []string{late, list} {
			least := 0
			if slices.Contains(want, text) {
				least = 1
			}
			if found := strings.Count(got, text); found < least || least == 0 && found > 0 {
				t.Errorf("%s: it is told %d times that it %s:\n%s", when, found, text, got)
			}
		}
	}
	check("without a clock")
	w.Apply(source.Tick(from.AddDate(0, 0, -1)))
	check("when it has just been issued, and the clock has not told of that yet")
	w.Apply(source.Tick(from.AddDate(0, 6, 0)))
	check("in time")
	w.Apply(source.Tick(from.AddDate(1, 0, 1)))
	check("when the list is old", list)
	w.Apply(source.Tick(from.AddDate(2, 0, 1)))
	check("when all is old", late, list)

	young, _ := authority(t, from.AddDate(1, 0, 0), from.AddDate(3, 0, 0), from.AddDate(3, 0, 0))
	w.Apply(secret(append(ca, young...)))
	check("when one of two is young", list)
}
