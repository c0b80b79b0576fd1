// SPDX-License-Identifier: Apache-2.0

package ringhash

import "encoding/binary"

// murmurSeed is the seed that the C++ library of GNU hashes with.
const murmurSeed = 0xc70f6907

// murmur2 is MurmurHash64A of Austin Appleby, as the C++ library of GNU has it.
func murmur2(b []byte, seed uint64) uint64 {
	const m = 0xc6a4a7935bd1e995
	h := seed ^ uint64(len(b))*m
	for ; len(b) >= 8; b = b[8:] {
		k := binary.LittleEndian.Uint64(b) * m
		k ^= k >> 47
		h = (h ^ k*m) * m
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		h = (h ^ binary.LittleEndian.Uint64(last[:])) * m
	}
	h ^= h >> 47
	h *= m
	return h ^ h>>47
}
