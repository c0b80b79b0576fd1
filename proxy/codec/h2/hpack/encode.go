// SPDX-License-Identifier: Apache-2.0

package hpack

import (
	"hash/maphash"

	"weir.dev/weir/proxy/header"
)

// Encoder compresses the field sections of one direction of one connection. The
// zero Encoder is ready, with the protocol's table of 4096 bytes and Huffman
// code. Memory for the table is taken at the first insertion, at most about
// three times its size.
//
// Blocks must reach the peer in the order in which they were encoded, each of
// them, also those of streams that were reset meanwhile.
type Encoder struct {
	// Plain leaves strings as they are, which costs bytes and saves time.
	Plain bool

	table table
	index index
	// own and peer bound the table; lowest is the least of what is in force
	// since the last block.
	own, peer, lowest defaulted
	ready             bool
	resized           bool
}

// SetTableSize sets how large a table this side wants; what is used is the
// lesser of this and what the peer allows. Call it before the first block.
func (e *Encoder) SetTableSize(n uint32) {
	e.own.set(min(n, MaxTableSize))
	e.change()
}

// SetPeerTableSize takes the peer's SETTINGS_HEADER_TABLE_SIZE. A change is
// announced at the beginning of the next block (RFC 7541 §4.2).
func (e *Encoder) SetPeerTableSize(n uint32) {
	e.peer.set(min(n, MaxTableSize))
	e.change()
}

func (e *Encoder) change() {
	e.start()
	n := min(e.own.get(), e.peer.get())
	if !e.resized {
		if n == e.table.max {
			return
		}
		e.resized = true
		e.lowest.set(n)
		return
	}
	e.lowest.set(min(n, e.lowest.get()))
}

func (e *Encoder) start() {
	if !e.ready {
		e.ready, e.table.max = true, DefaultTableSize
	}
}

// TableSize returns how many bytes the dynamic table holds, as RFC 7541 §4.1
// counts them.
func (e *Encoder) TableSize() int { return int(e.table.size) }

// Begin begins a field block: it appends what has to be said about the size of
// the table. Append calls follow; AppendMap does both.
func (e *Encoder) Begin(dst []byte) []byte {
	e.start()
	if !e.resized {
		return dst
	}
	e.resized = false
	n, lowest := min(e.own.get(), e.peer.get()), e.lowest.get()
	if lowest < n && lowest < e.table.max {
		// The smallest size between two blocks must be signalled. 0 signals it,
		// too, and x/net takes a second update only while the table is empty.
		dst = append(dst, 0x20)
		e.table.resize(0)
	}
	if n != e.table.max || lowest == n {
		dst = appendInteger(dst, 0x20, 5, n)
		e.table.resize(n)
	}
	return dst
}

// Skip says which well-known names AppendMap leaves out.
type Skip [256]bool

// SkipNames makes a Skip of names, which must be well-known.
func SkipNames(names ...header.Name) *Skip {
	s := new(Skip)
	for _, n := range names {
		if n.ID() == 0 {
			panic("BUG: hpack: " + n.String() + " is not a well-known name")
		}
		s[n.ID()] = true
	}
	return s
}

// Invalid names the first live field of m whose name or value no field section
// may have, for AppendMap writes what it is given: filters and configuration may
// put anything into a map. Well-known names are not checked, and fields that skip
// names not at all; skip may be nil.
func Invalid(m *header.Map, skip *Skip) (name header.Name, bad bool) {
	fields := m.Fields()
	for i := range fields {
		f := &fields[i]
		n := f.Name()
		if !f.Live() || skip != nil && skip[n.ID()] {
			continue
		}
		if n.ID() == 0 && !ValidName(n.String()) || !ValidValue(f.Value()) {
			return n, true
		}
	}
	return header.Name{}, false
}

// AppendMap appends the field block of m: pseudo-header fields first, as RFC
// 9113 §8.3 demands, else in the order of the map. skip may be nil.
func (e *Encoder) AppendMap(dst []byte, m *header.Map, skip *Skip) []byte {
	dst = e.Begin(dst)
	fields := m.Fields()
	late := false // a pseudo-header field behind another
	regular := 0  // the first field that is none
	for ; regular < len(fields) && (fields[regular].IsPseudo() || !fields[regular].Live()); regular++ {
		dst = e.slot(dst, &fields[regular], skip)
	}
	for i := regular; i < len(fields); i++ {
		if fields[i].IsPseudo() {
			dst = e.slot(dst, &fields[i], skip)
			late = true
		}
	}
	for i := regular; i < len(fields); i++ {
		if !late || !fields[i].IsPseudo() {
			dst = e.slot(dst, &fields[i], skip)
		}
	}
	return dst
}

func (e *Encoder) slot(dst []byte, f *header.Field, skip *Skip) []byte {
	n := f.Name()
	if !f.Live() || skip != nil && skip[n.ID()] {
		return dst
	}
	return e.Append(dst, n, f.Value(), f.Sensitive())
}

// Append appends one field of the block that Begin began. A sensitive field is
// sent as never indexed; so are credentials, whatever the caller says.
func (e *Encoder) Append(dst []byte, n header.Name, value []byte, sensitive bool) []byte {
	id := n.ID()
	name := uint32(staticIndex[id])
	p := policies[id]
	if sensitive || p == never || p == neverShort && len(value) < shortSecret {
		if name == 0 {
			name = e.nameIndex(n)
		}
		return e.literal(dst, 0x10, 4, name, n, value)
	}
	if name != 0 {
		// The entries of one name follow each other.
		for i := name; i <= numStatic && static[i].name.ID() == id; i++ {
			if string(static[i].value) == string(value) {
				return append(dst, 0x80|byte(i))
			}
		}
	}
	if p == literal || len(n.String())+len(value)+overhead > int(e.table.max/2) ||
		p == ifShort && len(value) > longPath {
		if name == 0 {
			name = e.nameIndex(n)
		}
		return e.literal(dst, 0, 4, name, n, value)
	}
	h := hashField(n, value)
	if i := e.index.field(&e.table, h, n, value); i != 0 {
		return appendInteger(dst, 0x80, 7, numStatic+i)
	}
	if name == 0 {
		name = e.nameIndex(n)
	}
	if p != now && !e.index.again(h) {
		return e.literal(dst, 0, 4, name, n, value)
	}
	dst = e.literal(dst, 0x40, 6, name, n, value)
	e.index.add(&e.table, h, n, value)
	return dst
}

// nameIndex returns an index for a name that is not in the static table by its
// ID, or 0.
func (e *Encoder) nameIndex(n header.Name) uint32 {
	if n.ID() == 0 {
		if i := otherStatic(n.String()); i != 0 {
			return uint32(i)
		}
	}
	if e.table.count == 0 {
		return 0
	}
	if i := e.index.name(&e.table, n); i != 0 {
		return numStatic + i
	}
	return 0
}

func (e *Encoder) literal(dst []byte, kind byte, prefix uint, name uint32, n header.Name, value []byte) []byte {
	dst = appendInteger(dst, kind, prefix, name)
	if name == 0 {
		dst = appendText(dst, n.String(), e.Plain)
	}
	return appendText(dst, value, e.Plain)
}

// appendText appends a string literal, in Huffman code if that is shorter.
func appendText[T string | []byte](dst []byte, s T, plain bool) []byte {
	if !plain {
		if n := huffmanLen(s); n < len(s) {
			return appendHuffman(appendInteger(dst, 0x80, 7, uint32(n)), s, n)
		}
	}
	return append(appendInteger(dst, 0, 7, uint32(len(s))), s...)
}

// appendInteger appends v with a prefix of n bits (RFC 7541 §5.1); first has
// the bits before the prefix.
func appendInteger(dst []byte, first byte, n uint, v uint32) []byte {
	mask := uint32(1)<<n - 1
	if v < mask {
		return append(dst, first|byte(v))
	}
	dst = append(dst, first|byte(mask))
	for v -= mask; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}

// seed makes what a peer can put into one chain a matter of luck.
var seed = maphash.MakeSeed()

func hashName(n header.Name) uint32 {
	if id := n.ID(); id != 0 {
		return uint32(id) * 0x9e3779b1
	}
	return uint32(maphash.String(seed, n.String()))
}

func hashField(n header.Name, value []byte) uint32 {
	h := maphash.Bytes(seed, value)
	return uint32(h>>32) ^ hashName(n)*0x85ebca6b
}
