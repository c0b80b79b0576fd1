// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"crypto/tls"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

// aborts are the ways in which a client leaves in the midst of things.
var aborts = []string{
	headers(1, true, request("GET", "/large")),
	headers(1, true, request("GET", "/slow")),
	headers(1, false, request("POST", "/")) + frame(tData, 0, 1, "x"),
	headers(1, true, request("GET", "/slow")) + rst(1, cancel),
	frame(tHeaders, 0, 1, request("GET", "/")),
	headers(1, true, request("GET", "/"))[:20],
	headers(1, true, "\xff\xff\xff"),
}

// TestSoak aborts thousands of connections and streams, with and without TLS: nothing
// of them stays.
func TestSoak(t *testing.T) {
	rounds := 200 // Each of one connection and 50 streams with each protocol.
	if testing.Short() {
		rounds = 10
	}
	pair := tlstest.NewCA(t, "attack CA").Issue(t, tlstest.Leaf{DNS: []string{"a.test"}})
	for _, tt := range []struct{ name, chain string }{{"cleartext", ""}, {"TLS", tlsChain(pair, "")}} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBackend(t, true)
			p := edge(t, b, proxytest.Edge{Cluster: http2Cluster, Chain: tt.chain})
			round := func(n int) {
				for i := range n {
					abortConnection(t, p, tt.chain != "", i)
					abortStreams(t, p, tt.chain != "")
				}
				settled(t, p)
				p.WaitGauge("http.test.downstream_cx_active", 0)
				proxytest.Eventually(t, "requests at the host", func() (int64, bool) { k := b.active.Load(); return k, k == 0 })
			}
			round(rounds) // Until everything has its size.
			var more held
			for range 4 {
				before := holds(t)
				round(rounds)
				if more = grown(t, before); more.little() {
					return
				}
				// On a busy machine more may be under way at a time than before, and what is kept for that to be
				// used again grows. What leaks grows with each round.
			}
			t.Errorf("each round leaves more behind: %+v", more)
		})
	}
}

// held is what a process holds.
type held struct {
	goroutines, descriptors int
	heap                    int64
}

func holds(t *testing.T) held {
	t.Helper()
	return held{runtime.NumGoroutine(), descriptors(t), heap()}
}

func (h held) little() bool { return h.goroutines <= 5 && h.descriptors <= 5 && h.heap <= 4<<20 }

// grown returns how much more is held than before. What was under way when a client left is let go of a moment later.
func grown(t *testing.T, before held) (more held) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 100 {
		now := holds(t)
		more = held{now.goroutines - before.goroutines, now.descriptors - before.descriptors, now.heap - before.heap}
		if more.little() {
			break
		}
		<-tick.C
	}
	return more
}

func soakDial(t *testing.T, p *proxytest.Proxy, secure bool) net.Conn {
	t.Helper()
	d := &net.Dialer{Timeout: proxytest.Patience}
	var conn net.Conn
	var err error
	if secure {
		conn, err = tls.DialWithDialer(d, "tcp", p.Addr(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) // The names are not under test.
	} else {
		conn, err = d.Dial("tcp", p.Addr())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(deadline()); err != nil {
		t.Fatal(err)
	}
	return conn
}

// abortConnection leaves a connection, with a reset each other time.
func abortConnection(t *testing.T, p *proxytest.Proxy, secure bool, i int) {
	t.Helper()
	conn := soakDial(t, p, secure)
	_, _ = conn.Write([]byte(preface + frame(tSettings, 0, 0, "") + aborts[i%len(aborts)])) // What becomes of it is the proxy's concern.
	raw := conn
	if c, ok := conn.(*tls.Conn); ok {
		raw = c.NetConn()
	}
	if i%2 == 0 {
		_ = raw.(*net.TCPConn).SetLinger(0) // As above.
	}
	_ = raw.Close()
}

// abortStreams resets streams on a connection that goes on.
func abortStreams(t *testing.T, p *proxytest.Proxy, secure bool) {
	t.Helper()
	conn := soakDial(t, p, secure)
	w := &wire{t: t, conn: conn}
	for i := range uint32(50) {
		if err := w.send(headersOf(2*i+1, i), rst(2*i+1, cancel)); err != nil {
			t.Fatal(err)
		}
	}
	_ = conn.Close() // It has done its part.
}

// headersOf begins a stream; the first brings the preface along.
func headersOf(id, i uint32) string {
	s := headers(id, i%2 == 0, request("POST", []string{"/large", "/slow", "/"}[i%3]))
	if i == 0 {
		return preface + frame(tSettings, 0, 0, "") + s
	}
	return s
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
