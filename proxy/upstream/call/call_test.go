// SPDX-License-Identifier: Apache-2.0

package call_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/call"
)

func TestMain(m *testing.M) { leak.Main(m) }

type rig struct {
	*call.Caller
	t        *testing.T
	clusters *upstream.Manager
	loops    []*engine.Loop
}

func newRig(t *testing.T) *rig {
	t.Helper()
	e, err := engine.New(engine.Options{Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	var loops []upstream.Loop
	for _, l := range e.Loops() {
		loops = append(loops, poster{l})
	}
	m := upstream.NewManager(upstream.Options{Loops: loops, Stats: stats.NewStore().Scope("")})
	t.Cleanup(m.Close)
	return &rig{call.New(e.Loops(), m), t, m, e.Loops()}
}

type poster struct{ *engine.Loop }

func (p poster) Post(f func()) { p.Loop.Post(f) }

// cluster adds a cluster of the hosts, "127.0.0.1:80".
func (r *rig) cluster(name string, hosts ...string) {
	r.t.Helper()
	r.add(name, `"circuit_breakers":{"thresholds":[{"max_requests":1}]}`, hosts...)
}

// add adds a cluster with more fields, in JSON.
func (r *rig) add(name, more string, hosts ...string) {
	r.t.Helper()
	var endpoints []string
	for _, h := range hosts {
		host, port, _ := strings.Cut(h, ":")
		endpoints = append(endpoints, fmt.Sprintf(`{"endpoint":{"address":{"socket_address":{"address":%q,"port_value":%s}}}}`, host, port))
	}
	c := &clusterv3.Cluster{}
	if err := protojson.Unmarshal([]byte(fmt.Sprintf(`{"name":%q,"connect_timeout":"5s","load_assignment":{"cluster_name":%q,"endpoints":[{"lb_endpoints":[%s]}]},%s}`,
		name, name, strings.Join(endpoints, ","), more)), c); err != nil {
		r.t.Fatal(err)
	}
	x := all.Extensions()
	cfg, problems := upstream.Compile(c, &upstream.Context{Policies: x.Policies, Discoveries: x.Discoveries})
	if cfg == nil {
		r.t.Fatal(problems)
	}
	if _, err := r.clusters.Update(cfg); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) get(ctx context.Context, path string, timeout time.Duration) (string, error) {
	status, body, err := r.Get(ctx, "a", path, timeout, 100)
	return fmt.Sprintf("%d %s", status, body), err
}

func serve(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestGet(t *testing.T) {
	r := newRig(t)
	r.cluster("a", serve(t, func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/early":
			w.WriteHeader(http.StatusEarlyHints)
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
			return
		case "/large":
			_, _ = io.WriteString(w, strings.Repeat("x", 101))
			return
		case "/broken":
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, "%s %s%s", q.Method, q.Host, q.RequestURI)
	}))
	tests := []struct{ path, want, err string }{
		{"/x?y=%20z", "418 GET a/x?y=%20z", ""},
		{"/early", "418 GET a/early", ""},
		{"/empty", "204 ", ""},
		{"/large", "", "more than 100 bytes"},
		{"/broken", "", "EOF"},
		{"/a b", "", "not one of HTTP"},
		{"/a\r\nx: y", "", "not one of HTTP"},
	}
	for _, tt := range tests {
		got, err := r.get(t.Context(), tt.path, 5*time.Second)
		if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) || tt.err == "" && (err != nil || got != tt.want) {
			t.Errorf("%q: %q, %v, want %q %q", tt.path, got, err, tt.want, tt.err)
		}
	}
}

// TestWaits: a call waits for its cluster, and for nothing that does not come.
func TestWaits(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.get(ctx, "/", time.Second); !errors.Is(err, context.Canceled) {
		t.Errorf("without a cluster: %v", err)
	}
	answered := make(chan error)
	go func() {
		_, err := r.get(t.Context(), "/", time.Second)
		answered <- err
	}()
	r.cluster("b")
	r.cluster("a")
	if err := <-answered; err == nil || err.Error() != `cluster "a" has no healthy host` {
		t.Errorf("without hosts: %v", err)
	}
}

func TestTimeout(t *testing.T) {
	r := newRig(t)
	r.cluster("a", serve(t, func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() }))
	if _, err := r.get(t.Context(), "/", 50*time.Millisecond); err == nil || err.Error() != "no response in time" {
		t.Errorf("after its time: %v", err)
	}
}

func TestCallerLeaves(t *testing.T) {
	r := newRig(t)
	came := make(chan struct{})
	r.cluster("a", serve(t, func(_ http.ResponseWriter, q *http.Request) {
		came <- struct{}{}
		<-q.Context().Done()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := r.get(ctx, "/", time.Hour)
		left <- err
	}()
	<-came
	if _, err := r.get(t.Context(), "/", time.Hour); err == nil || !strings.Contains(err.Error(), "too many requests") {
		t.Errorf("beside another, where one is allowed: %v", err)
	}
	cancel()
	if err := <-left; err == nil || !strings.Contains(err.Error(), "nobody waits") {
		t.Errorf("after the caller left: %v", err)
	}
}

// TestAuthority: a cluster whose name is no host's is spoken to all the same.
func TestAuthority(t *testing.T) {
	r := newRig(t)
	const name = "backend/default/shop/0"
	r.cluster(name, serve(t, func(w http.ResponseWriter, q *http.Request) { _, _ = io.WriteString(w, q.Host) }))
	if _, body, err := r.Get(t.Context(), name, "/", 0, 100); err != nil || string(body) != "backend-default-shop-0" {
		t.Errorf("%s %v", body, err)
	}
}
