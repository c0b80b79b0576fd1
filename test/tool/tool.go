// SPDX-License-Identifier: Apache-2.0

// Package tool installs the programs of others that tests run beside the product,
// each at one version, from the module proxy. They are built once and kept in
// .build/tools, so that they are no dependencies of the product.
package tool

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// Programs, at the versions that tests are written for.
const (
	H2Spec        = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"
	InteropClient = "google.golang.org/grpc/interop/client@v1.85.0"
	InteropServer = "google.golang.org/grpc/interop/server@v1.85.0"
)

// Install returns the path of a program, which it builds if it is not there yet.
func Install(t testing.TB, program string) string {
	t.Helper()
	root, err := root()
	if err != nil {
		t.Fatal(err)
	}
	pkg, version, _ := strings.Cut(program, "@")
	dir := filepath.Join(root, ".build", "tools", strings.ReplaceAll(pkg, "/", "_")+"_"+version)
	binary := filepath.Join(dir, path.Base(pkg))
	if _, err := os.Stat(binary); err == nil {
		return binary
	}
	// Built aside and moved, so that no other test finds half of it.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	aside, err := os.MkdirTemp(dir, "new")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(aside) }() // What is left over is rubbish in a folder for such.
	cmd := exec.CommandContext(t.Context(), "go", "install", program)
	cmd.Env = append(os.Environ(), "GOBIN="+aside, "GOFLAGS=", "CGO_ENABLED=0")
	cmd.Dir = os.TempDir() // Outside of this module, whose versions are not the program's.
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("install %s: %v\n%s", program, err, out)
	}
	if err := os.Rename(filepath.Join(aside, path.Base(pkg)), binary); err != nil {
		t.Fatal(err)
	}
	return binary
}

// Build returns the path of a program of a test's own, which it builds if it has changed. The
// files of folder are those of its module, which has versions of others' code of its own;
// their names end in ".txt", so that they are not taken for code of this module.
func Build(t testing.TB, folder string) string {
	t.Helper()
	root, err := root()
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s has no files whose names end in .txt: %v", folder, err)
	}
	files, sum := map[string][]byte{}, sha256.New()
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimSuffix(filepath.Base(name), ".txt")] = text
		fmt.Fprintf(sum, "%s %d\n%s", filepath.Base(name), len(text), text)
	}
	tools := filepath.Join(root, ".build", "tools")
	binary := filepath.Join(tools, fmt.Sprintf("%s_%.6x", filepath.Base(folder), sum.Sum(nil)))
	if _, err := os.Stat(binary); err == nil {
		return binary
	}
	if err := os.MkdirAll(tools, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(tools, "new")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // What is left over is rubbish in a folder for such.
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", "program", ".")
	cmd.Env = append(os.Environ(), "GOFLAGS=", "CGO_ENABLED=0", "GOWORK=off")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", folder, err, out)
	}
	if err := os.Rename(filepath.Join(dir, "program"), binary); err != nil {
		t.Fatal(err)
	}
	return binary
}

// root is the folder of this module's go.mod.
func root() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
