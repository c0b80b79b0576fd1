// SPDX-License-Identifier: Apache-2.0

package udpproxy_test

import (
	"context"
	"math"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/proxytest"
)

// nameServer answers every question for an IPv4 address with 192.0.2.7.
func nameServer(query []byte) [][]byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	for _, q := range m.Questions {
		if q.Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}},
			})
		}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return [][]byte{out}
}

// TestDNS: a resolver asks through the proxy.
func TestDNS(t *testing.T) {
	up := proxytest.NewUDPUpstream(t, nameServer)
	p := start(t, proxytest.UDPEdge{Proxy: "idle_timeout: 5s"}, map[string]string{"up": up.Addr()}, 2)
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", p.Addr())
	}}
	ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
	defer cancel()
	for range 5 {
		got, err := r.LookupNetIP(ctx, "ip4", "weir.test.")
		if err != nil || len(got) != 1 || got[0].Unmap() != netip.MustParseAddr("192.0.2.7") {
			t.Fatalf("got %v, %v", got, err)
		}
	}
}

// TestOriginalSource: hosts see the client's address, and their answers come back.
// Every address of 127.0.0.0/8 is at home here, so no routes are needed.
func TestOriginalSource(t *testing.T) {
	if err := engine.CheckTransparent(); err != nil {
		t.Skip("sending from others' addresses is not allowed here: ", err)
	}
	up := proxytest.NewUDPUpstream(t, nil)
	p := start(t, proxytest.UDPEdge{
		Proxy: "use_original_src_ip: true", AccessLog: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
	}, map[string]string{"up": up.Addr()})
	proxytest.DialUDP(t, "127.0.7.7", p.Addr()).Echo("mine")
	if from := up.From(); from.Addr() != netip.MustParseAddr("127.0.7.7") {
		t.Errorf("the host saw %v", from)
	}
	// The socket is not connected: a datagram of another sender is not the host's.
	c := proxytest.DialUDP(t, "127.0.7.8", p.Addr())
	c.Echo("first")
	stranger := proxytest.DialUDP(t, "127.0.0.1", netip.AddrPortFrom(netip.MustParseAddr("127.0.7.8"), up.From().Port()).String())
	stranger.Send("forged")
	p.WaitCounter("cluster.up.udp.sess_rx_errors", 1)
	c.Echo("second")
}

// TestAllocations: a datagram and its answer cost no allocation.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			n, from, err := server.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if _, err := server.WriteToUDPAddrPort(b[:n], from); err != nil {
				return
			}
		}
	}()
	defer func() {
		_ = server.Close()
		<-done
	}()
	for name, e := range map[string]proxytest.UDPEdge{
		"session":    {Address: "0.0.0.0", Proxy: "hash_policies: [{source_ip: true}]"},
		"per packet": {Proxy: "use_per_packet_load_balancing: true\nhash_policies: [{source_ip: true}]"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, e, map[string]string{"up": server.LocalAddr().String()})
			_, port, err := net.SplitHostPort(p.Addr())
			if err != nil {
				t.Fatal(err)
			}
			c := proxytest.DialUDP(t, "127.0.0.1", "127.0.0.1:"+port)
			if err := c.SetDeadline(time.Now().Add(proxytest.Patience)); err != nil {
				t.Fatal(err)
			}
			out, in := make([]byte, 200), make([]byte, 2048)
			exchange := func(n int) {
				for range n {
					if _, err := c.Write(out); err != nil {
						t.Fatal(err)
					}
					if n, err := c.Read(in); err != nil || n != len(out) {
						t.Fatal(n, err)
					}
				}
			}
			exchange(100)
			// What else the process does in the meantime, the more the longer a busy machine takes,
			// allocates a little: the least of three rounds counts.
			least := uint64(math.MaxUint64)
			for range 3 {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				exchange(2000)
				runtime.ReadMemStats(&after)
				if least = min(least, after.Mallocs-before.Mallocs); least <= 100 {
					return
				}
			}
			t.Errorf("%d allocations in 2000 exchanges", least)
		})
	}
}
