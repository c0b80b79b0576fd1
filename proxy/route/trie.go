// SPDX-License-Identifier: Apache-2.0

package route

import (
	"bytes"
	"slices"
)

// trie is a radix tree from strings to values. Walking it along an input meets, shortest
// first, every entry that is a prefix of the input.
//
// A copy of a trie shares its nodes. What an edit changes it copies first, unless it has
// made it itself: other copies stay as they are.
type trie[V any] struct {
	root trieNode[V]
	fold bool // entries are in lower case, and inputs are lowered on the way
}

type trieNode[V any] struct {
	by    *edit  // what made it
	label []byte // what leads here from the parent; empty in the root
	first []byte // the first byte of each child's label, in no order
	child []*trieNode[V]
	has   bool // there is an entry, whose value is v
	v     V
}

// edit is who changes things that others may have, too. It is compared by its address.
type edit struct{ _ byte }

// own makes n's lists the edit's own.
func (n *trieNode[V]) own(by *edit) {
	if n.by != by {
		n.by, n.first, n.child = by, slices.Clone(n.first), slices.Clone(n.child)
	}
}

// below returns the child of n that leads on by c, for by to change, or nil.
func (n *trieNode[V]) below(by *edit, c byte) *trieNode[V] {
	i := bytes.IndexByte(n.first, c)
	if i < 0 {
		return nil
	}
	n.own(by)
	if n.child[i].by != by {
		again := *n.child[i]
		again.own(by)
		n.child[i] = &again
	}
	return n.child[i]
}

// slot returns the value of an entry, which it makes if there is none.
func (t *trie[V]) slot(by *edit, s string) *V {
	n, rest := &t.root, []byte(s)
	for len(rest) > 0 {
		c := n.below(by, rest[0])
		if c == nil {
			c = &trieNode[V]{by: by, label: rest}
			n.own(by)
			n.first, n.child = append(n.first, rest[0]), append(n.child, c)
			n = c
			break
		}
		k := shared(c.label, rest)
		if k < len(c.label) {
			// c is split: a node for what is shared takes its place.
			mid := &trieNode[V]{by: by, label: c.label[:k:k], first: []byte{c.label[k]}, child: []*trieNode[V]{c}}
			n.child[bytes.IndexByte(n.first, rest[0])] = mid
			c.label = c.label[k:]
			c = mid
		}
		n, rest = c, rest[k:]
	}
	n.has = true
	return &n.v
}

// drop takes an entry away.
func (t *trie[V]) drop(by *edit, s string) {
	n, rest := &t.root, []byte(s)
	path := []*trieNode[V]{n}
	for len(rest) > 0 {
		c := n.below(by, rest[0])
		if c == nil || !bytes.HasPrefix(rest, c.label) {
			return
		}
		n, rest = c, rest[len(c.label):]
		path = append(path, n)
	}
	var none V
	n.has, n.v = false, none
	// What leads nowhere goes, and what leads to one place only is one with that.
	for i := len(path) - 1; i > 0; i-- {
		n, above := path[i], path[i-1]
		at := bytes.IndexByte(above.first, n.label[0])
		switch {
		case n.has || len(n.child) > 1:
			return
		case len(n.child) == 1:
			c := n.below(by, n.first[0])
			c.label = slices.Concat(n.label, c.label)
			above.child[at] = c
			return
		}
		above.own(by)
		above.first, above.child = slices.Delete(above.first, at, at+1), slices.Delete(above.child, at, at+1)
	}
}

// find returns the value of an entry.
func (t *trie[V]) find(s string) (v V, ok bool) {
	n, rest := &t.root, []byte(s)
	for n != nil && len(rest) > 0 {
		n, rest = t.next(n, rest)
	}
	if n == nil || !n.has {
		return v, false
	}
	return n.v, true
}

func shared(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// next returns the node below n
// along in, and what is left of in, or nil.
func (t *trie[V]) next(n *trieNode[V], in []byte) (*trieNode[V], []byte) {
	if len(in) == 0 || len(n.first) == 0 {
		return nil, nil
	}
	c := in[0]
	if t.fold {
		c = lower(c)
	}
	i := bytes.IndexByte(n.first, c)
	if i < 0 {
		return nil, nil
	}
	n = n.child[i]
	k := len(n.label)
	if len(in) < k {
		return nil, nil
	}
	if !t.fold {
		if string(in[:k]) != string(n.label) {
			return nil, nil
		}
		return n, in[k:]
	}
	for j, b := range n.label {
		if lower(in[j]) != b {
			return nil, nil
		}
	}
	return n, in[k:]
}
