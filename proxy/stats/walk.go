// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"container/heap"
	"maps"
	"slices"
)

// A shown is one name as a walk comes by it: what its sources say, added up, and what is kept of it.
type shown struct {
	name     string
	sample   sample
	interval Buckets
	orphan   bool // it has no source, as far as it is known
}

// walk calls yield for each name of the kinds in pass, in the order of names, until it returns an error. stops are those of
// the store when the answer began. It holds the lock
// for one prefix at a time and has few names in memory at once: of names that begin with a prefix all come after it, so
// those before the next prefix are complete.
func (s *Store) walk(stops []string, pass func(Kind) bool, yield func(*shown) error) error {
	var open pile
	var done, free []*shown
	push := func(name string, v sample, orphan bool) {
		m := &shown{}
		if n := len(free); n > 0 {
			m, free = free[n-1], free[:n-1]
		}
		*m = shown{name: name, sample: v, orphan: orphan}
		heap.Push(&open, m)
	}
	for i, stop := range stops {
		s.mu.Lock()
		for _, src := range s.sources[stop] {
			src.visit(func(name string, v sample) {
				if pass(v.kind) {
					push(stop+name, v, false)
				}
			})
		}
		if s.kept[stop] != nil && pass(KindCounter) {
			push(stop, sample{}, true)
		}
		for len(open) > 0 && (i+1 == len(stops) || open[0].name < stops[i+1]) {
			if m := s.next(&open); m != nil {
				done = append(done, m)
			}
		}
		s.mu.Unlock()
		for _, m := range done {
			if err := yield(m); err != nil {
				return err
			}
		}
		free, done = append(free, done...), done[:0]
	}
	return nil
}

// An answer is what one reading of a store goes by, however often it walks through the names.
type answer struct {
	store *Store
	rules *Config
	stops []string // the prefixes of all sources and the names that something is kept of, in order
}

// answer begins one.
func (s *Store) answer() *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	stops := slices.AppendSeq(make([]string, 0, len(s.sources)+len(s.kept)), maps.Keys(s.sources))
	stops = slices.AppendSeq(stops, maps.Keys(s.kept))
	slices.Sort(stops)
	return &answer{s, s.rules, slices.Compact(stops)}
}

// next takes all of the first name from the pile and adds it up; nil if nothing is to be shown of it. It is called with the
// lock.
func (s *Store) next(open *pile) *shown {
	m := heap.Pop(open).(*shown)
	for len(*open) > 0 && (*open)[0].name == m.name {
		switch o := heap.Pop(open).(*shown); {
		case o.orphan:
		case m.orphan:
			m = o
		default:
			m.sample = m.sample.plus(o.sample)
		}
	}
	k := s.kept[m.name]
	switch {
	case k == nil:
		if m.orphan {
			return nil
		}
	case m.orphan:
		if !k.used || k.count == 0 {
			return nil
		}
		m.sample = sample{kind: KindCounter, used: true, count: k.count}
	default:
		v := &m.sample
		v.used = v.used || k.used
		v.count += k.count
		v.buckets = v.buckets.merge(k.buckets)
	}
	if m.sample.kind == KindHistogram {
		m.interval = s.intervals[m.name]
	}
	return m
}

// A pile is a heap of names, least first.
type pile []*shown

func (p pile) Len() int           { return len(p) }
func (p pile) Less(i, j int) bool { return p[i].name < p[j].name }
func (p pile) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *pile) Push(m any)        { *p = append(*p, m.(*shown)) }

func (p *pile) Pop() any {
	last := len(*p) - 1
	m := (*p)[last]
	(*p)[last], *p = nil, (*p)[:last]
	return m
}
