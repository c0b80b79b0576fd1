// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Limits of the rule on size, in lines.
const (
	maxFile     = 800
	maxFunction = 120
	maxPackage  = 6000
)

// spdx is the first line of every file.
const spdx = "// SPDX-License-Identifier: Apache-2.0"

// fileRules are the rules of the table of rules, by name.
func fileRules() map[string]func(*Tree, func(Problem)) {
	return map[string]func(*Tree, func(Problem)){
		"proto": checkProto, "alias": checkAlias, "size": checkSize, "header": checkHeader, "init": checkInit,
		"state": checkState, "doc": checkDoc, "name": checkName, "sleep": checkSleep, "leak": checkLeak,
		"print": checkPrint, "todo": checkTodo, "shape": checkShape,
		"kit": func(*Tree, func(Problem)) {}, // CheckImports holds it, beside the other imports.
	}
}

// CheckFiles holds every file to the rules on files.
func CheckFiles(t *Tree) []Problem {
	var out []Problem
	for _, check := range fileRules() {
		check(t, func(p Problem) { out = append(out, p) })
	}
	slices.SortFunc(out, func(a, b Problem) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// Except takes out the problems that an exception covers, and adds one for each exception that covers none.
func Except(problems []Problem, exceptions []Exception) []Problem {
	used := make([]bool, len(exceptions))
	out := slices.DeleteFunc(slices.Clone(problems), func(p Problem) bool {
		covered := false
		for i, e := range exceptions {
			if e.Rule == p.Rule && (Match(e.Where, p.Where) || e.Where == path.Dir(p.Where)) && Match(e.What, p.What) {
				used[i], covered = true, true
			}
		}
		return covered
	})
	for i, e := range exceptions {
		if !used[i] {
			out = append(out, Problem{e.Rule, e.Where, 0, e.What, fmt.Sprintf("the exception for %s no longer occurs: take it out", e.What)})
		}
	}
	return out
}

// eachFile calls f for every file of the tree.
func (t *Tree) eachFile(f func(*Package, *File)) {
	for _, p := range t.Packages {
		for _, file := range p.Files {
			f(p, file)
		}
	}
}

func checkSize(t *Tree, bad func(Problem)) {
	for _, p := range t.Packages {
		total := 0
		for _, f := range p.Files {
			if f.Lines > maxFile {
				bad(Problem{"size", f.Path, 0, "file", fmt.Sprintf("%d lines, at most %d", f.Lines, maxFile)})
			}
			if f.Test {
				continue
			}
			total += f.Lines
			for _, d := range f.ast.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				if n := t.fset.Position(fn.End()).Line - t.line(fn) + 1; n > maxFunction {
					bad(Problem{"size", f.Path, t.line(fn), fn.Name.Name, fmt.Sprintf("%s has %d lines, at most %d", fn.Name.Name, n, maxFunction)})
				}
			}
		}
		if total > maxPackage {
			bad(Problem{"size", p.Dir, 0, "package", fmt.Sprintf("%d lines, at most %d", total, maxPackage)})
		}
	}
}

func checkHeader(t *Tree, bad func(Problem)) {
	t.eachFile(func(_ *Package, f *File) {
		if f.first != spdx {
			bad(Problem{"header", f.Path, 1, "header", "the first line is not " + spdx})
		}
	})
}

func checkInit(t *Tree, bad func(Problem)) {
	t.eachFile(func(_ *Package, f *File) {
		for _, i := range f.Imports {
			if i.Alias == "_" && i.Path != "embed" && !f.Test {
				bad(Problem{"init", f.Path, 0, i.Path, "imports " + i.Path + " for its side effects"})
			}
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "init" && fn.Recv == nil {
				bad(Problem{"init", f.Path, t.line(fn), "init", "func init: construct it where it is used"})
			}
		}
	})
}

func checkDoc(t *Tree, bad func(Problem)) {
	for _, p := range t.Packages {
		documented := slices.ContainsFunc(p.Files, func(f *File) bool {
			begins := "Package " + f.ast.Name.Name + " "
			if f.ast.Name.Name == "main" {
				begins = "Command "
			}
			return strings.HasPrefix(f.ast.Doc.Text(), begins)
		})
		if !documented {
			bad(Problem{"doc", p.Dir, 0, "doc", "no file has a comment that begins with \"Package " + path.Base(p.Dir) + " \""})
		}
	}
}

func checkName(t *Tree, bad func(Problem)) {
	banned := []string{"util", "utils", "common", "helper", "helpers", "types", "base", "misc", "manager", "pkg"}
	t.eachFile(func(p *Package, f *File) {
		name := strings.TrimSuffix(f.ast.Name.Name, "_test")
		if slices.Contains(banned, name) || slices.Contains(banned, path.Base(p.Dir)) {
			bad(Problem{"name", f.Path, 0, name, fmt.Sprintf("package %s says nothing of what it holds", name)})
		}
		if strings.Contains(path.Base(f.Path), "-") {
			bad(Problem{"name", f.Path, 0, path.Base(f.Path), "hyphen in a file's name"})
		}
	})
}

func checkSleep(t *Tree, bad func(Problem)) {
	for _, p := range t.Packages {
		helpers := bubbleHelpers(p)
		for _, f := range p.Files {
			if f.Test {
				checkSleepOf(t, f, helpers, bad)
			}
		}
	}
}

func checkSleepOf(t *Tree, f *File, helpers []string, bad func(Problem)) {
	var bubbles []*ast.CallExpr // Time in them passes when all wait, so that to sleep costs nothing.
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			id, plain := c.Fun.(*ast.Ident)
			if bubble(f, c) || plain && slices.Contains(helpers, id.Name) {
				bubbles = append(bubbles, c)
			}
		}
		return true
	})
	f.eachSelector(func(s *ast.SelectorExpr, pkg string) {
		inBubble := slices.ContainsFunc(bubbles, func(c *ast.CallExpr) bool { return c.Pos() <= s.Pos() && s.End() <= c.End() })
		if pkg == "time" && s.Sel.Name == "Sleep" && !inBubble {
			bad(Problem{"sleep", f.Path, t.line(s), "time.Sleep", "time.Sleep in a test: wait for what happens, or use testing/synctest"})
		}
	})
}

// bubble tells whether a call is synctest.Test.
func bubble(f *File, c *ast.CallExpr) bool {
	s, ok := c.Fun.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "Test" && f.named(s.X) == "testing/synctest"
}

// bubbleHelpers returns the functions of a package's tests that run what they are given in synctest.Test.
func bubbleHelpers(p *Package) []string {
	var out []string
	for _, f := range p.Files {
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !f.Test || fn.Recv != nil || !slices.ContainsFunc(fn.Type.Params.List, isFunc) {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				if c, ok := n.(*ast.CallExpr); ok && bubble(f, c) {
					out = append(out, fn.Name.Name)
				}
				return true
			})
		}
	}
	return out
}

func isFunc(p *ast.Field) bool {
	_, ok := p.Type.(*ast.FuncType)
	return ok
}

func checkPrint(t *Tree, bad func(Problem)) {
	banned := map[string]*regexp.Regexp{
		"fmt":      regexp.MustCompile(`^Print(f|ln)?$`),
		"log":      regexp.MustCompile(`^(Print|Fatal|Panic)(f|ln)?$|^Default$`),
		"net/http": regexp.MustCompile(`^(DefaultClient|DefaultTransport|DefaultServeMux|Get|Head|Post|PostForm|Handle|HandleFunc|ListenAndServe|ListenAndServeTLS)$`),
		"log/slog": regexp.MustCompile(`^(Default|SetDefault|Debug|Info|Warn|Error|Log)(Context)?$`),
	}
	t.eachFile(func(p *Package, f *File) {
		if f.Test || matchAny([]string{"cmd/*", "test/*"}, p.Dir) {
			return
		}
		f.eachSelector(func(s *ast.SelectorExpr, pkg string) {
			if re := banned[pkg]; re != nil && re.MatchString(s.Sel.Name) {
				what := path.Base(pkg) + "." + s.Sel.Name
				bad(Problem{"print", f.Path, t.line(s), what, what + " belongs to the whole process: be given what you use"})
			}
		})
	})
}

// eachSelector calls f for each name taken from an imported package.
func (f *File) eachSelector(call func(s *ast.SelectorExpr, pkg string)) {
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if pkg := f.named(s.X); pkg != "" {
				call(s, pkg)
			}
		}
		return true
	})
}

// named returns the path of the imported package that an expression names, or "".
func (f *File) named(e ast.Expr) string {
	if id, ok := e.(*ast.Ident); ok {
		return f.imports(id.Name)
	}
	return ""
}

func checkTodo(t *Tree, bad func(Problem)) {
	// In quotes it is a word that is spoken of.
	word := regexp.MustCompile(`(?:^|[^"\w])(T` + `ODO|F` + `IXME|X` + `XX)\b`)
	t.eachFile(func(_ *Package, f *File) {
		for _, g := range f.ast.Comments {
			for _, c := range g.List {
				if w := word.FindStringSubmatch(c.Text); w != nil {
					bad(Problem{"todo", f.Path, t.line(c), w[1], w[1] + " in a comment: do it, or write an issue"})
				}
			}
		}
	})
}

func checkLeak(t *Tree, bad func(Problem)) {
	for _, p := range t.Packages {
		var starts *File
		p.source(func(f *File) {
			if starts == nil && startsGoroutine(f) {
				starts = f
			}
		})
		if starts == nil || Match("test/*", p.Dir) || kit(p.Dir) {
			continue
		}
		checked := slices.ContainsFunc(p.Files, func(f *File) bool {
			found := false
			if f.Test {
				f.eachSelector(func(s *ast.SelectorExpr, pkg string) {
					found = found || pkg == Module+"/internal/leak" && s.Sel.Name == "Main" ||
						pkg == "go.uber.org/goleak" && s.Sel.Name == "VerifyTestMain"
				})
			}
			return found
		})
		if !checked {
			bad(Problem{"leak", p.Dir, 0, "TestMain", "starts goroutines (" + starts.Path + ") and has no TestMain with leak.Main"})
		}
	}
}

// startsGoroutine finds go statements and calls such as wait.Go(func() {...}).
func startsGoroutine(f *File) bool {
	found := false
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = true
		case *ast.CallExpr:
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Go" && len(n.Args) == 1 {
				_, isFunc := n.Args[0].(*ast.FuncLit)
				found = found || isFunc
			}
		}
		return !found
	})
	return found
}

func checkShape(t *Tree, bad func(Problem)) {
	for _, p := range t.Packages {
		if !Match("ext/*/*", p.Dir) || strings.Count(p.Dir, "/") != 2 || kit(p.Dir) {
			continue
		}
		want := []string{"README.md", "config.go"}
		if readsMessages(p) {
			want = append(want, "fields.txt")
		}
		for _, name := range want {
			if !t.has(p.Dir + "/" + name) {
				bad(Problem{"shape", p.Dir, 0, name, "has no " + name})
			}
		}
		if !slices.ContainsFunc(p.Files, func(f *File) bool { return f.Test }) {
			bad(Problem{"shape", p.Dir, 0, "test", "has no test"})
		}
	}
}

// readsMessages tells whether a package imports messages of Envoy's, so that there are fields to tell of. A
// discovery that is chosen by a value of Cluster.type has none of its own.
func readsMessages(p *Package) bool {
	found := false
	p.source(func(f *File) {
		for _, i := range f.Imports {
			found = found || Match("github.com/envoyproxy/*", i.Path)
		}
	})
	return found
}
