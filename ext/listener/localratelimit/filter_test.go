// SPDX-License-Identifier: Apache-2.0

package localratelimit_test

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

func filter(fields string) string {
	return proxytest.ListenerFilter("local_ratelimit.v3.LocalRateLimit", ", stat_prefix: x"+fields)
}

func start(t *testing.T, yaml string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, yaml, proxytest.Options{Extensions: proxytest.WithTeller(t, all.Extensions(), "served")})
}

func served(t *testing.T, p *proxytest.Proxy) {
	t.Helper()
	c := p.Dial()
	defer c.Close()
	if got := c.ReadN(6); got != "served" {
		t.Errorf("%q", got)
	}
}

func TestLimit(t *testing.T) {
	p := start(t, proxytest.Told(filter(", token_bucket: {max_tokens: 2, fill_interval: 3600s}"), ""))
	served(t, p)
	served(t, p)
	for range 3 {
		p.Dial().ExpectClosed()
	}
	p.WaitCounter("listener_local_ratelimit.x.rate_limited", 3)
}

func TestRefill(t *testing.T) {
	p := start(t, proxytest.Told(filter(", token_bucket: {max_tokens: 1, tokens_per_fill: 5, fill_interval: 0.05s}"), ""))
	for range 3 {
		proxytest.Eventually(t, "a connection", func() (string, bool) {
			c := p.Dial()
			defer c.Close()
			c.CloseWrite()
			got, _ := c.ReadAll()
			return got, got == "served\n"
		})
	}
}

func TestDisabled(t *testing.T) {
	p := start(t, proxytest.Told(filter(", token_bucket: {max_tokens: 0, fill_interval: 1s}, runtime_enabled: {default_value: false, runtime_key: k}"), ""))
	served(t, p)
	p = start(t, proxytest.Told(filter(", token_bucket: {max_tokens: 0, fill_interval: 1s}, runtime_enabled: {default_value: false, runtime_key: k}"), "")+
		"layered_runtime: {layers: [{name: l, static_layer: {k: true}}]}\n")
	p.Dial().ExpectClosed()
}

func TestRefused(t *testing.T) {
	for _, fields := range []string{"", ", token_bucket: {max_tokens: 1, fill_interval: 0.01s}"} {
		if _, err := proxytest.TryStart(t, proxytest.Told(filter(fields), ""), proxytest.Options{Extensions: all.Extensions()}); err == nil || !strings.Contains(err.Error(), "token_bucket") {
			t.Errorf("%s: %v", fields, err)
		}
	}
}
