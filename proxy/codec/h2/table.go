// SPDX-License-Identifier: Apache-2.0

package h2

// table finds streams by their number: open addressing, which takes no memory per
// stream. Numbers of one side go up by two, so half of one is a perfect hash of
// streams that were opened close together.
type table struct {
	slots []*exchange
	n     int
}

// leastSlots is the size of a table in use.
const leastSlots = 16

func (t *table) at(id uint32) int { return int(id>>1) & (len(t.slots) - 1) }

func (t *table) get(id uint32) *exchange {
	if t.n == 0 {
		return nil
	}
	for i := t.at(id); ; i = (i + 1) & (len(t.slots) - 1) {
		s := t.slots[i]
		if s == nil || s.id == id {
			return s
		}
	}
}

func (t *table) put(s *exchange) {
	if 4*(t.n+1) > 3*len(t.slots) {
		t.resize(max(2*len(t.slots), leastSlots))
	}
	i := t.at(s.id)
	for t.slots[i] != nil {
		i = (i + 1) & (len(t.slots) - 1)
	}
	t.slots[i] = s
	t.n++
}

func (t *table) resize(size int) {
	old := t.slots
	t.slots, t.n = make([]*exchange, size), 0
	for _, s := range old {
		if s != nil {
			t.put(s)
		}
	}
}

// del takes a stream out, if it is in, and moves up those behind it.
func (t *table) del(s *exchange) {
	if t.n == 0 {
		return
	}
	mask := len(t.slots) - 1
	i := t.at(s.id)
	for t.slots[i] != s {
		if t.slots[i] == nil {
			return
		}
		i = (i + 1) & mask
	}
	t.n--
	for j := i; ; {
		j = (j + 1) & mask
		next := t.slots[j]
		if next == nil {
			break
		}
		// It may move to i if its own place is not between i and j.
		if home := t.at(next.id); (j-home)&mask >= (j-i)&mask {
			t.slots[i] = next
			i = j
		}
	}
	t.slots[i] = nil
}

// each calls f for every stream; f may take streams out.
func (t *table) each(f func(s *exchange)) {
	if t.n == 0 {
		return
	}
	all := make([]*exchange, 0, t.n)
	for _, s := range t.slots {
		if s != nil {
			all = append(all, s)
		}
	}
	for _, s := range all {
		f(s)
	}
}

// update calls f for every stream; f must not take any out. It stops where f is
// false.
func (t *table) update(f func(s *exchange) bool) {
	for _, s := range t.slots {
		if s != nil && !f(s) {
			return
		}
	}
}

// trim gives the memory of an empty table up.
func (t *table) trim() {
	if t.n == 0 {
		t.slots = nil
	}
}
