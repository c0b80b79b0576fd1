// SPDX-License-Identifier: Apache-2.0

// Package wire appends fields of messages in the wire format of Protocol Buffers, for those
// who write many and want no message in between. It allocates nothing but what dst grows by.
package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// Wire types.
const (
	Varint  = 0
	Fixed64 = 1
	Length  = 2
	Fixed32 = 5
)

// Key appends the key of a field.
func Key(dst []byte, field, wire uint64) []byte { return binary.AppendUvarint(dst, field<<3|wire) }

// Bytes appends a string or bytes.
func Bytes[T string | []byte](dst []byte, field uint64, v T) []byte {
	dst = binary.AppendUvarint(Key(dst, field, Length), uint64(len(v)))
	return append(dst, v...)
}

// replacement is what stands for bytes that are no UTF-8, as in Envoy.
const replacement = "!"

// Text appends a text. A reader refuses a whole message for a text that is not UTF-8, as
// what clients send may be: what is none is replaced.
func Text[T string | []byte](dst []byte, field uint64, v T) []byte {
	for i := range len(v) {
		if v[i] >= utf8.RuneSelf {
			return Bytes(dst, field, bytes.ToValidUTF8([]byte(v), []byte(replacement)))
		}
	}
	return Bytes(dst, field, v)
}

// Mend replaces what is not UTF-8 in dst[from:], as Text does.
func Mend(dst []byte, from int) []byte {
	if utf8.Valid(dst[from:]) {
		return dst
	}
	return append(dst[:from], bytes.ToValidUTF8(dst[from:], []byte(replacement))...)
}

// Uint appends a number as a varint; those of negative numbers are that of their bits.
func Uint(dst []byte, field, v uint64) []byte {
	return binary.AppendUvarint(Key(dst, field, Varint), v)
}

// Bool appends a truth value.
func Bool(dst []byte, field uint64, v bool) []byte {
	n := uint64(0)
	if v {
		n = 1
	}
	return Uint(dst, field, n)
}

// Uint32 and Uint64 append a number of fixed length.
func Uint32(dst []byte, field uint64, v uint32) []byte {
	return binary.LittleEndian.AppendUint32(Key(dst, field, Fixed32), v)
}

// Uint64 is Uint32 for eight bytes.
func Uint64(dst []byte, field, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(Key(dst, field, Fixed64), v)
}

// Double appends a floating-point number.
func Double(dst []byte, field uint64, v float64) []byte {
	return Uint64(dst, field, math.Float64bits(v))
}

// Begin begins a message within another, or an entry of a map; End ends what began at at.
func Begin(dst []byte, field uint64) (out []byte, at int) {
	dst = Key(dst, field, Length)
	// Room for a length of four bytes, which most need not: a varint may be padded.
	return append(dst, 0, 0, 0, 0), len(dst)
}

// End ends a message, which may have up to 256 MiB.
func End(dst []byte, at int) []byte {
	n := len(dst) - at - 4
	dst[at], dst[at+1], dst[at+2], dst[at+3] = byte(n)|0x80, byte(n>>7)|0x80, byte(n>>14)|0x80, byte(n>>21)&0x7f
	return dst
}

// Message appends a message whose bytes f appends.
func Message(dst []byte, field uint64, f func([]byte) []byte) []byte {
	dst, at := Begin(dst, field)
	return End(f(dst), at)
}
