// SPDX-License-Identifier: Apache-2.0

package tcpproxy_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/proxy/proxytest"
)

// TestAsHAProxy: clients and upstreams see the same through this proxy and through
// HAProxy in TCP mode.
func TestAsHAProxy(t *testing.T) {
	program, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skip("haproxy is not installed")
	}
	for _, tt := range []struct {
		name   string
		server func(*proxytest.Session)
		client func(*proxytest.Client)
	}{
		{"echo", echo, func(c *proxytest.Client) { c.Send("hello"); c.CloseWrite() }},
		{"server speaks and closes", func(s *proxytest.Session) { _ = s.Send("bye") }, func(*proxytest.Client) {}},
		{"server answers the end", func(s *proxytest.Session) {
			b, err := s.ReadAll()
			_ = s.Send(fmt.Sprintf("%d bytes, %v", len(b), err))
		}, func(c *proxytest.Client) { c.Send(pattern(300_000)); c.CloseWrite() }},
		{"much", func(s *proxytest.Session) { _ = s.Send(pattern(3 << 20)) }, func(*proxytest.Client) {}},
		{"server ends first", func(s *proxytest.Session) {
			_ = s.Send("mine is done")
			_ = s.CloseWrite()
			b, _ := s.ReadAll()
			s.Note(b)
		}, func(c *proxytest.Client) { c.Send("yours is not"); c.CloseWrite() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var seen [2]string
			for i, through := range []func(up string) string{
				func(up string) string { return startAt(t, edge{}, map[string]string{"up": up}).Addr() },
				func(up string) string { return haproxy(t, program, up) },
			} {
				up := proxytest.NewUpstream(t, tt.server)
				c := proxytest.Dial(t, through(up.Addr()))
				tt.client(c)
				got, reset := c.ReadAll()
				c.Close()
				up.WaitConnections(1)
				seen[i] = fmt.Sprintf("client %d bytes %.20q reset %v", len(got), got, reset)
			}
			if seen[0] != seen[1] {
				t.Errorf("through this proxy: %s\nthrough haproxy:    %s", seen[0], seen[1])
			}
		})
	}
}

// haproxy runs HAProxy in TCP mode before an upstream and returns its address, a
// socket of the test's own.
func haproxy(t *testing.T, program, up string) string {
	t.Helper()
	// The path of a socket is short; that of a test's directory may not be.
	dir, err := os.MkdirTemp("", "h")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	config := strings.Join([]string{
		"defaults", "  mode tcp", "  timeout connect 5s", "  timeout client 10s", "  timeout server 10s",
		"frontend f", "  bind unix@" + socket, "  default_backend b",
		"backend b", "  server s " + up, "",
	}, "\n")
	file := filepath.Join(dir, "c")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-db", "-f", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	proxytest.Eventually(t, "haproxy", func() (error, bool) {
		c, err := net.DialTimeout("unix", socket, time.Second)
		if err != nil {
			return err, false
		}
		return nil, c.Close() == nil
	})
	return socket
}
