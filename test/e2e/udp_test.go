// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"strings"
	"testing"
	"time"
)

// echoUDP answers datagrams on an address with a name before each, until the test ends.
func echoUDP(t *testing.T, addr, name string) {
	t.Helper()
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(append([]byte(name+" "), b[:n]...), from) // Who asked may be gone.
		}
	}()
	t.Cleanup(func() {
		_ = c.Close()
		<-done
	})
}

// TestDatagrams: clients are spread over the hosts, and each stays with its own.
func TestDatagrams(t *testing.T) {
	f := example(t, "examples/envoy/udp-proxy")
	echoUDP(t, f.Here("127.0.0.1:9001"), "one")
	echoUDP(t, f.Here("127.0.0.1:9002"), "two")
	met := map[string]int{}
	for range 6 {
		c, err := net.Dial("udp", f.Here("127.0.0.1:8080"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		first, b := "", make([]byte, 2048)
		for range 3 {
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			n, err := c.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			if first == "" {
				first = string(b[:n])
			}
			if string(b[:n]) != first {
				t.Errorf("a client of %q has heard %q", first, b[:n])
			}
		}
		met[first]++
	}
	if met["one hello"] == 0 || met["two hello"] == 0 || len(met) != 2 {
		t.Errorf("heard %v", met)
	}
	if out := curl(t, f, "curl -s 'http://127.0.0.1:9901/stats?filter=udp.datagrams.downstream_sess_total'"); !strings.Contains(out, ": 6") {
		t.Errorf("the statistics say %q", out)
	}
}
