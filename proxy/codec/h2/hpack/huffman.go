// SPDX-License-Identifier: Apache-2.0

package hpack

import (
	"encoding/binary"
)

// code is a symbol's Huffman code, in the low bits.
type code struct {
	bits uint32
	n    uint32
}

// codes has the code of each byte, and at 256 that of EOS.
var codes = buildCodes()

const (
	eos     = 256
	maxCode = 30 // bits of the longest code
)

// each calls f for every symbol with its code, from the shortest on.
func each(f func(symbol int, c code)) {
	next := uint32(0)
	for n := uint32(1); n <= maxCode; n++ {
		next <<= 1
		for s := 0; s <= eos; s++ {
			if s == eos && n == maxCode || s < eos && uint32(codeLen[s]) == n {
				f(s, code{next, n})
				next++
			}
		}
	}
}

func buildCodes() (t [257]code) {
	each(func(s int, c code) { t[s] = c })
	return t
}

// rootBits is how many bits decode at once: two symbols of most texts.
const rootBits = 12

// A rootEntry is what its index, the next bits, begins with: one or two
// symbols in the low 16 bits, above them the bits that all of them take and the
// bits of the first, four bits each, and how many symbols there are. It is 0 if
// the code is longer than rootBits.
type rootEntry uint32

func newRootEntry(first, second byte, firstBits, both, count uint32) rootEntry {
	return rootEntry(uint32(first) | uint32(second)<<8 | both<<16 | firstBits<<20 | count<<24)
}

func (e rootEntry) bits() uint32      { return uint32(e) >> 16 & 15 }
func (e rootEntry) firstBits() uint32 { return uint32(e) >> 20 & 15 }
func (e rootEntry) count() int        { return int(e >> 24) }

var root = buildRoot()

func buildRoot() *[1 << rootBits]rootEntry {
	single, t := new([1 << rootBits]rootEntry), new([1 << rootBits]rootEntry)
	each(func(s int, c code) {
		if c.n > rootBits {
			return
		}
		for rest := range uint32(1) << (rootBits - c.n) {
			single[c.bits<<(rootBits-c.n)|rest] = newRootEntry(byte(s), 0, c.n, c.n, 1)
		}
	})
	for i, e := range single {
		t[i] = e
		if e == 0 {
			continue
		}
		second := single[uint32(i)<<e.bits()&(1<<rootBits-1)]
		if both := e.bits() + second.bits(); second != 0 && both <= rootBits {
			t[i] = newRootEntry(byte(e), byte(second), e.bits(), both, 2)
		}
	}
	return t
}

// rank is the codes of one length, left-aligned in 32 bits: those below limit
// are of this length or shorter; a code's place behind the first is its
// symbol's place in symbols.
type rank struct {
	limit uint64
	first uint32
	index uint16
}

var ranks, symbols = buildRanks()

func buildRanks() (r [maxCode + 1]rank, all [eos + 1]uint16) {
	n := uint16(0)
	each(func(s int, c code) {
		k := &r[c.n]
		if k.limit == 0 {
			k.first, k.index = c.bits, n
		}
		k.limit = uint64(c.bits+1) << (32 - c.n)
		all[n] = uint16(s)
		n++
	})
	return r, all
}

// long decodes one code of more than rootBits at the top of x.
func long(x uint64) (symbol uint16, n uint32) {
	top := x >> 32
	for n = rootBits + 1; n < maxCode; n++ {
		if top < ranks[n].limit {
			break
		}
	}
	r := &ranks[n]
	return symbols[uint32(r.index)+uint32(top>>(32-n))-r.first], n
}

// maxDecoded is the room that n bytes of Huffman code need: the shortest code has
// five bits, and the last pair of symbols may be written beyond the end.
func maxDecoded(n int) int { return n*8/5 + 2 }

// huffmanDecode decodes src into dst, which has room for maxDecoded(len(src)),
// and returns how many bytes it wrote, or -1 if src is malformed: RFC 7541 §5.2
// forbids EOS, padding of eight bits and more, and padding other than ones.
func huffmanDecode(dst, src []byte) int {
	var x uint64 // the next bits, from the top
	var n uint32 // how many of them are valid
	w, i := 0, 0
	for {
		if i+8 <= len(src) {
			x |= binary.BigEndian.Uint64(src[i:]) >> (n & 63)
			k := (63 - n) >> 3
			i += int(k)
			n += k << 3
		} else {
			for n <= 56 && i < len(src) {
				x |= uint64(src[i]) << (56 - n)
				i++
				n += 8
			}
			if n < maxCode {
				return huffmanTail(dst, w, x, n)
			}
		}
		for n >= rootBits {
			e := root[x>>(64-rootBits)]
			if e != 0 {
				binary.LittleEndian.PutUint16(dst[w:], uint16(e))
				w += e.count()
				k := e.bits()
				x <<= k & 63
				n -= k
				continue
			}
			if n < maxCode {
				break
			}
			s, k := long(x)
			if s == eos {
				return -1
			}
			dst[w] = byte(s)
			w++
			x <<= k & 63
			n -= k
		}
	}
}

// huffmanTail decodes the last n bits, fewer than maxCode.
func huffmanTail(dst []byte, w int, x uint64, n uint32) int {
	// What is missing is taken for padding: then a code that needs more bits
	// than there are can only begin with all of them.
	x |= ^uint64(0) >> n
	for n > 0 {
		e := root[x>>(64-rootBits)]
		s, k := uint16(e&0xff), e.firstBits()
		if e == 0 {
			s, k = long(x)
		}
		if k > n {
			if n > 7 || ^x>>(64-n) != 0 {
				return -1
			}
			return w
		}
		dst[w] = byte(s)
		w++
		x = x<<k | (1<<k - 1)
		n -= k
	}
	return w
}

// huffmanLen returns the length of s in Huffman code, in bytes.
func huffmanLen[T string | []byte](s T) int {
	n := 0
	for i := range len(s) {
		n += int(codeLen[s[i]])
	}
	return (n + 7) / 8
}

// appendHuffman appends the n = huffmanLen(s) bytes of s in Huffman code.
func appendHuffman[T string | []byte](dst []byte, s T, n int) []byte {
	var x uint64
	have := uint32(0)
	end := len(dst) + n
	for i := range len(s) {
		c := &codes[s[i]]
		x = x<<c.n | uint64(c.bits)
		have += c.n
		if have >= 32 {
			have -= 32
			dst = binary.BigEndian.AppendUint32(dst, uint32(x>>have))
		}
	}
	for have >= 8 {
		have -= 8
		dst = append(dst, byte(x>>have))
	}
	if have > 0 {
		dst = append(dst, byte(x<<(8-have))|0xff>>have)
	}
	if len(dst) != end {
		panic("BUG: hpack: length of Huffman code")
	}
	return dst
}
