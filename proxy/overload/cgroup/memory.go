// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"fmt"
	"strconv"
)

// unlimited1 is from where on a limit of version 1 is none: it is the largest number of
// pages, which differs with their size.
const unlimited1 = 1 << 62

// Memory returns the memory that the group uses, in bytes, its share of the page cache
// included.
func (g *Group) Memory() (uint64, error) {
	if g.v2 {
		return g.number("memory", "memory.current")
	}
	return g.number("memory", "memory.usage_in_bytes")
}

// MemoryLimit returns how much memory the group may use, in bytes, and whether it is
// limited at all.
func (g *Group) MemoryLimit() (limit uint64, ok bool, err error) {
	name := "memory.limit_in_bytes"
	if g.v2 {
		name = "memory.max"
	}
	text, err := g.file("memory", name)
	if err != nil || text == "max" || text == "-1" {
		return 0, false, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, false, fmt.Errorf("%s: %q is not a number", name, text)
	}
	return n, n < unlimited1, nil
}
