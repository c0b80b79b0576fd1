// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const moduleRoot = "../.."

func TestBlocks(t *testing.T) {
	text := "# A\n```yaml bootstrap\nadmin: {}\n```\ntext\n- item\n\n  ````console\n  $ x\n  ```\n  ````\n```\n```\n"
	got, err := Blocks("a.md", text)
	if err != nil {
		t.Fatal(err)
	}
	want := []Block{
		{"a.md", 3, []string{"yaml", "bootstrap"}, "admin: {}\n"},
		{"a.md", 9, []string{"console"}, "$ x\n```\n"},
		{"a.md", 13, []string{}, ""},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("wrong blocks (-want +got):\n%s", d)
	}
	if !got[0].Is("yaml") || !got[0].Is("yaml", "bootstrap") || got[0].Is("yaml", "bootstrap", "refused") || got[1].Is("yaml") {
		t.Error("Is is wrong")
	}
	if _, err := Blocks("a.md", "x\n```yaml\n"); err == nil || err.Error() != "a.md:2: a fenced block is not closed" {
		t.Errorf("an open block: %v", err)
	}
}

func TestSteps(t *testing.T) {
	got := Steps(Block{Line: 10, Text: "$ curl -s \\\n    http://a/\nhello\n\nworld\n$ make\n$ weir version\nweir v1\n"})
	want := []Step{
		{10, "curl -s http://a/", "hello\n\nworld\n"},
		{15, "make", ""},
		{16, "weir version", "weir v1\n"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("wrong steps (-want +got):\n%s", d)
	}
	if got := Steps(Block{Text: "no command\n"}); got != nil {
		t.Errorf("got %v", got)
	}
}

func TestMatches(t *testing.T) {
	tests := []struct {
		shown, got string
		want       bool
	}{
		{"a\nb\n", "a\nb\n", true},
		{"a \r\nb", "a\nb\t\n\n\n", true},
		{"a\n", "a\nb\n", false},
		{"a\nb\n", "a\n", false},
		{"a.b\n", "axb\n", false},
		{"date: ...\n", "date: today\n", true},
		{"x ... y ... z", "x 1 y 2 3 z", true},
		{"x...", "x\ny", false},
		{"a\n...\nz\n", "a\nb\nc\nz\n", true},
		{"a\n...\nz\n", "a\nz\n", true},
		{"a\n...\nz\n", "a\nb\n", false},
		{"...\n", "", true},
		{"", "", true},
		{"", "x", false},
	}
	for _, tt := range tests {
		if got := Matches(tt.shown, tt.got); got != tt.want {
			t.Errorf("Matches(%q, %q) = %v", tt.shown, tt.got, got)
		}
	}
}

func TestLinks(t *testing.T) {
	got := Links("[a](docs/a.md#top) [b](https://x.org) ![c](c.svg)\n```\n[d](d.md)\n```\n[e](#e)\n")
	if d := cmp.Diff([]string{"docs/a.md", "c.svg"}, got); d != "" {
		t.Errorf("wrong links (-want +got):\n%s", d)
	}
}

// documents returns the Markdown that is tested: path from the root and text.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "ext/*/*/README.md", "examples/*/*.md", "examples/*/*/*.md", "test/*/*.md"} {
		paths, err := filepath.Glob(filepath.Join(moduleRoot, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			text, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(moduleRoot, p)
			if err != nil {
				t.Fatal(err)
			}
			out[name] = string(text)
		}
	}
	return out
}

func TestLinksLeadSomewhere(t *testing.T) {
	for name, text := range documents(t) {
		for _, target := range Links(text) {
			if _, err := os.Stat(filepath.Join(moduleRoot, filepath.Dir(name), target)); err != nil {
				t.Errorf("%s: link to %s: %v", name, target, err)
			}
		}
	}
}

func TestBlocksAreClosedAndKnown(t *testing.T) {
	for name, text := range documents(t) {
		blocks, err := Blocks(name, text)
		if err != nil {
			t.Error(err)
		}
		for i, b := range blocks {
			refused := b.Is("yaml", "bootstrap", "refused")
			if len(b.Info) > 1 && !refused && !((b.Is("yaml", "bootstrap") || b.Is("yaml", "objects")) && len(b.Info) == 2) {
				t.Errorf("%s:%d: nobody runs a block %q", name, b.Line, strings.Join(b.Info, " "))
			}
			if refused && (i+1 == len(blocks) || !blocks[i+1].Is("text")) {
				t.Errorf("%s:%d: a refused bootstrap without a text block after it that holds what is said", name, b.Line)
			}
		}
	}
}

func TestComplete(t *testing.T) {
	for _, tt := range []struct{ fragment, want string }{
		{"name: x\ntyped_config:\n  a: b\n", "\n                  - name: x\n                    typed_config:\n                      a: b\n                  - name: envoy.filters.http.router\n"},
		{"name: x\nload_assignment: {}\n", "\n    - name: x\n      load_assignment: {}\n"},
		{"access_log:\n- name: x\n", "\n                access_log:\n                - name: x\n                http_filters:\n"},
		{"typed_per_filter_config: {}\n", "\n                      typed_per_filter_config: {}\n  clusters:\n"},
		{"lb_policy: RANDOM\n", "\n      lb_policy: RANDOM\n"},
	} {
		if got, err := Complete(tt.fragment); err != nil || !strings.Contains(got, tt.want) {
			t.Errorf("%q: %v\n%s", tt.fragment, err, got)
		}
	}
	if got, err := Complete("codec_type: AUTO\n"); err == nil {
		t.Errorf("completed to:\n%s", got)
	}
}
