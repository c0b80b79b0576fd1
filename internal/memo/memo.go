// SPDX-License-Identifier: Apache-2.0

// Package memo remembers the results of pure functions together with what each of
// them read, so that after a change only what depends on it is computed anew.
//
// A [Func] is a function of a key. It reads inputs ([Ctx.Read]) and other Funcs
// ([Func.Get]); both are recorded. [DB.Change] tells which inputs changed: results
// that depend on them become stale and are computed again when they are next asked
// for. A Func whose result did not change keeps what depends on it fresh. The cost
// of a change is that of what it reaches, however much there is besides.
//
// What is [Func.Watch]ed is kept up to date by [DB.Settle], which reports what
// changed. An [Index] groups keys by what a Func says of them, and is itself
// something that other Funcs can read. What comes into a bucket that is followed
// ([Index.Follow]) and leaves it is reported by Settle, too.
//
// A DB is for one goroutine. Functions must depend on nothing but what they read
// through their Ctx, must not read themselves, and must not change what they got.
package memo

import "fmt"

// A DB holds results. Make it with New.
type DB struct {
	input   any
	rev     uint64
	nodes   map[nodeKey]*node
	leaves  map[any]*node
	watched []*node // watched nodes that became stale
	loose   []*node // nodes that nothing may depend on any more
	stack   []*node
	telling map[updater]struct{} // indexes that have something to tell
}

// function is a Func as the DB knows it.
type function interface {
	run(c *Ctx, key any) any
	same(a, b any) bool
}

// nodeKey tells a result: the function, and its key.
type nodeKey struct {
	of  function
	key any
}

// node is a result, or an input if of is nil.
type node struct {
	id       nodeKey
	value    any
	deps     []*node
	users    small[*node, struct{}]
	verified uint64 // revision in which the value was last known to be right; 0 is never
	changed  uint64 // revision in which it last became another
	stamp    uint64 // run that recorded it last
	stale    bool
	running  bool
	watchers int
	told     uint64 // revision whose value was reported by Settle
	index    updater
}

// New returns an empty DB.
func New() *DB {
	return &DB{rev: 1, nodes: map[nodeKey]*node{}, leaves: map[any]*node{}, telling: map[updater]struct{}{}}
}

// Change gives the functions another input, and tells which of the parts that they
// read, by the keys of Read, are different in it.
func (db *DB) Change(input any, keys ...any) {
	db.input = input
	db.rev++
	for _, key := range keys {
		if n := db.leaves[key]; n != nil {
			n.changed = db.rev
			db.invalidate(n)
		}
	}
}

// invalidate marks all that depends on n.
func (db *DB) invalidate(n *node) {
	db.stack = append(db.stack[:0], n)
	for len(db.stack) > 0 {
		last := len(db.stack) - 1
		n := db.stack[last]
		db.stack = db.stack[:last]
		for u := range n.users.keys {
			if u.stale {
				continue
			}
			u.stale = true
			if u.watchers > 0 {
				db.watched = append(db.watched, u)
			}
			db.stack = append(db.stack, u)
		}
	}
}

// Ctx returns a Ctx to ask from outside of all functions.
func (db *DB) Ctx() *Ctx { return &Ctx{db: db} }

// Len returns how many results are held.
func (db *DB) Len() int { return len(db.nodes) }

// A Ctx is what a function reads through. It is valid while the function runs.
type Ctx struct {
	db   *DB
	of   *node
	deps []*node
	id   uint64
}

// Input returns what Change was given. What is read of it must be told by Read.
func (c *Ctx) Input() any { return c.db.input }

// Read records that the result depends on the part of the input called key, which
// must be comparable.
func (c *Ctx) Read(key any) {
	if c.of == nil {
		return
	}
	n := c.db.leaves[key]
	if n == nil {
		n = &node{id: nodeKey{key: key}}
		c.db.leaves[key] = n
	}
	c.depend(n)
}

func (c *Ctx) depend(n *node) {
	if c.of == nil || n.stamp == c.id {
		return
	}
	n.stamp = c.id
	c.deps = append(c.deps, n)
}

// fresh makes n's value right.
func (db *DB) fresh(n *node) {
	if n.verified != 0 && !n.stale {
		return
	}
	if n.running {
		panic(fmt.Sprintf("BUG: the result for %v depends on itself", n.id.key))
	}
	if n.verified != 0 && !db.outdated(n) {
		n.stale, n.verified = false, db.rev
		return
	}
	db.compute(n)
}

// outdated reports whether something that n read has changed since.
func (db *DB) outdated(n *node) bool {
	for _, d := range n.deps {
		if d.id.of != nil {
			db.fresh(d)
		}
		if d.changed > n.verified {
			return true
		}
	}
	return false
}

func (db *DB) compute(n *node) {
	db.rev++
	c := &Ctx{db: db, of: n, id: db.rev, deps: make([]*node, 0, len(n.deps))}
	n.running = true
	value := n.id.of.run(c, n.id.key)
	n.running = false
	if n.verified == 0 || !n.id.of.same(n.value, value) {
		n.value, n.changed = value, db.rev
	}
	n.stale, n.verified = false, db.rev
	db.relink(n, append(make([]*node, 0, len(c.deps)), c.deps...)) // in no more memory than they need: they stay
}

// relink replaces what n depends on.
func (db *DB) relink(n *node, deps []*node) {
	old := n.deps
	n.deps = deps
	db.rev++
	for _, d := range deps {
		d.stamp = db.rev
		d.users.set(n, struct{}{})
	}
	for _, d := range old {
		if d.stamp != db.rev {
			d.users.delete(n)
			db.loosen(d)
		}
	}
}

// loosen notes that n may not be needed any more.
func (db *DB) loosen(n *node) {
	if n.users.len() == 0 && n.watchers == 0 {
		db.loose = append(db.loose, n)
	}
}

// sweep forgets the results that nothing depends on.
func (db *DB) sweep() {
	for len(db.loose) > 0 {
		last := len(db.loose) - 1
		n := db.loose[last]
		db.loose = db.loose[:last]
		if n.users.len() > 0 || n.watchers > 0 {
			continue
		}
		if n.id.of == nil {
			if db.leaves[n.id.key] == n {
				delete(db.leaves, n.id.key)
			}
			continue
		}
		if db.nodes[n.id] != n {
			continue
		}
		delete(db.nodes, n.id)
		for _, d := range n.deps {
			d.users.delete(n)
			db.loosen(d)
		}
		n.deps = nil
	}
}
