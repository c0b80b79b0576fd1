// SPDX-License-Identifier: Apache-2.0

package memo

import "slices"

// tally counts members. Most have one, some thousands.
type tally[M comparable] struct {
	few  []counted[M]
	many map[M]int // all, once they are more than a few
}

type counted[M comparable] struct {
	member M
	n      int
}

// fewMembers is how many are looked through one by one.
const fewMembers = 4

func (t *tally[M]) len() int { return len(t.few) + len(t.many) }

// of is the count of a member, 0 if it has none.
func (t *tally[M]) of(m M) int {
	if t.many != nil {
		return t.many[m]
	}
	if i := t.find(m); i >= 0 {
		return t.few[i].n
	}
	return 0
}

func (t *tally[M]) find(m M) int {
	return slices.IndexFunc(t.few, func(c counted[M]) bool { return c.member == m })
}

// add adds to the count of a member and returns what it is then. One that is 0 is gone.
func (t *tally[M]) add(m M, by int) int {
	n := t.of(m) + by
	i := t.find(m)
	switch {
	case t.many != nil && n == 0:
		delete(t.many, m)
	case t.many != nil:
		t.many[m] = n
	case i >= 0 && n == 0:
		t.few = slices.Delete(t.few, i, i+1)
	case i >= 0:
		t.few[i].n = n
	case n == 0:
	case len(t.few) < fewMembers:
		t.few = append(t.few, counted[M]{m, n})
	default:
		t.many = make(map[M]int, 2*fewMembers)
		for _, c := range t.few {
			t.many[c.member] = c.n
		}
		t.many[m] = n
		t.few = nil
	}
	return n
}

// all yields the members, in no order.
func (t *tally[M]) all(yield func(M) bool) {
	for _, c := range t.few {
		if !yield(c.member) {
			return
		}
	}
	for m := range t.many {
		if !yield(m) {
			return
		}
	}
}
