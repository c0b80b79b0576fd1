// SPDX-License-Identifier: Apache-2.0

package memo

import (
	"maps"
	"slices"
)

// A Pair says that a member is in a bucket.
type Pair[B, M comparable] struct {
	Bucket B
	Member M
}

// An Index is a set of buckets, filled by what a function says of each key that was
// added. Several keys may put the same member into a bucket; it leaves with the last.
type Index[K, B, M comparable] struct {
	*Func[K, []Pair[B, M]]
	order   func(a, b M) int
	buckets map[B]*bucket[M]
	put     map[*node][]Pair[B, M]
}

type bucket[M comparable] struct {
	members []M            // sorted; never changed in place
	changed map[M]struct{} // members that came or went since
	count   map[M]int      // members, and how many keys put each in
}

// sorted returns the members in order.
func (b *bucket[M]) sorted(order func(a, b M) int) []M {
	if len(b.changed) == 0 {
		return b.members
	}
	out := make([]M, 0, len(b.count))
	rest := b.members
	for _, m := range slices.SortedFunc(maps.Keys(b.changed), order) {
		at, found := slices.BinarySearchFunc(rest, m, order)
		out = append(out, rest[:at]...)
		rest = rest[at:]
		if found {
			rest = rest[1:]
		}
		if b.count[m] > 0 {
			out = append(out, m)
		}
	}
	b.members = append(out, rest...)
	clear(b.changed)
	return b.members
}

// bucketKey is what a reader of a bucket depends on.
type bucketKey struct {
	index  any
	bucket any
}

// updater is an Index as the DB knows it.
type updater interface {
	update(db *DB, n *node)
	remove(n *node)
}

// NewIndex returns an index, which serves one DB. f says into which buckets a key
// puts which members; order sorts the members of a bucket.
func NewIndex[K, B, M comparable](f func(*Ctx, K) []Pair[B, M], order func(a, b M) int) *Index[K, B, M] {
	return &Index[K, B, M]{
		Func:  NewFunc(f, slices.Equal[[]Pair[B, M]]),
		order: order, buckets: map[B]*bucket[M]{}, put: map[*node][]Pair[B, M]{},
	}
}

// Add has the index hold what its function says of key, from the next Settle on.
func (x *Index[K, B, M]) Add(db *DB, key K) {
	x.node(db, key).index = x
	x.Watch(db, key)
}

// Remove is the opposite of Add. What the key put in leaves at once.
func (x *Index[K, B, M]) Remove(db *DB, key K) {
	n := db.nodes[nodeKey{x.Func, key}]
	if n == nil {
		return
	}
	x.replace(db, n, nil)
	x.Unwatch(db, key)
}

// Members returns the sorted members of a bucket, which the caller must not change.
func (x *Index[K, B, M]) Members(c *Ctx, b B) []M {
	c.Read(bucketKey{x, b})
	if held := x.buckets[b]; held != nil {
		return held.sorted(x.order)
	}
	return nil
}

// Count returns how many members a bucket has.
func (x *Index[K, B, M]) Count(c *Ctx, b B) int {
	c.Read(bucketKey{x, b})
	if held := x.buckets[b]; held != nil {
		return len(held.count)
	}
	return 0
}

func (x *Index[K, B, M]) update(db *DB, n *node) {
	pairs, _ := n.value.([]Pair[B, M])
	x.replace(db, n, pairs)
}

func (x *Index[K, B, M]) remove(n *node) { delete(x.put, n) }

// replace makes pairs what n puts in.
func (x *Index[K, B, M]) replace(db *DB, n *node, pairs []Pair[B, M]) {
	old := x.put[n]
	if slices.Equal(old, pairs) {
		return
	}
	touched := map[B]bool{}
	for _, p := range pairs {
		x.in(p, touched)
	}
	for _, p := range old {
		x.out(p, touched)
	}
	if len(pairs) == 0 {
		delete(x.put, n)
	} else {
		x.put[n] = pairs
	}
	if len(touched) == 0 {
		return
	}
	db.rev++
	for b := range touched {
		if leaf := db.leaves[bucketKey{x, b}]; leaf != nil {
			leaf.changed = db.rev
			db.invalidate(leaf)
		}
	}
}

func (x *Index[K, B, M]) in(p Pair[B, M], touched map[B]bool) {
	b := x.buckets[p.Bucket]
	if b == nil {
		b = &bucket[M]{count: map[M]int{}, changed: map[M]struct{}{}}
		x.buckets[p.Bucket] = b
	}
	if b.count[p.Member]++; b.count[p.Member] == 1 {
		b.changed[p.Member] = struct{}{}
		touched[p.Bucket] = true
	}
}

func (x *Index[K, B, M]) out(p Pair[B, M], touched map[B]bool) {
	b := x.buckets[p.Bucket]
	if b.count[p.Member]--; b.count[p.Member] > 0 {
		return
	}
	delete(b.count, p.Member)
	b.changed[p.Member] = struct{}{}
	touched[p.Bucket] = true
	if len(b.count) == 0 {
		delete(x.buckets, p.Bucket)
	}
}
