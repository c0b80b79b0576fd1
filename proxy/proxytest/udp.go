// SPDX-License-Identifier: Apache-2.0

package proxytest

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// UDPEdge is the bootstrap most tests of datagrams want: one listener on a free port
// of 127.0.0.1 with a UDP proxy of stat_prefix "test" to a cluster "up", whose one
// endpoint is the backend "up". Each field is YAML to put in where it says.
type UDPEdge struct {
	// Bootstrap adds top-level fields, Listener fields of the listener.
	Bootstrap, Listener string
	// Address replaces the IP address that is listened on; fields of the address may
	// follow it, separated by a comma.
	Address string
	// Proxy adds fields to the UDP proxy; Route replaces "cluster: up".
	Proxy, Route string
	// Endpoints replaces the cluster's endpoints, a list; Cluster adds fields to it;
	// Clusters adds further clusters, a list.
	Endpoints, Cluster, Clusters string
	// AccessLog and ProxyAccessLog are formats of access logs in {{log}}.
	AccessLog, ProxyAccessLog string
}

// YAML is the bootstrap.
func (e UDPEdge) YAML() string {
	or := func(s, other string) string {
		if s == "" {
			return other
		}
		return s
	}
	var b strings.Builder
	add := func(indent int, text string) {
		pad := strings.Repeat(" ", indent)
		for line := range strings.Lines(text) {
			if strings.TrimSpace(line) != "" {
				b.WriteString(pad + strings.TrimSuffix(line, "\n") + "\n")
			}
		}
	}
	log := func(field, format string) string {
		if format == "" {
			return ""
		}
		return field + ":\n- name: file\n  typed_config:\n" +
			"    \"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog\n" +
			"    path: {{log}}\n    log_format: {text_format_source: {inline_string: \"" + format + "\\n\"}}\n"
	}
	add(0, e.Bootstrap)
	add(0, "static_resources:\n  listeners:\n  - name: test")
	ip, more, _ := strings.Cut(or(e.Address, "127.0.0.1"), ",")
	add(4, "address: {socket_address: {protocol: UDP, address: \""+ip+"\", port_value: 0, "+more+"}}")
	add(4, e.Listener)
	add(4, "listener_filters:\n- name: envoy.filters.udp_listener.udp_proxy\n  typed_config:")
	add(8, "\"@type\": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig\nstat_prefix: test")
	add(8, or(e.Route, "cluster: up"))
	add(8, e.Proxy)
	add(8, log("access_log", e.AccessLog))
	add(8, log("proxy_access_log", e.ProxyAccessLog))
	add(2, "clusters:\n- name: up\n  type: STATIC")
	add(4, e.Cluster)
	add(4, "load_assignment:\n  cluster_name: up\n  endpoints:")
	add(6, or(e.Endpoints, "- lb_endpoints: [{endpoint: {address: {{up}}}}]"))
	add(2, e.Clusters)
	return b.String()
}

// A UDPUpstream receives datagrams, keeps where they came from and answers them.
type UDPUpstream struct {
	t    testing.TB
	conn *net.UDPConn
	done chan struct{}

	mu   sync.Mutex
	got  int
	from map[netip.AddrPort]int
	last netip.AddrPort
}

// NewUDPUpstream starts one on a free port of 127.0.0.1 until the test ends. answer
// returns the datagrams to send for one received, which it must not keep; nil sends
// each back.
func NewUDPUpstream(t testing.TB, answer func(p []byte) [][]byte) *UDPUpstream {
	t.Helper()
	return NewUDPUpstreamAt(t, "127.0.0.1:0", answer)
}

// NewUDPUpstreamAt starts one on an address.
func NewUDPUpstreamAt(t testing.TB, addr string, answer func(p []byte) [][]byte) *UDPUpstream {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	_ = c.SetReadBuffer(4 << 20) // As much as the kernel allows: the tests are not about its queue.
	u := &UDPUpstream{t: t, conn: c, done: make(chan struct{}), from: map[netip.AddrPort]int{}}
	go u.serve(answer)
	t.Cleanup(u.Close)
	return u
}

func (u *UDPUpstream) serve(answer func(p []byte) [][]byte) {
	defer close(u.done)
	b := make([]byte, 1<<16)
	for {
		n, from, err := u.conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		u.mu.Lock()
		u.got++
		u.from[from]++
		u.last = from
		u.mu.Unlock()
		out := [][]byte{b[:n]}
		if answer != nil {
			out = answer(b[:n])
		}
		for _, p := range out {
			_, _ = u.conn.WriteToUDPAddrPort(p, from) // Whoever asked may be gone.
		}
	}
}

// Addr is where it listens.
func (u *UDPUpstream) Addr() string { return u.conn.LocalAddr().String() }

// Got returns how many datagrams came, and from how many addresses.
func (u *UDPUpstream) Got() (datagrams, sources int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.got, len(u.from)
}

// From is where the last datagram came from.
func (u *UDPUpstream) From() netip.AddrPort {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last
}

// Push sends a datagram to the address that the last one came from.
func (u *UDPUpstream) Push(p string) {
	u.t.Helper()
	u.mu.Lock()
	to := u.last
	u.mu.Unlock()
	if _, err := u.conn.WriteToUDPAddrPort([]byte(p), to); err != nil {
		u.t.Fatalf("push a datagram: %v", err)
	}
}

// Close ends it.
func (u *UDPUpstream) Close() {
	_ = u.conn.Close() // A second time is no matter.
	<-u.done
}

// A UDPClient sends datagrams to one address and takes answers from there only.
type UDPClient struct {
	t testing.TB
	*net.UDPConn
	buf []byte
}

// DialUDP returns a client of the first listener.
func (p *Proxy) DialUDP() *UDPClient {
	p.t.Helper()
	return DialUDP(p.t, "127.0.0.1", p.Addr())
}

// DialUDP returns a client with an IP address of its own.
func DialUDP(t testing.TB, from, to string) *UDPClient {
	t.Helper()
	src := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
	c, err := net.DialUDP("udp", src, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
	if err != nil {
		t.Fatalf("dial %s: %v", to, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetReadBuffer(4 << 20) // As above.
	return &UDPClient{t: t, UDPConn: c, buf: make([]byte, 1<<16)}
}

// Send sends one datagram.
func (c *UDPClient) Send(p string) {
	c.t.Helper()
	if _, err := c.Write([]byte(p)); err != nil {
		c.t.Fatalf("send %d bytes: %v", len(p), err)
	}
}

// Receive waits for a datagram.
func (c *UDPClient) Receive() string {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		c.t.Fatal(err)
	}
	n, err := c.Read(c.buf)
	if err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	return string(c.buf[:n])
}

// Exchange sends a datagram and waits for want.
func (c *UDPClient) Exchange(p, want string) {
	c.t.Helper()
	c.Send(p)
	if got := c.Receive(); got != want {
		c.t.Fatalf("sent %.40q, got %.40q (%d bytes), want %.40q", p, got, len(got), want)
	}
}

// Echo sends a datagram and waits for it to come back.
func (c *UDPClient) Echo(p string) {
	c.t.Helper()
	c.Exchange(p, p)
}

// Named returns an answer for NewUDPUpstream that puts a name before each datagram.
func Named(name string) func(p []byte) [][]byte {
	return func(p []byte) [][]byte { return [][]byte{append([]byte(name+" "), bytes.Clone(p)...)} }
}
