// SPDX-License-Identifier: Apache-2.0

package memo

// A Func is a pure function whose results a DB remembers by key. It holds none
// itself, and may be used with several DBs.
type Func[K comparable, V any] struct {
	f     func(*Ctx, K) V
	alike func(a, b V) bool // nil if two never are
}

// NewFunc returns a Func. same tells whether two results are alike, so that what
// depends on them need not be computed anew; nil is that they never are.
func NewFunc[K comparable, V any](f func(*Ctx, K) V, same func(a, b V) bool) *Func[K, V] {
	return &Func[K, V]{f, same}
}

func (f *Func[K, V]) run(c *Ctx, key any) any { return f.f(c, key.(K)) }

func (f *Func[K, V]) same(a, b any) bool {
	return f.alike != nil && f.alike(as[V](a), as[V](b))
}

// as is a value that was held as any: a nil interface value is V's zero.
func as[V any](v any) V {
	out, _ := v.(V)
	return out
}

// Equal is a same for results that can be compared by ==.
func Equal[V comparable](a, b V) bool { return a == b }

func (f *Func[K, V]) node(db *DB, key K) *node {
	id := nodeKey{f, key}
	n := db.nodes[id]
	if n == nil {
		n = &node{id: id}
		db.nodes[id] = n
	}
	return n
}

// Get returns the result for key, and records that the caller read it.
func (f *Func[K, V]) Get(c *Ctx, key K) V {
	n := f.node(c.db, key)
	c.db.fresh(n)
	c.depend(n)
	if c.of == nil {
		c.db.loosen(n)
	}
	return as[V](n.value)
}

// Watch has Settle keep the result for key up to date and report it.
func (f *Func[K, V]) Watch(db *DB, key K) {
	n := f.node(db, key)
	if n.watchers++; n.watchers == 1 {
		db.watched = append(db.watched, n)
	}
}

// Unwatch is the opposite of Watch.
func (f *Func[K, V]) Unwatch(db *DB, key K) {
	n := db.nodes[nodeKey{f, key}]
	if n == nil || n.watchers == 0 {
		return
	}
	if n.watchers--; n.watchers == 0 {
		if n.index != nil {
			n.index.remove(n)
		}
		db.loosen(n)
	}
}

// Watched returns the key and the value if a change reported by Settle is one of f.
func (f *Func[K, V]) Watched(ch Change) (key K, value V, ok bool) {
	if ch.of != any(f) {
		return key, value, false
	}
	return ch.key.(K), as[V](ch.value), true
}

// A Change is a watched result that became another. Func.Watched reads it.
type Change struct {
	of    any
	key   any
	value any
}

// Settle brings everything watched up to date, and returns what has changed since
// it was last told. The order of the changes is not defined.
func (db *DB) Settle() []Change {
	// Indexes first: what they say is input to the others.
	rest := db.take()
	for len(rest) > 0 {
		var after []*node
		for _, n := range rest {
			if n.watchers == 0 {
				continue
			}
			if n.index == nil {
				after = append(after, n)
				continue
			}
			db.fresh(n)
			n.index.update(db, n)
		}
		// Updating an index makes further results stale, perhaps those of a later index.
		more := db.take()
		rest = append(more, after...)
		if len(more) == 0 {
			break
		}
	}
	var out []Change
	for _, n := range rest {
		if n.watchers == 0 {
			continue
		}
		db.fresh(n)
		if n.told != n.changed {
			n.told = n.changed
			out = append(out, Change{n.id.of, n.id.key, n.value})
		}
	}
	for x := range db.telling {
		out = append(out, x.tell()...)
	}
	clear(db.telling)
	db.sweep()
	return out
}

// tellOf has Settle ask an index what there is to tell.
func (db *DB) tellOf(x updater, is bool) {
	if is {
		db.telling[x] = struct{}{}
	}
}

// take returns the watched results that are stale.
func (db *DB) take() []*node {
	out := db.watched
	db.watched = nil
	return out
}
