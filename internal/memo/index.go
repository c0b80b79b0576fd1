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
	// followed has, for each bucket that is, what came (true) and left since it was told.
	followed map[B]map[M]bool
	news     map[B]struct{} // followed buckets of which there is something to tell
}

type bucket[M comparable] struct {
	members []M            // sorted; never changed in place
	changed map[M]struct{} // members that came or went since; nil if none have
	count   small[M, int]  // members, and how many keys put each in
}

// sorted returns the members in order.
func (b *bucket[M]) sorted(order func(a, b M) int) []M {
	if len(b.changed) == 0 {
		return b.members
	}
	out := make([]M, 0, b.count.len())
	rest := b.members
	for _, m := range slices.SortedFunc(maps.Keys(b.changed), order) {
		at, found := slices.BinarySearchFunc(rest, m, order)
		out = append(out, rest[:at]...)
		rest = rest[at:]
		if found {
			rest = rest[1:]
		}
		if b.count.get(m) > 0 {
			out = append(out, m)
		}
	}
	b.members = append(out, rest...)
	b.changed = nil
	return b.members
}

// add adds to the count of a member and returns what it is then. One whose count is 0 is gone.
func (b *bucket[M]) add(m M, by int) int {
	n := b.count.get(m) + by
	if n == 0 {
		b.count.delete(m)
	} else {
		b.count.set(m, n)
	}
	return n
}

// change notes that a member has come or gone.
func (b *bucket[M]) change(m M) {
	if b.changed == nil {
		b.changed = map[M]struct{}{}
	}
	b.changed[m] = struct{}{}
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
	// tell returns what there is to tell of followed buckets.
	tell() []Change
}

// NewIndex returns an index, which serves one DB. f says into which buckets a key
// puts which members; order sorts the members of a bucket.
func NewIndex[K, B, M comparable](f func(*Ctx, K) []Pair[B, M], order func(a, b M) int) *Index[K, B, M] {
	return &Index[K, B, M]{
		Func:  NewFunc(f, slices.Equal[[]Pair[B, M]]),
		order: order, buckets: map[B]*bucket[M]{}, put: map[*node][]Pair[B, M]{},
		followed: map[B]map[M]bool{}, news: map[B]struct{}{},
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
		return held.count.len()
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
	db.tellOf(x, len(x.news) > 0)
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
		b = &bucket[M]{}
		x.buckets[p.Bucket] = b
	}
	if b.add(p.Member, 1) == 1 {
		b.change(p.Member)
		touched[p.Bucket] = true
		x.note(p, true)
	}
}

func (x *Index[K, B, M]) out(p Pair[B, M], touched map[B]bool) {
	b := x.buckets[p.Bucket]
	if b.add(p.Member, -1) > 0 {
		return
	}
	b.change(p.Member)
	touched[p.Bucket] = true
	x.note(p, false)
	if b.count.len() == 0 {
		delete(x.buckets, p.Bucket)
	}
}

// Follow has Settle report what comes into a bucket and leaves it, beginning with what
// is in it. What that costs depends on how much that is, not on the size of the bucket.
func (x *Index[K, B, M]) Follow(db *DB, b B) {
	if x.followed[b] != nil {
		return
	}
	all := map[M]bool{}
	if held := x.buckets[b]; held != nil {
		for m := range held.count.keys {
			all[m] = true
		}
	}
	x.followed[b] = all
	if len(all) > 0 {
		x.news[b] = struct{}{}
		db.tellOf(x, true)
	}
}

// Unfollow is the opposite of Follow.
func (x *Index[K, B, M]) Unfollow(b B) {
	delete(x.followed, b)
	delete(x.news, b)
}

// Followed returns a bucket, what came into it and what left it, both in order, if a
// change reported by Settle is one of a bucket that is followed.
func (x *Index[K, B, M]) Followed(ch Change) (b B, came, left []M, ok bool) {
	d, ok := ch.value.(delta[B, M])
	if !ok || ch.of != any(x) {
		return b, nil, nil, false
	}
	return d.bucket, d.came, d.left, true
}

// delta is what a Change of a followed bucket is.
type delta[B, M comparable] struct {
	bucket     B
	came, left []M
}

// note notes that a member came into a bucket or left it. One that did both is as it was.
func (x *Index[K, B, M]) note(p Pair[B, M], came bool) {
	of := x.followed[p.Bucket]
	if of == nil {
		return
	}
	if was, ok := of[p.Member]; ok && was != came {
		delete(of, p.Member)
	} else {
		of[p.Member] = came
	}
	x.news[p.Bucket] = struct{}{}
}

func (x *Index[K, B, M]) tell() []Change {
	var out []Change
	for b := range x.news {
		d := delta[B, M]{bucket: b}
		for m, came := range x.followed[b] {
			if came {
				d.came = append(d.came, m)
			} else {
				d.left = append(d.left, m)
			}
		}
		x.followed[b] = map[M]bool{}
		if len(d.came)+len(d.left) == 0 {
			continue
		}
		slices.SortFunc(d.came, x.order)
		slices.SortFunc(d.left, x.order)
		out = append(out, Change{x, b, d})
	}
	clear(x.news)
	return out
}
