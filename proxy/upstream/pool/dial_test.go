// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/internal/reserve"
	"weir.dev/weir/proxy/proxytest"
)

func TestMain(m *testing.M) { leak.Main(m) }

const get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n"

func start(t *testing.T, e proxytest.Edge, backends map[string]string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: backends})
}

// hanging returns an address that lets connections hang: its queue is full, and
// nobody takes anything out of it.
func hanging(t *testing.T) string {
	t.Helper()
	fd := socket(t)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := unix.Connect(socket(t), sa); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
	}
	return "127.0.0.1:" + strconv.Itoa(sa.(*unix.SockaddrInet4).Port)
}

func socket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// addresses is a cluster "many" whose one host has these.
func addresses(first string, more ...string) proxytest.Edge {
	var b strings.Builder
	for _, a := range more {
		fmt.Fprintf(&b, "{address: %s}, ", proxytest.Address(a))
	}
	return proxytest.Edge{
		Routes: "- {match: {prefix: /}, route: {cluster: many, timeout: 60s}}",
		Clusters: "- name: many\n  connect_timeout: 30s\n  load_assignment: {cluster_name: many, endpoints: [{lb_endpoints: [{endpoint: {address: " +
			proxytest.Address(first) + ", additional_addresses: [" + b.String() + "]}}]}]}",
	}
}

// TestHappyEyeballs: an address that does not answer, or refuses, costs no request and
// little time while the host has another; what was begun elsewhere leaves nothing.
func TestHappyEyeballs(t *testing.T) {
	for name, first := range map[string]func(*testing.T) string{"hangs": hanging, "refuses": func(t *testing.T) string { return reserve.TCP(t) }} {
		t.Run(name, func(t *testing.T) {
			u := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("ok")))
			p := start(t, addresses(first(t), u.Addr(), reserve.TCP(t)), map[string]string{"up": u.Addr()})
			if res := p.Do(get); res.Content != "ok" {
				t.Fatal(res)
			}
			// The clock of Patience is far below the connect timeout: it was not waited for.
			for name, want := range map[string]uint64{"upstream_cx_total": 1, "upstream_cx_connect_fail": 0, "upstream_rq_200": 1} {
				p.WaitCounter("cluster.many."+name, want)
			}
			if n := u.Connections(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// TestHappyEyeballsAllFail: without any address that works the first one's error is
// told, once all have failed.
func TestHappyEyeballsAllFail(t *testing.T) {
	p := start(t, addresses(reserve.TCP(t), reserve.TCP(t), reserve.TCP(t)), map[string]string{"up": "127.0.0.1:1"})
	if res := p.Do(get); res.StatusCode != 503 || !strings.Contains(res.Content, "Connection refused") {
		t.Error(res)
	}
	p.WaitCounter("cluster.many.upstream_cx_connect_fail", 1)
	p.WaitGauge("cluster.many.upstream_cx_active", 0)
}

// TestConnectTimeoutOfAll: the connect timeout is that of all addresses together.
func TestConnectTimeoutOfAll(t *testing.T) {
	e := addresses(hanging(t), hanging(t))
	e.Clusters = strings.Replace(e.Clusters, "connect_timeout: 30s", "connect_timeout: 0.4s", 1)
	p := start(t, e, map[string]string{"up": "127.0.0.1:1"})
	if res := p.Do(get); res.StatusCode != 503 {
		t.Error(res)
	}
	p.WaitCounter("cluster.many.upstream_cx_connect_timeout", 1)
	p.WaitGauge("cluster.many.upstream_cx_active", 0)
}

// TestHangingHostHoldsUpNobody: connections to one host that hang do not keep requests
// from another.
func TestHangingHostHoldsUpNobody(t *testing.T) {
	u := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("ok"), proxytest.OK("ok"), proxytest.OK("ok")))
	e := proxytest.Edge{
		Routes: "- {match: {prefix: /}, route: {cluster: two, timeout: 60s}}",
		Clusters: "- name: two\n  connect_timeout: 30s\n  load_assignment: {cluster_name: two, endpoints: [{lb_endpoints: [" +
			"{endpoint: {address: {{stuck}}}}, {endpoint: {address: {{up}}}}]}]}",
	}
	p := start(t, e, map[string]string{"up": u.Addr(), "stuck": hanging(t)})
	for range 4 { // Round robin gives every other one to the host that hangs.
		p.Dial().Send(get)
	}
	p.WaitCounter("cluster.two.upstream_rq_200", 2)
	p.WaitGauge("cluster.two.upstream_rq_pending_active", 2)
}

// peers answers each request with the address that the connection comes from.
func peers(s *proxytest.Session) {
	for {
		if _, err := s.Request(); err != nil {
			return
		}
		from := s.Conn().RemoteAddr().(*net.TCPAddr).IP.String()
		if s.Send(proxytest.OK(from)) != nil {
			return
		}
	}
}

// TestSourceAddress: connections come from where the cluster, or else the cluster
// manager, says, by the IP version of the host.
func TestSourceAddress(t *testing.T) {
	for name, tt := range map[string]struct{ bootstrap, cluster, want string }{
		"none":            {"", "", "127.0.0.1"},
		"cluster":         {"", "upstream_bind_config: {source_address: {address: 127.0.0.2, port_value: 0}}", "127.0.0.2"},
		"manager":         {"cluster_manager: {upstream_bind_config: {source_address: {address: 127.0.0.3, port_value: 0}}}", "", "127.0.0.3"},
		"cluster first":   {"cluster_manager: {upstream_bind_config: {source_address: {address: 127.0.0.3, port_value: 0}}}", "upstream_bind_config: {source_address: {address: 127.0.0.2, port_value: 0}}", "127.0.0.2"},
		"extra":           {"", "upstream_bind_config: {source_address: {address: '::1', port_value: 0}, extra_source_addresses: [{address: {address: 127.0.0.4, port_value: 0}}]}", "127.0.0.4"},
		"additional":      {"", "upstream_bind_config: {source_address: {address: '::1', port_value: 0}, additional_source_addresses: [{address: 127.0.0.5, port_value: 0}]}", "127.0.0.5"},
		"named selection": {"", "upstream_bind_config: {source_address: {address: 127.0.0.6, port_value: 0}, local_address_selector: {name: s, typed_config: {'@type': type.googleapis.com/envoy.config.upstream.local_address_selector.v3.DefaultLocalAddressSelector}}}", "127.0.0.6"},
	} {
		t.Run(name, func(t *testing.T) {
			u := proxytest.NewUpstream(t, peers)
			p := start(t, proxytest.Edge{Bootstrap: tt.bootstrap, Cluster: tt.cluster}, map[string]string{"up": u.Addr()})
			if res := p.Do(get); res.Content != tt.want {
				t.Errorf("from %s, want %s", res.Content, tt.want)
			}
		})
	}
}

// TestSourcePort: a port of a source is used, so only one connection can be.
func TestSourcePort(t *testing.T) {
	// Nobody else has this address of the loopback, so any port will do.
	port := strconv.Itoa(20000 + rand.IntN(10000))
	u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		if _, err := s.Request(); err == nil {
			_, from, _ := net.SplitHostPort(s.Conn().RemoteAddr().String())
			_ = s.Send(proxytest.OK(from))
			_ = s.Gone()
		}
	})
	p := start(t, proxytest.Edge{Cluster: "upstream_bind_config: {source_address: {address: 127.0.0.177, port_value: " + port + "}}"}, map[string]string{"up": u.Addr()})
	if res := p.Do(get); res.Content != port {
		t.Errorf("%v, want port %s", res, port)
	}
}

// TestBindError: a source that the machine does not have is told, and counted.
func TestBindError(t *testing.T) {
	p := start(t, proxytest.Edge{Cluster: "upstream_bind_config: {source_address: {address: 192.0.2.1, port_value: 0}}"}, map[string]string{"up": "127.0.0.1:1"})
	if res := p.Do(get); res.StatusCode != 503 || !strings.Contains(res.Content, "Cannot assign requested address") {
		t.Error(res)
	}
	p.WaitCounter("cluster.up.bind_errors", 1)
}

// TestSocketOptions reads the options of the socket back.
func TestSocketOptions(t *testing.T) {
	const tos, ttl, mss = 0x28, 33, 1000
	u := proxytest.NewUpstream(t, peers)
	p := start(t, proxytest.Edge{Cluster: `upstream_connection_options: {tcp_keepalive: {keepalive_probes: 3, keepalive_time: 40, keepalive_interval: 5}}
upstream_bind_config:
  source_address: {address: 127.0.0.2, port_value: 0}
  freebind: true
  socket_options:
  - {level: 0, name: 1, int_value: 40, state: STATE_PREBIND}
  - {level: 0, name: 2, int_value: 33, state: STATE_BOUND, ip_version: SOCKET_IP_VERSION_IPV4, type: {stream: {}}}
  - {level: 6, name: 2, int_value: 1000, type: {datagram: {}}}
  - {level: 0, name: 2, int_value: 44, ip_version: SOCKET_IP_VERSION_IPV6}
  - {level: 1, name: 8, buf_value: AAABAA==}`}, map[string]string{"up": u.Addr()})
	if res := p.Do(get); res.Content != "127.0.0.2" {
		t.Fatal(res)
	}
	fd := connected(t, u.Addr())
	for _, o := range []struct {
		what              string
		level, name, want int
	}{
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 40},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 5},
		{"IP_FREEBIND", unix.SOL_IP, unix.IP_FREEBIND, 1},
		{"IP_TOS", unix.SOL_IP, unix.IP_TOS, tos},
		{"IP_TTL", unix.SOL_IP, unix.IP_TTL, ttl},
		{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, 2 * 1 << 16},
	} {
		got, err := unix.GetsockoptInt(fd, o.level, o.name)
		if err != nil || got != o.want {
			t.Errorf("%s is %d, %v, want %d", o.what, got, err, o.want)
		}
	}
	if got, _ := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG); got == mss {
		t.Error("an option for datagrams was set")
	}
}

// connected finds this process's socket that is connected to an address.
func connected(t *testing.T, to string) int {
	t.Helper()
	want := netip.MustParseAddrPort(to)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fds {
		fd, _ := strconv.Atoi(f.Name())
		if sa, err := unix.Getpeername(fd); err == nil {
			if in, ok := sa.(*unix.SockaddrInet4); ok && netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)) == want {
				return fd
			}
		}
	}
	t.Fatalf("no socket is connected to %s", to)
	return -1
}
