// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// nameServer answers every question for an IPv4 address with the address stored.
func nameServer(t *testing.T, addr *atomic.Pointer[string]) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(answer(b[:n], netip.MustParseAddr(*addr.Load())), from) // Who asked may be gone.
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return conn.LocalAddr().String()
}

// answer makes the reply to a query (RFC 1035 §4.1): its question, and the address if
// it asks for one of IPv4.
func answer(query []byte, addr netip.Addr) []byte {
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5 // The root label, type and class.
	out := append([]byte(nil), query[:end]...)
	copy(out[2:], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	if query[end-3] == 1 {
		out[7] = 1
		out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		out = append(out, addr.AsSlice()...)
	}
	return out
}

// TestNames: hosts are found by name, followed when the name moves, and connections
// to where it was are not used for hosts that left.
func TestNames(t *testing.T) {
	for _, kind := range []string{"STRICT_DNS", "LOGICAL_DNS"} {
		t.Run(kind, func(t *testing.T) {
			one, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			_, port, _ := net.SplitHostPort(one.Addr().String())
			two, err := net.Listen("tcp", "127.0.0.2:"+port)
			if err != nil {
				t.Skip("the port is taken on the second address") // Nothing of ours can free it.
			}
			serve(t, one, "one")
			serve(t, two, "two")
			var addr atomic.Pointer[string]
			first, second := "127.0.0.1", "127.0.0.2"
			addr.Store(&first)
			_, ns, _ := net.SplitHostPort(nameServer(t, &addr))
			p := start(t, proxytest.Edge{
				Routes: `- {match: {prefix: /}, route: {cluster: named, auto_host_rewrite: true}}`,
				Clusters: `- name: named
  type: ` + kind + `
  connect_timeout: 1s
  dns_lookup_family: V4_ONLY
  dns_refresh_rate: 0.05s
  typed_dns_resolver_config:
    name: envoy.network.dns_resolver.cares
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
      resolvers: [{socket_address: {address: 127.0.0.1, port_value: ` + ns + `}}]
  load_assignment: {cluster_name: named, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: backend.test, port_value: ` + port + `}}}}]}]}`,
			}, map[string]string{"up": "127.0.0.1:1"})
			if res := p.Do(get); res.Content != "one backend.test" {
				t.Fatalf("%v", res)
			}
			addr.Store(&second)
			proxytest.Eventually(t, "the host", func() (string, bool) {
				res := p.Do(get)
				return res.Content, res.Content == "two backend.test"
			})
			p.WaitGauge("cluster.named.membership_total", 1)
			p.WaitGauge("cluster.named.upstream_rq_active", 0)
			p.WaitGauge("cluster.named.upstream_cx_active", 0)
		})
	}
}

// serve answers with a name and the host asked for, and closes after each response.
func serve(t *testing.T, ln net.Listener, name string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				b := make([]byte, 4096)
				n, err := c.Read(b)
				if err != nil {
					return
				}
				body := name + " " + proxytest.Field(string(b[:n]), "host")
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s", len(body), body)
			}()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
}
