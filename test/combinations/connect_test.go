// SPDX-License-Identifier: Apache-2.0

package combinations

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// connect asks the proxy for a tunnel, or posts to it, and returns the status and the
// two directions.
func connect(t *testing.T, p *proxytest.Proxy, down, method, target, path string) (int, io.WriteCloser, io.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), proxytest.Patience)
	t.Cleanup(cancel)
	in, out := io.Pipe()
	t.Cleanup(func() { _ = out.Close() })
	if down == "HTTP/2.0" {
		tr := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, _ string, _ *tls.Config) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, p.Addr())
		}}
		t.Cleanup(tr.CloseIdleConnections)
		r := (&http.Request{Method: method, URL: &url.URL{Scheme: "http", Host: target, Path: path}, Host: target, Header: http.Header{}, Body: in}).WithContext(ctx)
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res.StatusCode, out, res.Body
	}
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if method == http.MethodPost {
		r := (&http.Request{Method: method, URL: &url.URL{Scheme: "http", Host: target, Path: path}, Host: target, Header: http.Header{}, Body: in, ContentLength: -1}).WithContext(ctx)
		go func() { _ = r.Write(c) }() // The response tells.
	} else if _, err := io.WriteString(c, method+" "+target+" HTTP/1.1\r\nhost: "+target+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost {
		return res.StatusCode, out, res.Body
	}
	return res.StatusCode, halfCloser{c.(*net.TCPConn)}, res.Body
}

// halfCloser ends only what it sends.
type halfCloser struct{ *net.TCPConn }

func (h halfCloser) Close() error { return h.CloseWrite() }

// shout answers each byte in upper case, and the end with a word.
func shout(s *proxytest.Session) {
	for {
		b, err := s.ReadN(1)
		if err != nil {
			_ = s.Send("!")
			return
		}
		if s.Send(strings.ToUpper(b)) != nil {
			return
		}
	}
}

// talk proves that a tunnel carries both ways and ends by halves. A line that begins
// with first comes before anything else; its rest is a star.
func talk(t *testing.T, w io.WriteCloser, r io.Reader, first string) {
	t.Helper()
	b := make([]byte, 5)
	for _, say := range []string{"hello", "again"} {
		if _, err := io.WriteString(w, say); err != nil {
			t.Fatal(err)
		}
		for first != "" {
			line := make([]byte, 1)
			if _, err := io.ReadFull(r, line); err != nil || first[0] != '*' && line[0] != first[0] {
				t.Fatalf("%q %v, want %q", line, err, first)
			}
			switch {
			case first[0] != '*':
				first = first[1:]
			case line[0] == '\n':
				first = ""
			}
		}
		if n, err := io.ReadFull(r, b); err != nil || string(b) != strings.ToUpper(say) {
			t.Fatalf("%q %v", b[:n], err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "!" {
		t.Errorf("%q %v", rest, err)
	}
}

const endsHere = `
- {match: {connect_matcher: {}}, route: {cluster: up, timeout: 0s, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}
- {match: {path: /post}, route: {cluster: up, timeout: 0s, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {allow_post: true}}]}}
- {match: {prefix: /}, direct_response: {status: 204}}`

// TestConnect forwards CONNECT to a second proxy, which ends it.
func TestConnect(t *testing.T) {
	for _, down := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for _, up := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(down+" to "+up, func(t *testing.T) {
				back := proxytest.NewUpstream(t, shout)
				far := proxytest.Start(t, proxytest.Edge{Manager: manager, Routes: endsHere}.YAML(), proxytest.Options{
					Extensions: all.Extensions(), Backends: map[string]string{"up": back.Addr()},
				})
				p := proxytest.Start(t, proxytest.Edge{Manager: manager, Cluster: cluster(up), Routes: routes}.YAML(), proxytest.Options{
					Extensions: all.Extensions(), Backends: map[string]string{"up": far.Addr()},
				})
				status, w, r := connect(t, p, down, "CONNECT", "b.test:443", "")
				if status != 200 {
					t.Fatalf("%d", status)
				}
				talk(t, w, r, "")
				p.WaitGauge("http.test.downstream_rq_active", 0)
				far.WaitGauge("cluster.up.upstream_cx_active", 0)
			})
		}
	}
}

// TestConnectEnds ends CONNECT and POST at the proxy, whatever the cluster speaks.
func TestConnectEnds(t *testing.T) {
	const header = `connect_config: {proxy_protocol_config: {version: V1}}`
	for _, down := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for _, up := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(down+" to "+up, func(t *testing.T) {
				back := proxytest.NewUpstream(t, shout)
				edge := proxytest.Edge{Manager: manager, Cluster: cluster(up), Routes: endsHere}
				options := proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": back.Addr()}}
				p := proxytest.Start(t, edge.YAML(), options)
				for method, path := range map[string]string{"CONNECT": "", "POST": "/post"} {
					status, w, r := connect(t, p, down, method, "b.test:443", path)
					if status != 200 {
						t.Fatalf("%s: %d", method, status)
					}
					talk(t, w, r, "")
				}
				p.WaitGauge("cluster.up.upstream_cx_active", 0)
				edge.Routes = strings.Replace(endsHere, "connect_config: {}", header, 1)
				p = proxytest.Start(t, edge.YAML(), options)
				_, w, r := connect(t, p, down, "CONNECT", "b.test:443", "")
				talk(t, w, r, "PROXY TCP4 127.0.0.1 127.0.0.1 *")
			})
		}
	}
}

// TestConnectRefused is about targets and routes that take no CONNECT.
func TestConnectRefused(t *testing.T) {
	for _, down := range []string{"HTTP/1.1", "HTTP/2.0"} {
		p := proxytest.Start(t, proxytest.Edge{Manager: manager, Routes: "- {match: {prefix: /}, route: {cluster: up}}"}.YAML(), proxytest.Options{
			Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"},
		})
		if status, _, _ := connect(t, p, down, "CONNECT", "b.test:443", ""); status != 404 {
			t.Errorf("%s: a route without connect_matcher answers %d", down, status)
		}
	}
	p := proxytest.Start(t, proxytest.Edge{Manager: manager, Routes: endsHere}.YAML(), proxytest.Options{
		Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"},
	})
	if status, _, _ := connect(t, p, "HTTP/1.1", "CONNECT", "b.test", ""); status != 400 {
		t.Errorf("a target without a port: %d", status)
	}
}
