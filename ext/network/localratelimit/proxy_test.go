// SPDX-License-Identifier: Apache-2.0

package localratelimit_test

import (
	"testing"

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

func limited(more string) string {
	return `{name: limit, typed_config: {` + proxytest.NetworkType + `local_ratelimit.v3.LocalRateLimit, stat_prefix: slow` + more + `}}, ` + proxytest.Echo
}

func TestLimit(t *testing.T) {
	p := start(t, limited(", token_bucket: {max_tokens: 2, fill_interval: 3600s}"))
	for range 2 {
		c := p.Dial()
		c.Send("x")
		c.ReadN(1)
	}
	p.Dial().ExpectClosed()
	if got := p.LogLines(1); got[0] != "local_ratelimit_close_over_limit -" {
		t.Errorf("access log: %q", got)
	}
	p.WaitCounter("local_rate_limit.slow.rate_limited", 1)
}

func TestInterval(t *testing.T) {
	y := proxytest.Network(limited(", token_bucket: {max_tokens: 2, fill_interval: 0.01s}"))
	if _, err := proxytest.TryStart(t, y, proxytest.Options{Extensions: all.Extensions()}); err == nil {
		t.Error("a fill_interval of 10 ms was taken")
	}
}
