// SPDX-License-Identifier: Apache-2.0

// Package file reads objects from YAML and JSON files and folders, as strictly as an
// apiserver takes them: what is not known or not allowed is a problem with its file,
// line and field, and defaults are set.
//
// A file may hold several documents and, of kind List, objects within one. A file
// that cannot be read whole keeps what it gave last.
package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"weir.dev/weir/control/source"
	"weir.dev/weir/control/source/schema"
	"weir.dev/weir/xds"
)

// maxFile bounds one file, in bytes.
const maxFile = 64 << 20

// demo is the kind that "weir run" reads itself: backends to start, requests to try.
const demo = "weir.dev/v1alpha1 Demo"

// A Reader reads objects. Make it with New.
type Reader struct{ decoder }

// New returns a Reader of the kinds of package source.
func New() (*Reader, error) {
	schemas, err := schema.Load()
	if err != nil {
		return nil, err
	}
	return &Reader{decoder{types: source.Types(), schemas: schemas, others: []string{demo}}}, nil
}

// An Object is an object and where it stands.
type Object struct {
	Key    source.Key
	Object source.Object
	Place  source.Place
}

// Parse reads the objects of one file. Those with problems are left out.
func (r *Reader) Parse(name string, data []byte) ([]Object, []xds.Problem) {
	docs, problems := documents(name, data)
	var out []Object
	lines := map[source.Key]int{}
	for _, d := range docs {
		for _, doc := range items(d) {
			o, key, more := r.decode(name, doc)
			problems = append(problems, more...)
			if o == nil {
				continue
			}
			if line, twice := lines[key]; twice {
				problems = append(problems, xds.Problem{
					Kind: xds.Kind(key.Kind.Kind), Name: key.Name.String(), File: name, Line: doc.line,
					Reason: fmt.Sprintf("stands twice: it is on line %d already", line),
				})
				continue
			}
			lines[key] = doc.line
			out = append(out, Object{key, o, source.Place{File: name, Line: doc.line, Lines: doc.at}})
		}
	}
	return out, problems
}

// items returns the objects of a List, or the document itself.
func items(d document) []document {
	kind, _ := d.value["kind"].(string)
	list, ok := d.value["items"].([]any)
	if kind != "List" || !ok {
		return []document{d}
	}
	var out []document
	for i, v := range list {
		if m, ok := v.(map[string]any); ok {
			out = append(out, document{m, d.below(fmt.Sprintf(".items[%d]", i))})
		}
	}
	return out
}

// Files lists the files of paths: a file as it is, of a folder every .yaml, .yml and
// .json file in it and below, but for hidden ones, which are editors' and
// Kubernetes' own.
func Files(paths ...string) ([]string, error) {
	var out []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("read objects: %w", err)
		}
		if !info.IsDir() {
			out = append(out, p)
			continue
		}
		err = filepath.WalkDir(p, func(path string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case path != p && strings.HasPrefix(e.Name(), "."):
				if e.IsDir() {
					return filepath.SkipDir
				}
				return nil
			case !e.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
				out = append(out, path)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read objects: %w", err)
		}
	}
	return out, nil
}

// Read returns the content of a file.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read objects: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read objects: %w", err)
	}
	if len(data) > maxFile {
		return nil, errors.New(path + " is larger than the 64 MiB allowed")
	}
	return data, nil
}
