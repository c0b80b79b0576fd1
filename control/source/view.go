// SPDX-License-Identifier: Apache-2.0

package source

import (
	"maps"

	"weir.dev/weir/internal/treap"
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
	kinds   map[Kind]groups   // by namespace, and there by name
	indexes map[*Index]groups // by what they are found under, and there by name and namespace
	byKind  map[Kind][]*Index
}

// groups are lists of objects. A changed one shares with the one before all but what is
// around the change.
type (
	groups = treap.Map[list]
	list   = treap.Map[entry]
	entry  struct {
		object Object
		place  Place
	}
)

// under is the key of a name by which objects are found, and of one among them.
func under(n Name) string { return n.Name + "\x00" + n.Namespace }

// NewView returns an empty View with indexes, which later Views made of it have too.
func NewView(indexes ...*Index) *View {
	v := &View{kinds: map[Kind]groups{}, indexes: map[*Index]groups{}, byKind: map[Kind][]*Index{}}
	for _, x := range indexes {
		v.indexes[x] = groups{}
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
		View:    &View{kinds: maps.Clone(v.kinds), indexes: maps.Clone(v.indexes), byKind: v.byKind},
		touched: map[any]bool{},
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

// editor changes a View that nobody else has yet.
type editor struct {
	*View
	touched map[any]bool
}

func (e *editor) apply(c Change) {
	k := c.Key
	old, had := e.get(k)
	if c.Object == nil && !had {
		return
	}
	e.touched[k] = true
	e.touched[inNamespace{k.Kind, k.Namespace}] = true
	if had != (c.Object != nil) {
		e.touched[allOf{k.Kind}] = true
	}
	now := entry{c.Object, c.Place}
	e.kinds[k.Kind] = put(e.kinds[k.Kind], k.Namespace, k.Name.Name, now)
	for _, x := range e.byKind[k.Kind] {
		if had {
			e.index(x, x.Keys(old.object), k.Name, entry{})
		}
		if c.Object != nil {
			e.index(x, x.Keys(c.Object), k.Name, now)
		}
	}
}

// index puts an entry under names of x or, if it has no object, takes it away.
func (e *editor) index(x *Index, names []Name, of Name, now entry) {
	for _, n := range names {
		e.touched[indexed{x, n}] = true
		e.indexes[x] = put(e.indexes[x], under(n), under(of), now)
	}
}

// put puts an entry into a group or, if it has no object, takes it away.
func put(all groups, group, name string, now entry) groups {
	l, _ := all.Get(group)
	if now.object != nil {
		return all.Put(group, l.Put(name, now))
	}
	if l = l.Delete(name); l.Len() == 0 {
		return all.Delete(group)
	}
	return all.Put(group, l)
}

func (v *View) get(k Key) (entry, bool) {
	l, _ := v.kinds[k.Kind].Get(k.Namespace)
	return l.Get(k.Name.Name)
}

// under returns what an index has under a name.
func (v *View) under(x *Index, n Name) list {
	l, _ := v.indexes[x].Get(under(n))
	return l
}

// in returns the objects of a kind in a namespace.
func (v *View) in(k Kind, namespace string) list {
	l, _ := v.kinds[k].Get(namespace)
	return l
}

// Get returns an object, or nil.
func (v *View) Get(k Key) Object {
	e, _ := v.get(k)
	return e.object
}

// Place tells where an object stands.
func (v *View) Place(k Key) Place {
	e, _ := v.get(k)
	return e.place
}

// Names returns where the objects of a kind are, in order.
func (v *View) Names(k Kind) []Name {
	var out []Name
	for _, l := range v.kinds[k].All() {
		for _, e := range l.All() {
			out = append(out, NameOf(e.object))
		}
	}
	return out
}

// Len returns how many objects there are.
func (v *View) Len() int {
	n := 0
	for _, kind := range v.kinds {
		for _, l := range kind.All() {
			n += l.Len()
		}
	}
	return n
}
