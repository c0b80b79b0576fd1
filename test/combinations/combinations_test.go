// SPDX-License-Identifier: Apache-2.0

// Package combinations runs one suite of exchanges over every pair of protocols that
// a request can come and go by: what holds for one holds for all.
package combinations

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
)

// TestMain has the test run with a net/http whose HTTP/2 server takes extended CONNECT,
// which is decided when a process begins.
func TestMain(m *testing.M) {
	const want = "http2xconnect=1"
	if debug := os.Getenv("GODEBUG"); !strings.Contains(debug, want) {
		self, err := os.Executable()
		if err == nil {
			if debug != "" {
				debug += ","
			}
			if err = os.Setenv("GODEBUG", debug+want); err == nil {
				err = syscall.Exec(self, os.Args, os.Environ())
			}
		}
		panic(err)
	}
	leak.Main(m)
}

// A pair is a proxy between a client and a server of the protocols under test.
type pair struct {
	t      *testing.T
	proxy  *proxytest.Proxy
	server *httptest.Server
	client *http.Client
	down   string // "HTTP/1.1" or "HTTP/2.0"
	up     string
	secure bool // TLS on both sides
}

// url returns a URL of the proxy.
func (p *pair) url(path string) string { return "http://" + p.proxy.Addr() + path }

// protocols returns the protocols of a client or server that speaks one.
func protocols(name string) *http.Protocols {
	var p http.Protocols
	if name == "HTTP/2.0" {
		p.SetUnencryptedHTTP2(true)
	} else {
		p.SetHTTP1(true)
	}
	return &p
}

// manager is the connection manager of the suite.
const manager = `
use_remote_address: false
stream_idle_timeout: 5s
http_protocol_options: {enable_trailers: true}
http2_protocol_options: {allow_connect: true}
upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: CONNECT}]
`

// cluster returns the options of a cluster that speaks one protocol.
func cluster(name string) string {
	options := "http_protocol_options: {enable_trailers: true}"
	if name == "HTTP/2.0" {
		options = "http2_protocol_options: {allow_connect: true}"
	}
	return `
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {` + options + `}
`
}

// each runs a test over every pair, with a server of the handler's.
func each(t *testing.T, h http.HandlerFunc, test func(p *pair)) {
	for _, down := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for _, up := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(down+" to "+up, func(t *testing.T) {
				p := &pair{t: t, down: down, up: up}
				p.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Proto != up {
						t.Errorf("the server got %s", r.Proto)
					}
					h(w, r)
				}))
				p.server.Config.Protocols = protocols(up)
				p.server.Start()
				t.Cleanup(p.server.Close)
				p.proxy = proxytest.Start(t, proxytest.Edge{Manager: manager, Cluster: cluster(up), Routes: routes}.YAML(), proxytest.Options{
					Extensions: all.Extensions(), Backends: map[string]string{"up": p.server.Listener.Addr().String()},
				})
				tr := &http.Transport{Protocols: protocols(down), DisableCompression: true, TLSClientConfig: &tls.Config{}}
				p.client = &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
				t.Cleanup(tr.CloseIdleConnections)
				test(p)
				if m, ok := p.proxy.Metric("server.panics"); m.Count != 0 || !ok {
					t.Error("a task panicked")
				}
			})
		}
	}
}

// routes sends everything to the server; some paths by rules of their own.
const routes = `
- {match: {connect_matcher: {}}, route: {cluster: up, timeout: 0s}}
- {match: {path: /slow}, route: {cluster: up, timeout: 0.2s}}
- {match: {path: /retry}, route: {cluster: up, retry_policy: {retry_on: "5xx,refused-stream", num_retries: 2, retry_back_off: {base_interval: 0.001s}}}}
- {match: {path: /direct}, direct_response: {status: 418, body: {inline_string: teapot}}}
- {match: {path: /redirect}, redirect: {path_redirect: /elsewhere}}
- {match: {prefix: /}, route: {cluster: up, timeout: 5s}}
`
