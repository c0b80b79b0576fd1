// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
	"weir.dev/weir/xds"
)

// A scene is a configuration of which each field is one thing that may change.
type scene struct {
	hosts      []string // of the cluster that serves HTTP
	h2         bool     // spoken to them
	option     int      // a timeout of that cluster
	cluster    string   // its name
	others     int      // further clusters
	streams    string   // a field of the routes' side, and of the streams' own
	alpn       string
	inline     *tlstest.Pair // else the file's
	chains     int           // further filter chains
	extra      int           // further listeners
	tcpIdle    int
	secretFile string
}

// yaml is the scene as a bootstrap; {{one}}, {{two}} and {{echo}} are its hosts.
func (s *scene) yaml() string {
	var b strings.Builder
	manager := func(codec string) string {
		return `{name: hcm, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
      stat_prefix: test, codec_type: ` + codec + `, upgrade_configs: [{upgrade_type: websocket}], http_filters: [{{router}}],
      route_config: {name: r, virtual_hosts: [{name: v, domains: ["*"], response_headers_to_add: [{header: {key: x-scene, value: "` + s.streams + `"}}], routes: [
        {match: {path: /socket}, route: {cluster: socket, timeout: 0s}},
        {match: {path: /stream}, route: {cluster: stream, timeout: 0s}},
        {match: {prefix: /}, route: {cluster: ` + s.cluster + `}}]}]}}}`
	}
	certificate := "tls_certificate_sds_secret_configs: [{name: server, sds_config: {path_config_source: {path: '" + s.secretFile + "'}}}]"
	if s.inline != nil {
		certificate = "tls_certificates: [" + s.inline.Certificate() + "]"
	}
	secure := `transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext,
      common_tls_context: {alpn_protocols: [` + s.alpn + `], ` + certificate + `}}}`
	const address = "address: {socket_address: {address: 127.0.0.1, port_value: 0}}"
	fmt.Fprintf(&b, `static_resources:
  listeners:
  - name: plain
    %[1]s
    filter_chains:
    - filters: [%[2]s]
  - name: secure
    %[1]s
    listener_filters: [{name: inspector, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}]
    filter_chains:
    - name: named
      filter_chain_match: {server_names: [a.test]}
      %[3]s
      filters: [%[2]s]
`, address, manager("AUTO"), secure)
	for i := range s.chains {
		fmt.Fprintf(&b, "    - name: chain-%[1]d\n      filter_chain_match: {server_names: [\"%[1]d.test\"]}\n      %[2]s\n      filters: [%[3]s]\n", i, secure, manager("HTTP2"))
	}
	proxied := fmt.Sprintf(`{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: test, cluster: echo, idle_timeout: %ds}}`, 60+s.tcpIdle)
	fmt.Fprintf(&b, "  - name: tcp\n    %s\n    filter_chains: [{filters: [%s]}]\n", address, proxied)
	for i := range s.extra {
		fmt.Fprintf(&b, "  - name: extra-%d\n    %s\n    filter_chains: [{filters: [%s]}]\n", i, address, proxied)
	}
	b.WriteString("  clusters:\n")
	s.addCluster(&b, s.cluster, s.h2, s.hosts...)
	s.addCluster(&b, "stream", true, s.hosts...)
	s.addCluster(&b, "socket", false, s.hosts...)
	s.addCluster(&b, "echo", false, "echo")
	for i := range s.others {
		s.addCluster(&b, fmt.Sprintf("other-%d", i), i%2 == 0, "two")
	}
	return b.String()
}

func (s *scene) addCluster(b *strings.Builder, name string, h2 bool, hosts ...string) {
	options := "http_protocol_options: {}"
	if h2 {
		options = "http2_protocol_options: {}"
	}
	var ends []string
	for _, h := range hosts {
		ends = append(ends, "{endpoint: {address: {{"+h+"}}}}")
	}
	fmt.Fprintf(b, `  - name: %s
    connect_timeout: %[4]ds
    load_assignment: {cluster_name: %[1]s, endpoints: [{lb_endpoints: [%[2]s]}]}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {%[3]s}
`, name, strings.Join(ends, ", "), options, 5+s.option)
}

// TestApplyUnderMixedLoad changes everything that can change, in turn, while every
// protocol is in use: no request fails and no stream is cut, and nothing is left.
func TestApplyUnderMixedLoad(t *testing.T) {
	updates := 50
	if testing.Short() {
		updates = 11
	}
	ca := tlstest.NewCA(t, "test CA")
	issue := func() *tlstest.Pair { return ca.Issue(t, tlstest.Leaf{DNS: []string{"a.test"}}) }
	file := filepath.Join(t.TempDir(), "sds.yaml")
	replace := func() {
		tlstest.Replace(t, file, "resources:\n- {\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret, name: server, tls_certificate: "+issue().Certificate()+"}\n")
	}
	replace()
	backends := map[string]string{"one": backend(t), "two": backend(t)}
	echo := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		for {
			b, err := s.ReadN(5)
			if err != nil || s.Send(b) != nil {
				return
			}
		}
	})
	backends["echo"] = echo.Addr()
	before := descriptors(t)
	goroutines := runtime.NumGoroutine()
	s := &scene{hosts: []string{"one"}, cluster: "up", alpn: "h2, http/1.1", secretFile: file, streams: "0"}
	p := proxytest.Start(t, s.yaml(), proxytest.Options{
		Extensions: all.Extensions(), Backends: backends, Concurrency: 2, DrainTime: time.Minute,
	})
	l := newTraffic(t)
	plainAddr, secureAddr, tcpAddr := p.Listeners()[0], p.Listeners()[1], p.Listeners()[2]
	secure := &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test"}
	l.stream("gRPC", plainAddr, nil)
	l.stream("gRPC over TLS", secureAddr, secure.Clone())
	l.sockets(plainAddr)
	l.tcp(tcpAddr)
	for range 2 {
		l.http1(plainAddr)
		l.http2("HTTP/2", plainAddr, nil)
		l.http2("HTTP/2 over TLS", secureAddr, secure.Clone())
	}
	l.handshakes(secureAddr, secure.Clone())
	changes := s.changes(issue, replace)
	for i := range updates {
		s.streams = fmt.Sprint(i / len(changes)) // What the routes add.
		changes[i%len(changes)](i)
		if problems := p.Apply(snapshot(t, s.yaml(), fmt.Sprint(i), backends)); xds.HasErrors(problems) {
			t.Error(xds.Err(problems))
			break
		}
		l.wait(20)
		if t.Failed() {
			t.Logf("change %d of %d", i%len(changes), len(changes))
			break
		}
	}
	l.end()
	rest(t, p)
	p.Close()
	proxytest.Eventually(t, "what is left open", func() (string, bool) {
		n, g := descriptors(t), runtime.NumGoroutine()
		// The backends keep a connection's goroutine until they see its end.
		return fmt.Sprintf("%d descriptors of %d, %d goroutines of %d", n, before, g, goroutines), n <= before && g <= goroutines
	})
}

// changes are what can change, each by itself.
func (s *scene) changes(issue func() *tlstest.Pair, replace func()) []func(i int) {
	return []func(i int){
		func(int) { s.hosts = []string{"one", "two"} },
		func(i int) { s.streams = fmt.Sprintf("%d and more", i) },
		func(int) { s.h2 = !s.h2 },
		func(int) {
			s.alpn = "h2" + map[bool]string{true: ", http/1.1", false: ", http/1.1, other"}[s.alpn != "h2, http/1.1"]
		},
		func(int) { replace() },
		func(int) { s.chains = (s.chains + 1) % 3 },
		func(int) { s.hosts = []string{"two"} },
		func(int) { s.inline = map[bool]*tlstest.Pair{true: issue()}[s.inline == nil] },
		func(int) { s.cluster = map[string]string{"up": "down", "down": "up"}[s.cluster] },
		func(int) { s.option++; s.others = (s.others + 1) % 3 },
		func(int) { s.tcpIdle++; s.extra = 1 - s.extra },
		func(int) { s.hosts = []string{"one"}; s.h2 = !s.h2 },
	}
}

// wait waits until each kind of client has been served n times more.
func (l *traffic) wait(n int64) {
	from := map[string]int64{}
	for name, c := range l.served {
		from[name] = c.Load()
	}
	deadline := time.NewTimer(proxytest.Patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for name, c := range l.served {
		for c.Load() < from[name]+n && !l.t.Failed() {
			select {
			case <-tick.C:
			case <-deadline.C:
				l.t.Errorf("%s stands still", name)
				return
			}
		}
	}
}

// rest waits until nothing is under way.
func rest(t *testing.T, p *proxytest.Proxy) {
	t.Helper()
	for _, name := range []string{"http.test.downstream_rq_active", "http.test.downstream_cx_active", "http.test.downstream_cx_upgrades_active", "tcp.test.downstream_cx_active"} {
		if _, ok := p.Metric(name); ok {
			p.WaitGauge(name, 0)
		}
	}
	for _, cluster := range []string{"up", "down", "stream", "socket", "echo"} {
		if name := "cluster." + cluster + ".upstream_rq_active"; gauge(p, name) {
			p.WaitGauge(name, 0)
			p.WaitGauge("cluster."+cluster+".upstream_rq_pending_active", 0)
		}
	}
	p.WaitGauge("cluster.echo.upstream_cx_active", 0)
	if n := p.Counter("server.panics"); n > 0 {
		t.Errorf("%d tasks panicked", n)
	}
}

func gauge(p *proxytest.Proxy, name string) bool {
	_, ok := p.Metric(name)
	return ok
}

// descriptors counts the process's open files.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
