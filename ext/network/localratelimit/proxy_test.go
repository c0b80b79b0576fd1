// SPDX-License-Identifier: Apache-2.0

package localratelimit_test

import (
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

func limited(more string) string {
	return `{name: limit, typed_config: {` + network + `local_ratelimit.v3.LocalRateLimit, stat_prefix: slow` + more + `}}, ` + echo
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
	y := bootstrap(limited(", token_bucket: {max_tokens: 2, fill_interval: 0.01s}"))
	if _, err := proxytest.TryStart(t, y, proxytest.Options{Extensions: all.Extensions()}); err == nil {
		t.Error("a fill_interval of 10 ms was taken")
	}
}
