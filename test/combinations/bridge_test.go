// SPDX-License-Identifier: Apache-2.0

package combinations

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// extended lets a WebSocket library that speaks HTTP/1 go by extended CONNECT (RFC
// 8441): its request for an upgrade becomes one, and the stream its connection.
type extended struct{ tr *http2.Transport }

// RoundTrip sends an upgrade as an extended CONNECT.
func (e extended) RoundTrip(r *http.Request) (*http.Response, error) {
	in, out := io.Pipe()
	key := r.Header.Get("Sec-WebSocket-Key")
	ask := r.Clone(r.Context())
	ask.Method, ask.Body, ask.ContentLength = http.MethodConnect, in, -1
	ask.Header.Set(":protocol", r.Header.Get("Upgrade"))
	for _, n := range []string{"Connection", "Upgrade", "Sec-WebSocket-Key"} {
		ask.Header.Del(n)
	}
	res, err := e.tr.RoundTrip(ask)
	if err != nil {
		_ = in.CloseWithError(err)
		return nil, err
	}
	if res.StatusCode != 200 {
		_ = out.Close()
		return res, nil
	}
	if res.Header.Get("Sec-WebSocket-Accept") != "" {
		return nil, fmt.Errorf("an accept that nobody asked for")
	}
	res.StatusCode = http.StatusSwitchingProtocols
	res.Header.Set("Connection", "Upgrade")
	res.Header.Set("Upgrade", "websocket")
	res.Header.Set("Sec-WebSocket-Accept", accept(key))
	res.Body = &streamEnd{Reader: res.Body, Writer: out, close: closer(out, res.Body)}
	return res, nil
}

func closer(a, b io.Closer) func() error {
	return func() error {
		_ = a.Close() // A pipe's Close has no error.
		return b.Close()
	}
}

// streamEnd is one end of a stream of HTTP/2 as a connection.
type streamEnd struct {
	io.Reader
	io.Writer
	close func() error
}

func (s *streamEnd) Close() error                     { return s.close() }
func (s *streamEnd) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *streamEnd) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *streamEnd) SetDeadline(time.Time) error      { return nil }
func (s *streamEnd) SetReadDeadline(time.Time) error  { return nil }
func (s *streamEnd) SetWriteDeadline(time.Time) error { return nil }

// granting is the answer to an extended CONNECT for a server that knows Upgrade only.
type granting struct {
	http.ResponseWriter
	r *http.Request
}

// WriteHeader says 200 for 101.
func (g *granting) WriteHeader(status int) {
	if status == http.StatusSwitchingProtocols {
		for _, n := range []string{"Connection", "Upgrade", "Sec-WebSocket-Accept"} {
			g.Header().Del(n)
		}
		status = 200
	}
	g.ResponseWriter.WriteHeader(status)
	_ = http.NewResponseController(g.ResponseWriter).Flush()
}

// Hijack returns the stream.
func (g *granting) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	// The stream ends when its handler returns.
	c := &streamEnd{Reader: g.r.Body, Writer: flushing{g.ResponseWriter}, close: g.r.Body.Close}
	return c, bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c)), nil
}

type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	return n, err
}

// bridged serves extended CONNECT as an upgrade.
func bridged(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get(":protocol") == "" {
			h(w, r)
			return
		}
		ask := r.Clone(r.Context())
		ask.Method, ask.ProtoMajor, ask.ProtoMinor, ask.Proto = http.MethodGet, 1, 1, "HTTP/1.1"
		ask.Header.Set("Connection", "Upgrade")
		ask.Header.Set("Upgrade", r.Header.Get(":protocol"))
		if ask.Header.Get("Sec-WebSocket-Key") == "" {
			ask.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		}
		h(&granting{w, r}, ask)
	}
}

// eachTunnel runs a test over every pair, in cleartext and over TLS on both sides, with
// routes before the suite's own. The handler speaks HTTP/1's side of an upgrade.
func eachTunnel(t *testing.T, routes string, h http.HandlerFunc, test func(t *testing.T, p *pair)) {
	for _, down := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for _, up := range []string{"HTTP/1.1", "HTTP/2.0"} {
			for _, secure := range []bool{false, true} {
				name := down + " to " + up
				if secure {
					name += " over TLS"
				}
				t.Run(name, func(t *testing.T) {
					p := tunnelPair(t, down, up, secure, routes, bridged(h))
					test(t, p)
					p.proxy.WaitGauge("http.test.downstream_cx_upgrades_active", 0)
					p.proxy.WaitGauge("http.test.downstream_rq_active", 0)
					p.proxy.WaitGauge("cluster.up.upstream_rq_active", 0)
					if m, ok := p.proxy.Metric("server.panics"); m.Count != 0 || !ok {
						t.Error("a task panicked")
					}
				})
			}
		}
	}
}

func tunnelPair(t *testing.T, down, up string, secure bool, before string, h http.HandlerFunc) *pair {
	p := &pair{t: t, down: down, up: up, secure: secure}
	p.server = httptest.NewUnstartedServer(h)
	edge := proxytest.Edge{Manager: manager, Cluster: cluster(up), Routes: strings.TrimSpace(before) + "\n" + strings.TrimSpace(routes)}
	files := map[string]string{}
	if secure {
		p.server.EnableHTTP2 = up == "HTTP/2.0"
		p.server.StartTLS()
		files = p.certificate()
		edge.Cluster += `
transport_socket:
  name: tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
`
	} else {
		p.server.Config.Protocols = protocols(up)
		p.server.Start()
	}
	t.Cleanup(p.server.Close)
	yaml := edge.YAML()
	if secure {
		yaml = strings.Replace(yaml, "    filter_chains:\n    - ", `    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates: [{certificate_chain: {inline_string: "`+files["cert"]+`"}, private_key: {inline_string: "`+files["key"]+`"}}]
      `, 1)
	}
	p.proxy = proxytest.Start(t, yaml, proxytest.Options{
		Extensions: all.Extensions(), Backends: map[string]string{"up": p.server.Listener.Addr().String()},
	})
	trust := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // The certificate is made for the test.
	if down == "HTTP/2.0" {
		tr := &http2.Transport{AllowHTTP: !secure, TLSClientConfig: trust}
		if !secure {
			tr.DialTLSContext = func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, addr)
			}
		}
		t.Cleanup(tr.CloseIdleConnections)
		p.client = &http.Client{Transport: extended{tr}}
		return p
	}
	tr := &http.Transport{Protocols: protocols(down), TLSClientConfig: trust}
	t.Cleanup(tr.CloseIdleConnections)
	p.client = &http.Client{Transport: tr}
	return p
}
