// SPDX-License-Identifier: Apache-2.0

package tls_test

import (
	"context"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

// openssl runs s_client and returns what it prints.
func openssl(t *testing.T, addr string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("openssl is not installed")
		}
		t.Skip("openssl is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), proxytest.Patience)
	defer cancel()
	c := exec.CommandContext(ctx, path, append([]string{"s_client", "-connect", addr}, args...)...)
	c.Stdin = strings.NewReader("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
	if !strings.Contains(strings.Join(args, " "), "-ign_eof") {
		c.Args = append(c.Args, "-ign_eof")
	}
	// It fails where the handshake does, which is what some want.
	out, _ := c.CombinedOutput()
	return string(out)
}

func TestOpenSSL(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	pair := ca.Issue(t, tlstest.Leaf{DNS: []string{"example.com"}, CommonName: "example.com"})
	dir := t.TempDir()
	caFile := filepath.Join(dir, "ca.crt")
	tlstest.Replace(t, caFile, ca.CertPEM)
	staple := ", ocsp_staple: {inline_bytes: " + base64.StdEncoding.EncodeToString(ca.Staple(t, pair, time.Now().Add(time.Hour))) + "}}"
	p := start(t, listener("common_tls_context: {alpn_protocols: [http/1.1], tls_certificates: ["+strings.TrimSuffix(pair.Certificate(), "}")+staple+"]}"))
	trust := []string{"-CAfile", caFile, "-servername", "example.com", "-verify_return_error"}
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"TLS 1.3", []string{"-tls1_3"}, []string{"TLSv1.3, Cipher is TLS_A", "Verify return code: 0 (ok)", "HTTP/1.1 200 OK"}},
		{"TLS 1.2", []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"}, []string{"TLSv1.2, Cipher is ECDHE-ECDSA-CHACHA20-POLY1305", "HTTP/1.1 200 OK"}},
		{"TLS 1.1", []string{"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, []string{"alert"}},
		{"no forward secrecy", []string{"-tls1_2", "-cipher", "AES128-SHA"}, []string{"handshake failure"}},
		{"ticket", []string{"-tls1_2"}, []string{"TLS session ticket:"}},
		{"OCSP", []string{"-status"}, []string{"OCSP Response Status: successful", "Cert Status: good"}},
		{"ALPN", []string{"-alpn", "h2,http/1.1"}, []string{"ALPN protocol: http/1.1"}},
		{"P-256", []string{"-groups", "P-256"}, []string{"prime256v1"}},
		{"close_notify", []string{"-tls1_3", "-msg"}, []string{"HTTP/1.1 200 OK", "warning close_notify"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := openssl(t, p.Addr(), append(trust, tt.args...)...)
			for _, w := range tt.want {
				if !strings.Contains(out, w) {
					t.Errorf("no %q in\n%s", w, out)
				}
			}
		})
	}
}

// Keys in the forms that people have.
func TestKeyForms(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	dir := t.TempDir()
	cert, key := ca.Issue(t, tlstest.Leaf{CommonName: "key", Key: tlstest.RSA2048}).Write(t, dir, "a")
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	make := func(name string, args ...string) string {
		out := filepath.Join(dir, name)
		args = append(args, "-out", out)
		if b, err := exec.Command(path, args...).CombinedOutput(); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, b)
		}
		return out
	}
	const password = ", password: {inline_string: secret}"
	from := func(key string) string {
		return "certificate_chain: {filename: " + cert + "}, private_key: {filename: " + key + "}"
	}
	aes := make("aes.key", "pkcs8", "-topk8", "-in", key, "-v2", "aes-256-cbc", "-passout", "pass:secret")
	for _, tt := range []struct{ name, cert, refused string }{
		{"PKCS#1", from(make("pkcs1.key", "rsa", "-in", key, "-traditional")), ""},
		{"PKCS#8 encrypted", from(aes) + password, ""},
		{"PKCS#8 encrypted, SHA-1", from(make("sha1.key", "pkcs8", "-topk8", "-in", key, "-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1", "-passout", "pass:secret")) + password, ""},
		{"encrypted PKCS#1", from(make("old.key", "rsa", "-in", key, "-traditional", "-aes128", "-passout", "pass:secret")) + password, ""},
		{"no password", from(aes), "cannot be decrypted: the password is missing or wrong"},
		{"wrong password", from(aes) + ", password: {inline_string: x}", "cannot be decrypted: the password is missing or wrong"},
		{"PKCS#12", "pkcs12: {filename: " + make("a.p12", "pkcs12", "-export", "-in", cert, "-inkey", key, "-passout", "pass:secret") + "}" + password, ""},
		{"PKCS#12, wrong password", "pkcs12: {filename: " + filepath.Join(dir, "a.p12") + "}", "tls_certificates[0].pkcs12: " + dir + "/a.p12 pkcs12: decryption password incorrect"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := proxytest.TryStart(t, listener("common_tls_context: {tls_certificates: [{"+tt.cert+"}]}"), options())
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("got %v, want %q", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := served(t, p); got != "key" {
				t.Errorf("serves %q", got)
			}
		})
	}
}
