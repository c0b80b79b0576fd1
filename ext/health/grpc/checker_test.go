// SPDX-License-Identifier: Apache-2.0

package grpc_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// reply is how the service answers.
type reply struct {
	status                  int
	contentType, grpc, body string
	trailersOnly, breaksOff bool
}

const (
	serving    = "\x00\x00\x00\x00\x02\x08\x01"
	notServing = "\x00\x00\x00\x00\x02\x08\x02"
)

// service is grpc.health.v1.Health over HTTP/2 in cleartext.
type service struct {
	*httptest.Server
	reply   atomic.Pointer[reply]
	request atomic.Value // head and body of the last
	fresh   atomic.Int32 // connections
}

func newService(t *testing.T, r *reply) *service {
	t.Helper()
	s := &service{}
	s.reply.Store(r)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *service) serve(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	s.request.Store(strings.Join([]string{q.Method, q.Host, q.URL.Path, q.Header.Get("content-type"), q.Header.Get("te"), q.Header.Get("grpc-timeout"), q.Header.Get("x-from"), string(body)}, "|"))
	r := s.reply.Load()
	if r.breaksOff {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("content-type", r.contentType)
	if r.trailersOnly {
		w.Header().Set("grpc-status", r.grpc)
		w.WriteHeader(r.status)
		return
	}
	w.Header().Set("trailer", "grpc-status")
	w.WriteHeader(r.status)
	_, _ = io.WriteString(w, r.body)
	w.Header().Set("grpc-status", r.grpc)
}

func start(t *testing.T, common, check string, s *service) *proxytest.Proxy {
	t.Helper()
	e := proxytest.Edge{Cluster: `common_lb_config: {update_merge_window: 0s}
health_checks:
- {timeout: 5s, interval: 0.02s, no_traffic_interval: 0.02s, unhealthy_threshold: 1, healthy_threshold: 1, ` + common + ` grpc_health_check: {` + check + `}}`}
	return proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": s.Listener.Addr().String()}})
}

func TestVerdicts(t *testing.T) {
	ok := reply{status: 200, contentType: "application/grpc", grpc: "0", body: serving}
	for _, tt := range []struct {
		name    string
		change  func(r *reply)
		healthy bool
	}{
		{"serving", func(*reply) {}, true},
		{"serving, as protobuf", func(r *reply) { r.contentType = "application/grpc+proto" }, true},
		{"not serving", func(r *reply) { r.body = notServing }, false},
		{"unknown", func(r *reply) { r.body = "\x00\x00\x00\x00\x00" }, false},
		{"a status of its own", func(r *reply) { r.grpc = "14" }, false},
		{"no such service", func(r *reply) { r.trailersOnly, r.grpc = true, "5" }, false},
		{"no answer at all", func(r *reply) { r.trailersOnly = true }, false},
		{"an error of HTTP", func(r *reply) { r.status = 503 }, false},
		{"no gRPC", func(r *reply) { r.contentType = "text/plain" }, false},
		{"two messages", func(r *reply) { r.body = serving + serving }, false},
		{"compressed", func(r *reply) { r.body = "\x01\x00\x00\x00\x02\x08\x01" }, false},
		{"no protobuf", func(r *reply) { r.body = "\x00\x00\x00\x00\x02\xff\xff" }, false},
		{"a large message", func(r *reply) { r.body = "\x00\x7f\x00\x00\x00" }, false},
		{"breaks off", func(r *reply) { r.breaksOff = true }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := ok
			tt.change(&r)
			p := start(t, "", "", newService(t, &r))
			if got := p.Gauge("cluster.up.membership_healthy") == 1; got != tt.healthy {
				t.Errorf("healthy: %v", got)
			}
			if tt.healthy == (p.Counter("cluster.up.health_check.failure") > 0) {
				t.Error("the counters do not say so")
			}
			if n := p.Counter("cluster.up.health_check.network_failure") > 0; n != (tt.name == "breaks off") {
				t.Errorf("a failure of the network: %v", n)
			}
		})
	}
}

func TestUpAndDown(t *testing.T) {
	r := reply{status: 200, contentType: "application/grpc", grpc: "0", body: serving}
	s := newService(t, &r)
	p := start(t, "", `service_name: shop.Cart, authority: cart.test, initial_metadata: [{header: {key: x-from, value: weir}}]`, s)
	if got, want := s.request.Load(), "POST|cart.test|/grpc.health.v1.Health/Check|application/grpc|trailers|5000m|weir|\x00\x00\x00\x00\x0b\x0a\x09shop.Cart"; got != want {
		t.Errorf("asked was %q", got)
	}
	down := r
	down.body = notServing
	s.reply.Store(&down)
	p.WaitGauge("cluster.up.membership_healthy", 0)
	s.reply.Store(&r)
	p.WaitGauge("cluster.up.membership_healthy", 1)
}
