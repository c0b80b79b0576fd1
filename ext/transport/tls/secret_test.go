// SPDX-License-Identifier: Apache-2.0

package tls_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

// sds is a file of SDS with secrets, each YAML on one line.
func sds(secrets ...string) string {
	s := "resources:\n"
	for _, x := range secrets {
		s += `- {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret, ` + x + "}\n"
	}
	return s
}

func certSecret(name string, p *tlstest.Pair) string {
	return "name: " + name + ", tls_certificate: " + p.Certificate()
}

const fromFile = "common_tls_context: {tls_certificate_sds_secret_configs: [{name: server, sds_config: {path_config_source: {path: '%s'}}}]}"

// served is the common name of the certificate that the proxy shows.
func served(t *testing.T, p *proxytest.Proxy) string {
	t.Helper()
	cs, err := dial(t, p, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return err.Error()
	}
	return cs.PeerCertificates[0].Subject.CommonName
}

func waitServed(t *testing.T, p *proxytest.Proxy, want string) {
	t.Helper()
	proxytest.Eventually(t, "the certificate", func() (string, bool) { n := served(t, p); return n, n == want })
}

func (w *rotation) counter(t *testing.T, name string) uint64 {
	t.Helper()
	m, _ := w.p.Metric("sds.server." + name)
	return m.Count
}

type rotation struct {
	p    *proxytest.Proxy
	path string
}

// Whatever is wrong with a new secret, the one before stays, and a good one after it
// is taken again.
func TestSecretOfFile(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	pair := func(name string) *tlstest.Pair { return ca.Issue(t, tlstest.Leaf{CommonName: name}) }
	w := &rotation{path: filepath.Join(t.TempDir(), "sds.yaml")}
	one, two := pair("one"), pair("two")
	tlstest.Replace(t, w.path, sds(certSecret("server", one)))
	w.p = start(t, listener(fmt.Sprintf(fromFile, w.path)))
	if got := served(t, w.p); got != "one" {
		t.Fatalf("serves %q", got)
	}
	open, err := tls.Dial("tcp", w.p.Addr(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	mixed := *two
	mixed.KeyPEM = one.KeyPEM
	for i, text := range []string{sds(certSecret("server", &mixed)), "resources: [", "", sds(certSecret("other", two))} {
		failed := w.counter(t, "key_rotation_failed")
		tlstest.Replace(t, w.path, text)
		proxytest.Eventually(t, "the refusal", func() (int, bool) { return i, w.counter(t, "key_rotation_failed") > failed })
		if got := served(t, w.p); got != "one" {
			t.Errorf("%d: serves %q after a wrong secret", i, got)
		}
	}
	tlstest.Replace(t, w.path, sds(certSecret("server", two)))
	waitServed(t, w.p, "two")
	if get(t, open) != "ok" {
		t.Error("the connection from before was dropped")
	}
	expired := ca.Issue(t, tlstest.Leaf{CommonName: "expired", NotAfter: time.Now().Add(-time.Minute)})
	tlstest.Replace(t, w.path, sds(certSecret("server", expired)))
	waitServed(t, w.p, "expired") // As in Envoy; it is warned of.
	if n := stat(t, w.p, "server_ssl_socket_factory.ssl_context_update_by_sds"); n != 3 {
		t.Errorf("ssl_context_update_by_sds is %d, want 3: each secret that was taken", n)
	}
}

// A listener may name a secret that is not there yet.
func TestSecretThatComesLater(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	path := filepath.Join(t.TempDir(), "sds.yaml")
	p := start(t, listener(fmt.Sprintf(fromFile, path)))
	if _, err := dial(t, p, &tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Fatal("served without a certificate")
	}
	waitStat(t, p, "server_ssl_socket_factory.downstream_context_secrets_not_ready", 1)
	tlstest.Replace(t, path, sds(certSecret("server", ca.Issue(t, tlstest.Leaf{CommonName: "late"}))))
	waitServed(t, p, "late")
}

// Files that a certificate names are watched if it says which directory.
func TestWatchedDirectory(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	dir := t.TempDir()
	cert, key := ca.Issue(t, tlstest.Leaf{CommonName: "one"}).Write(t, dir, "server")
	context := fmt.Sprintf("common_tls_context: {tls_certificates: [{certificate_chain: {filename: %s}, private_key: {filename: %s}, watched_directory: {path: %s}}]}", cert, key, dir)
	p := start(t, listener(context))
	if got := served(t, p); got != "one" {
		t.Fatalf("serves %q", got)
	}
	ca.Issue(t, tlstest.Leaf{CommonName: "two"}).Write(t, dir, "server")
	waitServed(t, p, "two")
}

// Secrets that come with the configuration are found by their name, or by ADS, of which it is a part.
func TestStaticSecrets(t *testing.T) {
	t.Run("by name", func(t *testing.T) { testStaticSecrets(t, "") })
	t.Run("by ADS", func(t *testing.T) { testStaticSecrets(t, ", sds_config: {ads: {}, resource_api_version: V3}") })
}

func testStaticSecrets(t *testing.T, source string) {
	ca := tlstest.NewCA(t, "test CA")
	server, client := ca.Issue(t, tlstest.Leaf{CommonName: "static"}), ca.Issue(t, tlstest.Leaf{DNS: []string{"client.test"}})
	yaml := func(s *tlstest.Pair) string {
		return listener(`common_tls_context:
  tls_certificate_sds_secret_configs: [{name: server`+source+`}]
  combined_validation_context:
    default_validation_context: {match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: client.test}}]}
    validation_context_sds_secret_config: {name: ca`+source+`}`) + "  secrets:\n    - {" + certSecret("server", s) + "}\n    - {name: ca, validation_context: {trusted_ca: " + tlstest.Inline(ca.CertPEM) + "}}\n"
	}
	p := start(t, yaml(server))
	with := func(c *tlstest.Pair) error {
		_, err := dial(t, p, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{c.TLS()}})
		return err
	}
	if err := with(client); err != nil {
		t.Error(err)
	}
	if with(ca.Issue(t, tlstest.Leaf{DNS: []string{"x.test"}})) == nil {
		t.Error("the defaults of combined_validation_context are not looked at")
	}
	if problems := p.Update(yaml(ca.Issue(t, tlstest.Leaf{CommonName: "renewed"}))); len(problems) > 0 {
		t.Fatal(problems)
	}
	cs, err := dial(t, p, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{client.TLS()}})
	if err != nil || cs.PeerCertificates[0].Subject.CommonName != "renewed" {
		t.Errorf("the new secret is not served: %v", err)
	}
	bad := *server
	bad.KeyPEM = client.KeyPEM
	problems := p.Update(yaml(&bad))
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), `secret "server": static_resources.secrets[0].tls_certificate.private_key: does not belong`) {
		t.Errorf("got %v", problems)
	}
	if err := with(client); err != nil {
		t.Errorf("the last good is gone: %v", err)
	}
}

// Certificates change while handshakes run: none fails.
func TestRotationUnderLoad(t *testing.T) {
	ca := tlstest.NewCA(t, "test CA")
	path := filepath.Join(t.TempDir(), "sds.yaml")
	tlstest.Replace(t, path, sds(certSecret("server", ca.Issue(t, tlstest.Leaf{DNS: []string{"example.com"}, CommonName: "0"}))))
	p := proxytest.Start(t, listener(fmt.Sprintf(fromFile, path)), proxytest.Options{Extensions: all.Extensions(), Concurrency: 2})
	var stop atomic.Bool
	var wg sync.WaitGroup
	var done, failed atomic.Int64
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				c, err := tls.Dial("tcp", p.Addr(), &tls.Config{RootCAs: ca.Pool(), ServerName: "example.com"})
				if err != nil {
					failed.Add(1)
					continue
				}
				if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"); err != nil {
					failed.Add(1)
				}
				if _, err := c.Read(make([]byte, 4096)); err != nil {
					failed.Add(1)
				}
				c.Close()
				done.Add(1)
			}
		})
	}
	for i := 1; i <= 8; i++ {
		name := fmt.Sprint(i)
		tlstest.Replace(t, path, sds(certSecret("server", ca.Issue(t, tlstest.Leaf{DNS: []string{"example.com"}, CommonName: name}))))
		waitServed(t, p, name)
	}
	stop.Store(true)
	wg.Wait()
	if failed.Load() > 0 || done.Load() < 50 {
		t.Errorf("%d of %d handshakes failed", failed.Load(), done.Load())
	}
}

// Tickets of one proxy are taken by another with the same keys, and keys are rotated
// by putting a new one before the old.
func TestTicketKeys(t *testing.T) {
	server := tlstest.NewCA(t, "test CA").Issue(t, tlstest.Leaf{DNS: []string{"example.com"}}).Certificate()
	key := func(c byte) string { return "{inline_string: " + strings.Repeat(string(c), 80) + "}" }
	with := func(keys ...string) *proxytest.Proxy {
		return start(t, listener("session_ticket_keys: {keys: ["+strings.Join(keys, ", ")+"]}\ncommon_tls_context: {tls_certificates: ["+server+"]}"))
	}
	same := "common_tls_context: {tls_certificates: [" + server + "]}\n"
	a, rotated, other := with(key('a')), with(key('b'), key('a')), with(key('c'))
	off := start(t, listener(same+"disable_stateless_session_resumption: true"))
	short := start(t, listener(same+"session_timeout: 3600s"))
	for _, tt := range []struct {
		name          string
		first, second *proxytest.Proxy
		resumed       bool
	}{
		{"same", a, a, true},
		{"rotated", a, rotated, true},
		{"newest key is not known", rotated, a, false},
		{"other key", a, other, false},
		{"off", off, off, false},
		{"limited", short, short, true},
		{"limited, other proxy", short, a, false},
	} {
		for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := &tls.Config{InsecureSkipVerify: true, ServerName: "example.com", ClientSessionCache: tls.NewLRUClientSessionCache(1), MaxVersion: v}
			if _, err := dial(t, tt.first, c); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			cs, err := dial(t, tt.second, c)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if cs.DidResume != tt.resumed {
				t.Errorf("%s, version %x: resumed %v", tt.name, v, cs.DidResume)
			}
		}
	}
}

// A client that does not finish its handshake is closed in time.
func TestSlowHandshake(t *testing.T) {
	server := tlstest.NewCA(t, "test CA").Issue(t, tlstest.Leaf{}).Certificate()
	yaml := strings.Replace(listener("common_tls_context: {tls_certificates: ["+server+"]}"), "        - transport_socket:", "        - transport_socket_connect_timeout: 0.05s\n          transport_socket:", 1)
	p := start(t, yaml)
	c := p.Dial()
	c.Send("\x16\x03\x01\x02\x00\x01")
	c.ExpectClosed()
	waitStat(t, p, "downstream_cx_transport_socket_connect_timeout", 1)
}

// Handshakes that are given up in any place leave nothing behind.
func TestAbortedHandshakes(t *testing.T) {
	server := tlstest.NewCA(t, "test CA").Issue(t, tlstest.Leaf{}).Certificate()
	p := start(t, listener("common_tls_context: {tls_certificates: ["+server+"]}"))
	before := descriptors(t)
	for i := range 200 {
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		k := &cut{Conn: c, left: i * 4}
		// What comes of it does not matter.
		_ = tls.Client(k, &tls.Config{InsecureSkipVerify: true}).Handshake()
		c.Close()
	}
	proxytest.Eventually(t, "open connections", func() (int64, bool) {
		m, _ := p.Metric("listener." + strings.ReplaceAll(p.Addr(), ":", "_") + ".downstream_cx_active")
		return m.Level, m.Level == 0
	})
	proxytest.Eventually(t, "descriptors", func() (int, bool) { n := descriptors(t); return n, n <= before+2 })
}

func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// cut is a connection that ends after some bytes were sent.
type cut struct {
	net.Conn
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	if c.left < len(p) {
		n, _ := c.Conn.Write(p[:c.left])
		c.left = 0
		c.Conn.Close()
		return n, net.ErrClosed
	}
	c.left -= len(p)
	return c.Conn.Write(p)
}
