// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const tables = "" +
	"| Room | Ours | Others |\n|---|---|---|\n" +
	"| `internal/*` | `internal/*` | |\n" +
	"| `proxy` `proxy/*` | `internal/*` `proxy/*` | `github.com/envoyproxy/*` |\n" +
	"| `ext/*` | `proxy/*` | `github.com/envoyproxy/*` |\n" +
	"| `ext/all` | `ext/*` | |\n" +
	"| `tests of every room` | `ext/all` | `go.uber.org/goleak` |\n\n" +
	"| Package | Must not import |\n|---|---|\n| `ext/*/*` | `ext/*` |\n| `proxy/stream` | `proxy/upstream` |\n\n" +
	"| Room | Never depends on |\n|---|---|\n| `proxy/*` | `k8s.io/*` |\n\n" +
	"| Rule | Says |\n|---|---|\n| `size` | x |\n\n" +
	"| Rule | Where | What | Reason |\n|---|---|---|---|\n"

func rules(t *testing.T, more string) *Rules {
	t.Helper()
	r, err := ParseRules(tables + more)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tree makes a tree of files; each gets a header and, unless it has one, a package comment.
func tree(t *testing.T, files map[string]string) *Tree {
	t.Helper()
	root := fstest.MapFS{}
	for name, src := range files {
		if strings.HasSuffix(name, ".go") && !strings.HasPrefix(src, "//") {
			src = spdx + "\n\n// Package " + strings.Fields(src)[1] + " is a test's.\n" + src
		}
		root[name] = &fstest.MapFile{Data: []byte(src)}
	}
	tr, err := ReadTree(root)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func same(t *testing.T, problems []Problem, want ...string) {
	t.Helper()
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("wrong problems (-want +got):\n%s", d)
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, path string
		want          bool
	}{
		{"proxy", "proxy", true},
		{"proxy", "proxy/route", false},
		{"proxy/*", "proxy", false},
		{"proxy/*", "proxy/route", true},
		{"proxy/*", "proxy/codec/h1", true},
		{"ext/*/*", "ext/all", false},
		{"ext/*/*", "ext/http/cors", true},
		{"*", "a/b", true},
		{"golang.org/x/*", "golang.org/x/sys/unix", true},
		{"golang.org/x/*", "golang.org/y/sys", false},
	} {
		if got := Match(tt.pattern, tt.path); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.pattern, tt.path, got)
		}
	}
}

func TestImports(t *testing.T) {
	imports := func(pkg string, paths ...string) string {
		return fmt.Sprintf("package %s\nimport (\n\"%s\"\n)\n", pkg, strings.Join(paths, "\"\n\""))
	}
	tr := tree(t, map[string]string{
		"internal/a/a.go":         imports("a", "net/http", Module+"/internal/b"),
		"internal/a/bad.go":       imports("a", "github.com/envoyproxy/x", Module+"/proxy/route"),
		"proxy/stream/ok.go":      imports("stream", Module+"/proxy/route", "github.com/envoyproxy/x"),
		"proxy/stream/bad.go":     imports("stream", Module+"/proxy/upstream", Module+"/ext/http/cors"),
		"proxy/stream/x_test.go":  imports("stream", Module+"/ext/all", "go.uber.org/goleak", Module+"/proxy/proxytest", Module+"/proxy/stream"),
		"proxy/stream/kit.go":     imports("stream", Module+"/proxy/proxytest"),
		"proxy/proxytest/kit.go":  imports("proxytest", Module+"/proxy/streamtest"),
		"ext/http/cors/cors.go":   imports("cors", Module+"/proxy/stream", Module+"/ext/http/router"),
		"ext/http/cors/x_test.go": imports("cors", Module+"/ext/http/router"),
		"ext/all/all.go":          imports("all", Module+"/ext/http/cors", "k8s.io/api"),
		"odd/odd.go":              "package odd\n",
		"other/go.mod":            "module other\n",
		"other/x.go":              imports("other", "k8s.io/api"),
		"proxy/own/go.mod":        "module " + Module + "/proxy/own\n",
		"proxy/own/x.go":          imports("own", "k8s.io/api"),
		"proxy/testdata/x.go":     "not go",
	})
	same(t, CheckImports(tr, rules(t, "")),
		"internal/a/bad.go: imports github.com/envoyproxy/x, which its room may not [import]",
		"internal/a/bad.go: imports proxy/route, which its room may not [import]",
		"proxy/stream/bad.go: imports proxy/upstream: that arrow points the other way [import]",
		"proxy/stream/bad.go: imports ext/http/cors, which its room may not [import]",
		"proxy/stream/kit.go: imports the test kit proxy/proxytest outside a test [kit]",
		"ext/http/cors/cors.go: imports ext/http/router, which its room may not [import]",
		"ext/http/cors/x_test.go: imports ext/http/router, which its room may not [import]",
		"ext/all/all.go: imports k8s.io/api, which its room may not [import]",
		"proxy/own/x.go: imports k8s.io/api, which its room may not [import]",
		"odd: no row of the import table names this package [import]",
	)
	deps := map[string][]string{
		Module + "/proxy/route": {"fmt", "k8s.io/api/core/v1"}, Module + "/ext/all": {"k8s.io/api"}, "fmt": {"os"},
	}
	same(t, CheckDependencies(deps, rules(t, "")), "proxy/route: depends on k8s.io/api/core/v1, if only through others [import]")
}

func TestExceptions(t *testing.T) {
	tr := tree(t, map[string]string{"internal/a/a.go": "package a\nimport \"github.com/envoyproxy/x\"\n"})
	r := rules(t, "| `import` | `internal/a` | `github.com/envoyproxy/x` | it must |\n| `size` | `internal/a/a.go` | `file` | gone |\n")
	same(t, Except(CheckImports(tr, r), r.Exceptions), "internal/a/a.go: the exception for file no longer occurs: take it out [size]")
	if _, err := ParseRules(tables + "| `size` | `a` | `b` | |\n"); err == nil || !strings.Contains(err.Error(), "without a reason") {
		t.Errorf("an exception without a reason: %v", err)
	}
	if _, err := ParseRules("nothing"); err == nil {
		t.Error("a text without tables passed")
	}
}

func TestFileRules(t *testing.T) {
	long := func(n int) string { return "package a\nfunc f() {\n" + strings.Repeat("_ = 0\n", n) + "}\n" }
	tests := []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"proto", map[string]string{
			"proxy/route/config.go":        "package route\nimport routev3 \"github.com/envoyproxy/go-control-plane/envoy/config/route/v3\"\n",
			"proxy/route/config_retry.go":  "package route\nimport \"google.golang.org/protobuf/proto\"\n",
			"proxy/route/match.go":         "package route\nimport \"google.golang.org/protobuf/proto\"\n",
			"proxy/route/match_test.go":    "package route\nimport \"google.golang.org/protobuf/proto\"\n",
			"xds/load/load.go":             "package load\nimport \"google.golang.org/protobuf/proto\"\n",
			"proxy/extension/ext.go":       "package extension\nimport \"google.golang.org/protobuf/proto\"\n",
			"proxy/admin/dump.go":          "package admin\nimport \"google.golang.org/protobuf/proto\"\n",
			"proxy/proxytest/proxytest.go": "package proxytest\nimport \"google.golang.org/protobuf/proto\"\n",
		}, []string{"proxy/route/match.go: imports google.golang.org/protobuf/proto outside config.go [proto]"}},
		{"size", map[string]string{"a/a.go": long(119), "a/b.go": long(10), "a/c_test.go": long(900)}, []string{
			"a/a.go:5: f has 121 lines, at most 120 [size]", "a/c_test.go: 906 lines, at most 800 [size]",
		}},
		{"header", map[string]string{"a/a.go": "// Package a is.\npackage a\n"}, []string{
			"a/a.go:1: the first line is not // SPDX-License-Identifier: Apache-2.0 [header]",
		}},
		{"init", map[string]string{"a/a_test.go": "package a\nimport _ \"x.org/y\"\n", "a/a.go": "package a\nimport (\n_ \"embed\"\n_ \"x.org/y\"\n)\nfunc init() {}\ntype t int\nfunc (t) init() {}\n"}, []string{
			"a/a.go: imports x.org/y for its side effects [init]", "a/a.go:9: func init: construct it where it is used [init]",
		}},
		{"state", map[string]string{
			"a/a.go": "package a\nimport (\n\"sync\"\n\"sync/atomic\"\n\"errors\"\n)\nvar (\n" +
				"table = map[string]int{\"a\": 1}\nErr = errors.New(\"x\")\nlazy = sync.OnceValue(func() int { return 1 })\n_ int = 1\n" +
				"cache = map[string]int{}\nmade = make(map[int]int)\nch chan int\npool = sync.Pool{}\nmu sync.Mutex\np atomic.Pointer[int]\n" +
				"n int\nlist = []int{1}\ns struct{ x int }\n)\n",
			"a/b.go": "package a\nfunc f(table int) { n++; list[0] = 2; s.x = 3; table = 4; list := 1; list = 2; delete(table2, 1) }\nvar table2 = map[int]int{1: 1}\n",
		}, []string{
			"a/a.go:15: package-level cache is an empty map, to be filled [state]",
			"a/a.go:16: package-level made is made empty, to be filled [state]",
			"a/a.go:17: package-level ch is a channel [state]",
			"a/a.go:18: package-level pool is a sync.Pool [state]",
			"a/a.go:19: package-level mu is a sync.Mutex [state]",
			"a/a.go:20: package-level p is a atomic.Pointer [state]",
			"a/b.go:5: changes package-level n [state]",
			"a/b.go:5: changes package-level list [state]",
			"a/b.go:5: changes package-level s [state]",
			"a/b.go:5: changes package-level table2 [state]",
		}},
		{"doc", map[string]string{"a/a.go": spdx + "\n\npackage a\n", "b/b.go": spdx + "\n\n// Command b does.\npackage main\n"}, []string{
			"a: no file has a comment that begins with \"Package a \" [doc]",
		}},
		{"name", map[string]string{"proxy/util/x.go": "package util\n", "a/b-c.go": "package a\n"}, []string{
			"proxy/util/x.go: package util says nothing of what it holds [name]", "a/b-c.go: hyphen in a file's name [name]",
		}},
		{"alias", map[string]string{
			"a/a.go": "package a\nimport routev3 \"x.org/route/v3\"\n",
			"a/b.go": "package a\nimport routev3 \"x.org/route/v3\"\n",
			"a/c.go": "package a\nimport r \"x.org/route/v3\"\n",
			"a/d.go": "package a\nimport routev3 \"y.org/route/v3\"\nimport yaml \"go.yaml.in/yaml/v4\"\n",
			"a/f.go": "package a\nimport other \"x.org/route/v3\"\n" + strings.Repeat("import \"fmt\"\n", registry),
			"a/e.go": "package a\nimport \"github.com/envoyproxy/x/v3\"\nimport \"go.yaml.in/yaml/v4\"\n",
		}, []string{
			"a/c.go: calls x.org/route/v3 r, which others call routev3 [alias]",
			"a/e.go: imports github.com/envoyproxy/x/v3 without an alias such as routev3 [alias]",
		}},
		{"sleep", map[string]string{
			"a/a.go":      "package a\nimport \"time\"\nfunc f() { time.Sleep(1) }\n",
			"a/a_test.go": "package a\nimport \"time\"\nfunc g() { time.Sleep(1) }\n",
			"a/b_test.go": "package a\nimport (\n\"testing/synctest\"\n\"time\"\n)\nfunc h() { synctest.Test(nil, func() { time.Sleep(1) }) }\n",
			"b/a_test.go": "package b\nimport (\n\"testing/synctest\"\n\"time\"\n)\nfunc in(f func()) { synctest.Test(nil, f) }\n",
			"b/b_test.go": "package b\nimport \"time\"\nfunc h() { in(func() { time.Sleep(1) }) }\n",
		}, []string{"a/a_test.go:6: time.Sleep in a test: wait for what happens, or use testing/synctest [sleep]"}},
		{"leak", map[string]string{
			"a/a.go":      "package a\nfunc f() { go f() }\n",
			"b/b.go":      "package b\nfunc f() { w.Go(func() {}) }\n",
			"b/b_test.go": "package b\nimport \"" + Module + "/internal/leak\"\nfunc TestMain(m *testing.M) { leak.Main(m) }\n",
		}, []string{"a: starts goroutines (a/a.go) and has no TestMain with leak.Main [leak]"}},
		{"print", map[string]string{
			"a/a.go":        "package a\nimport (\n\"fmt\"\n\"net/http\"\n)\nfunc f() { fmt.Println(); _ = http.DefaultClient; fmt.Sprint() }\n",
			"cmd/a/main.go": spdx + "\n\n// Command a is.\npackage main\nimport \"fmt\"\nfunc main() { fmt.Println() }\n",
		}, []string{
			"a/a.go:9: fmt.Println belongs to the whole process: be given what you use [print]",
			"a/a.go:9: http.DefaultClient belongs to the whole process: be given what you use [print]",
		}},
		{"todo", map[string]string{"a/a.go": "package a\n// T" + "ODO: later.\n// Writes \"T" + "ODO\".\nvar X = \"T" + "ODO\"\n"}, []string{
			"a/a.go:5: T" + "ODO in a comment: do it, or write an issue [todo]",
		}},
		{"shape", map[string]string{
			"ext/http/cors/cors.go": "package cors\nimport corsv3 \"github.com/envoyproxy/x/cors/v3\"\n", "ext/http/cors/README.md": "", "ext/all/all.go": "package all\n",
			"ext/http/ok/config.go": "package ok\nimport okv3 \"github.com/envoyproxy/x/ok/v3\"\n",
			"ext/http/ok/README.md": "", "ext/http/ok/fields.txt": "", "ext/http/ok/ok_test.go": "package ok\n",
			"ext/cluster/none/config.go": "package none\n", "ext/cluster/none/README.md": "", "ext/cluster/none/none_test.go": "package none\n",
		}, []string{
			"ext/http/cors/cors.go: imports github.com/envoyproxy/x/cors/v3 outside config.go [proto]",
			"ext/http/cors: has no config.go [shape]", "ext/http/cors: has no fields.txt [shape]", "ext/http/cors: has no test [shape]",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { same(t, CheckFiles(tree(t, tt.files)), tt.want...) })
	}
}
