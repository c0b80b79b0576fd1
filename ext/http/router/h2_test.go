// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

// overTLS has the cluster's connections encrypted, unverified.
const overTLS = `transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}
`

func serverConfig(t *testing.T, protocols ...string) *tls.Config {
	pair := tlstest.NewCA(t, "CA").Issue(t, tlstest.Leaf{DNS: []string{"a.test"}})
	return &tls.Config{Certificates: []tls.Certificate{pair.TLS()}, NextProtos: protocols}
}

func paths(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("/%d", i))
	}
	return out
}

// TestHTTP2OneDial: requests that come while the first connection is on its way share
// it, and whose request it was dialled for may go.
func TestHTTP2OneDial(t *testing.T) {
	h := newHost2(t)
	p := start(t, proxytest.Edge{Cluster: speaks2("", overTLS)}, h.backends())
	clients := asks(p, paths(130)...)
	p.WaitGauge("cluster.up.upstream_rq_pending_active", 130)
	clients[0].Reset()
	p.WaitGauge("cluster.up.upstream_rq_pending_active", 129)
	w := h.secure(serverConfig(t, "h2"))
	for range 129 {
		if !strings.HasPrefix(w.next(), "HEADERS") {
			t.Fatal("no request")
		}
	}
	for i := range 129 {
		w.answer(uint32(2*i + 1))
	}
	oks(t, clients[1:]...)
	for name, want := range map[string]uint64{
		"upstream_cx_total": 1, "upstream_cx_http2_total": 1, "upstream_cx_http1_total": 0, "upstream_rq_cancelled": 1,
		"upstream_rq_pending_total": 130, "upstream_rq_total": 129, "upstream_cx_connect_fail": 0,
	} {
		p.WaitCounter("cluster.up."+name, want)
	}
	atRest(t, p)
}

// TestHTTP2DialFails: all who wait for a connection that fails are told why.
func TestHTTP2DialFails(t *testing.T) {
	h := newHost2(t)
	p := start(t, proxytest.Edge{
		Cluster:   speaks2("", overTLS),
		AccessLog: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%",
	}, h.backends())
	clients := asks(p, paths(5)...)
	p.WaitGauge("cluster.up.upstream_rq_pending_active", 5)
	c := h.accept()
	_, err := c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, cl := range clients {
		res := cl.Response("GET")
		has(t, "body", res.Content, "reset reason: remote connection failure, transport failure reason: TLS_error:|")
	}
	for _, l := range p.LogLines(5) {
		has(t, "log", l, "503 UF upstream_reset_before_response_started{remote_connection_failure|TLS_error:|")
		if strings.HasSuffix(l, " -") {
			t.Error("no failure reason")
		}
	}
	p.WaitCounter("cluster.up.upstream_rq_pending_failure_eject", 5)
	p.WaitCounter("cluster.up.upstream_cx_connect_fail", 1)
	p.WaitGauge("cluster.up.upstream_cx_active", 0)
	atRest(t, p)
}

// TestHTTP2Streams: the host's limit of streams and our own make for more
// connections, or for waiting where a breaker forbids them.
func TestHTTP2Streams(t *testing.T) {
	t.Run("the host's", func(t *testing.T) {
		h := newHost2(t)
		p := start(t, proxytest.Edge{Cluster: speaks2("", "")}, h.backends())
		first := asks(p, "/")
		w := h.serve(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 2})
		w.wants("HEADERS 1 /")
		w.answer(1)
		oks(t, first...)
		clients := asks(p, "/1", "/2")
		w.next()
		w.next()
		clients = append(clients, asks(p, "/3")...)
		w2 := h.serve()
		w2.wants("HEADERS 1 /3")
		w.answer(3, 5)
		w2.answer(1)
		oks(t, clients...)
		p.WaitCounter("cluster.up.upstream_cx_total", 2)
		atRest(t, p)
	})
	t.Run("not known yet", func(t *testing.T) {
		h := newHost2(t)
		p := start(t, proxytest.Edge{Cluster: speaks2("", breaker("max_connections: 1"))}, h.backends())
		first := asks(p, "/")
		w := h.serve(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
		w.wants("HEADERS 1 /")
		second := asks(p, "/2")
		p.WaitGauge("cluster.up.upstream_rq_pending_active", 1)
		p.WaitCounter("cluster.up.upstream_cx_overflow", 1)
		w.answer(1)
		w.wants("HEADERS 3 /2")
		w.answer(3)
		oks(t, first[0], second[0])
		p.WaitCounter("cluster.up.upstream_cx_total", 1)
		atRest(t, p)
	})
	t.Run("our own", func(t *testing.T) {
		h := newHost2(t)
		p := start(t, proxytest.Edge{Cluster: speaks2("max_concurrent_streams: 1", "")}, h.backends())
		clients := asks(p, "/", "/", "/")
		ws := []*peer2{h.serve(), h.serve(), h.serve()}
		for _, w := range ws {
			w.wants("HEADERS 1 /")
		}
		for _, w := range ws {
			w.answer(1)
		}
		oks(t, clients...)
		atRest(t, p)
	})
}

// TestHTTP2Ends: a connection that has carried its requests, is old, or idle says that
// it goes, and goes after its last stream.
func TestHTTP2Ends(t *testing.T) {
	for _, tt := range []struct{ name, cluster, stat string }{
		{"requests", "max_requests_per_connection: 2", "upstream_cx_max_requests"},
		{"idle", "common_http_protocol_options: {idle_timeout: 0.2s}", "upstream_cx_idle_timeout"},
		{"age", "common_http_protocol_options: {max_connection_duration: 1s}", "upstream_cx_max_duration_reached"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost2(t)
			cluster := speaks2("", "")
			if tt.name == "requests" {
				cluster += tt.cluster
			} else {
				cluster = strings.Replace(cluster, "    explicit", "    "+tt.cluster+"\n    explicit", 1)
			}
			p := start(t, proxytest.Edge{Cluster: cluster}, h.backends())
			a := asks(p, "/a")
			w := h.serve()
			w.wants("HEADERS 1 /a")
			b := asks(p, "/b")
			w.wants("HEADERS 3 /b")
			w.answer(1)
			oks(t, a...)
			w.answer(3)
			oks(t, b...)
			w.wants("GOAWAY NO_ERROR", "EOF")
			p.WaitCounter("cluster.up."+tt.stat, 1)
			p.WaitCounter("cluster.up.upstream_cx_destroy_local", 1)
			p.WaitCounter("cluster.up.upstream_cx_destroy_with_active_rq", 0)
			p.WaitGauge("cluster.up.upstream_cx_active", 0)
		})
	}
}

// TestHTTP2GoAway: requests that the host says it has not looked at go elsewhere, the
// others finish, and none is lost.
func TestHTTP2GoAway(t *testing.T) {
	h := newHost2(t)
	p := start(t, proxytest.Edge{Cluster: speaks2("", "")}, h.backends())
	a := asks(p, "/a")
	w := h.serve()
	w.wants("HEADERS 1 /a")
	b := p.Dial()
	b.Send("POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
	w.wants("HEADERS 3 /b", "DATA 3 body")
	w.must(w.WriteGoAway(1, http2.ErrCodeNo, nil))
	w2 := h.serve()
	w2.wants("HEADERS 1 /b", "DATA 1 body")
	c := asks(p, "/c")
	w2.wants("HEADERS 3 /c")
	w2.answer(3, 1)
	w.answer(1)
	oks(t, a[0], b, c[0])
	w.wants("EOF")
	p.WaitCounter("cluster.up.upstream_cx_close_notify", 1)
	p.WaitCounter("cluster.up.upstream_rq_retry", 0)
	p.WaitGauge("cluster.up.upstream_cx_active", 1)
	atRest(t, p)
}

// TestHTTP2Refused: a refused request is sent again once by itself, for it may be
// that the host had not told its limit yet, and then as the policy says.
func TestHTTP2Refused(t *testing.T) {
	for _, tt := range []struct {
		routes  string
		refused int
		status  int
	}{
		{policy(""), 1, 200},
		{policy(""), 2, 503},
		{policy("retry_on: refused-stream"), 3, 200},
		{policy("retry_on: refused-stream"), 4, 503},
	} {
		h := newHost2(t)
		p := start(t, proxytest.Edge{Cluster: speaks2("", ""), Routes: tt.routes}, h.backends())
		a := asks(p, "/a")
		w := h.serve()
		id := uint32(1)
		for range tt.refused {
			w.wants(fmt.Sprintf("HEADERS %d /a", id))
			w.must(w.WriteRSTStream(id, http2.ErrCodeRefusedStream))
			id += 2
		}
		if tt.status == 200 {
			w.wants(fmt.Sprintf("HEADERS %d /a", id))
			w.answer(id)
		}
		if res := a[0].Response("GET"); res.StatusCode != tt.status {
			t.Errorf("%d refused: %v", tt.refused, res)
		}
		if tt.status == 503 {
			has(t, "log", p.LogLines(1)[0], "503 UR")
		}
		atRest(t, p)
	}
}

// TestHTTP2Loss: a connection that is lost fails each of its requests, and only them.
func TestHTTP2Loss(t *testing.T) {
	h := newHost2(t)
	p := start(t, proxytest.Edge{Cluster: speaks2("", "")}, h.backends())
	clients := asks(p, "/0")
	w := h.serve()
	w.next()
	for _, path := range paths(4)[1:] {
		clients = append(clients, asks(p, path)...)
		w.next()
	}
	w.head(7, "200", false)
	has(t, "head", clients[3].ReadHead(), "HTTP/1.1 200")
	w.must(w.c.(*net.TCPConn).SetLinger(0))
	w.must(w.c.Close())
	after, uc := 0, 0
	for _, l := range p.LogLines(4) {
		switch {
		case strings.HasPrefix(l, "503 UC upstream_reset_before_response_started{connection_termination}"):
			uc++
		case strings.HasPrefix(l, "200 UC"):
			after++
		default:
			t.Error(l)
		}
	}
	if uc != 3 || after != 1 {
		t.Errorf("%d before the response and %d after", uc, after)
	}
	for name, want := range map[string]uint64{
		"upstream_cx_destroy_with_active_rq": 1, "upstream_cx_destroy_remote_with_active_rq": 1, "upstream_cx_destroy_remote": 1, "upstream_rq_rx_reset": 4,
	} {
		p.WaitCounter("cluster.up."+name, want)
	}
	atRest(t, p)
}

// TestHTTP2ClusterUpdate: streams of a cluster that is replaced finish on its
// connections, which then say that they go.
func TestHTTP2ClusterUpdate(t *testing.T) {
	h := newHost2(t)
	e := proxytest.Edge{Cluster: speaks2("", "")}
	p := start(t, e, h.backends())
	a := asks(p, "/a")
	w := h.serve()
	w.wants("HEADERS 1 /a")
	e.Cluster += breaker("max_connections: 7")
	if problems := p.Update(e.YAML()); len(problems) > 0 {
		t.Fatal(problems)
	}
	b := asks(p, "/b")
	w2 := h.serve()
	w2.wants("HEADERS 1 /b")
	w2.answer(1)
	oks(t, b...)
	w.answer(1)
	oks(t, a...)
	w.wants("GOAWAY NO_ERROR", "EOF")
	atRest(t, p)
}

// TestHTTP2PerTry: a try's time-out resets its stream and nothing else.
func TestHTTP2PerTry(t *testing.T) {
	h := newHost2(t)
	p := start(t, proxytest.Edge{Cluster: speaks2("", ""), Routes: `- {match: {path: /slow}, route: {cluster: up, timeout: 0.1s}}
- {match: {prefix: /}, route: {cluster: up}}`}, h.backends())
	a := asks(p, "/a")
	w := h.serve()
	w.wants("HEADERS 1 /a")
	slow := asks(p, "/slow")
	w.wants("HEADERS 3 /slow", "RST 3 CANCEL")
	if res := slow[0].Response("GET"); res.StatusCode != 504 {
		t.Errorf("%v", res)
	}
	w.answer(1)
	oks(t, a...)
	p.WaitCounter("cluster.up.upstream_rq_tx_reset", 1)
	p.WaitGauge("cluster.up.upstream_cx_active", 1)
	atRest(t, p)
}

// TestHTTP2EarlyResponse: a response that comes before the request is whole is passed
// on, also if the host then wants no more of the request (RFC 9113 §8.1).
func TestHTTP2EarlyResponse(t *testing.T) {
	h := newHost2(t)
	p := start(t, proxytest.Edge{Cluster: speaks2("", "")}, h.backends())
	c := p.Dial()
	c.Send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 400000\r\n\r\nbody")
	w := h.serve()
	w.wants("HEADERS 1 /a", "DATA 1 body")
	w.answer(1)
	w.must(w.WriteRSTStream(1, http2.ErrCodeNo))
	oks(t, c)
	b := asks(p, "/b")
	// It may be that the end of the first stream crosses the host's.
	if f := w.next(); f != "HEADERS 3 /b" {
		check(t, "frame", f, "RST 1 CANCEL")
		w.wants("HEADERS 3 /b")
	}
	w.answer(3)
	oks(t, b...)
	atRest(t, p)
}

// TestHTTP2Mirror: copies go over HTTP/2 too.
func TestHTTP2Mirror(t *testing.T) {
	h, m := newHost2(t), newHost2(t)
	back := h.backends()
	back["copy"] = m.ln.Addr().String()
	p := start(t, proxytest.Edge{
		Cluster: speaks2("", ""),
		Routes:  `- {match: {prefix: /}, route: {cluster: up, request_mirror_policies: [{cluster: copy}]}}`,
		Clusters: `- name: copy
  type: STATIC
  load_assignment: {cluster_name: copy, endpoints: [{lb_endpoints: [{endpoint: {address: {{copy}}}}]}]}
  ` + strings.ReplaceAll(speaks2("", ""), "\n", "\n  "),
	}, back)
	c := p.Dial()
	c.Send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
	w, x := h.serve(), m.serve()
	w.wants("HEADERS 1 /a", "DATA 1 body")
	x.wants("HEADERS 1 /a", "DATA 1 body")
	w.answer(1)
	x.answer(1)
	oks(t, c)
	p.WaitCounter("cluster.copy.upstream_rq_200", 1)
	p.WaitGauge("cluster.copy.upstream_rq_active", 0)
	atRest(t, p)
}

// TestHTTP2Negotiation: what is spoken follows the handshake where it may, and a host
// that does not speak what it must fails with words that say so.
func TestHTTP2Negotiation(t *testing.T) {
	alpn := strings.Replace(speaks2("", overTLS), "explicit_http_config: {http2_protocol_options: {}}", "auto_config: {http2_protocol_options: {}}", 1)
	t.Run("auto h2", func(t *testing.T) {
		h := newHost2(t)
		p := start(t, proxytest.Edge{Cluster: alpn}, h.backends())
		clients := asks(p, paths(4)...)
		p.WaitGauge("cluster.up.upstream_rq_pending_active", 4)
		w := h.secure(serverConfig(t, "h2", "http/1.1"))
		for range clients {
			w.next()
		}
		w.answer(1, 3, 5, 7)
		oks(t, clients...)
		p.WaitCounter("cluster.up.upstream_cx_http2_total", 1)
		p.WaitCounter("cluster.up.upstream_cx_total", 1)
		atRest(t, p)
	})
	t.Run("auto http/1.1", func(t *testing.T) {
		h := newHost2(t)
		cfg := serverConfig(t, "http/1.1")
		p := start(t, proxytest.Edge{Cluster: alpn}, h.backends())
		clients := asks(p, paths(4)...)
		p.WaitGauge("cluster.up.upstream_rq_pending_active", 4)
		var hosts []net.Conn
		for range clients { // All but the first are dialled at once.
			c := tls.Server(h.accept(), cfg)
			if _, err := c.Read(make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			hosts = append(hosts, c)
		}
		for _, c := range hosts {
			if _, err := c.Write([]byte(ok)); err != nil {
				t.Fatal(err)
			}
		}
		oks(t, clients...)
		p.WaitCounter("cluster.up.upstream_cx_http1_total", 4)
		atRest(t, p)
	})
	t.Run("not h2", func(t *testing.T) {
		h := newHost2(t)
		cfg := serverConfig(t, "http/1.1")
		p := start(t, proxytest.Edge{Cluster: speaks2("", strings.Replace(overTLS, "UpstreamTlsContext", "UpstreamTlsContext, common_tls_context: {alpn_protocols: [h2, http/1.1]}", 1))}, h.backends())
		clients := asks(p, "/")
		if err := tls.Server(h.accept(), cfg).Handshake(); err != nil {
			t.Fatal(err)
		}
		has(t, "body", clients[0].Response("GET").Content, "the host chose http/1.1 in the TLS handshake where the cluster is configured for HTTP/2")
		has(t, "log", p.LogLines(1)[0], "503 UF ")
		p.WaitCounter("cluster.up.upstream_cx_connect_fail", 1)
		atRest(t, p)
	})
	t.Run("cleartext HTTP/1", func(t *testing.T) {
		u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
			_, _ = s.Head()
			_ = s.Send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
		})
		p := start(t, proxytest.Edge{Cluster: speaks2("", "")}, up(u))
		res := p.Do(get)
		has(t, "body", res.Content, "protocol error")
		has(t, "log", p.LogLines(1)[0], "502 UPE upstream_reset_before_response_started{protocol_error}")
		p.WaitCounter("cluster.up.upstream_cx_protocol_error", 1)
		atRest(t, p)
	})
}

// TestUseDownstream: the cluster speaks to its hosts what the client speaks.
func TestUseDownstream(t *testing.T) {
	h := newHost2(t)
	p := start(t, proxytest.Edge{Cluster: strings.Replace(speaks2("", ""), "explicit_http_config: {http2", "use_downstream_protocol_config: {http2", 1)}, h.backends())
	one := asks(p, "/1")
	c := h.accept()
	b := make([]byte, 1000)
	if n, err := c.Read(b); err != nil || !strings.HasPrefix(string(b[:n]), "GET /1 HTTP/1.1") {
		t.Fatalf("%q %v", b[:n], err)
	}
	if _, err := c.Write([]byte(ok)); err != nil {
		t.Fatal(err)
	}
	oks(t, one...)
	var two http.Transport
	two.Protocols = new(http.Protocols)
	two.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(two.CloseIdleConnections)
	done := make(chan error, 1)
	go func() {
		res, err := two.RoundTrip(httptest.NewRequest("GET", "http://"+p.Addr()+"/2", nil))
		if err == nil {
			err = res.Body.Close()
		}
		done <- err
	}()
	w := h.serve()
	w.wants("HEADERS 1 /2")
	w.answer(1)
	if err := <-done; err != nil {
		t.Error(err)
	}
	atRest(t, p)
}

// TestServerNames: requests for different names do not share a connection, and names
// are taken as Envoy takes them.
func TestServerNames(t *testing.T) {
	ca := tlstest.NewCA(t, "CA")
	leaf := ca.Issue(t, tlstest.Leaf{DNS: []string{"a.test", "b.test"}})
	var mu sync.Mutex
	seen := map[string]int{}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{leaf.TLS()}, NextProtos: []string{"h2"},
		GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
			mu.Lock()
			defer mu.Unlock()
			seen[i.ServerName]++
			return nil, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })}
	ended := make(chan struct{})
	go func() { _ = srv.Serve(ln); close(ended) }()
	t.Cleanup(func() { _ = srv.Close(); <-ended })
	trusted := strings.Replace(overTLS, "UpstreamTlsContext", "UpstreamTlsContext, common_tls_context: {validation_context: {trusted_ca: "+tlstest.Inline(ca.CertPEM)+"}}", 1)
	cluster := speaks2("", trusted)
	cluster = strings.Replace(cluster, "    explicit", "    upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true, override_auto_sni_header: x-name}\n    explicit", 1)
	p := start(t, proxytest.Edge{Cluster: cluster}, map[string]string{"up": ln.Addr().String()})
	for _, tt := range []struct{ host, more, want string }{
		{"a.test", "", "ok"},
		{"b.test:8443", "", "ok"},
		{"a.test", "", "ok"},
		{"c.test", "", "TLS_error:|"},
		{"127.0.0.1", "", "TLS_error:|"},
		{"c.test", "x-name: b.test\r\n", "ok"},
	} {
		has(t, tt.host, p.Do("GET / HTTP/1.1\r\nhost: "+tt.host+"\r\n"+tt.more+"\r\n").Content, tt.want)
	}
	mu.Lock()
	check(t, "names", fmt.Sprint(seen), "map[:1 a.test:1 b.test:1 c.test:1]")
	mu.Unlock()
	atRest(t, p)
}
