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

// start runs a listener with the given network filters, in YAML's flow style,
// and an access log.
func start(t testing.TB, filters string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, bootstrap(filters), proxytest.Options{Extensions: all.Extensions()})
}

const network = `"@type": type.googleapis.com/envoy.extensions.filters.network.`

const echo = `{name: echo, typed_config: {` + network + `echo.v3.Echo}}`

func bootstrap(filters string) string {
	return `
static_resources:
  listeners:
  - name: test
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    access_log: [{name: file, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: "{{log}}", log_format: {text_format_source: {inline_string: "%DOWNSTREAM_LOCAL_CLOSE_REASON% %CONNECTION_TERMINATION_DETAILS%\n"}}}}]
    filter_chains: [{filters: [` + filters + `]}]
`
}

func TestEcho(t *testing.T) {
	p := start(t, echo)
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
