// SPDX-License-Identifier: Apache-2.0

package hpack

import "weir.dev/weir/proxy/header"

// MaxTableSize is the largest dynamic table there can be, in bytes; larger
// settings are cut to it.
const MaxTableSize = 1 << 24

// overhead is what an entry counts beyond its name and value (RFC 7541 §4.1).
const overhead = 32

// entry is one field of a dynamic table. It has no pointers: its bytes are in
// the table's ring from off on, name before value. A well-known name is not
// kept there, its ID says it all.
type entry struct {
	off   uint32
	name  uint32 // length of the name
	value uint32 // length of the value
	id    header.ID
}

// stored is how many bytes of the entry are in the ring.
func (e *entry) stored() uint32 {
	if e.id != 0 {
		return e.value
	}
	return e.name + e.value
}

func (e *entry) size() uint32 { return e.name + e.value + overhead }

// table is a dynamic table (RFC 7541 §2.3.2, §4): entries in a ring, their
// bytes in another. Both begin empty, double when they are full, and never
// exceed what max allows. Numbers and offsets only grow and are taken modulo
// the length of their ring, a power of two.
type table struct {
	entries []entry
	buf     []byte
	next    uint32 // number of the next entry
	count   uint32 // entries held: next-count to next-1
	head    uint32 // offset of the oldest byte
	tail    uint32 // offset behind the newest byte
	size    uint32 // as RFC 7541 §4.1 counts
	max     uint32
}

// at returns the i-th entry, 1 being the newest; i is at most count.
func (t *table) at(i uint32) *entry {
	return &t.entries[(t.next-i)&uint32(len(t.entries)-1)]
}

// resize sets the maximum size and evicts what is beyond it.
func (t *table) resize(limit uint32) {
	t.max = limit
	t.evict(0)
	if limit == 0 {
		t.entries, t.buf = nil, nil
		t.head, t.tail = 0, 0
	}
}

// evict makes room for need bytes; need is at most max.
func (t *table) evict(need uint32) {
	for t.count > 0 && t.size+need > t.max {
		e := t.at(t.count)
		t.size -= e.size()
		t.head += e.stored()
		t.count--
	}
}

// add inserts a field and reports whether it fits; one that does not empties the
// table (RFC 7541 §4.4). name and value must not be views of the table.
func (t *table) add(id header.ID, name string, value []byte) bool {
	if uint64(len(name))+uint64(len(value))+overhead > uint64(t.max) {
		t.evict(t.max)
		return false
	}
	e := entry{name: uint32(len(name)), value: uint32(len(value)), id: id}
	t.evict(e.size())
	if t.count == uint32(len(t.entries)) {
		t.growEntries()
	}
	if need := t.tail - t.head + e.stored(); need > uint32(len(t.buf)) {
		t.growBuf(need)
	}
	e.off = t.tail
	if id == 0 {
		t.tail = put(t.buf, t.tail, name)
	}
	t.tail = put(t.buf, t.tail, value)
	t.size += e.size()
	t.entries[t.next&uint32(len(t.entries)-1)] = e
	t.next++
	t.count++
	return true
}

func (t *table) growEntries() {
	entries := make([]entry, max(8, 2*len(t.entries)))
	for i := uint32(1); i <= t.count; i++ {
		entries[(t.next-i)&uint32(len(entries)-1)] = *t.at(i)
	}
	t.entries = entries
}

func (t *table) growBuf(need uint32) {
	n := max(256, len(t.buf))
	for uint32(n) < need {
		n *= 2
	}
	buf := make([]byte, n)
	mask := uint32(n - 1)
	for off := t.head; off != t.tail; off++ {
		buf[off&mask] = t.buf[off&uint32(len(t.buf)-1)]
	}
	t.buf = buf
}

// put copies s to the ring buf at off and returns the offset behind it.
func put[T string | []byte](buf []byte, off uint32, s T) uint32 {
	if len(s) == 0 {
		return off
	}
	n := copy(buf[off&uint32(len(buf)-1):], s)
	copy(buf, s[n:])
	return off + uint32(len(s))
}

// get copies n bytes of the ring from off on to dst, which has room for them.
func (t *table) get(dst []byte, off, n uint32) {
	if n == 0 {
		return
	}
	k := copy(dst[:n], t.buf[off&uint32(len(t.buf)-1):])
	copy(dst[k:n], t.buf)
}

// is reports whether the ring has s at off.
func is[T string | []byte](t *table, off uint32, s T) bool {
	if len(s) == 0 {
		return true
	}
	part := t.buf[off&uint32(len(t.buf)-1):]
	if len(part) >= len(s) {
		return string(part[:len(s)]) == string(s)
	}
	return string(part) == string(s[:len(part)]) && string(t.buf[:len(s)-len(part)]) == string(s[len(part):])
}
