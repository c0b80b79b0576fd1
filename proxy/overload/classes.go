// SPDX-License-Identifier: Apache-2.0

package overload

import "math/bits"

// classes is how many there are, as in Envoy.
const classes = 8

// Classes tell streams apart by the memory they hold: the first holds from 1<<least bytes,
// each further one from twice as many; the last has no end.
type Classes struct{ least uint }

// Of returns the class of n bytes, from 0; -1 is none, for less than the first holds.
func (c *Classes) Of(n uint64) int {
	return min(bits.Len64(n>>c.least), classes) - 1
}

// From returns the lowest class whose streams are broken off at a level above 0: the
// last at first, and every one at 1.
func (c *Classes) From(level float64) int {
	return classes - min(int(level*classes)+1, classes)
}

// Last returns the highest class.
func (c *Classes) Last() int { return classes - 1 }
