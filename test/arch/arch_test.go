// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// root of the module, from this folder.
const moduleRoot = "../.."

// TestHouse holds the tree to the tables of ARCHITECTURE.md.
func TestHouse(t *testing.T) {
	text, err := os.ReadFile(moduleRoot + "/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := ParseRules(string(text))
	if err != nil {
		t.Fatalf("ARCHITECTURE.md: %v", err)
	}
	tree, err := ReadTree(os.DirFS(moduleRoot))
	if err != nil {
		t.Fatal(err)
	}
	problems := slices.Concat(CheckImports(tree, rules), CheckFiles(tree), CheckDependencies(dependencies(t), rules))
	for _, p := range Except(problems, rules.Exceptions) {
		t.Error(p)
	}
	var have []string
	for name := range fileRules() {
		have = append(have, name)
	}
	slices.Sort(have)
	slices.Sort(rules.Named)
	if !slices.Equal(have, rules.Named) {
		t.Errorf("ARCHITECTURE.md names the rules %v, the test has %v", rules.Named, have)
	}
}

// dependencies asks the go command what each of our packages depends on.
func dependencies(t *testing.T) map[string][]string {
	t.Helper()
	// With -e a package that does not build is listed as well: that is for the compiler to tell.
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Deps", "./...")
	cmd.Dir = moduleRoot
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	deps := map[string][]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Deps       []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return deps
		} else if err != nil {
			t.Fatal(err)
		}
		deps[p.ImportPath] = p.Deps
	}
}

// TestDependenciesAreExplained holds the table of docs/design/0005-dependencies.md to the modules that go.mod
// asks for directly.
func TestDependenciesAreExplained(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(moduleRoot + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	want := map[string]string{} // version by path
	for line := range strings.Lines(read("go.mod")) {
		if f := strings.Fields(line); strings.HasPrefix(line, "\t") && len(f) == 2 {
			want[f[0]] = f[1]
		}
	}
	for line := range strings.Lines(read("docs/design/0005-dependencies.md")) {
		cells, ok := row(line)
		if !ok || len(cells) != 4 || !strings.HasPrefix(cells[0], "`") {
			continue
		}
		module := bare(cells[0])
		if want[module] != cells[1] {
			t.Errorf("the table has %s %s, go.mod has %q", module, cells[1], want[module])
		}
		if cells[2] == "" || cells[3] == "" {
			t.Errorf("%s has no licence or no reason", module)
		}
		delete(want, module)
	}
	for module, version := range want {
		t.Errorf("the table lacks %s %s", module, version)
	}
}
