// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"net"
	"os/exec"
	"strings"
	"testing"

	"weir.dev/weir/proxy/engine"
)

// TestH2spec runs h2spec's strict cases, if the program is there: a malformed message
// ends the connection or, by option, its stream.
func TestH2spec(t *testing.T) {
	program, err := exec.LookPath("h2spec")
	if err != nil {
		t.Skip("needs h2spec: go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible")
	}
	for _, keep := range []bool{false, true} {
		x := newRig(t).site(Options{KeepStreamOnError: keep, AllowConnect: true}, func(t *engine.Task, s *ServerStream) {
			if b := s.Message().Body; b != nil {
				for {
					if _, err := b.Next(); err != nil {
						break
					}
				}
			}
			hello(t, s)
		})
		host, port, err := net.SplitHostPort(x.addr)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), program, "-h", host, "-p", port, "-S", "-o", "2").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "146 tests, 146 passed, 0 skipped, 0 failed") {
			t.Errorf("keep %t: %v\n%s", keep, err, out)
		}
	}
}
