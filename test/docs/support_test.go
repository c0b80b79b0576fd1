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
	holdPage(t, "docs/support.md", want)
}

// holdPage holds a page to what it is written from; -update rewrites it.
func holdPage(t *testing.T, name, want string) {
	t.Helper()
	file := filepath.Join(moduleRoot, name)
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
		t.Errorf("%s is not what it is written from; run make update (-wanted +file):\n%s", name, d)
	}
}

// TestLegacySupport holds docs/envoy-legacy.md to the tables of package legacy and to the ledgers; -update
// rewrites it.
func TestLegacySupport(t *testing.T) {
	want, err := Legacy(os.DirFS(moduleRoot))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| `connect_timeout_ms` | `connect_timeout` | yes | durations have a unit |",
		"| `use_websocket` | `route.upgrade_configs` | [see](support.md#envoyconfigroutev3routeactionupgradeconfig) | WebSocket is one of several upgrades |",
		"| `hosts` | `load_assignment` | [see](support.md#envoyconfigendpointv3clusterloadassignment) | an endpoint has more than an address |",
		"| `rate_limit_service` | | **refused** | the service is named by each filter that asks it since 1.9 |",
		"| `envoy.router` | `envoy.filters.http.router` |",
	} {
		if !strings.Contains(want, line) {
			t.Errorf("the page does not say %s", line)
		}
	}
	holdPage(t, "docs/envoy-legacy.md", want)
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
