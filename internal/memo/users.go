// SPDX-License-Identifier: Apache-2.0

package memo

import "slices"

// users are the results that depend on one. Most are of one or two, some of thousands.
type users struct {
	few  []*node
	many map[*node]struct{} // all, once they are more than a few
}

// fewUsers is how many are looked through one by one.
const fewUsers = 8

func (u *users) none() bool { return len(u.few)+len(u.many) == 0 }

func (u *users) add(n *node) {
	switch {
	case u.many != nil:
		u.many[n] = struct{}{}
	case slices.Contains(u.few, n):
	case len(u.few) < fewUsers:
		u.few = append(u.few, n)
	default:
		u.many = make(map[*node]struct{}, 2*fewUsers)
		for _, f := range u.few {
			u.many[f] = struct{}{}
		}
		u.many[n] = struct{}{}
		u.few = nil
	}
}

func (u *users) remove(n *node) {
	if u.many != nil {
		delete(u.many, n)
		return
	}
	if i := slices.Index(u.few, n); i >= 0 {
		last := len(u.few) - 1
		u.few[i], u.few[last] = u.few[last], nil
		u.few = u.few[:last]
	}
}

// all yields them, in no order.
func (u *users) all(yield func(*node) bool) {
	for _, n := range u.few {
		if !yield(n) {
			return
		}
	}
	for n := range u.many {
		if !yield(n) {
			return
		}
	}
}
