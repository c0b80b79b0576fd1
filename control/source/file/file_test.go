// SPDX-License-Identifier: Apache-2.0

package file

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/source"
)

func newReader(t testing.TB) *Reader {
	t.Helper()
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const route = `apiVersion: gateway.networking.k8s.io/v1beta1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs:
  - name: edge
  rules:
  - backendRefs:
    - name: cart
      port: 8080
`

func TestDefaultsAreSet(t *testing.T) {
	objects, problems := newReader(t).Parse("a.yaml", []byte("# nothing\n---\n"+route))
	if len(problems) > 0 || len(objects) != 1 {
		t.Fatal(problems, len(objects))
	}
	o := objects[0].Object.(*gwapiv1.HTTPRoute)
	if objects[0].Key != (source.Key{Kind: source.HTTPRoute, Name: source.Name{Namespace: "default", Name: "shop"}}) || o.Namespace != "default" || o.Generation != 1 {
		t.Errorf("key %v, object %s/%s", objects[0].Key, o.Namespace, o.Name)
	}
	m := o.Spec.Rules[0].Matches
	if len(m) != 1 || *m[0].Path.Value != "/" || *m[0].Path.Type != gwapiv1.PathMatchPathPrefix || *o.Spec.Rules[0].BackendRefs[0].Weight != 1 {
		t.Errorf("defaults: %v", m)
	}
	if got := objects[0].Place.Lines("spec.rules[0].backendRefs[0].port"); got != 12 {
		t.Errorf("the port stands on line %d", got)
	}
}

func TestProblems(t *testing.T) {
	change := func(old, fresh string) string { return strings.Replace(route, old, fresh, 1) }
	for _, tt := range []struct{ name, in, want string }{
		{"unknown field", change("port:", "prot:"), `in.yaml:10: HTTPRoute "default/shop": spec.rules[0].backendRefs[0].prot: unknown field (did you mean "port"?)`},
		{"wrong type", change("8080", "http"), `in.yaml:10: HTTPRoute "default/shop": spec.rules[0].backendRefs[0].port: is "http", and should be a whole number`},
		{"out of range", change("8080", "80800"), `in.yaml:10: HTTPRoute "default/shop": spec.rules[0].backendRefs[0].port: is 80800: at most 65535`},
		{"rule in CEL", change("      port: 8080\n", ""), `in.yaml:9: HTTPRoute "default/shop": spec.rules[0].backendRefs[0]: Must have port for Service reference`},
		{"pattern", change("name: cart", "namespace: A_B\n      name: cart"), `in.yaml:9: HTTPRoute "default/shop": spec.rules[0].backendRefs[0].namespace: "A_B" is not of the form ^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`},
		{"kind", "apiVersion: v1\nkind: ReplicaSet\nmetadata: {name: x}\n", `in.yaml:2: kind: kind ReplicaSet is not known`},
		{"near kind", "apiVersion: gateway.networking.k8s.io/v1\nkind: HttpRoute\nmetadata: {name: x}\n", `in.yaml:2: kind: kind HttpRoute.gateway.networking.k8s.io is not known (did you mean HTTPRoute?)`},
		{"version", change("v1beta1", "v7"), `in.yaml:1: apiVersion: apiVersion "gateway.networking.k8s.io/v7" of HTTPRoute is not known (there are v1, v1beta1)`},
		{"near group", change("gateway.networking.k8s.io/v1beta1", "gateway.networking.k8s.oi/v1"), `in.yaml:2: kind: kind HTTPRoute.gateway.networking.k8s.oi is not known`},
		{"another group", "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: x}\n", `in.yaml:2: warning: kind: kind Issuer.cert-manager.io is of a group that Weir knows nothing of, and is passed over`},
		{"label", change("{name: shop}", "{name: shop, labels: {a: 1}}"), `in.yaml:3: HTTPRoute "default/shop": metadata.labels: holds a value of JSON's type number, and should be or hold a text`},
		{"no kind", "a: b\n", "in.yaml:1: has no apiVersion or kind, so it cannot be told what it is"},
		{"no name", change("{name: shop}", "{}"), "in.yaml:3: metadata: has no name"},
		{"twice", route + "---\n" + route, `in.yaml:12: HTTPRoute "default/shop": stands twice: it is on line 1 already`},
		{"field twice", change("      port: 8080", "      port: 8080\n      port: 80"), "in.yaml:11: spec.rules[0].backendRefs[0].port: stands twice"},
		{"a list", "- a\n", "in.yaml:1: a document is an object with apiVersion and kind, not a list"},
		{"syntax", "a: [\n", "in.yaml:2: did not find expected node content"},
		{"Kubernetes' own", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  prots: []\n", `in.yaml:5: Service "default/x": spec.prots: unknown field`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, problems := newReader(t).Parse("in.yaml", []byte(tt.in))
			if len(problems) == 0 {
				t.Fatal("no problem")
			}
			if got := problems[0].Error(); !strings.HasPrefix(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestListAndFormerKinds(t *testing.T) {
	in := `apiVersion: v1
kind: List
items:
- apiVersion: gateway.networking.x-k8s.io/v1alpha1
  kind: XListenerSet
  metadata: {name: more}
  spec:
    parentRef: {name: edge}
    listeners:
    - {name: a, port: 80, protocol: HTTP}
`
	objects, problems := newReader(t).Parse("a.yaml", []byte(in))
	if len(problems) > 0 || len(objects) != 1 || objects[0].Key.Kind != source.ListenerSet {
		t.Fatal(problems, objects)
	}
	if got := objects[0].Place.Lines("spec.listeners[0].port"); got != 10 {
		t.Errorf("the port stands on line %d", got)
	}
}

// TestForeign: what an application has beside its objects of traffic is passed over.
func TestForeign(t *testing.T) {
	in := "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: x}\n---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: x}\nspec: {whatever: 1}\n---\n" +
		"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: x}\n---\n" + route
	objects, problems := newReader(t).Parse("a.yaml", []byte(in))
	if len(problems) > 0 || len(objects) != 1 || objects[0].Key.Kind != source.HTTPRoute {
		t.Fatal(problems, objects)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.yaml", "a/c.yml", "a/.hidden.yaml", ".git/d.yaml", "e.txt", "f.json"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Files(dir)
	want := []string{filepath.Join(dir, "a/c.yml"), filepath.Join(dir, "b.yaml"), filepath.Join(dir, "f.json")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := Files(filepath.Join(dir, "none")); err == nil {
		t.Error("what is not there was read")
	}
}

func FuzzParse(f *testing.F) {
	r := newReader(f)
	f.Add([]byte(route))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"x"},"spec":{"ports":[{"port":1}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, _ := r.Parse("in.yaml", data)
		for _, o := range objects {
			if _, err := json.Marshal(o.Object); err != nil {
				t.Errorf("%v cannot be written again: %v", o.Key, err)
			}
		}
	})
}
