// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestWhatTheBinaryIsWithout builds the binary as it is given to users, and looks for what makes it large without use.
func TestWhatTheBinaryIsWithout(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary")
	}
	file := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.CommandContext(t.Context(), "make", "-C", "../..", "build", "BIN="+file).CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	binary, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the binary has %.1f MB", float64(len(binary))/1e6)
	for name, why := range map[string]string{
		"text/template.(*state).evalField": "it calls methods by their names, so that the linker keeps every exported method: " +
			"find who calls a template with go build -ldflags=-dumpdep",
		"k8s.io/api/storage/v1.": "client-go's kubernetes packages bring the types of all APIs: use its dynamic client",
	} {
		if bytes.Contains(binary, []byte(name)) {
			t.Errorf("the binary has %s: %s", name, why)
		}
	}
}
