// SPDX-License-Identifier: Apache-2.0

// Package attack has the proxy meet clients and hosts that do their worst with
// HTTP/2 and TLS, and holds it to what it promises: bounded work and memory, an end
// for those who ask too much, and no loss for all others.
package attack

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// http2Cluster has a cluster speak HTTP/2.
const http2Cluster = `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http2_protocol_options: {}}
`

// tlsChain is a transport socket for a filter chain.
func tlsChain(p *tlstest.Pair, more string) string {
	return `transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
    common_tls_context:
      alpn_protocols: [h2, http/1.1]
      tls_certificates: [` + p.Certificate() + "]\n" + more
}

// A backend is a host that counts the requests it works on. /slow is answered when
// the client is gone or the backend is freed.
type backend struct {
	*httptest.Server
	total, active, most atomic.Int64
	free                chan struct{}
	once                sync.Once
}

func (b *backend) release() { b.once.Do(func() { close(b.free) }) }

// newBackend starts a host of HTTP/1 or HTTP/2.
func newBackend(t testing.TB, h2 bool) *backend {
	t.Helper()
	b := &backend{free: make(chan struct{})}
	b.Server = httptest.NewUnstartedServer(http.HandlerFunc(b.serve))
	if h2 {
		b.Config.Protocols = new(http.Protocols)
		b.Config.Protocols.SetUnencryptedHTTP2(true)
		b.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 10000}
	}
	b.Start()
	t.Cleanup(func() { b.release(); b.Close() })
	return b
}

func (b *backend) serve(w http.ResponseWriter, r *http.Request) {
	b.total.Add(1)
	n := b.active.Add(1)
	defer b.active.Add(-1)
	for most := b.most.Load(); n > most && !b.most.CompareAndSwap(most, n); {
		most = b.most.Load()
	}
	switch {
	case strings.HasPrefix(r.URL.Path, "/slow"):
		select {
		case <-r.Context().Done():
		case <-b.free:
		}
	case strings.HasPrefix(r.URL.Path, "/large"):
		chunk := make([]byte, 1<<16)
		for range 64 { // 4 MiB
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	default:
		_, _ = io.Copy(w, r.Body) // The client's side tells.
	}
}

// edge runs a proxy before a backend.
func edge(t testing.TB, b *backend, e proxytest.Edge) *proxytest.Proxy {
	t.Helper()
	p := proxytest.Start(t, e.YAML(), proxytest.Options{
		Extensions: all.Extensions(), Backends: map[string]string{"up": b.Listener.Addr().String()}, Concurrency: 1,
	})
	t.Cleanup(func() { unharmed(t, p) })
	return p
}

// unharmed tells what every attack must leave behind: nothing.
func unharmed(t testing.TB, p *proxytest.Proxy) {
	t.Helper()
	if n := p.Counter("server.panics"); n != 0 {
		t.Errorf("%d tasks panicked", n)
	}
}

// settled waits until nothing of the attack is left in the gauges.
func settled(t testing.TB, p *proxytest.Proxy) {
	t.Helper()
	p.WaitGauge("http.test.downstream_rq_active", 0)
	p.WaitGauge("cluster.up.upstream_rq_active", 0)
	p.WaitGauge("cluster.up.upstream_rq_pending_active", 0)
	p.WaitGauge("http2.streams_active", 0)
	p.WaitGauge("http2.pending_send_bytes", 0)
	p.WaitGauge("http2.outbound_frames_active", 0)
	p.WaitGauge("http2.outbound_control_frames_active", 0)
}

// heap is the memory in use, after the dead is gone.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// deadline is for what has no other end.
func deadline() time.Time { return time.Now().Add(proxytest.Patience) }
