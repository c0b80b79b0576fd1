// SPDX-License-Identifier: Apache-2.0

package directresponse_test

import (
	"os"
	"path/filepath"
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

func TestResponse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "answer")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WEIR_TEST_ANSWER", "from outside")
	for source, want := range map[string]string{
		`{inline_string: "hello"}`: "hello", `{inline_bytes: "aGk="}`: "hi", `{filename: ` + file + `}`: "from a file",
		`{environment_variable: WEIR_TEST_ANSWER}`: "from outside", `{inline_string: ""}`: "",
	} {
		p := start(t, `{name: direct, typed_config: {`+network+`direct_response.v3.Config, response: `+source+`}}`)
		c := p.Dial()
		c.Send("what the client says does not matter")
		c.CloseWrite()
		if got, reset := c.ReadAll(); got != want || reset {
			t.Errorf("%s: %q, reset %v", source, got, reset)
		}
		if got := p.LogLines(1); got[0] != "direct_response_close -" {
			t.Errorf("access log: %q", got)
		}
	}
}

func TestMissingFile(t *testing.T) {
	y := bootstrap(`{name: direct, typed_config: {` + network + `direct_response.v3.Config, response: {filename: /nowhere/at/all}}}`)
	if _, err := proxytest.TryStart(t, y, proxytest.Options{Extensions: all.Extensions()}); err == nil {
		t.Error("a file that is not there was taken")
	}
}
