// SPDX-License-Identifier: Apache-2.0

package source

import (
	"maps"
	"slices"
	"sort"
	"strings"
)

// An Index finds objects of a kind by what they refer to. Keys returns the names
// under which an object is found.
type Index struct {
	Kind Kind
	Keys func(Object) []Name
}

// A View is a set of objects at one moment. It is immutable. The zero View is empty
// and has no indexes; make it with NewView.
type View struct {
	kinds   map[Kind]namespaces
	indexes map[*Index]finders
	byKind  map[Kind][]*Index
}

type (
	namespaces map[string][]entry // sorted by name
	finders    map[string]map[string][]entry
	entry      struct {
		object Object
		place  Place
	}
)

// NewView returns an empty View with indexes, which later Views made of it have too.
func NewView(indexes ...*Index) *View {
	v := &View{kinds: map[Kind]namespaces{}, indexes: map[*Index]finders{}, byKind: map[Kind][]*Index{}}
	for _, x := range indexes {
		v.indexes[x] = finders{}
		v.byKind[x.Kind] = append(v.byKind[x.Kind], x)
	}
	return v
}

// A Change is an object that is new or has another content or, with a nil Object, is
// gone.
type Change struct {
	Key    Key
	Object Object
	Place  Place
}

// Apply returns a View with changes, of which later ones win, and the keys of what
// is different in it, for memo.DB.Change.
func (v *View) Apply(changes []Change) (next *View, touched []any) {
	e := &editor{
		View: &View{kinds: maps.Clone(v.kinds), indexes: maps.Clone(v.indexes), byKind: v.byKind},
		mine: map[any]bool{}, touched: map[any]bool{},
	}
	for _, c := range changes {
		e.apply(c)
	}
	touched = make([]any, 0, len(e.touched))
	for k := range e.touched {
		touched = append(touched, k)
	}
	return e.View, touched
}

// What Apply touches, as Get, List, Names and Find read it.
type (
	inNamespace struct {
		kind      Kind
		namespace string
	}
	allOf   struct{ kind Kind }
	indexed struct {
		index *Index
		name  Name
	}
)

// editor changes a View that nobody else has yet. Maps are copied before they are
// first written to; mine are those that were.
type editor struct {
	*View
	mine    map[any]bool
	touched map[any]bool
}

func (e *editor) apply(c Change) {
	k := c.Key
	kind := e.kinds[k.Kind]
	old, had := kind.get(k.Name)
	if c.Object == nil && !had {
		return
	}
	e.touched[k] = true
	e.touched[inNamespace{k.Kind, k.Namespace}] = true
	if had != (c.Object != nil) {
		e.touched[allOf{k.Kind}] = true
	}
	if !e.mine[allOf{k.Kind}] {
		kind = maps.Clone(kind)
		if kind == nil {
			kind = namespaces{}
		}
		e.kinds[k.Kind], e.mine[allOf{k.Kind}] = kind, true
	}
	now := entry{c.Object, c.Place}
	own := inNamespace{k.Kind, k.Namespace}
	kind[k.Namespace] = e.put(kind[k.Namespace], own, k.Name, now, c.Object != nil)
	if len(kind[k.Namespace]) == 0 {
		delete(kind, k.Namespace)
	}
	for _, x := range e.byKind[k.Kind] {
		if had {
			e.index(x, x.Keys(old.object), k.Name, entry{}, false)
		}
		if c.Object != nil {
			e.index(x, x.Keys(c.Object), k.Name, now, true)
		}
	}
}

// index puts an entry under names of x, or takes it away.
func (e *editor) index(x *Index, names []Name, of Name, now entry, present bool) {
	if len(names) == 0 {
		return
	}
	if !e.mine[x] {
		e.indexes[x], e.mine[x] = maps.Clone(e.indexes[x]), true
	}
	for _, n := range names {
		own := struct {
			x         *Index
			namespace string
		}{x, n.Namespace}
		in := e.indexes[x][n.Namespace]
		if !e.mine[own] {
			in = maps.Clone(in)
			if in == nil {
				in = map[string][]entry{}
			}
			e.indexes[x][n.Namespace], e.mine[own] = in, true
		}
		key := indexed{x, n}
		e.touched[key] = true
		in[n.Name] = e.put(in[n.Name], key, of, now, present)
		if len(in[n.Name]) == 0 {
			delete(in, n.Name)
		}
	}
}

// put returns a sorted list with the entry called name replaced, added or, if it is
// not present, removed. The list that own names is copied first, unless it was.
func (e *editor) put(list []entry, own any, name Name, now entry, present bool) []entry {
	if !e.mine[own] {
		list, e.mine[own] = slices.Clone(list), true
	}
	i, found := search(list, name)
	switch {
	case found && present:
		list[i] = now
	case found:
		list = slices.Delete(list, i, i+1)
	case present:
		list = slices.Insert(list, i, now)
	}
	return list
}

func search(list []entry, name Name) (int, bool) {
	return sort.Find(len(list), func(i int) int {
		o := list[i].object
		if c := strings.Compare(name.Name, o.GetName()); c != 0 {
			return c
		}
		return strings.Compare(name.Namespace, o.GetNamespace())
	})
}

func (n namespaces) get(name Name) (entry, bool) {
	list := n[name.Namespace]
	if i, ok := search(list, name); ok {
		return list[i], true
	}
	return entry{}, false
}

// Get returns an object, or nil.
func (v *View) Get(k Key) Object {
	e, _ := v.kinds[k.Kind].get(k.Name)
	return e.object
}

// Place tells where an object stands.
func (v *View) Place(k Key) Place {
	e, _ := v.kinds[k.Kind].get(k.Name)
	return e.place
}

// Names returns where the objects of a kind are, in order.
func (v *View) Names(k Kind) []Name {
	var out []Name
	for _, ns := range slices.Sorted(maps.Keys(v.kinds[k])) {
		for _, e := range v.kinds[k][ns] {
			out = append(out, NameOf(e.object))
		}
	}
	return out
}

// Len returns how many objects there are.
func (v *View) Len() int {
	n := 0
	for _, kind := range v.kinds {
		for _, list := range kind {
			n += len(list)
		}
	}
	return n
}
