// SPDX-License-Identifier: Apache-2.0

// Package golden reads and rewrites txtar archives that hold a test's input and
// its expected output side by side: a comment, then files, each introduced by a
// line "-- name --". `go test ./... -update` rewrites the expected files; the
// difference is reviewed like code.
//
// The package is imported by tests only: it registers the -update flag.
package golden

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// update is written once, by flag.Parse, before any test runs.
var update = flag.Bool("update", false, "rewrite golden files")

// Updating reports whether the test was run with -update.
func Updating() bool { return *update }

// An Archive is one txtar file.
type Archive struct {
	// Comment is the text before the first file.
	Comment string
	// Files in the order of the archive.
	Files []File
}

// A File is one named part of an archive. Data ends with a newline unless empty.
type File struct {
	Name string
	Data string
}

// Get returns the data of the file called name, and whether there is one.
func (a *Archive) Get(name string) (string, bool) {
	for _, f := range a.Files {
		if f.Name == name {
			return f.Data, true
		}
	}
	return "", false
}

// Set replaces the data of the file called name, or appends such a file.
func (a *Archive) Set(name, data string) {
	if data != "" && !strings.HasSuffix(data, "\n") {
		data += "\n"
	}
	for i := range a.Files {
		if a.Files[i].Name == name {
			a.Files[i].Data = data
			return
		}
	}
	a.Files = append(a.Files, File{Name: name, Data: data})
}

// Parse reads an archive. Every input is an archive: text without a marker line
// is all comment.
func Parse(data string) *Archive {
	a := &Archive{}
	var text strings.Builder
	flush := func() {
		if n := len(a.Files); n > 0 {
			a.Files[n-1].Data = text.String()
		} else {
			a.Comment = text.String()
		}
		text.Reset()
	}
	for line := range strings.Lines(data) {
		if name, ok := marker(line); ok {
			flush()
			a.Files = append(a.Files, File{Name: name})
			continue
		}
		text.WriteString(line)
	}
	flush()
	return a
}

func marker(line string) (string, bool) {
	line = strings.TrimRight(line, "\r\n")
	if !strings.HasPrefix(line, "-- ") || !strings.HasSuffix(line, " --") || len(line) < 7 {
		return "", false
	}
	name := strings.TrimSpace(line[3 : len(line)-3])
	return name, name != ""
}

// Format is the inverse of Parse.
func Format(a *Archive) string {
	var b bytes.Buffer
	b.WriteString(a.Comment)
	for _, f := range a.Files {
		b.WriteString("-- " + f.Name + " --\n")
		b.WriteString(f.Data)
	}
	return b.String()
}

// Run runs one subtest per archive that matches pattern (as filepath.Glob). test
// gets the archive and returns the files that are expected in it by name; each is
// compared with the archive's, or written into it under -update. A pattern
// without matches is an error.
func Run(t *testing.T, pattern string, test func(t *testing.T, a *Archive) map[string]string) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files match %s (%v)", pattern, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			a := Parse(string(data))
			got := test(t, a)
			compare(t, path, a, got)
		})
	}
}

func compare(t *testing.T, path string, a *Archive, got map[string]string) {
	t.Helper()
	names := make([]string, 0, len(got))
	for _, f := range a.Files {
		if _, ok := got[f.Name]; ok {
			names = append(names, f.Name)
		}
	}
	for name := range got {
		if _, ok := a.Get(name); !ok {
			names = append(names, name)
		}
	}
	for _, name := range names {
		data := got[name]
		if data != "" && !strings.HasSuffix(data, "\n") {
			data += "\n"
		}
		if want, _ := a.Get(name); want != data && !Updating() {
			t.Errorf("%s: %s differs (go test -update rewrites it)\n--- got\n%s--- want\n%s", path, name, data, want)
		}
		a.Set(name, data)
	}
	if Updating() {
		if err := os.WriteFile(path, []byte(Format(a)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
