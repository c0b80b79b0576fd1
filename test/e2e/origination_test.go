// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

// issuer makes certificates.
type issuer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{t: t}
	i.cert, i.key = i.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
	return i
}

func (i *issuer) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	i.n++
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(i.n), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := i.cert, i.key
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		i.t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	return out, key
}

// pair makes a certificate, whose first name is its subject's, and its key, both in PEM. Those with a scheme are URIs.
func (i *issuer) pair(names ...string) (cert, key []byte) {
	i.t.Helper()
	c := &x509.Certificate{Subject: pkix.Name{CommonName: names[0]}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, n := range names {
		if u, err := url.Parse(n); err == nil && u.Scheme != "" {
			c.URIs = append(c.URIs, u)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	own, k := i.sign(c)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		i.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (i *issuer) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}

// revoke lists the certificate that was made last.
func (i *issuer) revoke() []byte {
	i.t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(i.n), RevocationTime: time.Now().Add(-time.Minute)}},
	}, i.cert, i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// serveTLS answers with what a client says of itself in its handshake: the name that it asks for, whom it is, and what it speaks.
func serveTLS(t *testing.T, cert, key []byte) (port string) {
	t.Helper()
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	spoken := make(chan []string, 100)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := ""
		for _, c := range r.TLS.PeerCertificates {
			who = c.Subject.CommonName
		}
		_, _ = fmt.Fprintf(w, "%s by %s, %s", r.TLS.ServerName, who, strings.Join(<-spoken, " "))
	})}
	s.SetKeepAlivesEnabled(false)
	go func() {
		_ = s.Serve(tls.NewListener(ln, &tls.Config{
			Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert,
			GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				select {
				case <-spoken: // Of a handshake that came to nothing.
				default:
				}
				spoken <- h.SupportedProtos
				return nil, nil
			},
		}))
	}()
	t.Cleanup(func() { _ = s.Close() })
	_, port, err = net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

const originated = `
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %[1]s, namespace: default}
spec:
  hosts: [%[1]s.example.org]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: %[2]s}]
  endpoints: [{address: 127.0.0.1}]
  subjectAltNames: [%[4]s]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %[1]s, namespace: default}
spec: {host: %[1]s.example.org, trafficPolicy: {tls: %[3]s}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %[1]s, namespace: default}
spec:
  hosts: [%[1]s.example.org]
  gateways: [edge]
  http: [{route: [{destination: {host: %[1]s.example.org}}], retries: {attempts: 0}}]
`

// TestOrigination has TLS begun to destinations in every mode of a DestinationRule, and those refused that are not whom
// it asks for.
func TestOrigination(t *testing.T) {
	i := newIssuer(t)
	clientCert, clientKey := i.pair("client")
	meshCert, meshKey := i.pair("edge", "spiffe://cluster.local/ns/istio-system/sa/edge")
	cert, key := i.pair("a.example.org", "auto.example.org", "spiffe://cluster.local/ns/default/sa/app")
	port := serveTLS(t, cert, key)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca, crl := write("ca.pem", i.ca()), write("crl.pem", i.revoke())
	certFile, keyFile := write("client.pem", clientCert), write("client-key.pem", clientKey)
	listen := weirtest.FreePort(t)
	objects := fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: default}\n"+
		"spec: {selector: {istio: ingressgateway}, servers: [{port: {number: %s, name: http, protocol: HTTP}, hosts: ['*']}]}\n", listen)
	secret := func(namespace, name string, data map[string][]byte) {
		objects += fmt.Sprintf("---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\ndata:\n", name, namespace)
		for k, v := range data {
			objects += "  " + k + ": " + base64.StdEncoding.EncodeToString(v) + "\n"
		}
	}
	secret("default", "trusted", map[string][]byte{"ca.crt": i.ca()})
	secret("default", "revoking", map[string][]byte{"cacert": i.ca(), "crl": i.revoke()})
	secret("default", "client", map[string][]byte{"tls.crt": clientCert, "tls.key": clientKey, "ca.crt": i.ca()})
	secret("istio-system", "generic", map[string][]byte{"cert": clientCert, "key": clientKey})
	secret("istio-system", "generic-cacert", map[string][]byte{"cacert": i.ca()})
	secret("istio-system", "istio.default", map[string][]byte{"tls.crt": meshCert, "tls.key": meshKey, "ca.crt": i.ca()})
	cases := []struct{ name, tls, names, want string }{
		{"secret", "{mode: SIMPLE, credentialName: trusted, sni: a.example.org}", "", "a.example.org by , http/1.1"},
		{"file", "{mode: SIMPLE, caCertificates: " + ca + ", sni: a.example.org}", "", "a.example.org by , http/1.1"},
		{"auto", "{mode: SIMPLE, credentialName: trusted}", "", "auto.example.org by , http/1.1"},
		{"other", "{mode: SIMPLE, credentialName: trusted}", "", ""},
		{"names", "{mode: SIMPLE, credentialName: trusted, sni: b.example.org, subjectAltNames: [nobody, auto.example.org]}", "", "b.example.org by , http/1.1"},
		{"nobody", "{mode: SIMPLE, credentialName: trusted, sni: a.example.org, subjectAltNames: [nobody]}", "", ""},
		{"entry", "{mode: SIMPLE, credentialName: trusted, sni: a.example.org}", "nobody.example.org", ""},
		{"system", "{mode: SIMPLE, caCertificates: system, sni: a.example.org}", "", ""},
		{"careless", "{mode: SIMPLE, insecureSkipVerify: true, sni: b.example.org}", "", "b.example.org by , http/1.1"},
		{"revoked", "{mode: SIMPLE, caCertificates: " + ca + ", caCrl: " + crl + ", sni: a.example.org}", "", ""},
		{"revoking", "{mode: SIMPLE, credentialName: revoking, sni: a.example.org}", "", ""},
		{"mutual", "{mode: MUTUAL, credentialName: client, sni: a.example.org}", "", "a.example.org by client, http/1.1"},
		{"generic", "{mode: MUTUAL, credentialName: generic, sni: a.example.org}", "", "a.example.org by client, http/1.1"},
		{"files", "{mode: MUTUAL, clientCertificate: " + certFile + ", privateKey: " + keyFile + ", caCertificates: " + ca + ", sni: a.example.org}", "", "a.example.org by client, http/1.1"},
		{"mesh", "{mode: ISTIO_MUTUAL}", "", "outbound_.80_._.mesh.example.org by edge, istio-http/1.1 istio"},
		{"known", "{mode: ISTIO_MUTUAL, sni: x.y}", "spiffe://cluster.local/ns/default/sa/app", "x.y by edge, istio-http/1.1 istio"},
		{"unknown", "{mode: ISTIO_MUTUAL}", "spiffe://cluster.local/ns/other/sa/app", ""},
	}
	for _, c := range cases {
		objects += fmt.Sprintf(originated, c.name, port, c.tls, c.names)
	}
	p := weirtest.Start(t, "run", write("objects.yaml", []byte(objects)), "--admin", "", "--drain-strategy", "immediate")
	p.WaitFor("Ready.")
	for _, c := range cases {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+listen+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.name + ".example.org"
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if status := resp.StatusCode; (status == http.StatusOK) != (c.want != "") || status != http.StatusOK && status != http.StatusServiceUnavailable ||
			c.want != "" && string(body) != c.want {
			t.Errorf("%s, %s: %d %q, want %q", c.name, c.tls, status, body, c.want)
		}
	}
}
