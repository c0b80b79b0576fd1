// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir.dev/weir/test/weirtest"
)

// named passes TLS on to whatever servers clients ask for.
const named = `
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: weir}, spec: {controllerName: weir.dev/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners: [{name: tls, port: %s, protocol: TLS, tls: {mode: Passthrough}}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TLSRoute
metadata: {name: outside}
spec:
  parentRefs: [{name: edge}]
  hostnames: [foo.example.com, gone.example.com, "*.localhost"]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: anywhere}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: anywhere}
spec: {type: DynamicResolver}
`

// nameServer answers 127.0.0.1 for names of zone, and that there are no others.
func nameServer(t *testing.T, zone string) (port string) {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: c, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg).SetReply(q)
		switch name := q.Question[0].Name; {
		case name != zone:
			r.Rcode = dns.RcodeNameError
		case q.Question[0].Qtype == dns.TypeA:
			r.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)}}
		}
		_ = w.WriteMsg(r) // Who asked may be gone.
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.ActivateAndServe() // It ends with its connection.
	}()
	t.Cleanup(func() {
		_ = c.Close()
		<-done
	})
	_, port, _ = net.SplitHostPort(c.LocalAddr().String())
	return port
}

// getTLS asks at an address for a server, trusting ca, and returns what it answers.
func getTLS(t *testing.T, address, server string, ca *x509.CertPool) (string, error) {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	s := tls.Client(c, &tls.Config{ServerName: server, RootCAs: ca})
	if _, err := io.WriteString(s, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return "", err
	}
	got, err := io.ReadAll(s)
	return string(got), err
}

// TestNamedByTLS: clients of TLS get to the server that they ask for, whose certificate they see; a name that is not
// there, or not the route's, ends the connection.
func TestNamedByTLS(t *testing.T) {
	i := newIssuer(t)
	cert, key := i.pair("foo.example.com", "shop.localhost")
	ca := x509.NewCertPool()
	ca.AddCert(i.cert)
	upstream, at, resolver := serveTLS(t, cert, key), weirtest.FreePort(t), nameServer(t, "foo.example.com.")
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	objects := write("objects.yaml", fmt.Sprintf(named, at))
	// The names are asked of a server of ours, and the server that is meant is not at 443.
	messages, status := weirtest.Run(t, "", "translate", objects, "-o", "json")
	if status != 0 {
		t.Fatal(messages)
	}
	messages = strings.Join(strings.Fields(messages), "")
	for old, fresh := range map[string]string{
		`"dns_cache_config":{"name":"weir"}`: `"dns_cache_config":{"name":"weir","typed_dns_resolver_config":{"name":"cares","typed_config":{` +
			`"@type":"type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",` +
			`"resolvers":[{"socket_address":{"address":"127.0.0.1","port_value":` + resolver + `}}],"dns_resolver_options":{"no_default_search_domain":true}}}}`,
		`"port_value":443`: `"port_value":` + upstream,
	} {
		if !strings.Contains(messages, old) {
			t.Fatalf("there is no %s in:\n%s", old, messages)
		}
		messages = strings.ReplaceAll(messages, old, fresh)
	}
	p := weirtest.Start(t, "proxy", "-c", write("bootstrap.json", `{"static_resources":`+messages+`}`), "--drain-strategy", "immediate")
	p.WaitFor("listening address=")
	if got, err := getTLS(t, "127.0.0.1:"+at, "foo.example.com", ca); err != nil || !strings.HasSuffix(got, "foo.example.com by , ") {
		t.Errorf("%q, %v", got, err)
	}
	for _, name := range []string{"gone.example.com", "other.example.com"} {
		if got, err := getTLS(t, "127.0.0.1:"+at, name, ca); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestNamedByTLSAtItsPort is TestNamedByTLS without any change of what objects come to, where 443 can be bound.
func TestNamedByTLSAtItsPort(t *testing.T) {
	i := newIssuer(t)
	cert, key := i.pair("shop.localhost")
	ca := x509.NewCertPool()
	ca.AddCert(i.cert)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:443", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Skipf("a server name leads to port 443, which cannot be had: %v", err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") })}
	go func() { _ = s.Serve(ln) }() // It ends with the test.
	t.Cleanup(func() { _ = s.Close() })
	f := folder(t, "1")
	serveObjects(t, f, fmt.Appendf(nil, named, f.Ports["1"]))
	if got, err := getTLS(t, "127.0.0.1:"+f.Ports["1"], "shop.localhost", ca); err != nil || !strings.HasSuffix(got, "hello") {
		t.Errorf("%q, %v", got, err)
	}
}
