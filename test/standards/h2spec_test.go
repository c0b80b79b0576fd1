// SPDX-License-Identifier: Apache-2.0

package standards

import (
	"encoding/xml"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/echo"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/test/tool"
)

// TestH2Spec runs every case of h2spec, strict ones included, against a listener in
// cleartext and against one with TLS.
func TestH2Spec(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	program := tool.Install(t, tool.H2Spec)
	server := httptest.NewServer(echo.Handler("up"))
	t.Cleanup(server.Close)
	for _, tt := range []struct {
		name, listener string
		args           []string
	}{
		{"cleartext", "", nil},
		{"TLS", "", []string{"-t", "-k"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := proxytest.Start(t, proxytest.Edge{Listener: tt.listener}.YAML(), proxytest.Options{
				Extensions: all.Extensions(), Backends: map[string]string{"up": server.Listener.Addr().String()},
			})
			host, port, err := net.SplitHostPort(p.Addr())
			if err != nil {
				t.Fatal(err)
			}
			report := filepath.Join(t.TempDir(), "report.xml")
			args := append([]string{"-h", host, "-p", port, "-S", "-o", "1", "-j", report}, tt.args...)
			out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
			if err != nil {
				t.Errorf("h2spec: %v\n%s", err, out)
			}
			if n := cases(t, report); n != h2specCases {
				t.Errorf("%d cases ran, want %d", n, h2specCases)
			}
		})
	}
}

// h2specCases is how many cases there are with the strict ones.
const h2specCases = 146

func cases(t *testing.T, report string) int {
	t.Helper()
	b, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Suites []struct {
			Tests   int `xml:"tests,attr"`
			Skipped int `xml:"skipped,attr"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, s := range r.Suites {
		n += s.Tests - s.Skipped
	}
	return n
}
