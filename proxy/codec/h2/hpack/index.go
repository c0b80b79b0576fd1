// SPDX-License-Identifier: Apache-2.0

package hpack

import "weir.dev/weir/proxy/header"

// index finds the entries of an encoder's table: two hash tables of chains that
// go from newer to older entries. Entries leave the table in the order in which
// they came, so that a link to one that left is known by its number, and
// nothing is ever unlinked.
type index struct {
	fields []uint32 // number of the newest entry, by the hash of the field
	names  []uint32 // the same, by the hash of the name
	links  []link   // beside the table's entries
	// seen has marks of the fields that were last sent without being inserted:
	// sets of four marks of 16 bits, the newest in the low ones.
	seen [32]uint64
}

// link has what belongs to one entry.
type link struct {
	hash  uint32 // of the field
	of    uint32 // hash of the name
	field uint32 // the next older entry in the field's chain
	name  uint32 // the next older entry in the name's chain
}

// maxChain bounds a search: an adversary's values cost no more than this.
const maxChain = 8

// field returns the dynamic index of the field, or 0.
func (x *index) field(t *table, h uint32, n header.Name, value []byte) uint32 {
	if t.count == 0 {
		return 0
	}
	number, before := x.fields[h&uint32(len(x.fields)-1)], uint32(0)
	for range maxChain {
		// Links go back, so what is not older than the one before left long ago.
		age := t.next - number
		if age <= before || age > t.count {
			return 0
		}
		l := &x.links[number&uint32(len(x.links)-1)]
		if l.hash == h {
			e := t.at(age)
			if e.value == uint32(len(value)) && t.named(e, n) && is(t, e.off+e.stored()-e.value, value) {
				return age
			}
		}
		number, before = l.field, age
	}
	return 0
}

// name returns the dynamic index of an entry called n, or 0.
func (x *index) name(t *table, n header.Name) uint32 {
	if t.count == 0 {
		return 0
	}
	h := hashName(n)
	number, before := x.names[h>>16&uint32(len(x.names)-1)], uint32(0)
	for range maxChain {
		age := t.next - number
		if age <= before || age > t.count {
			return 0
		}
		if t.named(t.at(age), n) {
			return age
		}
		number, before = x.links[number&uint32(len(x.links)-1)].name, age
	}
	return 0
}

// named reports whether the entry is called n.
func (t *table) named(e *entry, n header.Name) bool {
	if e.id != 0 || n.ID() != 0 {
		return e.id == n.ID()
	}
	return e.name == uint32(len(n.String())) && is(t, e.off, n.String())
}

// again reports whether the field with this hash was sent shortly before, and
// remembers it: what never comes again is not worth an entry.
func (x *index) again(h uint32) bool {
	set := &x.seen[h&uint32(len(x.seen)-1)]
	mark := uint64(h>>16 | 1)
	for w := *set; w != 0; w >>= 16 {
		if w&0xffff == mark {
			return true
		}
	}
	*set = *set<<16 | mark
	return false
}

// add inserts a field into the table, whose newest entry it becomes.
func (x *index) add(t *table, h uint32, n header.Name, value []byte) {
	number := t.next
	if !t.add(n.ID(), n.String(), value) {
		return
	}
	if len(x.links) != len(t.entries) {
		x.grow(t)
	}
	x.link(number, h, hashName(n))
}

func (x *index) link(number, h, hn uint32) {
	l := &x.links[number&uint32(len(x.links)-1)]
	f, c := &x.fields[h&uint32(len(x.fields)-1)], &x.names[hn>>16&uint32(len(x.names)-1)]
	*l = link{hash: h, of: hn, field: *f, name: *c}
	*f, *c = number, number
}

// grow makes the index as large as the table and enters all but the newest
// entry again.
func (x *index) grow(t *table) {
	old := x.links
	x.links = make([]link, len(t.entries))
	x.fields = make([]uint32, len(t.entries))
	x.names = make([]uint32, len(t.entries))
	// A number that no entry has: the newest has next-1.
	for i := range x.fields {
		x.fields[i], x.names[i] = t.next, t.next
	}
	for age := t.count; age > 1; age-- {
		number := t.next - age
		l := old[number&uint32(len(old)-1)]
		x.link(number, l.hash, l.of)
	}
}
