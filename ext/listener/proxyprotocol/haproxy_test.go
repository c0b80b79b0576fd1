// SPDX-License-Identifier: Apache-2.0

package proxyprotocol_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/proxyproto"
	"weir.dev/weir/proxy/proxytest"
)

// haproxy runs HAProxy until the test ends, with one listener for each of its
// sockets fd@3, fd@4 and so on, and returns their addresses.
func haproxy(t *testing.T, n int, config string) []string {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skip("haproxy is not installed")
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	config = "defaults\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n" + config
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-f", file, "-db")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	var addrs []string
	for range n {
		ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		f, err := ln.File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = ln.Close(), f.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		addrs = append(addrs, ln.Addr().String())
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// It ends by the signal, which is then its exit status.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	return addrs
}

// TestFromHAProxy reads what HAProxy writes.
func TestFromHAProxy(t *testing.T) {
	p := proxytest.Start(t, proxytest.Told(filter(", rules: [{tlv_type: 5, on_tlv_present: {key: a}}]"), ""), options(t))
	config := ""
	for i, send := range []string{"send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"} {
		config += fmt.Sprintf("frontend f%d\n mode tcp\n bind fd@%d\n unique-id-format id\n default_backend b%d\nbackend b%d\n mode tcp\n server s %s %s\n", i, 3+i, i, i, p.Addr(), send)
	}
	for i, at := range haproxy(t, 3, config) {
		c := proxytest.Dial(t, at)
		c.Send("after")
		id := "-"
		if i == 2 {
			id = "id"
		}
		want := c.Conn().LocalAddr().String() + " " + at + " 127.0.0.1 " + id + " - -\nafter"
		if got := c.ReadN(len(want)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	p.WaitCounter("proxy_proto.versions.v1.found", 1)
	p.WaitCounter("proxy_proto.versions.v2.found", 2)
}

// TestToHAProxy has HAProxy read what is written here.
func TestToHAProxy(t *testing.T) {
	at := haproxy(t, 1, "frontend f\n mode http\n bind fd@3 accept-proxy\n http-request return status 200 content-type text/plain lf-string \"%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority]\"\n")[0]
	for _, tt := range []struct{ src, dst string }{{"192.0.2.1:5", "198.51.100.2:6"}, {"[2001:db8::1]:5", "[2001:db8::2]:6"}} {
		src, err := address.Parse(tt.src)
		if err != nil {
			t.Fatal(err)
		}
		dst, err := address.Parse(tt.dst)
		if err != nil {
			t.Fatal(err)
		}
		ends := src.Addr().String() + " 5 " + dst.Addr().String() + " 6 "
		v2, _ := proxyproto.AppendV2(nil, src, dst, []proxyproto.TLV{{Type: 2, Value: []byte("a.test")}})
		for header, want := range map[string]string{string(proxyproto.AppendV1(nil, src, dst)): ends, string(v2): ends + "a.test"} {
			c := proxytest.Dial(t, at)
			c.Send(header)
			if r := c.Do("GET / HTTP/1.1\r\nhost: a\r\n\r\n"); r.StatusCode != 200 || strings.TrimSpace(r.Content) != strings.TrimSpace(want) {
				t.Errorf("%q: %v, want %q", header, r, want)
			}
			c.Close()
		}
	}
}
