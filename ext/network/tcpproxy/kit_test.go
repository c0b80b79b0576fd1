// SPDX-License-Identifier: Apache-2.0

package tcpproxy_test

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// edge is a bootstrap with one TCP proxy (stat_prefix "test") to the cluster "up".
type edge struct {
	proxy    string // further fields of the TCP proxy, in flow style
	target   string // in place of "cluster: up"
	filters  string // network filters before it, each with a comma after it
	cluster  string // further fields of the cluster "up"
	clusters string // further clusters, each with a comma before it
	log      string // the format of an access log
	listener string
}

const anyType = `"@type": type.googleapis.com/envoy.extensions.filters.network.`

func (e edge) yaml() string {
	if e.target == "" {
		e.target = "cluster: up"
	}
	if e.log != "" {
		e.log = `, access_log: [{name: file, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: "{{log}}", log_format: {text_format_source: {inline_string: "` + e.log + `\n"}}}}]`
	}
	return `
static_resources:
  listeners:
  - name: test
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    ` + e.listener + `
    filter_chains:
    - filters: [` + e.filters + `{name: tcp, typed_config: {` + anyType + `tcp_proxy.v3.TcpProxy, stat_prefix: test, ` + e.target + comma(e.proxy) + e.log + `}}]
  clusters: [{name: up, connect_timeout: 1s, load_assignment: {cluster_name: up, endpoints: [{lb_endpoints: [{endpoint: {address: {{up}}}}]}]}` + comma(e.cluster) + `}` + e.clusters + `]
`
}

func comma(s string) string {
	if s == "" {
		return ""
	}
	return ", " + s
}

// start runs an edge before an upstream.
func start(t testing.TB, e edge, script func(*proxytest.Session)) (*proxytest.Proxy, *proxytest.Upstream) {
	t.Helper()
	up := proxytest.NewUpstream(t, script)
	return startAt(t, e, map[string]string{"up": up.Addr()}), up
}

func startAt(t testing.TB, e edge, backends map[string]string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, e.yaml(), proxytest.Options{Extensions: all.Extensions(), Backends: backends})
}

// echo sends back what it gets, and ends when the client has.
func echo(s *proxytest.Session) {
	for {
		b, err := s.ReadN(1)
		if err != nil {
			_ = s.CloseWrite()
			return
		}
		if s.Send(b) != nil {
			return
		}
	}
}

// wantLog waits for the only line of the access log.
func wantLog(t testing.TB, p *proxytest.Proxy, want string) {
	t.Helper()
	lines := p.LogLines(1)
	if len(lines) != 1 || lines[0] != want {
		t.Errorf("access log:\n got %s\nwant %s", strings.Join(lines, "\n     "), want)
	}
}
