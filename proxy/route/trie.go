// SPDX-License-Identifier: Apache-2.0

package route

import "bytes"

// trie is a radix tree from strings to lists of ids. Walking it along an input
// meets, shortest first, every entry that is a prefix of the input.
type trie struct {
	root trieNode
	fold bool // entries are in lower case, and inputs are lowered on the way
}

type trieNode struct {
	label []byte // what leads here from the parent; empty in the root
	first []byte // the first byte of each child's label, in no order
	child []*trieNode
	ids   []int32 // in ascending order
}

// add enters id under s. Ids must be added in ascending order.
func (t *trie) add(s string, id int32) {
	n, rest := &t.root, []byte(s)
	for len(rest) > 0 {
		i := bytes.IndexByte(n.first, rest[0])
		if i < 0 {
			leaf := &trieNode{label: rest, ids: []int32{id}}
			n.first = append(n.first, rest[0])
			n.child = append(n.child, leaf)
			return
		}
		c := n.child[i]
		k := shared(c.label, rest)
		if k < len(c.label) {
			// c is split: a node for what is shared takes its place.
			mid := &trieNode{label: c.label[:k], first: []byte{c.label[k]}, child: []*trieNode{c}}
			c.label = c.label[k:]
			n.child[i] = mid
			c = mid
		}
		n, rest = c, rest[k:]
	}
	n.ids = append(n.ids, id)
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
func (t *trie) next(n *trieNode, in []byte) (*trieNode, []byte) {
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
