// SPDX-License-Identifier: Apache-2.0

package treap

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// A Map behaves as a map does, whatever is done to it, those made before stay as they
// were, and what differs between any two leads from one to the other.
func TestMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	type past struct {
		m    Map[int]
		want map[string]int
	}
	all := []past{{Map[int]{}, map[string]int{}}}
	for range 300 {
		last := all[len(all)-1]
		m, want := last.m, maps.Clone(last.want)
		for range r.IntN(8) {
			key := fmt.Sprint(r.IntN(100))
			if r.IntN(3) == 0 {
				m = m.Delete(key)
				delete(want, key)
				continue
			}
			want[key] = r.IntN(3)
			m = m.Put(key, want[key])
		}
		all = append(all, past{m, want})
	}
	for i, p := range all {
		keys := slices.Sorted(maps.Keys(p.want))
		if got := maps.Collect(p.m.All()); !maps.Equal(got, p.want) || p.m.Len() != len(p.want) {
			t.Fatalf("map %d is %v, want %v", i, got, p.want)
		}
		from := fmt.Sprint(r.IntN(100))
		at, _ := slices.BinarySearch(keys, from)
		var rest []string
		for k := range p.m.From(from) {
			rest = append(rest, k)
		}
		if !slices.Equal(rest, keys[at:]) {
			t.Fatalf("map %d from %s: %v, want %v", i, from, rest, keys[at:])
		}
		for k, v := range p.want {
			if got, ok := p.m.Get(k); !ok || got != v {
				t.Fatalf("map %d has %v for %s", i, got, k)
			}
		}
		q := all[r.IntN(len(all))]
		after := maps.Clone(q.want)
		last := ""
		for c := range Changes(q.m, p.m, func(a, b *int) bool { return *a == *b }) {
			if c.Key <= last && last != "" || c.Old != nil && *c.Old != q.want[c.Key] {
				t.Fatalf("%s after %s was %v", c.Key, last, c.Old)
			}
			if last = c.Key; c.New == nil {
				delete(after, c.Key)
			} else {
				after[c.Key] = *c.New
			}
		}
		if !maps.Equal(after, p.want) {
			t.Fatalf("changes lead to %v, want %v", after, p.want)
		}
	}
}
