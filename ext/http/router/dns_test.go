// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// nameServer answers every question for an IPv4 address with the address stored, or as
// lie has it.
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
			now := *addr.Load()
			out := lie(b[:n], now)
			if out == nil {
				out = answer(b[:n], netip.MustParseAddr(now))
			}
			_, _ = conn.WriteTo(out, from) // Who asked may be gone.
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return conn.LocalAddr().String()
}

// lie makes a reply that is none: a failure, one that is cut off and has no more by
// TCP, one to another question, or nonsense. It is nil for another kind.
func lie(query []byte, kind string) []byte {
	out := answer(query, netip.IPv6Unspecified())
	switch kind {
	case "failure":
		out[3] |= 2
	case "truncated":
		out[2] |= 2
	case "other":
		out[13]++
	case "nonsense":
		out = append(out[:2:2], 0xff, 0xff, 0xff)
	default:
		return nil
	}
	return out
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

// TestNamesUnderLoad: a name that moves a hundred times, and a name server that fails and
// lies in between, cost no request.
func TestNamesUnderLoad(t *testing.T) {
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
	places := []string{"127.0.0.1", "127.0.0.2"}
	lies := []string{"failure", "truncated", "other", "nonsense"}
	var addr atomic.Pointer[string]
	addr.Store(&places[0])
	_, ns, _ := net.SplitHostPort(nameServer(t, &addr))
	p := start(t, proxytest.Edge{
		Routes: `- {match: {prefix: /}, route: {cluster: named}}`,
		Clusters: `- name: named
  type: STRICT_DNS
  dns_lookup_family: V4_ONLY
  dns_refresh_rate: 0.005s
  dns_jitter: 0.002s
  dns_failure_refresh_rate: {base_interval: 0.002s, max_interval: 0.005s}
  dns_resolution_config:
    resolvers: [{socket_address: {address: 127.0.0.1, port_value: ` + ns + `}}]
    dns_resolver_options: {no_default_search_domain: true}
  load_assignment: {cluster_name: named, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: backend.test, port_value: ` + port + `}}}}]}]}`,
	}, map[string]string{"up": "127.0.0.1:1"})
	stop, bad := make(chan struct{}), atomic.Pointer[proxytest.Response]{}
	var served atomic.Int64
	var load sync.WaitGroup
	for range 3 {
		c := p.Dial()
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if res := c.Do(get); res.StatusCode != 200 {
					bad.Store(res)
				}
				served.Add(1)
			}
		})
	}
	reach := func(name string, n uint64) {
		proxytest.Eventually(t, name, func() (uint64, bool) { v := p.Counter("cluster.named." + name); return v, v >= n })
	}
	changes := p.Counter("cluster.named.membership_change")
	for i := range 100 {
		addr.Store(&places[(i+1)%2])
		reach("membership_change", changes+uint64(i)+1)
		if i%5 == 0 {
			failures := p.Counter("cluster.named.update_failure")
			addr.Store(&lies[i/5%len(lies)])
			reach("update_failure", failures+2)
		}
	}
	close(stop)
	load.Wait()
	if res := bad.Load(); res != nil || served.Load() == 0 {
		t.Errorf("of %d requests one was answered %v", served.Load(), res)
	}
	p.WaitGauge("cluster.named.upstream_rq_active", 0)
	p.WaitGauge("cluster.named.membership_total", 1)
	if p.Counter("dns.cares.resolve_total") < 100 || p.Counter("dns.cares.get_addr_failure") == 0 {
		t.Errorf("counted %d lookups, %d of which failed", p.Counter("dns.cares.resolve_total"), p.Counter("dns.cares.get_addr_failure"))
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
