// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"weir.dev/weir/xds/ledger"
)

// A book is the fields.txt of one folder.
type book struct {
	folder  string
	entries map[string][]ledger.Entry // by message
}

// Support writes docs/support.md: what becomes of each field of each message, as the ledgers of the tree tell
// it. It errs if a ledger points to a message that no ledger tells of.
func Support(tree fs.FS) (string, error) {
	books, err := readBooks(tree)
	if err != nil {
		return "", err
	}
	in := map[string][]book{} // by message
	for _, b := range books {
		for message := range b.entries {
			in[message] = append(in[message], b)
		}
	}
	messages := slices.Sorted(maps.Keys(in))
	var out, body strings.Builder
	out.WriteString("# What is supported, field by field\n\n" +
		"`make update` writes this page from the `fields.txt` of each folder, which a test holds to Envoy's messages. A field is\n" +
		"honoured; or **refused**, so that a configuration with it does not load; or *ignored*, with a warning that says why that\n" +
		"does no harm. Messages that do not stand here are refused where they are met.\n\n" +
		"| Message | Honoured | Refused | Ignored |\n|---|---:|---:|---:|\n")
	var all tally
	for _, m := range messages {
		fmt.Fprintf(&body, "\n## %s\n", m)
		var sum tally
		for _, b := range in[m] {
			fmt.Fprintf(&body, "\nIn [%s](../%s/fields.txt).\n", b.folder, b.folder)
			n, err := b.table(&body, m, in)
			if err != nil {
				return "", err
			}
			sum.add(n)
		}
		if sum != (tally{}) {
			fmt.Fprintf(&out, "| [%s](#%s) | %d | %d | %d |\n", m, anchor(m), sum.honoured, sum.refused, sum.ignored)
		}
		all.add(sum)
	}
	fmt.Fprintf(&out, "| **all** | **%d** | **%d** | **%d** |\n", all.honoured, all.refused, all.ignored)
	return out.String() + body.String(), nil
}

// tally counts fields by what becomes of them.
type tally struct{ honoured, refused, ignored int }

func (t *tally) add(o tally) {
	t.honoured, t.refused, t.ignored = t.honoured+o.honoured, t.refused+o.refused, t.ignored+o.ignored
}

// table writes the table of one message.
func (b book) table(w *strings.Builder, message string, in map[string][]book) (tally, error) {
	var n tally
	if len(b.entries[message]) == 0 {
		w.WriteString("It has no fields.\n")
		return n, nil
	}
	w.WriteString("\n| Field | | |\n|---|---|---|\n")
	for _, e := range b.entries[message] {
		word, why := "", strings.ReplaceAll(e.Reason, "|", `\|`)
		switch e.Verdict {
		case ledger.Yes:
			n.honoured++
			word, why = "yes", ""
		case ledger.Rejected:
			n.refused++
			word = "**refused**"
		case ledger.Ignored:
			n.ignored++
			word = "*ignored*"
		case ledger.See:
			if in[e.Reason] == nil {
				return n, fmt.Errorf("%s/fields.txt:%d: %s is told by no ledger", b.folder, e.Line, e.Reason)
			}
			word, why = "see", fmt.Sprintf("[%s](#%s)", e.Reason, anchor(e.Reason))
		default:
			return n, fmt.Errorf("%s/fields.txt:%d: %s is undecided", b.folder, e.Line, e.Field)
		}
		fmt.Fprintf(w, "| `%s` | %s | %s |\n", e.Field, word, why)
	}
	return n, nil
}

// anchor is what a heading is linked by.
func anchor(heading string) string {
	return strings.ReplaceAll(strings.ToLower(heading), ".", "")
}

// readBooks reads every ledger of the houses, sorted by folder.
func readBooks(tree fs.FS) ([]book, error) {
	var out []book
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || len(d.Name()) > 1 && d.Name()[0] == '.') {
			return fs.SkipDir
		}
		if path.Base(name) != "fields.txt" {
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		b, err := readBook(path.Dir(name), string(text))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, b)
		return nil
	})
	return out, err
}

// readBook reads one ledger.
func readBook(folder, text string) (book, error) {
	b := book{folder, map[string][]ledger.Entry{}}
	l, err := ledger.Parse(text)
	if err != nil {
		return b, err
	}
	for line := range strings.Lines(text) {
		// A section may have no lines.
		if name, ok := strings.CutPrefix(line, "message "); ok && strings.Contains(name, ".") {
			b.entries[strings.TrimSpace(name)] = nil
		}
	}
	for e := range l.Entries() {
		b.entries[string(e.Message)] = append(b.entries[string(e.Message)], e)
	}
	return b, nil
}
