// SPDX-License-Identifier: Apache-2.0

package listener_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/reserve"
	"weir.dev/weir/proxy/proxytest"
)

const request = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"

func start(t *testing.T, e proxytest.Edge, loops int) *proxytest.Proxy {
	t.Helper()
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("ok")))
	return proxytest.Start(t, e.YAML(), proxytest.Options{
		Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}, Concurrency: loops,
	})
}

func ok(t *testing.T, addr string) {
	t.Helper()
	c := proxytest.Dial(t, addr)
	defer c.Close()
	if r := c.Do(request); r.StatusCode != 200 {
		t.Errorf("%s: %v", addr, r)
	}
}

func TestAddresses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	p := start(t, proxytest.Edge{Listener: "additional_addresses: [{address: {socket_address: {address: \"::1\", port_value: 0}}}, {address: {socket_address: {address: 127.0.0.2, port_value: 0}}}]"}, 3)
	all := p.Listeners()
	if len(all) != 3 {
		t.Fatalf("%q", all)
	}
	for _, a := range all {
		if strings.HasSuffix(a, ":0") {
			t.Errorf("%s has no port", a)
		}
		for range 8 { // The kernel spreads them over the loops.
			ok(t, a)
		}
	}
	p = start(t, proxytest.Edge{Address: "{pipe: {path: " + path + ", mode: 0640}}", AccessLog: "%DOWNSTREAM_LOCAL_ADDRESS%", Manager: "use_remote_address: true"}, 2)
	for range 4 {
		ok(t, path)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got := p.LogLines(1)[0]; got != path {
		t.Errorf("local address %q", got)
	}
	p.Close()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket's file is left: %v", err)
	}
}

// TestStaleSocket: the file that a killed process has left is replaced, that of
// one that still listens is not.
func TestStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	e := proxytest.Edge{Address: "{pipe: {path: " + path + "}}"}
	o := proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}}
	if _, err := proxytest.TryStart(t, e.YAML(), o); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a path on which somebody listens: %v", err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	e.Routes = "- {match: {prefix: /}, direct_response: {status: 200}}"
	proxytest.Start(t, e.YAML(), o)
	ok(t, path)
}

// TestRefusedLeavesNothingBound: of a bootstrap that is refused no socket stays.
func TestRefusedLeavesNothingBound(t *testing.T) {
	addr := reserve.TCP(t)
	_, port, _ := strings.Cut(addr, ":")
	good := "{socket_address: {address: 127.0.0.1, port_value: " + port + "}}"
	// The second listener cannot be bound: the address is none of this machine's.
	yaml := strings.Replace(proxytest.Edge{Address: good}.YAML(), "  clusters:\n",
		"  - name: second\n    address: {socket_address: {address: 192.0.2.1, port_value: 0}}\n    filter_chains: [{filters: [{name: hcm, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: x, http_filters: [{{router}}], route_config: {}}}]}]\n  clusters:\n", 1)
	if _, err := proxytest.TryStart(t, yaml, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}}); err == nil {
		t.Fatal("the second listener was bound")
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		_ = conn.Close()
		t.Error("the first listener is still bound")
	}
}

func TestNotBound(t *testing.T) {
	p := start(t, proxytest.Edge{Listener: "bind_to_port: false"}, 1)
	if got := p.Listeners(); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

func TestTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	_, port, _ := strings.Cut(ln.Addr().String(), ":")
	_, err = proxytest.TryStart(t, proxytest.Edge{Address: "{socket_address: {address: 127.0.0.1, port_value: " + port + "}}"}.YAML(), proxytest.Options{
		Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"},
	})
	if err == nil || !strings.Contains(err.Error(), port) || !strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		t.Errorf("%v", err)
	}
}

func TestRefusedFields(t *testing.T) {
	for _, tt := range []struct{ listener, want string }{
		{"socket_options: [{level: 1, name: 9, int_value: 1, state: STATE_LISTENING}]", "socket_options[0]"},
		{"udp_listener_config: {}", "udp_listener_config"},
		{"enable_mptcp: true", "enable_mptcp"},
	} {
		_, err := proxytest.TryStart(t, proxytest.Edge{Listener: tt.listener}.YAML(), proxytest.Options{
			Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"},
		})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.listener, err)
		}
	}
}

func TestSocketOptions(t *testing.T) {
	p := start(t, proxytest.Edge{Listener: "socket_options: [{level: 1, name: 9, int_value: 1}]\ntcp_keepalive: {keepalive_time: 30}\ntcp_backlog_size: 16\nfreebind: true\ntcp_fast_open_queue_length: 4"}, 1)
	ok(t, p.Addr())
}

func limits(key string, n int) string {
	return fmt.Sprintf("layered_runtime: {layers: [{name: l, static_layer: {%q: %d}}]}", key, n)
}

func TestLimits(t *testing.T) {
	for key, counter := range map[string]string{
		"envoy.resource_limits.listener.test.connection_limit": "downstream_cx_overflow",
		"overload.global_downstream_max_connections":           "downstream_global_cx_overflow",
	} {
		p := start(t, proxytest.Edge{Bootstrap: limits(key, 2), Listener: "stat_prefix: l"}, 1)
		a, b := p.Dial(), p.Dial()
		a.Do(request)
		b.Do(request)
		c := p.Dial()
		c.ExpectClosed()
		p.WaitCounter("listener.l."+counter, 1)
		a.Close()
		p.WaitGauge("listener.l.downstream_cx_active", 1)
		ok(t, p.Addr())
		if r := b.Do(request); r.StatusCode != 200 {
			t.Error(r)
		}
	}
}

func TestChains(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("ok")))
	// The listener of Edge has one chain; here it takes another source only.
	yaml := strings.Replace(proxytest.Edge{Listener: "stat_prefix: l"}.YAML(), "- filters:", "- filter_chain_match: {source_prefix_ranges: [{address_prefix: 192.0.2.0, prefix_len: 24}]}\n      filters:", 1)
	p := proxytest.Start(t, yaml, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
	c := p.Dial()
	c.ExpectClosed()
	p.WaitCounter("listener.l.no_filter_chain_match", 1)
	p.WaitGauge("listener.l.downstream_cx_active", 0)
}

// TestUpdateUnderLoad changes the configuration again and again under requests,
// none of which may fail.
func TestUpdateUnderLoad(t *testing.T) {
	p := start(t, proxytest.Edge{}, 2)
	addr := p.Addr()
	var stop atomic.Bool
	var served atomic.Int64
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			c := proxytest.Dial(t, addr)
			defer func() { c.Close() }()
			for n := 0; !stop.Load(); n++ {
				c.Send(request)
				r := c.Response("GET")
				if r.StatusCode != 200 || r.Content != "ok" {
					t.Errorf("%v", r)
				}
				served.Add(1)
				if r.Close || i%2 == 0 && n%5 == 0 {
					c.Close()
					c = proxytest.Dial(t, addr)
				}
			}
		})
	}
	for i := range 30 {
		e := proxytest.Edge{Manager: fmt.Sprintf("server_name: s%d", i), Listener: fmt.Sprintf("listener_filters_timeout: %ds", i+1)}
		if problems := p.Update(e.YAML()); len(problems) > 0 {
			t.Errorf("update %d: %v", i, problems)
		}
		goal := served.Load() + 20
		proxytest.Eventually(t, "requests served", func() (int64, bool) { n := served.Load(); return n, n >= goal })
	}
	stop.Store(true)
	wg.Wait()
	if got := p.Addr(); got != addr {
		t.Errorf("the listener moved from %s to %s", addr, got)
	}
	if r := p.Do(request); r.Header.Get("server") != "s29" {
		t.Errorf("%v", r)
	}
}

// TestStopAccepting: connections that the kernel has taken are served still.
func TestStopAccepting(t *testing.T) {
	p := start(t, proxytest.Edge{}, 2)
	var conns []*proxytest.Client
	for range 20 {
		c := p.Dial()
		c.Send(request)
		conns = append(conns, c)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
		defer cancel()
		p.Drain(ctx)
	})
	for _, c := range conns {
		if r := c.Response("GET"); r.StatusCode != 200 {
			t.Error(r)
		}
		c.Close()
	}
	wg.Wait()
	if conn, err := net.Dial("tcp", p.Addr()); err == nil {
		_ = conn.Close()
		t.Error("the listener still takes connections")
	}
}

// TestNoDescriptors: a process that has no descriptors left counts what it cannot
// take, and takes it once it has.
func TestNoDescriptors(t *testing.T) {
	p := start(t, proxytest.Edge{Listener: "stat_prefix: l"}, 1)
	ok(t, p.Addr()) // What is opened once is open.
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	})
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	free := uint64(f.Fd()) // The lowest number: the client gets it, the proxy no other.
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: free + 1, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	c := p.Dial()
	c.Send(request)
	proxytest.Eventually(t, "downstream_listener_accept_failed", func() (uint64, bool) {
		m, _ := p.Metric("listener.l.downstream_listener_accept_failed")
		return m.Count, m.Count > 0
	})
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if r := c.Response("GET"); r.StatusCode != 200 {
		t.Errorf("%v", r)
	}
}

func TestAccessLog(t *testing.T) {
	p := start(t, proxytest.Edge{Listener: `access_log:
- name: file
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
    path: {{log}}
    log_format: {text_format_source: {inline_string: "%ACCESS_LOG_TYPE% %BYTES_RECEIVED%\n"}}
`}, 1)
	ok(t, p.Addr())
	if got, want := p.LogLines(1)[0], fmt.Sprintf("TcpConnectionEnd %d", len(request)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
