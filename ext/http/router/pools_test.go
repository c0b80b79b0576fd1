// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/proxy/proxytest"
)

// follows has the cluster speak what the client speaks, so that each protocol has a
// pool of its own.
const follows = `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    use_downstream_protocol_config: {http_protocol_options: {}, http2_protocol_options: {}}
`

// server2 is a host of both protocols.
func server2(t *testing.T, h http.HandlerFunc) map[string]string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return map[string]string{"up": s.Listener.Addr().String()}
}

// fetch sends a GET by HTTP/2.
func fetch(t *testing.T, p *proxytest.Proxy, path string) (res *http.Response, body string) {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr, Timeout: proxytest.Patience}).Get("http://" + p.Addr() + path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res, string(b)
}

// TestMaxConnectionPools: a request that needs a further pool is refused while all
// that may be are in use; a pool at rest makes room.
func TestMaxConnectionPools(t *testing.T) {
	held := make(chan struct{})
	defer func() { close(held) }()
	arrived := make(chan struct{}, 1)
	p := start(t, proxytest.Edge{Cluster: follows + breaker("max_connection_pools: 1, track_remaining: true")}, server2(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			arrived <- struct{}{}
			<-held
		}
		_, _ = io.WriteString(w, r.Proto) // The client's side tells.
	}))
	c := p.Dial()
	c.Send("GET /hold HTTP/1.1\r\nhost: a.test\r\n\r\n")
	<-arrived
	p.WaitGauge("cluster.up.circuit_breakers.default.cx_pool_open", 1)
	if res, _ := fetch(t, p, "/"); res.StatusCode != 503 || res.Header.Get("x-envoy-overloaded") != "true" {
		t.Errorf("beyond the limit: %d %v", res.StatusCode, res.Header)
	}
	p.WaitCounter("cluster.up.upstream_cx_pool_overflow", 1)
	has(t, "log", p.LogLines(1)[0], "503 UO")
	if res := p.Do(get); res.Content != "HTTP/1.1" { // In the pool that there is.
		t.Errorf("%v", res)
	}
	held <- struct{}{}
	if res := c.Response("GET"); res.Content != "HTTP/1.1" {
		t.Errorf("%v", res)
	}
	if _, body := fetch(t, p, "/"); body != "HTTP/2.0" {
		t.Errorf("after the first pool was at rest: %q", body)
	}
	p.WaitCounter("cluster.up.upstream_cx_pool_overflow", 1)
	atRest(t, p)
}

// TestResponseTimes: the access log tells when the host's response began and ended.
func TestResponseTimes(t *testing.T) {
	const pause = 500 * time.Millisecond // Far longer than the proxy, or the host, is kept from running.
	backends := server2(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			_, _ = io.WriteString(w, "some ") // The client's side tells.
			_ = http.NewResponseController(w).Flush()
			<-time.After(pause)
			_, _ = io.WriteString(w, "more")
		case "/empty":
		default:
			_, _ = io.WriteString(w, "fast")
		}
	})
	for _, name := range []string{"HTTP/1", "HTTP/2"} {
		t.Run(name, func(t *testing.T) {
			p := start(t, proxytest.Edge{
				Cluster:   follows,
				AccessLog: "%COMMON_DURATION(US_RX_BEG:US_RX_END:us)% %COMMON_DURATION(US_RX_END:DS_TX_END:us)% %COMMON_DURATION(US_TX_END:US_RX_END:us)% %PROTOCOL%",
			}, backends)
			for i, path := range []string{"/slow", "/fast", "/empty"} {
				if name == "HTTP/2" {
					fetch(t, p, path)
				} else {
					p.Do("GET " + path + " HTTP/1.1\r\nhost: a\r\n\r\n")
				}
				line := p.LogLines(i + 1)[i]
				var us [3]time.Duration
				for j, s := range strings.Fields(line)[:3] {
					n, err := strconv.Atoi(s)
					if err != nil || n < 0 {
						t.Fatalf("%s: %q", path, line)
					}
					us[j] = time.Duration(n) * time.Microsecond
				}
				if path == "/slow" != (us[0] >= pause/2) || us[2] < us[0] {
					t.Errorf("%s: %q", path, line)
				}
			}
		})
	}
}
