// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"hash/fnv"
	"iter"

	"google.golang.org/protobuf/proto"
)

// A Set is an immutable set of resources of one kind by name. The messages in it
// are shared: whoever reads one must not change it. The zero Set is empty.
//
// It is a treap whose priorities are hashes of the names, so that its shape depends
// on what is in it alone. A changed Set shares all but the path to what changed with
// the one before, and what differs between two is found without looking at the rest.
type Set[M proto.Message] struct{ root *node[M] }

type node[M proto.Message] struct {
	name        string
	message     M
	origin      *Origin // nil if it is zero
	rank        uint64
	size        int
	left, right *node[M]
}

// Len returns the number of resources.
func (s Set[M]) Len() int { return s.root.len() }

// Names returns the names in order. The slice is the caller's.
func (s Set[M]) Names() []string {
	out := make([]string, 0, s.Len())
	for name := range s.All() {
		out = append(out, name)
	}
	return out
}

// Get returns the resource called name.
func (s Set[M]) Get(name string) (m M, ok bool) {
	if n := s.root.find(name); n != nil {
		return n.message, true
	}
	return m, false
}

// Origin returns what the resource called name was made from, as far as known.
func (s Set[M]) Origin(name string) Origin {
	if n := s.root.find(name); n != nil && n.origin != nil {
		return *n.origin
	}
	return Origin{}
}

// All yields names and resources in the order of the names.
func (s Set[M]) All() iter.Seq2[string, M] {
	return func(yield func(string, M) bool) {
		s.root.each(func(n *node[M]) bool { return yield(n.name, n.message) })
	}
}

// changes yields the nodes in which two sets differ, in the order of the names: of
// either, nil where there is none. Messages that are equal do not differ.
func changes[M proto.Message](old, next *node[M], yield func(old, next *node[M]) bool) bool {
	switch {
	case old == next:
		return true
	case old == nil:
		return next.each(func(n *node[M]) bool { return yield(nil, n) })
	case next == nil:
		return old.each(func(n *node[M]) bool { return yield(n, nil) })
	case old.above(next):
		left, same, right := next.split(old.name)
		return changes(old.left, left, yield) && differ(old, same, yield) && changes(old.right, right, yield)
	}
	left, same, right := old.split(next.name)
	return changes(left, next.left, yield) && differ(same, next, yield) && changes(right, next.right, yield)
}

func differ[M proto.Message](old, next *node[M], yield func(old, next *node[M]) bool) bool {
	if old != nil && next != nil && equal(old.message, next.message) {
		return true
	}
	return yield(old, next)
}

func newNode[M proto.Message](name string, m M, o Origin) *node[M] {
	h := fnv.New64a()
	h.Write([]byte(name)) //nolint:errcheck // A hash takes all.
	// The low bits of FNV are good, its high bits of like names alike.
	n := &node[M]{name: name, message: m, rank: h.Sum64() * 0x9e3779b97f4a7c15, size: 1}
	if !o.IsZero() {
		n.origin = &o
	}
	return n
}

func (n *node[M]) len() int {
	if n == nil {
		return 0
	}
	return n.size
}

// above is the order of the heap.
func (n *node[M]) above(o *node[M]) bool {
	return n.rank > o.rank || n.rank == o.rank && n.name <= o.name
}

func (n *node[M]) find(name string) *node[M] {
	for n != nil && n.name != name {
		if name < n.name {
			n = n.left
		} else {
			n = n.right
		}
	}
	return n
}

func (n *node[M]) each(yield func(*node[M]) bool) bool {
	return n == nil || n.left.each(yield) && yield(n) && n.right.each(yield)
}

// with is a copy of n with other children; n itself if they are the same.
func (n *node[M]) with(left, right *node[M]) *node[M] {
	if n.left == left && n.right == right {
		return n
	}
	c := *n
	c.left, c.right, c.size = left, right, left.len()+right.len()+1
	return &c
}

// split returns what stands before a name, at it and after it.
func (n *node[M]) split(name string) (before, at, after *node[M]) {
	switch {
	case n == nil:
		return nil, nil, nil
	case n.name == name:
		return n.left, n, n.right
	case name < n.name:
		before, at, after = n.left.split(name)
		return before, at, n.with(after, n.right)
	}
	before, at, after = n.right.split(name)
	return n.with(n.left, before), at, after
}

func (n *node[M]) put(m *node[M]) *node[M] {
	switch {
	case n == nil:
		return m
	case m.name == n.name || !n.above(m):
		before, _, after := n.split(m.name)
		return m.with(before, after)
	case m.name < n.name:
		return n.with(n.left.put(m), n.right)
	}
	return n.with(n.left, n.right.put(m))
}

func (n *node[M]) remove(name string) *node[M] {
	switch {
	case n == nil:
		return nil
	case name < n.name:
		return n.with(n.left.remove(name), n.right)
	case name > n.name:
		return n.with(n.left, n.right.remove(name))
	}
	return join(n.left, n.right)
}

// join puts two trees together of which all names of the first stand before those of
// the second.
func join[M proto.Message](a, b *node[M]) *node[M] {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.above(b):
		return a.with(a.left, join(a.right, b))
	}
	return b.with(join(a, b.left), b.right)
}

// A Draft is a Set in the making.
type Draft[M proto.Message] interface {
	// Put adds the resource or replaces the one of that name.
	Put(name string, message M, origin Origin)
	// Delete removes the resource, if there is one.
	Delete(name string)
	// Has reports whether there is such a resource.
	Has(name string) bool
}

type draft[M proto.Message] struct{ Set[M] }

func (d *draft[M]) Put(name string, message M, origin Origin) {
	if m, ok := d.Get(name); ok && proto.Message(m) == proto.Message(message) && d.Origin(name) == origin {
		return
	}
	d.root = d.root.put(newNode(name, message, origin))
}

func (d *draft[M]) Delete(name string) { d.root = d.root.remove(name) }

func (d *draft[M]) Has(name string) bool { return d.root.find(name) != nil }
