// SPDX-License-Identifier: Apache-2.0

package tcpproxy_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/proxy/proxytest"
)

func TestIdleTimeout(t *testing.T) {
	p, _ := start(t, edge{proxy: "idle_timeout: 0.5s", log: why}, echo)
	c := p.Dial()
	c.Send("x")
	c.ReadN(1)
	c.ExpectClosed()
	wantLog(t, p, "- tcp_session_idle_timeout - 1")
	p.WaitCounter("tcp.test.idle_timeout", 1)
	p.WaitGauge("cluster.up.upstream_cx_active", 0)
}

// TestMaxDuration: a connection that is busy ends, too.
func TestMaxDuration(t *testing.T) {
	p, _ := start(t, edge{proxy: "max_downstream_connection_duration: 0.1s, max_downstream_connection_duration_jitter_percentage: {value: 50}", log: why}, func(s *proxytest.Session) {
		for s.Send("tick") == nil {
		}
	})
	c := p.Dial()
	if _, err := io.Copy(io.Discard, c.Conn()); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	wantLog(t, p, "DT max_connection_duration_reached - 1")
	p.WaitCounter("tcp.test.max_downstream_connection_duration", 1)
}

// TestSlowReader: a client that does not read stops the upstream, which has sent
// no more by then than the kernel and one pipe hold.
func TestSlowReader(t *testing.T) {
	stopped := make(chan int, 1)
	p, _ := start(t, edge{}, func(s *proxytest.Session) {
		sent := 0
		piece := strings.Repeat("x", 64<<10)
		for sent < 256<<20 {
			if err := s.Conn().SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
				t.Error(err)
			}
			if s.Send(piece) != nil {
				break
			}
			sent += len(piece)
		}
		stopped <- sent
	})
	c := p.Dial()
	if sent := <-stopped; sent > 64<<20 {
		t.Errorf("the upstream could send %d bytes to a client that does not read", sent)
	}
	p.WaitCounterPast("cluster.up.upstream_flow_control_paused_reading_total", 1) // More where the client's kernel makes room.
	c.Close()
	p.WaitGauge("cluster.up.upstream_cx_active", 0)
}

// TestDrain: an established connection goes on while the proxy drains, and ends
// with the drain.
func TestDrain(t *testing.T) {
	up := proxytest.NewUpstream(t, echo)
	p := startAt(t, edge{}, map[string]string{"up": up.Addr()})
	c := p.Dial()
	c.Send("x")
	c.ReadN(1)
	ctx, end := context.WithCancel(context.Background())
	drained := make(chan struct{})
	go func() { p.Drain(ctx); close(drained) }()
	for range 3 {
		c.Send("y")
		if got := c.ReadN(1); got != "y" {
			t.Errorf("%q", got)
		}
	}
	end()
	<-drained
	p.Close()
	c.ExpectClosed()
}

func TestCheckDrainClose(t *testing.T) {
	p, _ := start(t, edge{proxy: "check_drain_close: true"}, echo)
	c := p.Dial()
	c.Send("x")
	c.ReadN(1)
	go p.Drain(t.Context())
	proxytest.Eventually(t, "the connection", func() (string, bool) {
		if c.TrySend("y") != nil {
			return "closed", true
		}
		m, _ := p.Metric("tcp.test.downstream_cx_drain_close")
		return "open", m.Count == 1
	})
}

// TestConnectOnData: with ON_DOWNSTREAM_DATA nobody is connected to before the
// client speaks.
func TestConnectOnData(t *testing.T) {
	p, up := start(t, edge{proxy: "upstream_connect_mode: ON_DOWNSTREAM_DATA, max_early_data_bytes: 4"}, echo)
	silent := p.Dial()
	silent.CloseWrite()
	silent.ExpectClosed()
	if n := up.Connections(); n != 0 {
		t.Errorf("%d connections for a client that said nothing", n)
	}
	c := p.Dial()
	c.Send("early data")
	if got := c.ReadN(10); got != "early data" {
		t.Errorf("%q", got)
	}
	p.WaitCounter("tcp.test.early_data_received_count_total", 1)
}

func TestWeighted(t *testing.T) {
	up := proxytest.NewUpstream(t, echo)
	e := edge{
		target:   "weighted_clusters: {clusters: [{name: a, weight: 3}, {name: b, weight: 1}]}",
		clusters: cluster("a") + cluster("b"),
	}
	p := startAt(t, e, map[string]string{"up": up.Addr()})
	const n = 200
	for range n {
		c := p.Dial()
		c.Send("x")
		c.ReadN(1)
		c.Close()
	}
	a, b := p.Counter("cluster.a.upstream_cx_total"), p.Counter("cluster.b.upstream_cx_total")
	if a+b != n || a < n/2 || b < n/20 {
		t.Errorf("a %d, b %d", a, b)
	}
}

func cluster(name string) string {
	return ", {name: " + name + ", connect_timeout: 1s, load_assignment: {cluster_name: " + name + ", endpoints: [{lb_endpoints: [{endpoint: {address: {{up}}}}]}]}}"
}

// TestLogTypes: records at the beginning, once connected, while it goes on and at
// the end.
func TestLogTypes(t *testing.T) {
	p, up := start(t, edge{
		proxy: "access_log_options: {access_log_flush_interval: 0.05s, flush_access_log_on_connected: true, flush_access_log_on_start: true}",
		log:   "%ACCESS_LOG_TYPE% %UPSTREAM_HOST% %BYTES_SENT% %STREAM_ID%",
	}, echo)
	c := p.Dial()
	c.Send("x")
	c.ReadN(1)
	lines := p.LogLines(3)
	c.Close()
	proxytest.Eventually(t, "the last record", func() (string, bool) {
		lines = p.LogLines(3)
		last := lines[len(lines)-1]
		return last, strings.HasPrefix(last, "TcpConnectionEnd ")
	})
	_, id, _ := strings.Cut(lines[0], "TcpConnectionStart - 0 ")
	if len(id) != 36 {
		t.Errorf("stream ID %q", id)
	}
	want := map[string]string{
		"TcpConnectionStart": "- 0 " + id, "TcpUpstreamConnected": up.Addr() + " 0 " + id,
		"TcpPeriodic": up.Addr() + " 1 " + id, "TcpConnectionEnd": up.Addr() + " 1 " + id,
	}
	seen := map[string]bool{}
	for _, l := range lines {
		typ, rest, _ := strings.Cut(l, " ")
		if want[typ] != rest {
			t.Errorf("%s", l)
		}
		seen[typ] = true
	}
	if len(seen) != len(want) {
		t.Errorf("records: %v", lines)
	}
}
