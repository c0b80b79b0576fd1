// SPDX-License-Identifier: Apache-2.0

package hpack

import "weir.dev/weir/proxy/header"

// Limits bound one field section. Zero means no limit.
type Limits struct {
	// Size bounds the section in bytes, each field counted as name, value and 32
	// (RFC 9113 §6.5.2, SETTINGS_MAX_HEADER_LIST_SIZE).
	Size int
	// Fields bounds the number of fields.
	Fields int
	// Hard bounds the size, counted in the same way, beyond which the connection
	// is not worth keeping: what is between Size and Hard is only decoded to keep
	// the table in step.
	Hard int
}

// Emit takes one field. Name and value are views of the arena or of constants.
// sensitive means that the peer sent it as never indexed (RFC 7541 §6.2.3),
// which every hop must keep: see header.Map.AddSensitive.
type Emit func(name header.Name, value []byte, sensitive bool)

// Decoder expands the field blocks of one direction of one connection. The zero
// Decoder is ready, with the protocol's table of 4096 bytes. Memory for the
// table is taken when the peer first inserts, at most about twice its size.
type Decoder struct {
	// Limits apply to the next call of Decode.
	Limits Limits

	table table
	// limit is what we allow, lowest what we allowed least since the last
	// block; both are below the default by 4096, so that zero is the default.
	limit, lowest defaulted
	ready         bool
}

// defaulted is a table size, 0 being the protocol's default.
type defaulted int32

func (d defaulted) get() uint32 { return uint32(d + DefaultTableSize) }

func (d *defaulted) set(n uint32) { *d = defaulted(n) - DefaultTableSize }

// DefaultTableSize is the size of the dynamic table that both sides begin with
// (RFC 9113 §6.5.2), in bytes.
const DefaultTableSize = 4096

// SetTableSize sets how large a table the peer may use: our
// SETTINGS_HEADER_TABLE_SIZE. It is called when the peer acknowledged the
// setting; after a reduction below what is in use the next block must begin with
// a table size update (RFC 9113 §4.3.1).
func (d *Decoder) SetTableSize(n uint32) {
	n = min(n, MaxTableSize)
	d.limit.set(n)
	if n < d.lowest.get() {
		d.lowest.set(n)
	}
}

// TableSize returns how many bytes the dynamic table holds, as RFC 7541 §4.1
// counts them.
func (d *Decoder) TableSize() int { return int(d.table.size) }

// A section is the state of one call of Decode.
type section struct {
	in    []byte
	arena []byte
	size  int
	count int
	hard  int
	err   *Error // TooLarge or TooMany: nothing more is emitted
}

// Decode decodes a complete field block, all CONTINUATION frames joined, and
// calls emit for each field in order. Names that are not well-known and values
// are appended to arena, which is returned: they stay valid as long as the
// caller leaves it alone. If arena is too small another is begun, and views of
// the old one stay valid.
//
// A nil *Error means that all was emitted. After a TooLarge or TooMany the table
// is in step and fields were emitted up to the limit; any other error ends the
// connection, see Kind.
func (d *Decoder) Decode(block, arena []byte, emit Emit) ([]byte, *Error) {
	if !d.ready {
		d.table.max, d.ready = DefaultTableSize, true
	}
	s := section{in: block, arena: arena, hard: d.Limits.Hard}
	if s.hard <= 0 {
		s.hard = int(^uint(0) >> 1)
	}
	if err := d.updates(&s); err != nil {
		return s.arena, err
	}
	for len(s.in) > 0 {
		var err *Error
		switch b := s.in[0]; {
		case b&0x80 != 0:
			err = d.indexed(&s, emit)
		case b&0x40 != 0:
			err = d.literal(&s, 6, true, false, emit)
		case b&0x20 != 0:
			err = errUpdate
		default:
			err = d.literal(&s, 4, false, b&0x10 != 0, emit)
		}
		if err != nil {
			return s.arena, err
		}
	}
	return s.arena, s.err
}

// updates reads the table size updates that a block may begin with.
func (d *Decoder) updates(s *section) *Error {
	need := d.lowest.get() < d.table.max
	for len(s.in) > 0 && s.in[0]&0xe0 == 0x20 {
		n, err := s.integer(5)
		if err != nil {
			return err
		}
		// RFC 7541 §4.2: the smallest size of several changes is signalled too.
		if n > d.limit.get() || need && n > d.lowest.get() {
			return errUpdateSize
		}
		d.table.resize(n)
		need = false
	}
	if need {
		return errNoUpdate
	}
	d.lowest = d.limit
	return nil
}

// indexed reads an indexed field (RFC 7541 §6.1).
func (d *Decoder) indexed(s *section, emit Emit) *Error {
	i := uint32(s.in[0] & 0x7f)
	if i != 0x7f {
		s.in = s.in[1:]
	} else {
		var err *Error
		if i, err = s.integer(7); err != nil {
			return err
		}
	}
	if i <= numStatic {
		if i == 0 {
			return errIndex
		}
		f := &static[i]
		ok, err := d.count(s, len(f.name.String()), len(f.value))
		if ok {
			emit(f.name, f.value, false)
		}
		return err
	}
	if i -= numStatic; i > d.table.count {
		return errIndex
	}
	e := d.table.at(i)
	ok, err := d.count(s, int(e.name), int(e.value))
	if !ok {
		return err
	}
	n := e.stored()
	b := s.grow(int(n))[:n]
	d.table.get(b, e.off, n)
	s.arena = s.arena[:len(s.arena)+int(n)]
	emit(header.NameOf(e.id, b[:n-e.value]), b[n-e.value:n:n], false)
	return nil
}

// literal reads a literal field (RFC 7541 §6.2), whose first byte has prefix
// bits for the index of the name.
func (d *Decoder) literal(s *section, prefix uint, index, sensitive bool, emit Emit) *Error {
	start := len(s.arena)
	i, err := s.integer(prefix)
	if err != nil {
		return err
	}
	var name header.Name
	switch {
	case i == 0:
		b, err := s.text()
		if err != nil {
			return err
		}
		name = header.Resolve(b)
	case i <= numStatic:
		name = static[i].name
	default:
		if i -= numStatic; i > d.table.count {
			return errIndex
		}
		e := d.table.at(i)
		if e.id != 0 {
			name = header.NameOf(e.id, nil)
			break
		}
		// A copy, since what is inserted now may evict it.
		b := s.grow(int(e.name))[:e.name:e.name]
		d.table.get(b, e.off, e.name)
		s.arena = s.arena[:len(s.arena)+len(b)]
		name = header.NameOf(0, b)
	}
	value, err := s.text()
	if err != nil {
		return err
	}
	if index {
		d.table.add(name.ID(), name.String(), value)
	}
	ok, err := d.count(s, len(name.String()), len(value))
	if ok {
		emit(name, value, sensitive)
	} else if start <= len(s.arena) {
		// Nobody has a view of it.
		s.arena = s.arena[:start]
	}
	return err
}

// count adds a field to the section and reports whether it is emitted.
func (d *Decoder) count(s *section, name, value int) (bool, *Error) {
	s.size += name + value + overhead
	s.count++
	switch {
	case s.size > s.hard:
		return false, errCalm
	case s.err != nil:
	case d.Limits.Size > 0 && s.size > d.Limits.Size:
		s.err = errLarge
	case d.Limits.Fields > 0 && s.count > d.Limits.Fields:
		s.err = errMany
	default:
		return true, nil
	}
	return false, nil
}

// grow returns the free room of the arena, at least n bytes. What the arena
// holds is left where it is, for there are views of it.
func (s *section) grow(n int) []byte {
	if free := s.arena[len(s.arena):cap(s.arena)]; len(free) >= n {
		return free
	}
	s.arena = make([]byte, 0, max(512, 2*cap(s.arena), n))
	return s.arena[:cap(s.arena)]
}

// maxInteger bounds integers; RFC 7541 §5.1 demands a limit.
const maxInteger = 1<<31 - 1

// integer reads an integer with a prefix of n bits (RFC 7541 §5.1).
func (s *section) integer(n uint) (uint32, *Error) {
	mask := byte(1<<n - 1)
	v := uint64(s.in[0] & mask)
	if v < uint64(mask) {
		s.in = s.in[1:]
		return uint32(v), nil
	}
	// Five bytes are enough for all that is allowed.
	for k := 1; k <= 5; k++ {
		if k == len(s.in) {
			return 0, errTruncated
		}
		b := s.in[k]
		v += uint64(b&0x7f) << (7 * (k - 1))
		if b&0x80 == 0 {
			if v > maxInteger {
				return 0, errInteger
			}
			s.in = s.in[k+1:]
			return uint32(v), nil
		}
	}
	return 0, errInteger
}

// text reads a string literal (RFC 7541 §5.2) into the arena and returns the
// view of it.
func (s *section) text() ([]byte, *Error) {
	if len(s.in) == 0 {
		return nil, errTruncated
	}
	huffman := s.in[0]&0x80 != 0
	n, err := s.integer(7)
	if err != nil {
		return nil, err
	}
	if uint64(n) > uint64(len(s.in)) {
		return nil, errTruncated
	}
	raw := s.in[:n]
	s.in = s.in[n:]
	var b []byte
	if !huffman {
		b = s.grow(len(raw))[:n:n]
		copy(b, raw)
	} else {
		b = s.grow(maxDecoded(len(raw)))
		k := huffmanDecode(b, raw)
		if k < 0 {
			return nil, errHuffman
		}
		b = b[:k:k]
	}
	s.arena = s.arena[:len(s.arena)+len(b)]
	return b, nil
}
