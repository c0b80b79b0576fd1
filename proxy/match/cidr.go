// SPDX-License-Identifier: Apache-2.0

package match

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// CIDRs is a set of address ranges. A look-up costs at most one step per level
// of a path-compressed binary trie, whatever the number of ranges. The zero
// CIDRs is empty.
type CIDRs struct {
	v4, v6 *cidrNode
	n      int
}

// cidrNode holds the prefix (hi, lo)/bits and what lies below it.
type cidrNode struct {
	hi, lo uint64
	bits   int
	id     int32 // the range that ends here, or -1
	child  [2]*cidrNode
}

// NewCIDRs returns the set of the given prefixes.
func NewCIDRs(prefixes ...netip.Prefix) *CIDRs {
	c := &CIDRs{}
	for i, p := range prefixes {
		c.add(p, int32(i))
	}
	return c
}

// Len returns how many ranges were added.
func (c *CIDRs) Len() int { return c.n }

// Contains reports whether a lies in a range. A v4-mapped v6 address is a v4
// address. An invalid address lies in none.
func (c *CIDRs) Contains(a netip.Addr) bool {
	root, hi, lo := c.start(a)
	for n := root; n != nil; n = n.next(hi, lo) {
		if !n.covers(hi, lo) {
			return false
		}
		if n.id >= 0 {
			return true
		}
	}
	return false
}

// longest appends the ids of all ranges that hold a, shortest prefix first.
func (c *CIDRs) longest(dst []int32, a netip.Addr) []int32 {
	root, hi, lo := c.start(a)
	for n := root; n != nil && n.covers(hi, lo); n = n.next(hi, lo) {
		if n.id >= 0 {
			dst = append(dst, n.id)
		}
	}
	return dst
}

func (c *CIDRs) start(a netip.Addr) (*cidrNode, uint64, uint64) {
	if a = a.Unmap(); a.Is4() {
		hi, lo := key(a)
		return c.v4, hi, lo
	}
	if !a.Is6() {
		return nil, 0, 0
	}
	hi, lo := key(a)
	return c.v6, hi, lo
}

// key returns an address as 128 bits, a v4 address in the highest 32.
func key(a netip.Addr) (hi, lo uint64) {
	if a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:])) << 32, 0
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

// add enters a prefix. Of two equal prefixes the first stays.
func (c *CIDRs) add(p netip.Prefix, id int32) {
	a, n := p.Addr(), p.Bits()
	if a.Is4In6() && n >= 96 {
		a, n = a.Unmap(), n-96
	}
	c.n++
	root := &c.v6
	if a.Is4() {
		root = &c.v4
	}
	hi, lo := key(a)
	hi, lo = mask(hi, lo, n)
	for at := root; ; {
		cur := *at
		if cur == nil {
			*at = &cidrNode{hi: hi, lo: lo, bits: n, id: id}
			return
		}
		same := min(sharedBits(cur.hi, cur.lo, hi, lo), cur.bits, n)
		switch {
		case same == cur.bits && same == n:
			if cur.id < 0 {
				cur.id = id
			}
			return
		case same == cur.bits:
			at = &cur.child[bit(hi, lo, same)]
		default:
			mhi, mlo := mask(hi, lo, same)
			fork := &cidrNode{hi: mhi, lo: mlo, bits: same, id: -1}
			fork.child[bit(cur.hi, cur.lo, same)] = cur
			*at = fork
			if same == n {
				fork.id = id
				return
			}
			at = &fork.child[bit(hi, lo, same)]
		}
	}
}

func (n *cidrNode) covers(hi, lo uint64) bool {
	return sharedBits(n.hi, n.lo, hi, lo) >= n.bits
}

func (n *cidrNode) next(hi, lo uint64) *cidrNode {
	if n.bits >= 128 {
		return nil
	}
	return n.child[bit(hi, lo, n.bits)]
}

func sharedBits(ahi, alo, bhi, blo uint64) int {
	if x := ahi ^ bhi; x != 0 {
		return bits.LeadingZeros64(x)
	}
	return 64 + bits.LeadingZeros64(alo^blo)
}

func mask(hi, lo uint64, n int) (uint64, uint64) {
	if n <= 64 {
		return hi &^ (1<<(64-n) - 1), 0
	}
	return hi, lo &^ (1<<(128-n) - 1)
}

func bit(hi, lo uint64, i int) int {
	if i < 64 {
		return int(hi >> (63 - i) & 1)
	}
	return int(lo >> (127 - i) & 1)
}

// Address matches an address by ranges, as
// envoy.type.matcher.v3.AddressMatcher does.
type Address struct {
	Ranges *CIDRs
	Invert bool
}

// Match reports whether a matches. An invalid address matches neither way.
func (m *Address) Match(a netip.Addr) bool {
	return a.IsValid() && m.Ranges.Contains(a) != m.Invert
}
