// SPDX-License-Identifier: Apache-2.0

package agree

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"go.yaml.in/yaml/v4"

	"weir.dev/weir/control"
	"weir.dev/weir/control/offline"
	"weir.dev/weir/control/policy/envoygateway/install"
	"weir.dev/weir/control/source"
	sourcefile "weir.dev/weir/control/source/file"
	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/golden"
	"weir.dev/weir/proxy"
	"weir.dev/weir/xds"
)

// A corpus is the objects of a file.
type corpus struct {
	objects []*object
	before  []string // what proxies refuse of them as they are
}

// An object is what is written, and what is read of that.
type object struct {
	value   map[string]any
	changes []source.Change
}

// A place is where a value stands.
type place struct {
	object *object
	path   string
	value  any
	set    func(any)
}

// A put is what is put in a place.
type put struct {
	place place
	value any
}

// reader reads as files and a cluster's schemas are read.
var reader = sync.OnceValues(sourcefile.New)

// read returns the objects of a golden, or of a file of objects.
func read(t *testing.T, file string) *corpus {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{string(data)}
	if strings.HasSuffix(file, ".txtar") {
		texts = nil
		for _, f := range golden.Parse(string(data)).Files {
			if strings.HasSuffix(f.Name, ".yaml") {
				texts = append(texts, f.Data)
			}
		}
	}
	c := &corpus{}
	for _, text := range texts {
		for doc := range strings.SplitSeq(text, "\n---\n") {
			var v map[string]any
			if err := yaml.Unmarshal([]byte(doc), &v); err != nil || v == nil { // Some goldens are of what is no object.
				continue
			}
			o := &object{value: v}
			o.changes, _ = parse(t, v)
			c.objects = append(c.objects, o)
		}
	}
	c.before = c.refused(t, nil)
	return c
}

// parse returns the objects of a document, and whether there is nothing wrong with them.
func parse(t *testing.T, v map[string]any) ([]source.Change, bool) {
	t.Helper()
	doc, err := yaml.Marshal(v)
	if err != nil {
		return nil, false // What cannot be written is no file's.
	}
	r, err := reader()
	if err != nil {
		t.Fatal(err)
	}
	objects, problems := r.Parse("objects.yaml", doc)
	var out []source.Change
	for _, o := range objects {
		out = append(out, source.Change{Key: o.Key, Object: o.Object, Place: o.Place})
	}
	return out, len(problems) == 0
}

// places calls f with each place in the objects but for those of their names and statuses.
func (c *corpus) places(f func(place)) {
	for _, o := range c.objects {
		kind, _ := o.value["kind"].(string)
		for _, k := range slices.Sorted(maps.Keys(o.value)) {
			switch k {
			case "apiVersion", "kind", "status":
			case "metadata":
				if m, ok := o.value[k].(map[string]any); ok {
					visit(m["annotations"], place{object: o, path: kind + ".annotations"}, func(n any) { m["annotations"] = n }, f)
				}
			default:
				visit(o.value[k], place{object: o, path: kind + "." + k}, func(n any) { o.value[k] = n }, f)
			}
		}
	}
}

func visit(v any, at place, set func(any), f func(place)) {
	if v == nil || strings.HasSuffix(at.path, ".file.path") { // The proxy would make that file.
		return
	}
	at.value, at.set = v, set
	f(at)
	below := at
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			below.path = at.path + "." + k
			visit(v[k], below, func(n any) { v[k] = n }, f)
		}
	case []any:
		for i, x := range v {
			below.path = fmt.Sprintf("%s[%d]", at.path, i)
			visit(x, below, func(n any) { v[i] = n }, f)
		}
	}
}

// try fails the test if proxies refuse what objects come to with values in them.
func (c *corpus) try(t *testing.T, puts ...put) {
	t.Helper()
	var told []string
	for _, p := range puts {
		p.place.set(p.value)
		told = append(told, fmt.Sprintf("%s: %.40q", p.place.path, fmt.Sprint(p.value)))
	}
	defer func() {
		for _, p := range slices.Backward(puts) {
			p.place.set(p.place.value)
		}
		if r := recover(); r != nil {
			panic(fmt.Sprint(strings.Join(told, ", "), " panics: ", r))
		}
	}()
	instead := map[*object][]source.Change{}
	for _, p := range puts {
		changes, ok := parse(t, p.place.object.value)
		if !ok {
			return // No cluster has it.
		}
		instead[p.place.object] = changes
	}
	for _, text := range c.refused(t, instead) {
		// A record's format may have operators that the control plane does not know.
		if strings.Contains(told[0], "accessLog.settings") && strings.Contains(text, "access_log") {
			continue
		}
		if !slices.Contains(c.before, text) {
			t.Errorf("%s: %.300s", strings.Join(told, ", "), text)
		}
	}
}

// refused is what a proxy refuses of what the objects come to, some with others instead.
func (c *corpus) refused(t *testing.T, instead map[*object][]source.Change) (out []string) {
	t.Helper()
	var objects []source.Change
	seen := map[source.Key]bool{}
	for _, o := range c.objects {
		changes := o.changes
		if x, ok := instead[o]; ok {
			changes = x
		}
		for _, ch := range changes {
			if !seen[ch.Key] {
				seen[ch.Key] = true
				objects = append(objects, ch)
			}
		}
	}
	offline.Of(control.Options{Provision: true, Deliver: true}, objects...) // As for a fleet that has no limiter: it must not panic.
	w := offline.Of(control.Options{Limits: &install.LimitService{}}, objects...)
	p, err := proxy.New(proxy.Options{Bootstrap: &bootstrapv3.Bootstrap{}, Extensions: all.Extensions(), Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, problem := range p.Apply(w.Snapshot()) {
		// Which ports are free here, and that nobody gave the proxy a limiter, is not the objects' doing.
		if m := problem.Error(); problem.Severity == xds.Error && !strings.Contains(m, "listen on ") && !strings.Contains(m, "is the limiter of this process") {
			out = append(out, m)
		}
	}
	return out
}
