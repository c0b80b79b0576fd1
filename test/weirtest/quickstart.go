// SPDX-License-Identifier: Apache-2.0

package weirtest

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weir.dev/weir/internal/reserve"
)

// A Folder is a copy of an example with ports of its own, so that tests can run beside each other and beside
// whatever the machine runs.
type Folder struct {
	Path    string
	Example string            // the example's folder, from the module's root: "examples/envoy/quickstart"
	Ports   map[string]string // of the example → of the copy
}

// Quickstart copies examples/envoy/quickstart. root is the module's root, from the test's folder.
func Quickstart(t *testing.T, root string) Folder {
	t.Helper()
	return Example(t, root, "examples/envoy/quickstart")
}

// admin is the port of the admin where no file says one.
const admin = "9901"

// Run returns the arguments that run the copy.
func (f Folder) Run(flags ...string) []string {
	args := []string{"run", f.Path, "--admin", "127.0.0.1:" + cmp.Or(f.Ports[admin], "0")}
	// An install of Envoy Gateway is configured by its file.
	if install := filepath.Join(f.Path, "envoy-gateway-config.yaml"); fileExists(install) {
		args = append(args, "--envoy-gateway-config", install)
	}
	return append(args, flags...)
}

// Example copies the example in a folder, given from the module's root. If it has a certificates.sh, which
// makes what its files name, that is run for the copy; without openssl the test is skipped.
func Example(t *testing.T, root, folder string) Folder {
	t.Helper()
	f := Folder{Path: t.TempDir(), Example: folder, Ports: map[string]string{}}
	var files []string
	for _, pattern := range []string{"*.yaml", "*.json", "resources/*.yaml"} {
		some, err := filepath.Glob(filepath.Join(root, folder, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, some...)
	}
	if len(files) == 0 {
		t.Fatalf("%s has no files", folder)
	}
	texts := map[string]string{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
		for _, m := range regexp.MustCompile(`(?:127\.0\.0\.1:|port_value: |"port(?:_value)?": |\bport: |-port: ")([0-9]+)`).FindAllStringSubmatch(string(text), -1) {
			if f.Ports[m[1]] == "" {
				f.Ports[m[1]] = FreePort(t)
			}
		}
	}
	if !strings.Contains(fmt.Sprint(texts), "port_value") {
		f.Ports[admin] = FreePort(t) // Of objects the admin is a flag.
	}
	for name, text := range texts {
		to := filepath.Join(f.Path, strings.TrimPrefix(name, filepath.Join(root, folder)))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, []byte(f.Here(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if script := filepath.Join(root, folder, "certificates.sh"); fileExists(script) {
		if _, err := exec.LookPath("openssl"); err != nil && os.Getenv("CI") == "" {
			t.Skip("openssl is not installed")
		}
		if out, err := exec.CommandContext(t.Context(), "sh", script, f.Path).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	return f
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// FreePort returns a port of 127.0.0.1 that nothing listens on, and that the system gives
// to nobody who does not ask for it until the test ends.
func FreePort(t testing.TB) string {
	t.Helper()
	_, port, _ := strings.Cut(reserve.TCP(t), ":")
	return port
}

// Here replaces the example's ports and its folder in a text by those of the copy.
func (f Folder) Here(text string) string {
	pairs := []string{f.Example + "/", f.Path + "/"}
	for from, to := range f.Ports {
		pairs = append(pairs, "127.0.0.1:"+from, "127.0.0.1:"+to, "port_value: "+from, "port_value: "+to, `"port": `+from, `"port": `+to, `"port_value": `+from, `"port_value": `+to, " port: "+from, " port: "+to, `-port: "`+from, `-port: "`+to)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// There is the way back: text of the copy with the ports and the folder of the example.
func (f Folder) There(text string) string {
	pairs := []string{f.Path, f.Example}
	for from, to := range f.Ports {
		pairs = append(pairs, "127.0.0.1:"+to, "127.0.0.1:"+from)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// Edit replaces the first old in a file of the folder, and returns the number of the line it stood on.
func (f Folder) Edit(t *testing.T, file, old, fresh string) int {
	t.Helper()
	path := filepath.Join(f.Path, file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, after, ok := strings.Cut(string(text), old)
	if !ok {
		t.Fatalf("%s does not hold %q", file, old)
	}
	if err := os.WriteFile(path, []byte(before+fresh+after), 0o644); err != nil {
		t.Fatal(err)
	}
	return strings.Count(before, "\n") + 1
}
