// SPDX-License-Identifier: Apache-2.0

package memo

import "slices"

// small is a map that mostly has one or two entries, and sometimes thousands.
type small[K comparable, V any] struct {
	few  []entry[K, V]
	many map[K]V // all, once they are more than a few
}

// entry has its value first: one of no size is then of no size.
type entry[K comparable, V any] struct {
	value V
	key   K
}

// most is how many entries are looked through one by one.
const most = 8

func (s *small[K, V]) len() int { return len(s.few) + len(s.many) }

func (s *small[K, V]) find(key K) int {
	return slices.IndexFunc(s.few, func(e entry[K, V]) bool { return e.key == key })
}

// get is the value of a key, V's zero if it has none.
func (s *small[K, V]) get(key K) (v V) {
	if s.many != nil {
		return s.many[key]
	}
	if i := s.find(key); i >= 0 {
		return s.few[i].value
	}
	return v
}

func (s *small[K, V]) set(key K, v V) {
	if s.many != nil {
		s.many[key] = v
		return
	}
	if i := s.find(key); i >= 0 {
		s.few[i].value = v
		return
	}
	if len(s.few) < most {
		s.few = append(s.few, entry[K, V]{v, key})
		return
	}
	s.many = make(map[K]V, 2*most)
	for _, e := range s.few {
		s.many[e.key] = e.value
	}
	s.many[key] = v
	s.few = nil
}

func (s *small[K, V]) delete(key K) {
	if s.many != nil {
		delete(s.many, key)
	} else if i := s.find(key); i >= 0 {
		s.few = slices.Delete(s.few, i, i+1)
	}
}

// keys yields the keys, in no order.
func (s *small[K, V]) keys(yield func(K) bool) {
	for _, e := range s.few {
		if !yield(e.key) {
			return
		}
	}
	for key := range s.many {
		if !yield(key) {
			return
		}
	}
}
