// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// Files of keys in the cluster's folder.
const (
	authority         = "ca.crt"
	serverCertificate = "apiserver.crt"
	serverKey         = "apiserver.key"
	accountKey        = "service-account.key"
	tokens            = "tokens.csv"
)

// writeKeys writes the certificates of the apiserver, the key of service accounts, and the administrator's kubeconfig.
func (c *Cluster) writeKeys() error {
	until := time.Now().AddDate(1, 0, 0)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"}, NotBefore: root.NotBefore, NotAfter: until,
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + domain},
		IPAddresses: []net.IP{{127, 0, 0, 1}, nodeAddress.AsSlice(), servicePrefix.Addr().Next().AsSlice()},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca, err := certify(root, root, rootKey.Public(), rootKey)
	if err != nil {
		return err
	}
	files := map[string][]byte{authority: ca, tokens: []byte(admin + `,admin,admin,"system:masters"` + "\n"), "kubeconfig": kubeconfig("https://127.0.0.1:6443", ca)}
	for name, template := range map[string]*x509.Certificate{serverKey: server, accountKey: nil} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return err
		}
		files[name] = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
		if template == nil {
			continue
		}
		if files[serverCertificate], err = certify(template, root, key.Public(), rootKey); err != nil {
			return err
		}
	}
	for name, text := range files {
		if err := os.WriteFile(c.file(name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func certify(c, by *x509.Certificate, key crypto.PublicKey, byKey crypto.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, c, by, key, byKey)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

// admin is the administrator's token. Who can reach the apiserver is root already.
const admin = "administrator"

func kubeconfig(server string, ca []byte) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: admin, user: {token: %s}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
`, server, base64.StdEncoding.EncodeToString(ca), admin)
}

// KubeconfigAt returns a kubeconfig of the administrator for those who reach the apiserver at another address.
func (c *Cluster) KubeconfigAt(server string) ([]byte, error) {
	ca, err := os.ReadFile(c.file(authority))
	return kubeconfig(server, ca), err
}
