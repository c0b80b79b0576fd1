// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"weir.dev/weir/proxy/proxytest"
)

// full is an address that lets connections neither in nor down: its queue is full.
func full(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return addr
}

func TestConnectTimeout(t *testing.T) {
	p := start(t, proxytest.Edge{
		Routes: `- {match: {prefix: /}, route: {cluster: slow}}`,
		Clusters: `- name: slow
  connect_timeout: 0.1s
  type: STATIC
  load_assignment: {cluster_name: slow, endpoints: [{lb_endpoints: [{endpoint: {address: {{full}}}}]}]}`,
	}, map[string]string{"full": full(t), "up": "127.0.0.1:1"})
	res := p.Do(get)
	check(t, "body", res.Content, "upstream connect error or disconnect/reset before headers. reset reason: connection timeout")
	check(t, "log", p.LogLines(1)[0], "503 UF upstream_reset_before_response_started{connection_timeout} 1")
	for name, want := range map[string]uint64{
		"upstream_cx_connect_timeout": 1, "upstream_cx_connect_fail": 1, "upstream_cx_destroy_local": 1,
		"upstream_rq_pending_failure_eject": 1, "upstream_rq_503": 1, "upstream_cx_total": 1, "upstream_rq_total": 0,
	} {
		p.WaitCounter("cluster.slow."+name, want)
	}
	p.WaitGauge("cluster.slow.upstream_cx_active", 0)
}

// TestClientGoneWhileConnecting: nobody waits for a connection that nobody wants.
func TestClientGoneWhileConnecting(t *testing.T) {
	p := start(t, proxytest.Edge{}, map[string]string{"up": full(t)})
	c := p.Dial()
	c.Send(get)
	p.WaitGauge("cluster.up.upstream_rq_pending_active", 1)
	c.Reset()
	p.WaitGauge("cluster.up.upstream_cx_active", 0)
	p.WaitCounter("cluster.up.upstream_rq_cancelled", 1)
	check(t, "log", p.LogLines(1)[0], "0 DC downstream_remote_disconnect 1")
	atRest(t, p)
}

// TestRetryDuringUpload: an answer that comes before the body has been sent is
// retried with the body whole.
func TestRetryDuringUpload(t *testing.T) {
	const size = 300 << 10
	u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		if s.Number == 0 {
			_, _ = s.Head()
			_ = s.Send(failure)
			_ = s.Gone()
			return
		}
		_, _ = s.Request()
		_ = s.Send(ok)
	})
	p := start(t, proxytest.Edge{Routes: policy("retry_on: 5xx")}, up(u))
	c := p.Dial()
	c.Send(fmt.Sprintf("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n", size), strings.Repeat("x", 1000))
	u.WaitConnections(2)
	c.Send(strings.Repeat("y", size-1000))
	if res := c.Response("POST"); res.Content != "ok" {
		t.Fatalf("%v", res)
	}
	_, body, _ := strings.Cut(u.Requests()[0], "\r\n\r\n")
	if len(body) != size || strings.Count(body, "x") != 1000 {
		t.Errorf("%d bytes, %d of them of the first part", len(body), strings.Count(body, "x"))
	}
	atRest(t, p)
}

// TestWaitersOutliveFailures: who waits gets a connection when the one it waited
// for fails.
func TestWaitersOutliveFailures(t *testing.T) {
	next := make(chan struct{})
	u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		_, _ = s.Request()
		s.Hold(next)
		if s.Number%2 == 1 {
			_ = s.Send(ok)
		}
	})
	p := start(t, proxytest.Edge{Cluster: breaker("max_connections: 1")}, up(u))
	var clients []*proxytest.Client
	for i := range 6 {
		c := p.Dial()
		c.Send(get)
		if i == 0 {
			u.WaitRequests(1)
		} else {
			p.WaitGauge("cluster.up.upstream_rq_pending_active", int64(i))
		}
		clients = append(clients, c)
	}
	close(next)
	got := map[int]int{}
	for _, c := range clients {
		got[c.Response("GET").StatusCode]++
	}
	check(t, "answers", fmt.Sprint(got), "map[200:3 503:3]")
	atRest(t, p)
	p.WaitGauge("cluster.up.upstream_cx_active", 0)
}

// TestRetryBudget: retries are a share of the requests under way, but not fewer
// than the minimum.
func TestRetryBudget(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(failure))
	p := start(t, proxytest.Edge{
		Routes:  policy("retry_on: 5xx, num_retries: 3"),
		Cluster: breaker("retry_budget: {budget_percent: {value: 0}, min_retry_concurrency: 1}"),
	}, up(u))
	p.Do(get)
	p.WaitCounter("cluster.up.upstream_rq_retry", 3)
	atRest(t, p)
}

// TestLoops runs the storm of many clients over several event loops, while the
// cluster is replaced again and again: no count is lost.
func TestLoops(t *testing.T) {
	u := proxytest.NewUpstream(t, steps(ok))
	e := proxytest.Edge{AccessLog: "%RESPONSE_CODE%"}
	p := proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: registry(), Backends: up(u), Concurrency: 3})
	const clients, each = 8, 50
	var wg sync.WaitGroup
	for range clients {
		c := p.Dial()
		wg.Go(func() {
			for range each {
				if res := c.Do(get); res.Content != "ok" {
					t.Errorf("%v", res)
					return
				}
			}
		})
	}
	for i := range 10 {
		e.Cluster = breaker(fmt.Sprintf("max_connections: %d", 500+i))
		if problems := p.Update(e.YAML()); len(problems) > 0 {
			t.Error(problems)
		}
	}
	wg.Wait()
	p.WaitCounter("cluster.up.upstream_rq_200", clients*each)
	p.WaitCounter("cluster.up.upstream_rq_total", clients*each)
	p.WaitCounter("cluster.up.upstream_rq_completed", clients*each)
	atRest(t, p)
}
