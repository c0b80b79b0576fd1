// SPDX-License-Identifier: Apache-2.0

package udpproxy_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds"
)

// traffic is clients that exchange datagrams without a pause, and note what is lost.
type traffic struct {
	stop      atomic.Bool
	wait      sync.WaitGroup
	exchanges atomic.Int64
	lost      atomic.Int64
}

// flow starts clients of the proxy; done ends them and returns how many datagrams had
// no answer.
func flow(t *testing.T, p *proxytest.Proxy, clients int) *traffic {
	t.Helper()
	f := &traffic{}
	for i := range clients {
		c := p.DialUDP()
		f.wait.Go(func() {
			b := make([]byte, 64)
			for n := 0; !f.stop.Load(); n++ {
				want := fmt.Sprintf("%d.%d", i, n)
				if _, err := c.Write([]byte(want)); err != nil {
					f.lost.Add(1)
					continue
				}
				// Nothing is reordered on the way: the next is the answer.
				_ = c.SetReadDeadline(time.Now().Add(proxytest.Patience))
				k, err := c.Read(b)
				if err != nil || string(b[:k]) != want {
					f.lost.Add(1)
				}
				f.exchanges.Add(1)
			}
		})
	}
	return f
}

// more waits until the clients have made n further exchanges.
func (f *traffic) more(t *testing.T, n int64) {
	t.Helper()
	want := f.exchanges.Load() + n
	proxytest.Eventually(t, "exchanges", func() (int64, bool) { k := f.exchanges.Load(); return k, k >= want })
}

func (f *traffic) done(t *testing.T) {
	t.Helper()
	f.stop.Store(true)
	f.wait.Wait()
	if n := f.lost.Load(); n > 0 {
		t.Errorf("%d of %d datagrams had no answer", n, f.exchanges.Load())
	}
}

// TestUpdates: no change of the configuration loses a datagram, and sessions that
// the new one would make alike go on.
func TestUpdates(t *testing.T) {
	a, b := proxytest.NewUDPUpstream(t, nil), proxytest.NewUDPUpstream(t, nil)
	base := proxytest.UDPEdge{Cluster: "circuit_breakers: {thresholds: [{max_connections: 100}]}"}
	p := start(t, base, map[string]string{"up": a.Addr(), "b": b.Addr()}, 2)
	port := p.Addr()[strings.LastIndex(p.Addr(), ":")+1:]
	update := func(e proxytest.UDPEdge) {
		t.Helper()
		// The listener keeps the port it was given: otherwise it would have another.
		text := strings.ReplaceAll(e.YAML(), "port_value: 0, }", "port_value: "+port+", }")
		if problems := p.Update(text); xds.HasErrors(problems) {
			t.Fatal(problems)
		}
	}
	update(base) // The port is now part of the configuration: the sockets are new.
	f := flow(t, p, 8)
	f.more(t, 100)
	for i := range 10 { // The filter is replaced, its sessions go on.
		e := base
		e.Proxy = fmt.Sprintf("idle_timeout: %ds", 10+i)
		update(e)
		f.more(t, 50)
	}
	if _, sources := a.Got(); sources != 8 {
		t.Errorf("the host saw %d sources, want 8: sessions did not go on", sources)
	}
	for i := range 6 { // The host is another: sessions begin anew.
		e := base
		e.Endpoints = hosts([]string{"b", "up"}[i%2])
		update(e)
		f.more(t, 50)
	}
	for i := range 6 { // The sockets are made anew.
		e := base
		e.Listener = fmt.Sprintf("udp_listener_config: {downstream_socket_config: {max_rx_datagram_size: %d}}", 2000+i)
		update(e)
		f.more(t, 50)
	}
	f.done(t)
	if n := p.Gauge("udp.test.downstream_sess_active"); n < 8 {
		t.Errorf("%d sessions, want 8 or more", n)
	}
}

// TestClusterGone: without its cluster the proxy has no route, and no sessions.
func TestClusterGone(t *testing.T) {
	up := proxytest.NewUDPUpstream(t, nil)
	p := start(t, proxytest.UDPEdge{}, map[string]string{"up": up.Addr()})
	c := p.DialUDP()
	c.Echo("x")
	e := strings.ReplaceAll(proxytest.UDPEdge{}.YAML(), "name: up", "name: other")
	if problems := p.Update(strings.ReplaceAll(e, "cluster_name: up", "cluster_name: other")); xds.HasErrors(problems) {
		t.Fatal(problems)
	}
	p.WaitGauge("udp.test.downstream_sess_active", 0)
	c.Send("y")
	p.WaitCounter("udp.test.downstream_sess_no_route", 1)
}

// TestDrain: a drain lets answers through that come late, and ends soon.
func TestDrain(t *testing.T) {
	gate := make(chan struct{})
	up := proxytest.NewUDPUpstream(t, func(p []byte) [][]byte {
		if string(p) == "slow" {
			<-gate
		}
		return [][]byte{p}
	})
	p := start(t, proxytest.UDPEdge{}, map[string]string{"up": up.Addr()}, 2)
	c := p.DialUDP()
	c.Echo("quick")
	c.Send("slow")
	p.WaitCounter("cluster.up.udp.sess_tx_datagrams", 2)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
		defer cancel()
		p.Drain(ctx)
		if ctx.Err() != nil {
			t.Error("the drain took all the time there is")
		}
	}()
	p.WaitGauge("udp.test.downstream_sess_active", 0)
	close(gate)
	if got := c.Receive(); got != "slow" {
		t.Errorf("got %q", got)
	}
	<-ended
}

// TestLeaksNothing: a proxy that is closed leaves no descriptor, whatever its
// sessions were about to do.
func TestLeaksNothing(t *testing.T) {
	up := proxytest.NewUDPUpstream(t, nil)
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	before := count()
	for range 3 {
		p, err := proxytest.TryStart(t, proxytest.UDPEdge{}.YAML(), proxytest.Options{
			Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}, Concurrency: 2,
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			c := p.DialUDP()
			c.Echo("x")
			c.Send("y")
			_ = c.Close()
		}
		p.Close()
	}
	if after := count(); after > before+2 {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}
