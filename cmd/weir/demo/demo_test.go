// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const good = `apiVersion: weir.dev/v1alpha1
kind: Demo
metadata: {name: quickstart}
spec:
  backends:
    - name: orders
      address: 127.0.0.1:9001
    - {name: users, address: "unix:/run/users.sock", functions: [{app: a, path: /b, id: c, answer: d}]}
  requests:
    - curl: curl -s http://127.0.0.1:8080/
      expect: answered by orders
`

func TestParse(t *testing.T) {
	got, err := Parse("demo.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	want := &Demo{
		Backends: []Backend{{Name: "orders", Address: "127.0.0.1:9001"}, {Name: "users", Address: "unix:/run/users.sock", Functions: []Function{{"a", "/b", "c", "d"}}}},
		Requests: []Request{{"curl -s http://127.0.0.1:8080/", "answered by orders"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("wrong demo (-want +got):\n%s", d)
	}
	json := `{"apiVersion":"weir.dev/v1alpha1","kind":"Demo","spec":{"backends":[{"name":"a","address":"localhost:1"}]}}`
	if _, err := Parse("demo.json", []byte(json)); err != nil {
		t.Errorf("JSON: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, old, new, want string }{
		{"unknown field", "    - name: orders", "    - nmae: orders", "demo.yaml:6: spec.backends[0]: unknown field \"nmae\" (did you mean \"name\"?)\ndemo.yaml:6: spec.backends[0].name: missing"},
		{"unknown field, nothing near", "metadata:", "zzz:", `demo.yaml:3: demo: unknown field "zzz" (there are apiVersion, kind, metadata, spec)`},
		{"missing field", "      address: 127.0.0.1:9001\n", "", "demo.yaml:6: spec.backends[0].address: missing"},
		{"field twice", "      address: 127.0.0.1:9001\n", "      address: 127.0.0.1:9001\n      name: x\n", `demo.yaml:8: spec.backends[0]: field "name" stands twice`},
		{"no port", "127.0.0.1:9001", "localhost", `demo.yaml:7: spec.backends[0].address: "localhost" is not an address: write host:port or unix:PATH`},
		{"name twice", "{name: users", "{name: orders", `demo.yaml:8: spec.backends[1].name: another backend is called "orders"`},
		{"address twice", "unix:/run/users.sock", "127.0.0.1:9001", `demo.yaml:8: spec.backends[1].address: another backend listens on "127.0.0.1:9001"`},
		{"number for text", "name: orders", "name: 7", `demo.yaml:6: spec.backends[0].name: want text, not "7"`},
		{"list for text", "name: orders", "name: [a]", "demo.yaml:6: spec.backends[0].name: want text, not a list"},
		{"empty text", "name: orders", `name: ""`, "demo.yaml:6: spec.backends[0].name: empty"},
		{"several lines", "expect: answered by orders", `expect: "a\nb"`, "demo.yaml:11: spec.requests[0].expect: want one line"},
		{"not curl", "curl: curl -s", "curl: rm -s", `demo.yaml:10: spec.requests[0].curl: "rm -s http://127.0.0.1:8080/" is not a command: it begins with "curl "`},
		{"other version", "v1alpha1", "v1", `demo.yaml:1: apiVersion: "weir.dev/v1" is not known: write weir.dev/v1alpha1`},
		{"list for fields", "metadata: {name: quickstart}", "metadata: [a]", "demo.yaml:3: metadata: want fields name, not a list"},
		{"alias", "name: orders", "name: &a orders\n      x: *a", `demo.yaml:7: spec.backends[0]: unknown field "x" (there are name, address, functions)`},
		{"a path without a slash", "path: /b", "path: b", `demo.yaml:8: spec.backends[1].functions[0].path: "b" is not a path: it begins with a slash`},
		{"a function without an answer", ", answer: d", "", "demo.yaml:8: spec.backends[1].functions[0].answer: missing"},
		{"two functions", "[{app: a,", "[{app: a, path: /b, answer: x}, {app: a,", "demo.yaml:8: spec.backends[1].functions[1]: another function has the same path or id"},
		{"alias for text", "{name: users, address:", "{name: &u users, address: *u} #", `demo.yaml:8: spec.backends[1].address: want text, not an alias`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changed := strings.Replace(good, tt.old, tt.new, 1)
			if changed == good {
				t.Fatalf("%q does not occur", tt.old)
			}
			_, err := Parse("demo.yaml", []byte(changed))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestParseTellsEveryProblem(t *testing.T) {
	_, err := Parse("d.yaml", []byte("kind: Demo\nspec:\n  backends: 3\n  requsts: []\n"))
	want := "d.yaml:4: spec: unknown field \"requsts\" (did you mean \"requests\"?)\nd.yaml:3: spec.backends: want a list, not \"3\""
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestScan(t *testing.T) {
	const bootstrap = "static_resources: {}\n"
	tests := []struct {
		name       string
		files      map[string]string
		paths      []string
		bootstraps []string
		objects    []string
		demo       bool
		want       string // of the error
	}{
		{
			name:  "a folder",
			files: map[string]string{"b.yaml": bootstrap, "a.json": "{}", "c.yml": bootstrap, "demo.yaml": good, "README.md": "", ".hidden.yaml": "x", "sub/d.yaml": "x"},
			paths: []string{"."}, bootstraps: []string{"a.json", "b.yaml", "c.yml"}, demo: true,
		},
		{name: "without a demo", files: map[string]string{"a.yaml": bootstrap}, paths: []string{"."}, bootstraps: []string{"a.yaml"}},
		{
			name:  "files in the order given, whatever their names",
			files: map[string]string{"b.conf": bootstrap, "a.yaml": bootstrap},
			paths: []string{"b.conf", "a.yaml"}, bootstraps: []string{"b.conf", "a.yaml"},
		},
		{
			name:  "what is not YAML is for the loader to explain",
			files: map[string]string{"a.yaml": "a: [", "b.yaml": "- x"}, paths: []string{"."}, bootstraps: []string{"a.yaml", "b.yaml"},
		},
		{name: "no bootstrap", files: map[string]string{"demo.yaml": good}, paths: []string{"."}, want: "no Envoy bootstrap and no Gateway in"},
		{name: "not there", paths: []string{"nowhere.yaml"}, want: "read configuration: stat"},
		{name: "given twice", files: map[string]string{"a.yaml": bootstrap}, paths: []string{".", "a.yaml"}, want: "is given twice"},
		{name: "two demos", files: map[string]string{"a.yaml": good, "b.yaml": good}, paths: []string{"."}, want: "holds a Demo already"},
		{
			name: "objects", files: map[string]string{"a.yaml": "apiVersion: v1\nkind: Service\n", "b.yaml": bootstrap},
			paths: []string{"."}, bootstraps: []string{"b.yaml"}, objects: []string{"a.yaml"},
		},
		{name: "a wrong demo", files: map[string]string{"a.yaml": bootstrap, "d.yaml": "kind: Demo\n"}, paths: []string{"."}, want: "d.yaml:1: spec: missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range tt.files {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var paths []string
			for _, p := range tt.paths {
				paths = append(paths, filepath.Join(dir, p))
			}
			set, err := Scan(paths...)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want an error with %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var objects []string
			for _, path := range set.Objects {
				objects = append(objects, filepath.Base(path))
			}
			if !slices.Equal(objects, tt.objects) {
				t.Errorf("objects %v, want %v", objects, tt.objects)
			}
			var names []string
			for _, f := range set.Bootstraps {
				names = append(names, filepath.Base(f.Path))
				if string(f.Data) != tt.files[filepath.Base(f.Path)] {
					t.Errorf("%s: wrong content %q", f.Path, f.Data)
				}
			}
			if d := cmp.Diff(tt.bootstraps, names); d != "" {
				t.Errorf("wrong bootstraps (-want +got):\n%s", d)
			}
			if (set.Demo != nil) != tt.demo {
				t.Errorf("demo %v, want %v", set.Demo, tt.demo)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("a: &a [*a, *a]"))
	f.Add([]byte("{\"spec\":{\"backends\":[{}]}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse("f", data)
		if (d == nil) == (err == nil) {
			t.Errorf("Parse returned %v and %v", d, err)
		}
	})
}
