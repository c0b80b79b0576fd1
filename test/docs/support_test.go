// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/internal/golden"
)

// TestSupportIsWhatTheLedgersSay holds docs/support.md to the ledgers; -update rewrites it.
func TestSupportIsWhatTheLedgersSay(t *testing.T) {
	want, err := Support(os.DirFS(moduleRoot))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(moduleRoot, "docs/support.md")
	if golden.Updating() {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(got), "\n")); d != "" {
		t.Errorf("docs/support.md is not what the ledgers say; run make update (-ledgers +file):\n%s", d)
	}
}

func TestSupport(t *testing.T) {
	tree := func(text string) fstest.MapFS {
		return fstest.MapFS{
			"a/fields.txt":          {Data: []byte(text)},
			"b/fields.txt":          {Data: []byte("message x.v3.Other\nall.of.it rejected: too | much\n")},
			"b/testdata/fields.txt": {Data: []byte("nonsense")},
		}
	}
	got, err := Support(tree("message x.v3.Message\none  yes\ntwo  see x.v3.Other\nthree  ignored: harmless\n\nmessage x.v3.Empty\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ = strings.Cut(got, "|---|---:|---:|---:|\n")
	want := `| [x.v3.Message](#xv3message) | 1 | 0 | 1 |
| [x.v3.Other](#xv3other) | 0 | 1 | 0 |
| **all** | **1** | **1** | **1** |

## x.v3.Empty

In [a](../a/fields.txt).
It has no fields.

## x.v3.Message

In [a](../a/fields.txt).

| Field | | |
|---|---|---|
| ` + "`one`" + ` | yes |  |
| ` + "`two`" + ` | see | [x.v3.Other](#xv3other) |
| ` + "`three`" + ` | *ignored* | harmless |

## x.v3.Other

In [b](../b/fields.txt).

| Field | | |
|---|---|---|
| ` + "`all.of.it`" + ` | **refused** | too \| much |
`
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("wrong page (-want +got):\n%s", d)
	}
	for text, want := range map[string]string{
		"message x.v3.Message\none  see x.v3.Nowhere\n": "a/fields.txt:2: x.v3.Nowhere is told by no ledger",
		"message x.v3.Message\none  perhaps\n":          `a/fields.txt: line 2: one: verdict "perhaps" is none of`,
	} {
		if _, err := Support(tree(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
