// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Module is the path of our module.
const Module = "weir.dev/weir"

// A Tree is the source of a module.
type Tree struct {
	Packages []*Package // sorted by Dir
	fset     *token.FileSet
	files    []string // every file, Go or not
}

// A Package is one folder with Go files.
type Package struct {
	Dir   string // from the module's root, such as proxy/route
	Files []*File
}

// A File is one Go file.
type File struct {
	Path    string // from the module's root
	Test    bool
	Lines   int
	Imports []Import
	first   string // line
	ast     *ast.File
}

// An Import is one import of a file.
type Import struct {
	Path, Alias string
}

// Ours returns the import's path from the module's root, if it is one of ours.
func (i Import) Ours() (string, bool) { return strings.CutPrefix(i.Path, Module+"/") }

// ReadTree parses every Go file below a module's root, whatever its build tags, those of our modules inside the module
// too. Hidden folders, testdata and modules of others are left out.
func ReadTree(root fs.FS) (*Tree, error) {
	t := &Tree{fset: token.NewFileSet()}
	byDir := map[string]*Package{}
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p == "." {
				return nil
			}
			if foreign(root, p) || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		t.files = append(t.files, p)
		if path.Ext(p) != ".go" {
			return nil
		}
		f, err := t.readFile(root, p)
		if err != nil {
			return err
		}
		dir := path.Dir(p)
		if byDir[dir] == nil {
			byDir[dir] = &Package{Dir: dir}
			t.Packages = append(t.Packages, byDir[dir])
		}
		byDir[dir].Files = append(byDir[dir].Files, f)
		return nil
	})
	slices.SortFunc(t.Packages, func(a, b *Package) int { return strings.Compare(a.Dir, b.Dir) })
	return t, err
}

// foreign tells whether a folder is the root of a module that is not of ours.
func foreign(root fs.FS, dir string) bool {
	text, err := fs.ReadFile(root, path.Join(dir, "go.mod"))
	return err == nil && !strings.HasPrefix(string(text), "module "+Module+"/")
}

func (t *Tree) readFile(root fs.FS, p string) (*File, error) {
	src, err := fs.ReadFile(root, p)
	if err != nil {
		return nil, err
	}
	parsed, err := parser.ParseFile(t.fset, p, src, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	f := &File{Path: p, Test: strings.HasSuffix(p, "_test.go"), ast: parsed, Lines: strings.Count(string(src), "\n")}
	f.first, _, _ = strings.Cut(string(src), "\n")
	for _, spec := range parsed.Imports {
		i := Import{}
		if i.Path, err = strconv.Unquote(spec.Path.Value); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		if spec.Name != nil {
			i.Alias = spec.Name.Name
		}
		f.Imports = append(f.Imports, i)
	}
	return f, nil
}

// has tells whether a file exists.
func (t *Tree) has(name string) bool { return slices.Contains(t.files, name) }

// line is the number of the line that a node begins on.
func (t *Tree) line(n ast.Node) int { return t.fset.Position(n.Pos()).Line }

// kit tells whether a package is a test kit.
func kit(dir string) bool { return strings.HasSuffix(dir, "test") }

// source calls f for each file of the package that is not a test.
func (p *Package) source(f func(*File)) {
	for _, file := range p.Files {
		if !file.Test {
			f(file)
		}
	}
}

// imports returns the path of the import that a file knows by the name, or "".
func (f *File) imports(name string) string {
	for _, i := range f.Imports {
		if i.Alias == name || i.Alias == "" && path.Base(i.Path) == name {
			return i.Path
		}
	}
	return ""
}
