// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weir.dev/weir/test/curltest"
	"weir.dev/weir/test/weirtest"
)

func TestMain(m *testing.M) { weirtest.Main(m) }

// TestBootstraps validates the bootstraps in the documents.
func TestBootstraps(t *testing.T) {
	tested := 0
	for name, text := range documents(t) {
		blocks, err := Blocks(name, text)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range blocks {
			extension := strings.HasPrefix(name, "ext/")
			if !b.Is("yaml", "bootstrap") && !(extension && b.Is("yaml")) {
				continue
			}
			tested++
			if !b.Is("yaml", "bootstrap") {
				if b.Text, err = Complete(b.Text); err != nil {
					t.Errorf("%s:%d: %v", name, b.Line, err)
					continue
				}
			}
			file := filepath.Join(t.TempDir(), "envoy.yaml")
			if err := os.WriteFile(file, []byte(b.Text), 0o644); err != nil {
				t.Fatal(err)
			}
			out, status := weirtest.Run(t, "", "proxy", "-c", file, "--mode", "validate")
			out = strings.ReplaceAll(out, file, "envoy.yaml")
			switch {
			case !b.Is("yaml", "bootstrap", "refused") && status != 0:
				t.Errorf("%s:%d: refused with status %d:\n%s", name, b.Line, status, out)
			case b.Is("yaml", "bootstrap", "refused") && (status == 0 || !Matches(blocks[i+1].Text, out)):
				t.Errorf("%s:%d: status %d, and what is said is not what stands below it:\n%s", name, b.Line, status, out)
			}
		}
	}
	if tested == 0 {
		t.Error("no document shows a bootstrap")
	}
}

// TestObjects checks the objects in the documents.
func TestObjects(t *testing.T) {
	tested := 0
	for name, text := range documents(t) {
		blocks, err := Blocks(name, text)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blocks {
			if !b.Is("yaml", "objects") {
				continue
			}
			tested++
			file := filepath.Join(t.TempDir(), "objects.yaml")
			if err := os.WriteFile(file, []byte(b.Text), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, status := weirtest.Run(t, "", "check", file); status != 0 {
				t.Errorf("%s:%d: status %d:\n%s", name, b.Line, status, out)
			}
		}
	}
	if tested == 0 {
		t.Error("no document shows objects")
	}
}

// TestConsoles runs the commands in the documents: those of an example's README against the example, all
// others against examples/envoy/quickstart, and README.md against examples/quickstart.
func TestConsoles(t *testing.T) {
	by := map[string][]string{} // names of documents by example
	texts := documents(t)
	for name := range texts {
		folder := "examples/envoy/quickstart"
		if name == "README.md" {
			folder = "examples/quickstart"
		}
		if dir := filepath.Dir(name); isExample(dir) {
			folder = dir
		}
		by[folder] = append(by[folder], name)
	}
	for _, dir := range examples(t) {
		if by[dir] == nil {
			t.Errorf("%s has no README.md with the commands to try", dir)
		}
	}
	for example, names := range by {
		t.Run(strings.TrimPrefix(example, "examples/"), func(t *testing.T) {
			folder := weirtest.Example(t, moduleRoot, example)
			p := weirtest.Start(t, folder.Run()...)
			p.WaitFor("Ready.")
			tested := map[string]bool{}
			for _, name := range names {
				runConsoles(t, folder, name, texts[name], tested)
			}
			// What the binary says to try is in the README, and so has been tried.
			for _, line := range regexp.MustCompile(`(?m)^  (curl .*)$`).FindAllStringSubmatch(folder.There(p.Output()), -1) {
				if !tested[line[1]] {
					t.Errorf("%s: %s is printed and stands in no README", example, line[1])
				}
			}
			if len(tested) == 0 {
				t.Error("no document shows a command")
			}
		})
	}
}

// TestGuideNamesEveryEndpoint holds docs/guide/admin.md to the endpoints that the admin says it has.
func TestGuideNamesEveryEndpoint(t *testing.T) {
	folder := weirtest.Quickstart(t, moduleRoot)
	weirtest.Start(t, "run", folder.Path).WaitFor("Ready.")
	guide := documents(t)["docs/guide/admin.md"]
	help, ok := runStep(t, folder, "curl -s http://127.0.0.1:9901/help")
	endpoints := regexp.MustCompile(`(?m)^  (/[^ :]*)( \(POST\))?:`).FindAllStringSubmatch(help, -1)
	if !ok || len(endpoints) < 20 {
		t.Fatalf("%d endpoints in:\n%s", len(endpoints), help)
	}
	for _, e := range endpoints {
		if !strings.Contains(guide, " "+e[1]+"`") {
			t.Errorf("the guide does not name %s", e[1])
		}
	}
}

// examples returns the folders that weir run is meant for.
func examples(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"examples/*/demo.yaml", "examples/*/*/demo.yaml"} {
		found, err := filepath.Glob(filepath.Join(moduleRoot, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			dir, err := filepath.Rel(moduleRoot, filepath.Dir(f))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, dir)
		}
	}
	return out
}

func isExample(dir string) bool {
	_, err := os.Stat(filepath.Join(moduleRoot, dir, "demo.yaml"))
	return err == nil
}

// runConsoles runs the commands of one document and notes them in tested.
func runConsoles(t *testing.T, folder weirtest.Folder, name, text string, tested map[string]bool) {
	t.Helper()
	blocks, err := Blocks(name, text)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		if !b.Is("console") {
			continue
		}
		for _, s := range Steps(b) {
			out, ran := runStep(t, folder, s.Command)
			if !ran {
				continue
			}
			tested[s.Command] = true
			if !Matches(s.Output, out) {
				t.Errorf("%s:%d: $ %s\nshown:\n%s\ngot:\n%s", name, s.Line, s.Command, s.Output, out)
			}
		}
	}
}

// runStep runs one command, if it is one that is run here.
func runStep(t *testing.T, folder weirtest.Folder, command string) (out string, ran bool) {
	t.Helper()
	switch {
	case strings.HasPrefix(command, "curl "):
		c, err := curltest.Parse(folder.Here(command))
		if err != nil {
			t.Errorf("%s: %v", command, err)
			return "", false
		}
		if out, err = c.Do(); err != nil {
			t.Errorf("%s: %v", command, err)
		}
	case strings.HasPrefix(command, "weir ") && !strings.HasPrefix(command, "weir run") && !strings.HasPrefix(command, "weir echo"):
		words, err := curltest.Split(command)
		if err != nil {
			t.Errorf("%s: %v", command, err)
			return "", false
		}
		for i, w := range words {
			words[i] = strings.ReplaceAll(w, folder.Example, folder.Path)
		}
		out, _ = weirtest.Run(t, "", words[1:]...)
	default:
		return "", false
	}
	return folder.There(out), true
}
