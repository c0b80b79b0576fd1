// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/test/weirtest"
)

// pressed runs a process with an overload manager, which has what config says, and returns where it listens.
func pressed(t *testing.T, config string) (web, admin string) {
	t.Helper()
	web, admin = "127.0.0.1:"+weirtest.FreePort(t), "127.0.0.1:"+weirtest.FreePort(t)
	text := fmt.Sprintf(`admin: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}
overload_manager:
  refresh_interval: 0.05s
%sstatic_resources:
  listeners:
  - name: web
    stat_prefix: web
    address: {socket_address: {address: 127.0.0.1, port_value: %s}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          http_filters:
          - name: buffer
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 16777216}
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: served}}}]}
`, port(admin), config, port(web))
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	weirtest.Start(t, "run", file).WaitFor("Ready.")
	return web, admin
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

// ask sends a request on a connection of its own and returns the status and the body.
func ask(addr string) (string, error) {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	res, err := c.Get("http://" + addr + "/")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return fmt.Sprint(res.StatusCode, " ", string(b)), err
}

// becomes waits until requests are answered as want says.
func becomes(t *testing.T, addr, want string) {
	t.Helper()
	proxytest.Eventually(t, "the answer "+want, func() (string, bool) {
		got, err := ask(addr)
		return fmt.Sprint(got, err), err == nil && got == want
	})
}

func stat(t *testing.T, admin, name string) string {
	t.Helper()
	res, err := http.Get("http://" + admin + "/stats?filter=" + name + "$")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(string(b), name+": "))
}

const stopRequests = `  actions:
  - {name: envoy.overload_actions.stop_accepting_requests, triggers: [{name: it, threshold: {value: 0.9}}]}
`

// TestMemoryRunsOut fills the memory of a process with requests that it buffers: before it is full others are
// answered 503, and served again once the memory is free.
func TestMemoryRunsOut(t *testing.T) {
	const limit = 192 << 20
	web, admin := pressed(t, fmt.Sprintf(`  resource_monitors:
  - name: it
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig
      max_heap_size_bytes: %d
`, limit)+stopRequests)
	becomes(t, web, "200 served")
	piece := make([]byte, 1<<20)
	var held []net.Conn
	defer func() {
		for _, c := range held {
			_ = c.Close()
		}
	}()
	full := false
	for sent := 0; sent < 2*limit && !full; {
		c, err := net.Dial("tcp", web)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 16777216\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Write(piece); err != nil {
				full = true // It was refused, and the connection closed.
				break
			}
			sent += len(piece)
		}
		got, err := ask(web)
		full = full || err == nil && got == "503 envoy overloaded"
	}
	becomes(t, web, "503 envoy overloaded")
	if got := stat(t, admin, "overload.envoy.overload_actions.stop_accepting_requests.active"); got != "1" {
		t.Errorf("the action is not active: %q", got)
	}
	for _, c := range held {
		_ = c.Close()
	}
	becomes(t, web, "200 served")
	if got := stat(t, admin, "http.web.downstream_rq_overload_close"); got == "0" || got == "" {
		t.Errorf("downstream_rq_overload_close is %q", got)
	}
}

// TestConnectionsRunOut opens as many connections as there may be: another is closed at once, and taken when
// there is room.
func TestConnectionsRunOut(t *testing.T) {
	web, admin := pressed(t, `  resource_monitors:
  - name: it
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: 10
`)
	becomes(t, web, "200 served")
	var held []net.Conn
	for range 10 {
		c, err := net.Dial("tcp", web)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	proxytest.Eventually(t, "ten connections", func() (string, bool) {
		got := stat(t, admin, "listener.web.downstream_cx_active")
		return got, got == "10"
	})
	if got, err := ask(web); err == nil {
		t.Errorf("the eleventh connection was served: %s", got)
	}
	if got := stat(t, admin, "listener.web.downstream_global_cx_overflow"); got == "0" || got == "" {
		t.Errorf("downstream_global_cx_overflow is %q", got)
	}
	for _, c := range held {
		_ = c.Close()
	}
	becomes(t, web, "200 served")
}

// TestDescriptorsRunOut does so with descriptors, of which the process opens one for each connection.
func TestDescriptorsRunOut(t *testing.T) {
	web, _ := pressed(t, `  resource_monitors:
  - name: it
    typed_config:
      "@type": type.googleapis.com/xds.type.v3.TypedStruct
      type_url: type.googleapis.com/weir.dev.resource_monitors.FileDescriptors
      value: {max_file_descriptors: 100}
`+stopRequests)
	becomes(t, web, "200 served")
	var held []net.Conn
	for range 100 {
		c, err := net.Dial("tcp", web)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	becomes(t, web, "503 envoy overloaded")
	for _, c := range held {
		_ = c.Close()
	}
	becomes(t, web, "200 served")
}
