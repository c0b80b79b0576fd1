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

// start runs proxytest.Network.
func start(t testing.TB, filters string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, proxytest.Network(filters), proxytest.Options{Extensions: all.Extensions()})
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
		p := start(t, `{name: direct, typed_config: {`+proxytest.NetworkType+`direct_response.v3.Config, response: `+source+`}}`)
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
	y := proxytest.Network(`{name: direct, typed_config: {` + proxytest.NetworkType + `direct_response.v3.Config, response: {filename: /nowhere/at/all}}}`)
	if _, err := proxytest.TryStart(t, y, proxytest.Options{Extensions: all.Extensions()}); err == nil {
		t.Error("a file that is not there was taken")
	}
}
