// SPDX-License-Identifier: Apache-2.0

// Package treap is an immutable map from strings to values, in order. A changed map shares
// all but the path to what changed with the one before, and what differs between two is
// found without looking at the rest.
//
// It is a treap whose priorities are hashes of the keys, so that its shape depends on what
// is in it alone.
package treap

import (
	"hash/fnv"
	"iter"
)

// A Map is immutable; its methods that change it return another. The zero Map is empty.
type Map[V any] struct{ root *node[V] }

type node[V any] struct {
	key         string
	value       V
	rank        uint64
	size        int
	left, right *node[V]
}

// Len returns the number of keys.
func (m Map[V]) Len() int { return m.root.len() }

// Get returns the value of a key.
func (m Map[V]) Get(key string) (v V, ok bool) {
	if n := m.root.find(key); n != nil {
		return n.value, true
	}
	return v, false
}

// Put returns the map with a value for a key.
func (m Map[V]) Put(key string, v V) Map[V] {
	h := fnv.New64a()
	h.Write([]byte(key)) //nolint:errcheck // A hash takes all.
	// The low bits of FNV are good, its high bits of like keys alike.
	return Map[V]{m.root.put(&node[V]{key: key, value: v, rank: h.Sum64() * 0x9e3779b97f4a7c15, size: 1})}
}

// Delete returns the map without a key.
func (m Map[V]) Delete(key string) Map[V] {
	if m.root.find(key) == nil {
		return m
	}
	return Map[V]{m.root.remove(key)}
}

// All yields keys and values in order.
func (m Map[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		m.root.each(func(n *node[V]) bool { return yield(n.key, n.value) })
	}
}

// From yields keys and values in order, from the first that does not stand before key.
func (m Map[V]) From(key string) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		m.root.from(key, func(n *node[V]) bool { return yield(n.key, n.value) })
	}
}

// A Change is a key that differs between two maps. Old and New are nil where there is none.
type Change[V any] struct {
	Key      string
	Old, New *V
}

// Changes yields what is different in next, in order. Values that same reports to be alike
// do not differ.
func Changes[V any](old, next Map[V], same func(a, b *V) bool) iter.Seq[Change[V]] {
	return func(yield func(Change[V]) bool) {
		changes(old.root, next.root, func(was, is *node[V]) bool {
			switch {
			case was == nil:
				return yield(Change[V]{is.key, nil, &is.value})
			case is == nil:
				return yield(Change[V]{was.key, &was.value, nil})
			case same(&was.value, &is.value):
				return true
			}
			return yield(Change[V]{is.key, &was.value, &is.value})
		})
	}
}

// changes yields the nodes that two trees do not share, of either, in order.
func changes[V any](old, next *node[V], yield func(old, next *node[V]) bool) bool {
	switch {
	case old == next:
		return true
	case old == nil:
		return next.each(func(n *node[V]) bool { return yield(nil, n) })
	case next == nil:
		return old.each(func(n *node[V]) bool { return yield(n, nil) })
	case old.above(next):
		left, same, right := next.split(old.key)
		return changes(old.left, left, yield) && yield(old, same) && changes(old.right, right, yield)
	}
	left, same, right := old.split(next.key)
	return changes(left, next.left, yield) && yield(same, next) && changes(right, next.right, yield)
}

func (n *node[V]) len() int {
	if n == nil {
		return 0
	}
	return n.size
}

// above is the order of the heap.
func (n *node[V]) above(o *node[V]) bool {
	return n.rank > o.rank || n.rank == o.rank && n.key <= o.key
}

func (n *node[V]) find(key string) *node[V] {
	for n != nil && n.key != key {
		if key < n.key {
			n = n.left
		} else {
			n = n.right
		}
	}
	return n
}

func (n *node[V]) each(yield func(*node[V]) bool) bool {
	return n == nil || n.left.each(yield) && yield(n) && n.right.each(yield)
}

// from yields what does not stand before a key, until yield says no.
func (n *node[V]) from(key string, yield func(*node[V]) bool) bool {
	if n == nil {
		return true
	}
	if n.key < key {
		return n.right.from(key, yield)
	}
	return n.left.from(key, yield) && yield(n) && n.right.each(yield)
}

// with is a copy of n with other children; n itself if they are the same.
func (n *node[V]) with(left, right *node[V]) *node[V] {
	if n.left == left && n.right == right {
		return n
	}
	c := *n
	c.left, c.right, c.size = left, right, left.len()+right.len()+1
	return &c
}

// split returns what stands before a key, at it and after it.
func (n *node[V]) split(key string) (before, at, after *node[V]) {
	switch {
	case n == nil:
		return nil, nil, nil
	case n.key == key:
		return n.left, n, n.right
	case key < n.key:
		before, at, after = n.left.split(key)
		return before, at, n.with(after, n.right)
	}
	before, at, after = n.right.split(key)
	return n.with(n.left, before), at, after
}

func (n *node[V]) put(m *node[V]) *node[V] {
	switch {
	case n == nil:
		return m
	case m.key == n.key || !n.above(m):
		before, _, after := n.split(m.key)
		return m.with(before, after)
	case m.key < n.key:
		return n.with(n.left.put(m), n.right)
	}
	return n.with(n.left, n.right.put(m))
}

func (n *node[V]) remove(key string) *node[V] {
	switch {
	case n == nil:
		return nil
	case key < n.key:
		return n.with(n.left.remove(key), n.right)
	case key > n.key:
		return n.with(n.left, n.right.remove(key))
	}
	return join(n.left, n.right)
}

// join puts two trees together of which all keys of the first stand before those of the
// second.
func join[V any](a, b *node[V]) *node[V] {
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
