// SPDX-License-Identifier: Apache-2.0

package memo

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// sheet is an input: cells by name.
type sheet map[string]int

// book counts how often each function ran.
type book struct {
	db    *DB
	in    sheet
	runs  map[string]int
	cell  *Func[string, int]
	sign  *Func[string, bool] // whether a cell is positive
	label *Func[string, string]
}

func newBook(in sheet) *book {
	b := &book{db: New(), in: in, runs: map[string]int{}}
	b.cell = NewFunc(func(c *Ctx, k string) int {
		b.runs["cell "+k]++
		c.Read(k)
		return c.Input().(sheet)[k]
	}, Equal[int])
	b.sign = NewFunc(func(c *Ctx, k string) bool {
		b.runs["sign "+k]++
		return b.cell.Get(c, k) > 0
	}, Equal[bool])
	b.label = NewFunc(func(c *Ctx, k string) string {
		b.runs["label "+k]++
		return fmt.Sprint(k, b.sign.Get(c, k))
	}, Equal[string])
	b.db.Change(in)
	return b
}

func (b *book) set(k string, v int) {
	b.in[k] = v
	b.db.Change(b.in, k)
}

func (b *book) want(t *testing.T, runs map[string]int) {
	t.Helper()
	if fmt.Sprint(b.runs) != fmt.Sprint(runs) {
		t.Errorf("ran %v, want %v", b.runs, runs)
	}
	clear(b.runs)
}

func TestOnlyWhatAChangeReachesRunsAgain(t *testing.T) {
	b := newBook(sheet{"a": 1, "b": -1})
	b.label.Watch(b.db, "a")
	b.label.Watch(b.db, "b")
	if n := len(b.db.Settle()); n != 2 {
		t.Fatalf("%d changes at first", n)
	}
	b.want(t, map[string]int{"cell a": 1, "cell b": 1, "sign a": 1, "sign b": 1, "label a": 1, "label b": 1})

	b.set("a", 2) // another number of the same sign
	if n := len(b.db.Settle()); n != 0 {
		t.Errorf("%d changes", n)
	}
	b.want(t, map[string]int{"cell a": 1, "sign a": 1})

	b.set("b", 3)
	changes := b.db.Settle()
	if len(changes) != 1 {
		t.Fatalf("%d changes", len(changes))
	}
	if k, v, ok := b.label.Watched(changes[0]); !ok || k != "b" || v != "btrue" {
		t.Errorf("changed: %v %v %v", k, v, ok)
	}
	if _, _, ok := b.sign.Watched(changes[0]); ok {
		t.Error("the change of one function is taken for another's")
	}
	b.want(t, map[string]int{"cell b": 1, "sign b": 1, "label b": 1})
}

func TestWhatNobodyNeedsIsForgotten(t *testing.T) {
	b := newBook(sheet{"a": 1})
	b.label.Watch(b.db, "a")
	b.db.Settle()
	if b.db.Len() != 3 {
		t.Fatalf("%d results", b.db.Len())
	}
	b.label.Unwatch(b.db, "a")
	b.db.Settle()
	if b.db.Len() != 0 || len(b.db.leaves) != 0 {
		t.Errorf("%d results and %d inputs are left", b.db.Len(), len(b.db.leaves))
	}
}

func TestDependenciesMayChange(t *testing.T) {
	b := newBook(sheet{"which": 1, "x": 10, "y": 20})
	pick := NewFunc(func(c *Ctx, _ int) int {
		b.runs["pick"]++
		if b.cell.Get(c, "which") == 1 {
			return b.cell.Get(c, "x")
		}
		return b.cell.Get(c, "y")
	}, Equal[int])
	pick.Watch(b.db, 0)
	b.db.Settle()
	b.set("which", 2)
	b.db.Settle()
	clear(b.runs)
	b.set("x", 11)
	b.db.Settle()
	b.want(t, map[string]int{})
	if got := pick.Get(b.db.Ctx(), 0); got != 20 {
		t.Errorf("picked %d", got)
	}
}

func TestCycleIsOurBug(t *testing.T) {
	var f *Func[int, int]
	f = NewFunc(func(c *Ctx, k int) int { return f.Get(c, 1-k) }, Equal[int])
	defer func() {
		if recover() == nil {
			t.Error("a circle was taken")
		}
	}()
	f.Get(New().Ctx(), 0)
}

// TestIndex changes cells at random, and compares an index by sign and its reader
// with what they would be if all were computed anew.
func TestIndex(t *testing.T) {
	in := sheet{}
	b := newBook(in)
	ix := NewIndex(func(c *Ctx, k string) []Pair[bool, string] {
		return []Pair[bool, string]{{b.sign.Get(c, k), k}, {b.sign.Get(c, k), "any"}}
	}, cmp.Compare[string])
	all := NewFunc(func(c *Ctx, sign bool) string {
		return fmt.Sprint(ix.Members(c, sign), ix.Count(c, sign))
	}, Equal[string])
	all.Watch(b.db, true)
	all.Watch(b.db, false)
	r := rand.New(rand.NewPCG(1, 2))
	present := map[string]bool{}
	for range 2000 {
		k := string(rune('a' + r.IntN(8)))
		switch {
		case !present[k]:
			present[k] = true
			b.set(k, r.IntN(5)-2)
			ix.Add(b.db, k)
		case r.IntN(4) == 0:
			delete(present, k)
			ix.Remove(b.db, k)
		default:
			b.set(k, r.IntN(5)-2)
		}
		if r.IntN(2) == 0 {
			continue
		}
		b.db.Settle()
		for _, sign := range []bool{true, false} {
			var want []string
			for k := range present {
				if (in[k] > 0) == sign {
					want = append(want, k)
				}
			}
			if len(want) > 0 {
				want = append(want, "any")
			}
			slices.Sort(want)
			if got := all.Get(b.db.Ctx(), sign); got != fmt.Sprint(want, len(want)) {
				t.Fatalf("%v: %s, want %v", sign, got, want)
			}
		}
	}
}

// TestFollow changes cells at random, and compares what is told of a bucket with what is in it.
func TestFollow(t *testing.T) {
	b := newBook(sheet{})
	ix := NewIndex(func(c *Ctx, k string) []Pair[bool, string] {
		return []Pair[bool, string]{{b.sign.Get(c, k), k}}
	}, cmp.Compare[string])
	r := rand.New(rand.NewPCG(3, 4))
	present, told := map[string]bool{}, map[string]bool{}
	for step := range 3000 {
		switch step % 500 {
		case 100: // From here it is followed: what is there is news.
			clear(told)
			ix.Follow(b.db, true)
		case 400:
			ix.Unfollow(true)
		}
		k := string(rune('a' + r.IntN(8)))
		switch {
		case !present[k]:
			present[k] = true
			b.set(k, r.IntN(5)-2)
			ix.Add(b.db, k)
		case r.IntN(4) == 0:
			delete(present, k)
			ix.Remove(b.db, k)
		default:
			b.set(k, r.IntN(5)-2)
		}
		if r.IntN(2) == 0 {
			continue
		}
		for _, ch := range b.db.Settle() {
			bucket, came, left, ok := ix.Followed(ch)
			if !ok || !bucket || len(came)+len(left) == 0 {
				t.Fatalf("told %v: %v %v %v", bucket, came, left, ok)
			}
			for _, m := range came {
				if told[m] {
					t.Fatalf("%s came twice", m)
				}
				told[m] = true
			}
			for _, m := range left {
				if !told[m] {
					t.Fatalf("%s left without having come", m)
				}
				delete(told, m)
			}
		}
		if step%500 < 100 || step%500 >= 400 {
			continue
		}
		for k := range b.in {
			if told[k] != (present[k] && b.in[k] > 0) {
				t.Fatalf("%s: told %v, is %v with %d", k, told[k], present[k], b.in[k])
			}
		}
	}
}

// TestCostOfAChange changes one of n members: how many functions run does not depend on n.
func TestCostOfAChange(t *testing.T) {
	runs := map[int]int{}
	for _, n := range []int{10, 1000} {
		b := newBook(sheet{})
		for i := range n {
			k := fmt.Sprint(i)
			b.in[k] = i
			b.label.Watch(b.db, k)
		}
		b.db.Settle()
		clear(b.runs)
		b.set("7", -7)
		b.db.Settle()
		for _, count := range b.runs {
			runs[n] += count
		}
	}
	if runs[10] != runs[1000] || runs[10] != 3 {
		t.Errorf("functions run for one change, by members: %v", runs)
	}
}
