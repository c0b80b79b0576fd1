// SPDX-License-Identifier: Apache-2.0

package connectionlimit_test

import (
	"testing"
	"time"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// start runs proxytest.Network.
func start(t testing.TB, filters string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, proxytest.Network(filters), proxytest.Options{Extensions: all.Extensions()})
}

func limit(more string) string {
	return `{name: limit, typed_config: {` + proxytest.NetworkType + `connection_limit.v3.ConnectionLimit, stat_prefix: few, max_connections: 1` + more + `}}, ` + proxytest.Echo
}

func TestLimit(t *testing.T) {
	p := start(t, limit(""))
	first := p.Dial()
	first.Send("x")
	first.ReadN(1)
	p.Dial().ExpectClosed()
	if got := p.LogLines(1); got[0] != "over_connection_limit -" {
		t.Errorf("access log: %q", got)
	}
	if n := p.Gauge("connection_limit.few.active_connections"); n != 1 {
		t.Errorf("active_connections is %d", n)
	}
	p.WaitCounter("connection_limit.few.limited_connections", 1)
	first.Send("y")
	first.ReadN(1)
	first.Close()
	p.WaitGauge("connection_limit.few.active_connections", 0)
	c := p.Dial()
	c.Send("z")
	c.ReadN(1)
}

// TestDelay: a connection too many is closed after the delay, and not before.
func TestDelay(t *testing.T) {
	p := start(t, limit(", delay: 0.1s"))
	first := p.Dial()
	first.Send("x")
	first.ReadN(1)
	begun := time.Now()
	p.Dial().ExpectClosed()
	if d := time.Since(begun); d < 90*time.Millisecond {
		t.Errorf("closed after %v", d)
	}
}

func TestRuntime(t *testing.T) {
	p := start(t, limit(", runtime_enabled: {default_value: false, runtime_key: a.b}"))
	for range 3 {
		c := p.Dial()
		c.Send("x")
		c.ReadN(1)
	}
}
