// SPDX-License-Identifier: Apache-2.0

package header

import (
	"iter"
	"strconv"
	"unsafe"
)

// Field is one name and value of a Map, as it stands at one index.
type Field struct {
	name   string
	value  string
	id     ID
	dead   bool
	secret bool
}

// Name returns the field's name in lower case.
func (f *Field) Name() Name { return Name{f.name, f.id} }

// Value returns the field's value: a view, valid until the message ends.
func (f *Field) Value() []byte { return bytesOf(f.value) }

// Live reports whether the field has not been deleted.
func (f *Field) Live() bool { return !f.dead }

// Sensitive reports whether the field was added by AddSensitive.
func (f *Field) Sensitive() bool { return f.secret }

// IsPseudo reports whether the field is a pseudo-header field.
func (f *Field) IsPseudo() bool {
	return f.id != none && f.id <= lastPseudo || len(f.name) > 0 && f.name[0] == ':'
}

// Map holds the fields of one message head or trailer section in their order.
// The zero Map is empty and ready. A Map is not safe for concurrent use.
type Map struct {
	fields []Field
	// first holds, per well-known name, the index of its first live field
	// plus one; 0 for none.
	first [numIDs]uint16
	live  int
	size  int
	envoy bool // see HasEnvoy
	arena []byte
}

// Reset empties the map and keeps its memory.
func (m *Map) Reset() {
	if poison {
		for i := range m.arena {
			m.arena[i] = 0xdb
		}
	}
	m.arena = m.arena[:0]
	if len(m.fields) == 0 {
		return // Nothing was ever added, so there is nothing to clear.
	}
	clear(m.fields)
	m.fields = m.fields[:0]
	m.first = [numIDs]uint16{}
	m.live, m.size, m.envoy = 0, 0, false
}

// Len returns the number of live fields, pseudo-header fields included.
func (m *Map) Len() int { return m.live }

// Size returns the bytes of all live names and values.
func (m *Map) Size() int { return m.size }

// Fields returns every slot, deleted fields included (see [Field.Live]), for
// loops that must not pay for a call per field. It is valid until the map is
// next changed.
func (m *Map) Fields() []Field { return m.fields }

// All returns the live fields in order.
func (m *Map) All() iter.Seq2[Name, []byte] {
	return func(yield func(Name, []byte) bool) {
		for i := 0; i < len(m.fields); i++ {
			f := &m.fields[i]
			if !f.dead && !yield(f.Name(), f.Value()) {
				return
			}
		}
	}
}

// Get returns the value of the first field called n, or nil if there is none.
// An empty value is not nil.
func (m *Map) Get(n Name) []byte {
	// Small enough to be inlined: most names that are asked for are well-known, and
	// most are not there.
	if n.id != none && m.first[n.id] == 0 {
		return nil
	}
	return m.get(n)
}

func (m *Map) get(n Name) []byte {
	if i := m.find(n, 0); i >= 0 {
		return bytesOf(m.fields[i].value)
	}
	return nil
}

// HasEnvoy reports whether there may be a well-known x-envoy field by which a
// peer steers the proxy: most requests have none, and need not be asked for each.
// x-envoy-internal and x-envoy-external-address are not among them.
func (m *Map) HasEnvoy() bool { return m.envoy }

// Has reports whether there is a field called n.
func (m *Map) Has(n Name) bool {
	if n.id != none {
		return m.first[n.id] != 0
	}
	return m.find(n, 0) >= 0
}

// Values returns the values of all fields called n, in order.
func (m *Map) Values(n Name) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := m.find(n, 0); i >= 0; i = m.find(n, i+1) {
			if !yield(bytesOf(m.fields[i].value)) {
				return
			}
		}
	}
}

// Count returns how many fields are called n.
func (m *Map) Count(n Name) int {
	c := 0
	for i := m.find(n, 0); i >= 0; i = m.find(n, i+1) {
		c++
	}
	return c
}

// AppendJoined appends to dst all values of n joined by a comma, as RFC 9110
// §5.3 combines field lines, and reports whether there was any.
func (m *Map) AppendJoined(dst []byte, n Name) ([]byte, bool) {
	i := m.find(n, 0)
	if i < 0 {
		return dst, false
	}
	dst = append(dst, m.fields[i].value...)
	for i = m.find(n, i+1); i >= 0; i = m.find(n, i+1) {
		dst = append(dst, ',')
		dst = append(dst, m.fields[i].value...)
	}
	return dst, true
}

// Add appends a field. A string is immutable, so it is kept without a copy.
func (m *Map) Add(n Name, value string) { m.push(n, value) }

// AddBytes appends a field with a copy of value.
func (m *Map) AddBytes(n Name, value []byte) { m.push(n, m.keep(value)) }

// AddView appends a field whose value is a view of memory that outlives the
// message: for codecs, which own the buffer.
func (m *Map) AddView(n Name, value []byte) { m.push(n, view(value)) }

// AddSensitive is AddView for a field that the peer sent as never indexed: no
// hop may put it into a compression table (RFC 7541 §6.2.3, §7.1.3).
func (m *Map) AddSensitive(n Name, value []byte) {
	before := len(m.fields)
	if m.push(n, view(value)); len(m.fields) > before {
		m.fields[before].secret = true
	}
}

// AddInt appends a field with a decimal value.
func (m *Map) AddInt(n Name, value int64) { m.push(n, m.keepInt(value)) }

// Set replaces all fields called n by one, at the place of the first.
func (m *Map) Set(n Name, value string) { m.replace(n, value) }

// SetBytes is Set with a copy of value.
func (m *Map) SetBytes(n Name, value []byte) { m.replace(n, m.keep(value)) }

// SetInt is Set with a decimal value.
func (m *Map) SetInt(n Name, value int64) { m.replace(n, m.keepInt(value)) }

// Append joins value to the first field called n with a comma and no space,
// or adds the field.
func (m *Map) Append(n Name, value []byte) {
	i := m.find(n, 0)
	if i < 0 {
		m.AddBytes(n, value)
		return
	}
	f := &m.fields[i]
	start := m.grow(len(f.value) + 1 + len(value))
	m.arena = append(m.arena, f.value...)
	m.arena = append(m.arena, ',')
	m.arena = append(m.arena, value...)
	m.size += 1 + len(value)
	f.value = view(m.arena[start:])
}

// Del removes all fields called n and reports whether there was any.
func (m *Map) Del(n Name) bool {
	if n.id != none && m.first[n.id] == 0 {
		return false
	}
	return m.del(n)
}

func (m *Map) del(n Name) bool {
	i := m.find(n, 0)
	if i < 0 {
		return false
	}
	for ; i >= 0; i = m.find(n, i+1) {
		m.kill(&m.fields[i])
	}
	if n.id != none {
		m.first[n.id] = 0
	}
	return true
}

// DelFunc removes every field for which drop is true.
func (m *Map) DelFunc(drop func(n Name, value []byte) bool) {
	for i := range m.fields {
		f := &m.fields[i]
		if f.dead || !drop(f.Name(), f.Value()) {
			continue
		}
		m.kill(f)
		if f.id != none && m.first[f.id] == uint16(i+1) {
			m.refirst(f.id, i+1)
		}
	}
}

// DelAt removes the field at index i of Fields.
func (m *Map) DelAt(i int) {
	f := &m.fields[i]
	if f.dead {
		return
	}
	m.kill(f)
	if f.id != none && m.first[f.id] == uint16(i+1) {
		m.refirst(f.id, i+1)
	}
}

// CopyTo appends a deep copy of every live field to dst.
func (m *Map) CopyTo(dst *Map) {
	for i := range m.fields {
		f := &m.fields[i]
		if f.dead {
			continue
		}
		name := f.name
		if f.id == none {
			name = dst.keep(bytesOf(name))
		}
		before := len(dst.fields)
		if dst.push(Name{name, f.id}, dst.keep(bytesOf(f.value))); len(dst.fields) > before {
			dst.fields[before].secret = f.secret
		}
	}
}

// Own makes the map independent of the memory that it has views of, and as small as
// it can be: for a head that is to outlive the buffer it was read to by hours.
func (m *Map) Own() {
	size := 0
	for i := range m.fields {
		if f := &m.fields[i]; !f.dead {
			size += len(f.name) + len(f.value)
		}
	}
	m.arena = make([]byte, 0, size)
	for i := range m.fields {
		f := &m.fields[i]
		switch {
		case f.dead:
			f.name, f.value = "", ""
			continue
		case f.id == none:
			f.name = m.keep(bytesOf(f.name))
		}
		f.value = m.keep(bytesOf(f.value))
	}
}

// maxFields bounds a map so that an index fits first; codecs limit heads far
// below it.
const maxFields = 1<<16 - 2

func (m *Map) push(n Name, value string) {
	if len(m.fields) >= maxFields {
		return
	}
	m.fields = append(m.fields, Field{name: n.s, value: value, id: n.id})
	m.live++
	m.size += len(n.s) + len(value)
	if n.id != none && m.first[n.id] == 0 {
		m.first[n.id] = uint16(len(m.fields))
		m.envoy = m.envoy || n.id >= firstEnvoy
	}
}

func (m *Map) replace(n Name, value string) {
	i := m.find(n, 0)
	if i < 0 {
		m.push(n, value)
		return
	}
	f := &m.fields[i]
	m.size += len(value) - len(f.value)
	f.value = value
	for i = m.find(n, i+1); i >= 0; i = m.find(n, i+1) {
		m.kill(&m.fields[i])
	}
}

func (m *Map) kill(f *Field) {
	f.dead = true
	m.live--
	m.size -= len(f.name) + len(f.value)
}

func (m *Map) refirst(id ID, from int) {
	m.first[id] = 0
	for i := from; i < len(m.fields); i++ {
		if m.fields[i].id == id && !m.fields[i].dead {
			m.first[id] = uint16(i + 1)
			return
		}
	}
}

// find returns the index of the first live field called n at or after from, or
// -1.
func (m *Map) find(n Name, from int) int {
	if n.id != none {
		i := int(m.first[n.id]) - 1
		if i < 0 || i >= from {
			return i
		}
		for i = from; i < len(m.fields); i++ {
			if m.fields[i].id == n.id && !m.fields[i].dead {
				return i
			}
		}
		return -1
	}
	for i := from; i < len(m.fields); i++ {
		f := &m.fields[i]
		if f.id == none && !f.dead && f.name == n.s {
			return i
		}
	}
	return -1
}

// grow makes room for n bytes and returns where they start. Views of the old
// arena stay valid: its memory is left to the collector, never moved.
func (m *Map) grow(n int) int {
	if cap(m.arena)-len(m.arena) < n {
		m.arena = make([]byte, 0, max(512, 2*cap(m.arena), n))
	}
	return len(m.arena)
}

func (m *Map) keep(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	start := m.grow(len(b))
	m.arena = append(m.arena, b...)
	return view(m.arena[start:])
}

func (m *Map) keepInt(v int64) string {
	start := m.grow(20)
	m.arena = strconv.AppendInt(m.arena, v, 10)
	return view(m.arena[start:])
}

func view(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func bytesOf(s string) []byte {
	if len(s) == 0 {
		return empty
	}
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

// empty is what an empty value is handed out as: present, so not nil.
var empty = []byte{}
