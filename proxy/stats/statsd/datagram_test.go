// SPDX-License-Identifier: Apache-2.0

package statsd

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stats/sink"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// server receives datagrams.
func server(t *testing.T, network, addr string) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func receive(t *testing.T, c net.PacketConn) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<16)
	n, _, err := c.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func counters(names ...string) *sink.Snapshot {
	s := &sink.Snapshot{}
	for _, n := range names {
		s.Metrics = append(s.Metrics, stats.Metric{Name: n, Kind: stats.KindCounter, Delta: 1})
	}
	return s
}

func TestDatagrams(t *testing.T) {
	long := strings.Repeat("x", 60)
	for _, tt := range []struct {
		name string
		most int
		give []string
		want []string
	}{
		{"one each", 0, []string{"a", "b"}, []string{"envoy.a:1|c", "envoy.b:1|c"}},
		{"as many as fit", 24, []string{"a", "b", "c"}, []string{"envoy.a:1|c\nenvoy.b:1|c", "envoy.c:1|c"}},
		{"just", 23, []string{"a", "b"}, []string{"envoy.a:1|c\nenvoy.b:1|c"}},
		{"not quite", 22, []string{"a", "b"}, []string{"envoy.a:1|c", "envoy.b:1|c"}},
		{"one that is longer", 40, []string{"a", long, "b", "c"}, []string{"envoy.a:1|c", "envoy." + long + ":1|c", "envoy.b:1|c\nenvoy.c:1|c"}},
		{"one that no datagram holds", 40, []string{strings.Repeat("x", 1<<17), "b"}, []string{"envoy.b:1|c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := server(t, "udp", "127.0.0.1:0")
			d := NewDatagrams(Target{"udp", c.LocalAddr().String()}, Format{}, tt.most, slog.New(slog.DiscardHandler))
			defer d.Close()
			d.Flush(t.Context(), counters(tt.give...))
			for _, want := range tt.want {
				if got := receive(t, c); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
}

// TestNobody: it does not matter when who listens comes, goes and comes back.
func TestNobody(t *testing.T) {
	c := server(t, "udp", "127.0.0.1:0")
	addr := c.LocalAddr().String()
	var log strings.Builder
	d := NewDatagrams(Target{"udp", addr}, Format{}, 0, slog.New(slog.NewTextHandler(&log, nil)))
	defer d.Close()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		d.Flush(t.Context(), counters("a", "b", "c"))
	}
	c = server(t, "udp", addr)
	d.Flush(t.Context(), counters("d"))
	if got := receive(t, c); got != "envoy.d:1|c" {
		t.Errorf("got %q", got)
	}
	if log.Len() > 0 {
		t.Error(log.String())
	}
}

func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var log strings.Builder
	d := NewDatagrams(Target{"unixgram", path}, Format{}, 0, slog.New(slog.NewTextHandler(&log, nil)))
	defer d.Close()
	d.Flush(t.Context(), counters("a"))
	d.Flush(t.Context(), counters("a"))
	if n := strings.Count(log.String(), "could not be sent"); n != 1 {
		t.Errorf("told %d times:\n%s", n, &log)
	}
	for range 2 { // Who listens may make the socket anew.
		c := server(t, "unixgram", path)
		d.Flush(t.Context(), counters("b")) // The old one is found to be gone.
		d.Flush(t.Context(), counters("b"))
		if got := receive(t, c); got != "envoy.b:1|c" {
			t.Errorf("got %q", got)
		}
		if err := errors.Join(c.Close(), os.Remove(path)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", &corev3.Address{}) }

func TestParseAddress(t *testing.T) {
	socket := func(s *corev3.SocketAddress) *corev3.Address {
		return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: s}}
	}
	port := &corev3.SocketAddress_PortValue{PortValue: 8125}
	for _, tt := range []struct {
		name      string
		give      *corev3.Address
		want      Target
		wantError string
	}{
		{"IPv4", socket(&corev3.SocketAddress{Address: "127.0.0.1", PortSpecifier: port}), Target{"udp", "127.0.0.1:8125"}, ""},
		{"IPv6, UDP", socket(&corev3.SocketAddress{Address: "::1", PortSpecifier: port, Protocol: corev3.SocketAddress_UDP}), Target{"udp", "[::1]:8125"}, ""},
		{"a socket's file", &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/s"}}}, Target{"unixgram", "/run/s"}, ""},
		{"a name", socket(&corev3.SocketAddress{Address: "statsd", PortSpecifier: port}), Target{}, `"statsd" is not an IP address`},
		{"a named port", socket(&corev3.SocketAddress{Address: "::1", PortSpecifier: &corev3.SocketAddress_NamedPort{NamedPort: "x"}}), Target{}, "named_port"},
		{"a resolver", socket(&corev3.SocketAddress{Address: "::1", ResolverName: "x"}), Target{}, "resolver_name"},
		{"a mode", &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/s", Mode: 1}}}, Target{}, "pipe.mode"},
		{"none", &corev3.Address{}, Target{}, "is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseAddress(tt.give)
			if got != tt.want || (err == nil) != (tt.wantError == "") || err != nil && !strings.Contains(err.Error(), tt.wantError) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
