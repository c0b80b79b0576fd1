// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
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
			if !b.Is("yaml", "bootstrap") {
				continue
			}
			tested++
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

// TestConsoles runs the commands in the documents against the quickstart.
func TestConsoles(t *testing.T) {
	folder := weirtest.Quickstart(t, moduleRoot)
	weirtest.Start(t, "run", folder.Path).WaitFor("Ready.")
	tested := 0
	for name, text := range documents(t) {
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
				tested++
				if !Matches(s.Output, out) {
					t.Errorf("%s:%d: $ %s\nshown:\n%s\ngot:\n%s", name, s.Line, s.Command, s.Output, out)
				}
			}
		}
	}
	if tested == 0 {
		t.Error("no document shows a command")
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
			words[i] = strings.ReplaceAll(w, "examples/quickstart", folder.Path)
		}
		out, _ = weirtest.Run(t, "", words[1:]...)
	default:
		return "", false
	}
	return folder.There(out), true
}
