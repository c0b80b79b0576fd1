// SPDX-License-Identifier: Apache-2.0

package tcpproxy_test

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

func TestBothWays(t *testing.T) {
	p, up := start(t, edge{
		log: "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %UPSTREAM_HOST% %UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %ACCESS_LOG_TYPE% %PROTOCOL% %RESPONSE_CODE%",
	}, echo)
	c := p.Dial()
	c.Send("hello")
	if got := c.ReadN(5); got != "hello" {
		t.Fatalf("%q", got)
	}
	if n := p.Gauge("cluster.up.upstream_cx_active"); n != 1 {
		t.Errorf("upstream_cx_active is %d", n)
	}
	c.Send(" world")
	c.CloseWrite()
	if got, reset := c.ReadAll(); got != " world" || reset {
		t.Errorf("%q, reset %v", got, reset)
	}
	wantLog(t, p, "- 11 11 up "+up.Addr()+" 11 11 1 TcpConnectionEnd - 0")
	for name, want := range map[string]uint64{
		"tcp.test.downstream_cx_total": 1, "tcp.test.downstream_cx_rx_bytes_total": 11, "tcp.test.downstream_cx_tx_bytes_total": 11,
		"cluster.up.upstream_cx_total": 1, "cluster.up.upstream_cx_rx_bytes_total": 11, "cluster.up.upstream_cx_tx_bytes_total": 11,
		"cluster.up.upstream_rq_total": 1, "cluster.up.upstream_cx_destroy": 1,
	} {
		p.WaitCounter(name, want)
	}
	p.WaitGauge("cluster.up.upstream_cx_active", 0)
	p.WaitGauge("cluster.up.upstream_rq_active", 0)
}

// TestServerFirst: the upstream is connected to before the client speaks.
func TestServerFirst(t *testing.T) {
	p, _ := start(t, edge{}, func(s *proxytest.Session) {
		_ = s.Send("220 ready\r\n")
		b, _ := s.ReadN(4)
		_ = s.Send("250 " + b)
	})
	c := p.Dial()
	if got := c.ReadN(11); got != "220 ready\r\n" {
		t.Fatalf("%q", got)
	}
	c.Send("quit")
	if got, _ := c.ReadAll(); got != "250 quit" {
		t.Errorf("%q", got)
	}
}

// TestHalfClose: each side may end what it sends and still receive.
func TestHalfClose(t *testing.T) {
	t.Run("client first", func(t *testing.T) {
		p, _ := start(t, edge{}, func(s *proxytest.Session) {
			b, err := s.ReadAll()
			_ = s.Send(fmt.Sprintf("%d %v", len(b), err))
		})
		c := p.Dial()
		c.Send(strings.Repeat("x", 100_000))
		c.CloseWrite()
		if got, reset := c.ReadAll(); got != "100000 <nil>" || reset {
			t.Errorf("%q, reset %v", got, reset)
		}
	})
	t.Run("upstream first", func(t *testing.T) {
		got := make(chan string, 1)
		p, _ := start(t, edge{}, func(s *proxytest.Session) {
			_ = s.Send("all")
			_ = s.CloseWrite()
			b, _ := s.ReadAll()
			got <- b
		})
		c := p.Dial()
		if b, reset := c.ReadAll(); b != "all" || reset {
			t.Fatalf("%q, reset %v", b, reset)
		}
		c.Send("late")
		c.CloseWrite()
		if b := <-got; b != "late" {
			t.Errorf("the upstream got %q", b)
		}
		p.WaitGauge("listener."+strings.ReplaceAll(p.Addr(), ":", "_")+".downstream_cx_active", 0)
	})
}

// TestReset: a reset of one side is a reset on the other.
func TestReset(t *testing.T) {
	t.Run("upstream", func(t *testing.T) {
		p, _ := start(t, edge{log: "%RESPONSE_FLAGS%"}, func(s *proxytest.Session) {
			_, _ = s.ReadN(1)
			_ = s.Reset()
		})
		c := p.Dial()
		c.Send("x")
		if got, reset := c.ReadAll(); got != "" || !reset {
			t.Errorf("%q, reset %v", got, reset)
		}
		wantLog(t, p, "UR")
	})
	t.Run("client", func(t *testing.T) {
		seen := make(chan error, 1)
		p, up := start(t, edge{log: "%RESPONSE_FLAGS% %BYTES_RECEIVED%"}, func(s *proxytest.Session) {
			_, err := s.ReadAll()
			seen <- err
		})
		c := p.Dial()
		c.Send("x")
		up.WaitConnections(1)
		p.WaitCounter("tcp.test.downstream_cx_rx_bytes_total", 1)
		c.Reset()
		if err := <-seen; err == nil || !strings.Contains(err.Error(), "reset") {
			t.Errorf("the upstream saw %v", err)
		}
		wantLog(t, p, "- 1")
	})
	t.Run("after a last word", func(t *testing.T) {
		// The upstream answers and goes without reading what the client goes on
		// sending: the answer still arrives.
		p, _ := start(t, edge{}, func(s *proxytest.Session) {
			_, _ = s.ReadN(1)
			_ = s.Send("enough")
		})
		c := p.Dial()
		c.Send("x")
		if got := c.ReadN(6); got != "enough" {
			t.Errorf("%q", got)
		}
	})
}

// TestBulk: large amounts cross whole, in both directions at once.
func TestBulk(t *testing.T) {
	t.Run("by the kernel", func(t *testing.T) { bulk(t, "") })
	// A filter that sees what is read keeps the kernel from moving it.
	t.Run("through the process", func(t *testing.T) {
		bulk(t, `{name: rbac, typed_config: {`+anyType+`rbac.v3.RBAC, stat_prefix: r, enforcement_type: CONTINUOUS, rules: {policies: {all: {permissions: [{any: true}], principals: [{any: true}]}}}}}, `)
	})
}

func bulk(t *testing.T, filters string) {
	const size = 8 << 20
	read := make(chan struct{})
	p, _ := start(t, edge{log: "%BYTES_RECEIVED% %BYTES_SENT%", filters: filters}, func(s *proxytest.Session) {
		defer close(read)
		sent := make(chan error, 1)
		go func() { sent <- s.Send(pattern(size)); _ = s.CloseWrite() }()
		b, err := s.ReadAll()
		if err != nil || b != pattern(size) {
			t.Errorf("the upstream got %d bytes, %v", len(b), err)
		}
		if err := <-sent; err != nil {
			t.Errorf("the upstream's send: %v", err)
		}
	})
	c := p.Dial()
	done := make(chan error, 1)
	go func() { done <- c.TrySend(pattern(size)); c.CloseWrite() }()
	if got, _ := c.ReadAll(); got != pattern(size) {
		t.Errorf("the client got %d bytes", len(got))
	}
	if err := <-done; err != nil {
		t.Errorf("the client's send: %v", err)
	}
	<-read // The proxy may be done before the upstream has taken what is on its way.
	wantLog(t, p, fmt.Sprintf("%d %d", size, size))
}

// pattern is n bytes that tell when any is lost or moved.
func pattern(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>16) ^ byte(i>>8)*31 ^ byte(i)*7
	}
	return string(b)
}
