// SPDX-License-Identifier: Apache-2.0

package proxyprotocol_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxyproto"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

// host reads a PROXY protocol header of each connection, then TLS if it has a
// configuration for that, and answers every HTTP/1 request with what the header told.
type host struct {
	ln  net.Listener
	tls *tls.Config
	wg  sync.WaitGroup
	mu  sync.Mutex
	all []net.Conn
}

func newHost(t *testing.T, cfg *tls.Config) *host {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{ln: ln, tls: cfg}
	h.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			h.mu.Lock()
			h.all = append(h.all, c)
			h.mu.Unlock()
			h.wg.Go(func() { h.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		h.mu.Lock()
		for _, c := range h.all {
			_ = c.Close()
		}
		h.mu.Unlock()
		h.wg.Wait()
	})
	return h
}

// connections is how many were taken.
func (h *host) connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all)
}

// told reads the header, not a byte more, and says what it tells.
func told(c net.Conn) (string, error) {
	b := make([]byte, 16)
	if _, err := io.ReadFull(c, b); err != nil {
		return "", err
	}
	if b[0] == 'P' {
		for b[len(b)-1] != '\n' {
			one := make([]byte, 1)
			if _, err := io.ReadFull(c, one); err != nil {
				return "", err
			}
			b = append(b, one[0])
		}
		return strings.TrimSpace(string(b)), nil
	}
	rest := make([]byte, int(b[14])<<8|int(b[15]))
	if _, err := io.ReadFull(c, rest); err != nil {
		return "", err
	}
	v, err := proxyproto.ParseV2(append(b, rest...))
	s := fmt.Sprintf("V2 %s %s", v.Source, v.Destination)
	for _, t := range v.TLVs {
		s += fmt.Sprintf(" %d=%s", t.Type, t.Value)
	}
	return s, err
}

func (h *host) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	text, err := told(c)
	if err != nil {
		text = err.Error()
	}
	if h.tls != nil {
		c = tls.Server(c, h.tls)
	}
	r := bufio.NewReader(c)
	for {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s", len(text), text); err != nil {
			return
		}
	}
}

func socket(config, inner string) string {
	return `transport_socket:
  name: envoy.transport_sockets.upstream_proxy_protocol
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport
    config: {` + config + `}
    transport_socket: ` + inner + "\n"
}

const (
	plain     = `{name: raw, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}`
	encrypted = `{name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}`
	get       = "GET / HTTP/1.1\r\nhost: a\r\n\r\n"
)

// Each host's connection is of one client, and its header says which.
func TestThroughTheProxy(t *testing.T) {
	leaf := tlstest.NewCA(t, "CA").Issue(t, tlstest.Leaf{DNS: []string{"a.test"}})
	secure := &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}}
	v1 := func(c net.Conn) string {
		from, to := c.LocalAddr().(*net.TCPAddr), c.RemoteAddr().(*net.TCPAddr)
		return fmt.Sprintf("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d", from.Port, to.Port)
	}
	v2 := func(c net.Conn) string {
		return fmt.Sprintf("V2 %s %s 224=fixed 225=%s", c.LocalAddr(), c.RemoteAddr(), c.LocalAddr())
	}
	const tlvs = `version: V2, added_tlvs: [{type: 224, value: Zml4ZWQ=}, {type: 225, format_string: {text_format_source: {inline_string: "%DOWNSTREAM_REMOTE_ADDRESS%"}}}]`
	for _, tt := range []struct {
		name, cluster string
		tls           *tls.Config
		want          func(net.Conn) string
	}{
		{"v1", socket("", plain), nil, v1},
		{"v2", socket(tlvs, plain), nil, v2},
		{"v1 and TLS", socket("", encrypted), secure, v1},
		{"v2 and TLS", socket(tlvs, encrypted), secure, v2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, tt.tls)
			backends := map[string]string{"up": h.ln.Addr().String()}
			p := proxytest.Start(t, proxytest.Edge{Cluster: tt.cluster}.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: backends})
			a, b := p.Dial(), p.Dial()
			for _, c := range []*proxytest.Client{a, b, a, b} {
				if res := c.Do(get); res.Content != tt.want(c.Conn()) {
					t.Errorf("%q, want %q", res.Content, tt.want(c.Conn()))
				}
			}
			if n := h.connections(); n != 2 {
				t.Errorf("%d connections", n)
			}

			tcp := strings.Replace(proxytest.Edge{Cluster: tt.cluster}.YAML(), "http_connection_manager.v3.HttpConnectionManager", "tcp_proxy.v3.TcpProxy", 1)
			lines := strings.Split(tcp, "\n")
			from := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, "http_filters:") })
			to := slices.Index(lines, "  clusters:")
			tcp = strings.Join(slices.Concat(lines[:from], []string{"          cluster: up"}, lines[to:]), "\n")
			q := proxytest.Start(t, tcp, proxytest.Options{Extensions: all.Extensions(), Backends: backends})
			c := q.Dial()
			if res := c.Do(get); res.Content != tt.want(c.Conn()) {
				t.Errorf("tcp_proxy: %q, want %q", res.Content, tt.want(c.Conn()))
			}
		})
	}
}

// The connections that were for clients who have gone are not kept without bound.
func TestClientsThatAreGone(t *testing.T) {
	h := newHost(t, nil)
	p := proxytest.Start(t, proxytest.Edge{Cluster: socket("", plain)}.YAML(), proxytest.Options{
		Extensions: all.Extensions(), Backends: map[string]string{"up": h.ln.Addr().String()},
	})
	for range 200 {
		c := p.Dial()
		if res := c.Do(get); !strings.HasPrefix(res.Content, "PROXY ") {
			t.Fatal(res)
		}
		c.Close()
		p.WaitGauge("http.test.downstream_cx_active", 0)
	}
	if n := p.Gauge("cluster.up.upstream_cx_active"); n > 64 {
		t.Errorf("%d connections are open", n)
	}
}
