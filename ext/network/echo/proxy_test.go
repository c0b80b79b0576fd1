// SPDX-License-Identifier: Apache-2.0

package echo_test

import (
	"strings"
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

func TestEcho(t *testing.T) {
	p := start(t, proxytest.Echo)
	c := p.Dial()
	c.Send("one")
	if got := c.ReadN(3); got != "one" {
		t.Fatalf("%q", got)
	}
	long := strings.Repeat("0123456789", 20_000)
	go func() {
		_ = c.TrySend(long)
		c.CloseWrite()
	}()
	if got, reset := c.ReadAll(); got != long || reset {
		t.Errorf("%d bytes, reset %v", len(got), reset)
	}
}
