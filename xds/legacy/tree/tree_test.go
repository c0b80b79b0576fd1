// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"weir.dev/weir/xds"
)

func parse(t *testing.T, text string) *yaml.Node {
	t.Helper()
	loader, err := yaml.NewLoader(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := loader.Load(&doc); err != nil {
		t.Fatal(err)
	}
	if doc.Kind == yaml.DocumentNode {
		return doc.Content[0]
	}
	return &doc
}

func print(t *testing.T, n *yaml.Node) string {
	t.Helper()
	out, err := yaml.Dump(n)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestExpand(t *testing.T) {
	limits := Limits{Nodes: 1000, Depth: 50}
	tests := []struct{ name, in, want, err string }{
		{"plain", "{a: 1, b: [x, 'y']}", "{a: 1, b: [x, 'y']}", ""},
		{"an alias", "{a: &x {k: v}, b: *x}", "{a: {k: v}, b: {k: v}}", ""},
		{"a merge key", "{a: &x {k: v, l: m}, b: {<<: *x, k: w}}", "{a: {k: v, l: m}, b: {k: w, l: m}}", ""},
		{"several merged", "{a: &x {k: 1}, b: &y {k: 2, l: 3}, c: {<<: [*x, *y]}}", "{a: {k: 1}, b: {k: 2, l: 3}, c: {k: 1, l: 3}}", ""},
		{"merged text", "{a: {<<: x}}", "", "wants a mapping"},
		{"an alias within itself", "{a: &x {b: *x}}", "", "must not contain itself"},
		{
			"aliases that grow", "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]", "",
			"more than 1000 values",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := parse(t, tt.in)
			out, err := Expand(in, limits)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := print(t, out); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			// Writing a tree changes it, so that the original is compared with another.
			Put(out, out, "more", Text(out, "x"))
			if got, want := print(t, in), print(t, parse(t, tt.in)); got != want {
				t.Errorf("the document itself has become %s", got)
			}
		})
	}
}

func TestNames(t *testing.T) {
	m := parse(t, "{tlsContext: {a: b}, hosts: null, name: x}")
	if k, v := Get(m, "tls_context"); k == nil || Value(v, "a") != "b" {
		t.Error("a key in lowerCamel is not found")
	}
	if k, _ := Get(m, "hosts"); k != nil {
		t.Error("a null counts as there")
	}
	if k, _ := Take(m, "tls_context"); k == nil || len(m.Content) != 4 {
		t.Error("taken, and still there")
	}
	for in, want := range map[string]string{"a": "a", "a_b": "aB", "use_http2": "useHttp2", "consecutive_5xx": "consecutive5xx"} {
		if got := Camel(in); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}

func TestReport(t *testing.T) {
	r := &Report{File: "a.yaml", Most: 2}
	for range 5 {
		r.Note(&yaml.Node{Line: 7}, "clusters[0]", "x", "hosts", "load_assignment", "")
		r.Refuse(nil, "clusters[0]", "no", "")
	}
	r.Unknown(nil, "", "field", "hots", func(yield func(string) bool) { yield("hosts") }, "")
	r.End()
	if len(r.Notes) != 3 || len(r.Problems) != 3 || r.Problems[2].Reason != "4 more problems" {
		t.Errorf("%v, %v", r.Notes, r.Problems)
	}
	if got, want := r.Notes[0].String(), `a.yaml:7: clusters[0] "x": hosts is now load_assignment`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := (xds.Note{Old: "a\nb"}).String(); got != "a b is dropped" {
		t.Errorf("got %q", got)
	}
}
