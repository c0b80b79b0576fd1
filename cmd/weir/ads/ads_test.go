// SPDX-License-Identifier: Apache-2.0

package ads

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"weir.dev/weir/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A server is ready once it serves, ends when it is told to, and frees its addresses.
func TestServe(t *testing.T) {
	s, err := Listen(Options{Address: "127.0.0.1:0", Health: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Serve(ctx, ready) }()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	ask := func(path string) int {
		t.Helper()
		r, err := (&http.Client{Transport: transport}).Get("http://" + s.HealthAddr() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		_, _ = io.Copy(io.Discard, r.Body)
		return r.StatusCode
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/": 404} {
		if got := ask(path); got != want {
			t.Errorf("%s is answered %d", path, got)
		}
	}
	close(ready)
	for deadline := time.Now().Add(10 * time.Second); ask("/readyz") != 200; {
		if time.Now().After(deadline) {
			t.Fatal("it is not ready")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	s.Close()
	again, err := Listen(Options{Address: s.Addr(), Health: s.HealthAddr()})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if _, err := Listen(Options{Address: "127.0.0.1:0", Health: "nowhere"}); err == nil {
		t.Error("it listens nowhere")
	}
}

// A server that never became ready ends as well.
func TestServeEndsEarly(t *testing.T) {
	s, err := Listen(Options{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Serve(ctx, make(chan struct{})); err != nil {
		t.Error(err)
	}
}

// write makes a certificate, with its key, that names what it is given.
func write(t *testing.T, f Files, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for file, data := range map[string][]byte{f.Certificate: cert, f.ClientCA: cert, f.Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text})} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A server that makes its certificate itself asks for those of proxies, too, whose
// authorities are read anew.
func TestClientCA(t *testing.T) {
	dir := t.TempDir()
	f := Files{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")}
	write(t, f, "x")
	own := &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }}
	c, err := Files{ClientCA: f.ClientCA}.Of(own, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.GetConfigForClient(nil)
	if err != nil || got.ClientAuth != tls.VerifyClientCertIfGiven || got.ClientCAs == nil || got.GetCertificate == nil || got.MinVersion != own.MinVersion {
		t.Errorf("it is %+v: %v", got, err)
	}
	if own.ClientCAs != nil {
		t.Error("the configuration that was given has changed")
	}
	if _, err := (Files{ClientCA: filepath.Join(dir, "none")}).Of(own, nil); err == nil {
		t.Error("authorities are read that are not there")
	}
}

// Files are read anew when they change, and not when they are broken.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	f := Files{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")}
	if _, err := f.TLS(nil); err == nil {
		t.Error("files are read that are not there")
	}
	write(t, f, "first")
	told := 0
	r := &reader{files: f, told: func(error) { told++ }}
	var err error
	if r.newest, err = r.read(); err != nil {
		t.Fatal(err)
	}
	shown := func() string {
		t.Helper()
		r.looked = time.Time{} // It looks once in a while.
		c := r.get()
		if c.ClientAuth != tls.VerifyClientCertIfGiven || c.ClientCAs == nil {
			t.Error("clients are not verified")
		}
		return c.Certificates[0].Leaf.Subject.CommonName
	}
	if got := shown(); got != "first" {
		t.Errorf("it shows %s", got)
	}
	write(t, f, "second")
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(f.Key, later, later); err != nil {
		t.Fatal(err)
	}
	if got := shown(); got != "second" {
		t.Errorf("after a change it shows %s", got)
	}
	if err := os.WriteFile(f.Key, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := shown(); got != "second" || told != 1 {
		t.Errorf("of a broken key it shows %s, and tells %d times", got, told)
	}
}
