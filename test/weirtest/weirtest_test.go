// SPDX-License-Identifier: Apache-2.0

package weirtest

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func TestRun(t *testing.T) {
	if out, status := Run(t, "", "version"); status != 0 || !strings.HasPrefix(out, "weir ") {
		t.Errorf("status %d, output %q", status, out)
	}
	if out, status := Run(t, "", "vresion"); status != 1 || !strings.Contains(out, "version") {
		t.Errorf("status %d, output %q", status, out)
	}
}

func TestStart(t *testing.T) {
	p := Start(t, "echo", "--address", "127.0.0.1:0")
	p.WaitFor("echo listens")
	p.Signal(syscall.SIGTERM)
	p.WaitFor("stopped")
	if status := p.Wait(patience); status != 0 || !strings.Contains(p.Output(), "draining") {
		t.Errorf("status %d, output %q", status, p.Output())
	}
}

func TestQuickstart(t *testing.T) {
	f := Quickstart(t, "../..")
	edge, err := os.ReadFile(filepath.Join(f.Path, "edge.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	original, err := os.ReadFile("../../examples/envoy/quickstart/edge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if string(edge) == string(original) || strings.Contains(string(edge), "port_value: 8080}") {
		t.Errorf("the ports are still the example's:\n%s", edge)
	}
	line := "curl -s http://127.0.0.1:8080/x " + f.Path
	if got := f.There(f.Here(line)); got != "curl -s http://127.0.0.1:8080/x examples/envoy/quickstart" {
		t.Errorf("there and back: %q", got)
	}
	want := 1 + strings.Count(strings.Split(string(edge), "virtual_hosts")[0], "\n")
	if got := f.Edit(t, "edge.yaml", "virtual_hosts", "virtual_host"); got != want {
		t.Errorf("edited line %d, want %d", got, want)
	}
}
