// SPDX-License-Identifier: Apache-2.0

package memo

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// What is held in a list while it is small, and in a map from then on, is a map all the time.

func TestUsers(t *testing.T) {
	nodes := make([]*node, 3*most)
	for i := range nodes {
		nodes[i] = &node{}
	}
	r := rand.New(rand.NewPCG(1, 2))
	var u small[*node, struct{}]
	want := map[*node]struct{}{}
	for range 2000 {
		n := nodes[r.IntN(len(nodes))]
		if r.IntN(2) == 0 {
			u.set(n, struct{}{})
			want[n] = struct{}{}
		} else {
			u.delete(n)
			delete(want, n)
		}
		got := map[*node]struct{}{}
		for n := range u.keys {
			if _, twice := got[n]; twice {
				t.Fatal("a user comes twice")
			}
			got[n] = struct{}{}
		}
		if !maps.Equal(got, want) || (u.len() == 0) != (len(want) == 0) {
			t.Fatalf("%d users, want %d", len(got), len(want))
		}
	}
}

func TestTally(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var c bucket[int]
	want := map[int]int{}
	for range 2000 {
		m, by := r.IntN(3*most), 1
		if want[m] > 0 && r.IntN(2) == 0 {
			by = -1
		}
		if want[m] += by; want[m] == 0 {
			delete(want, m)
		}
		if got := c.add(m, by); got != want[m] || c.count.get(m) != want[m] {
			t.Fatalf("%d has %d, want %d", m, got, want[m])
		}
		got := map[int]int{}
		for m := range c.count.keys {
			got[m] = c.count.get(m)
		}
		if !maps.Equal(got, want) || c.count.len() != len(want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}
