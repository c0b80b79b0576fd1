// SPDX-License-Identifier: Apache-2.0

// Package header holds the fields of one HTTP message head: an ordered
// multimap from lower-case names to values, with pseudo-header fields
// (":method", ":path", ":authority", ":scheme", ":status") among them as in
// Envoy and HTTP/2.
//
// A Map costs no allocation in steady state: names and values are views of the
// codec's read buffer, of constants, or of the map's own arena. Values are
// handed out as []byte to say just that: they are borrowed until the message
// ends, must not be changed, and string(v) makes a copy that may be kept.
//
// The package does no parsing and no validation of bytes from the wire; the
// codecs do.
package header

import (
	"fmt"
	"strings"
)

// ID is the number of a well-known name; 0 is any other name.
type ID uint8

// Name is a field name in lower case, resolved once so that a look-up costs
// one array access for a well-known name.
type Name struct {
	s  string
	id ID
}

// NewName resolves a name; upper-case ASCII letters are lowered.
func NewName(s string) Name {
	s = strings.ToLower(s)
	return Name{s: s, id: index.find(s)}
}

// ParseName is NewName for a name from configuration, of a field that is neither a
// pseudo-header field nor the host.
func ParseName(s string) (Name, error) {
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) }
	if s == "" || strings.EqualFold(s, "host") || strings.ContainsFunc(s, bad) {
		return Name{}, fmt.Errorf("%q is not the name of a header that can be used here", s)
	}
	return NewName(s), nil
}

// String returns the name in lower case.
func (n Name) String() string { return n.s }

// ID returns the number of a well-known name, or 0.
func (n Name) ID() ID { return n.id }

// IsZero reports whether n is the zero Name.
func (n Name) IsZero() bool { return n.s == "" }

// IsPseudo reports whether the name begins with a colon.
func (n Name) IsPseudo() bool { return n.s != "" && n.s[0] == ':' }

// Resolve returns the name of the bytes b, which must be in lower case. The
// Name of a well-known name is a constant; any other is a view of b.
func Resolve(b []byte) Name {
	s := view(b)
	if id := index.find(s); id != 0 {
		return Name{s: names[id], id: id}
	}
	return Name{s: s}
}

// NameOf returns a name that was resolved before, for a codec whose table keeps
// the ID: the constant of a well-known name, or else a view of b.
func NameOf(id ID, b []byte) Name {
	if id != none && id < numIDs {
		return Name{s: names[id], id: id}
	}
	return Name{s: view(b)}
}

// table is a perfect hash of the well-known names: no two share a slot, so one
// probe and one comparison decide.
type table struct {
	mult  uint32
	slots [tableSize]ID
}

const (
	tableBits = 11
	tableSize = 1 << tableBits
)

func (t *table) hash(s string) uint32 {
	n := len(s)
	h := uint32(n) | uint32(s[0])<<8 | uint32(s[n-1])<<16 | uint32(s[n/2])<<24
	h ^= uint32(s[n/3])<<4 ^ uint32(s[n*3/4])<<12
	return h * t.mult >> (32 - tableBits)
}

func (t *table) find(s string) ID {
	if len(s) == 0 {
		return 0
	}
	id := t.slots[t.hash(s)]
	if id != 0 && names[id] == s {
		return id
	}
	return 0
}

// index is built once and never changed.
var index = buildIndex()

func buildIndex() *table {
	t := &table{}
	for mult := uint32(0x9e3779b1); ; mult += 2 {
		t.mult = mult
		t.slots = [tableSize]ID{}
		if t.fill() {
			return t
		}
	}
}

func (t *table) fill() bool {
	for id := ID(1); id < numIDs; id++ {
		slot := &t.slots[t.hash(names[id])]
		if *slot != 0 {
			return false
		}
		*slot = id
	}
	return true
}
