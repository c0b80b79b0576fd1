// SPDX-License-Identifier: Apache-2.0

package route

import (
	"hash/maphash"
	"maps"
)

// names is a map by strings that shares with those made of it all but some thousandth
// around what differs, so that a change of one entry costs the same whatever their number.
// A copy of it is another map; what an edit changes it copies first, unless it has made it
// itself.
//
// It is a tree of two levels, over maps: a tree of many levels costs each request more,
// and these maps are small up to a hundred thousand names.
type names[V any] struct {
	seed maphash.Seed
	by   *edit
	at   *[fan]*branch[V]
}

const (
	fanBits = 5
	fan     = 1 << fanBits
)

type branch[V any] struct {
	by *edit
	at [fan]*shard[V]
}

type shard[V any] struct {
	by *edit
	m  map[string]V
}

func newNames[V any]() names[V] { return names[V]{seed: maphash.MakeSeed()} }

// bytes returns the value of a name.
func (n *names[V]) bytes(name []byte) (v V, ok bool) {
	if n.at == nil {
		return v, false
	}
	h := maphash.Bytes(n.seed, name)
	b := n.at[h%fan]
	if b == nil {
		return v, false
	}
	s := b.at[h>>fanBits%fan]
	if s == nil {
		return v, false
	}
	v, ok = s.m[string(name)]
	return v, ok
}

func (n *names[V]) get(name string) (v V, ok bool) { return n.bytes([]byte(name)) }

// of returns the map that a name is in, for by to change.
func (n *names[V]) of(by *edit, name string) map[string]V {
	h := maphash.String(n.seed, name)
	if n.by != by || n.at == nil {
		at := [fan]*branch[V]{}
		if n.at != nil {
			at = *n.at
		}
		n.by, n.at = by, &at
	}
	b := n.at[h%fan]
	switch {
	case b == nil:
		b = &branch[V]{by: by}
	case b.by != by:
		b = &branch[V]{by: by, at: b.at}
	}
	n.at[h%fan] = b
	s := b.at[h>>fanBits%fan]
	switch {
	case s == nil:
		s = &shard[V]{by: by, m: map[string]V{}}
	case s.by != by:
		s = &shard[V]{by: by, m: maps.Clone(s.m)}
	}
	b.at[h>>fanBits%fan] = s
	return s.m
}

func (n *names[V]) put(by *edit, name string, v V) { n.of(by, name)[name] = v }

func (n *names[V]) drop(by *edit, name string) {
	if _, ok := n.get(name); ok {
		delete(n.of(by, name), name)
	}
}
