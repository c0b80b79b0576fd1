// SPDX-License-Identifier: Apache-2.0

package stats

import "maps"

// mostLost bounds how many names a reader that does not read remembers of counters that are gone.
const mostLost = 1 << 16

// A Reader reads a store again and again, and tells of each counter what it has counted since it was last read
// ([Metric.Delta]). No count is told twice and none is missed, whatever is reset, removed and made anew in between; only
// what is counted by a set after it was closed is lost, as everywhere.
//
// It keeps a number and the tags of each statistic that was used, for as long as there is such a statistic. One goroutine at
// a time may use it.
type Reader struct {
	store *Store
	seen  map[string]*reading
	turn  uint64
	// lost is what counters had counted when they were zeroed or removed since the last reading. It is the store's lock's.
	lost map[string]uint64
}

// A reading is what is known of a statistic that was read.
type reading struct {
	told      uint64 // of what a counter has, or has lost since
	turn      uint64 // when it was last there
	extracted string
	tags      []Tag
}

// NewReader returns a reader. What counters have counted before is in the deltas of its first reading.
func (s *Store) NewReader() *Reader {
	r := &Reader{store: s, seen: map[string]*reading{}, lost: map[string]uint64{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers[r] = struct{}{}
	return r
}

// Close ends the reader.
func (r *Reader) Close() {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	delete(r.store.readers, r)
}

// lose notes that a counter has n no more. It is called with the lock.
func (s *Store) lose(name string, n uint64) {
	if n == 0 {
		return
	}
	for r := range s.readers {
		if _, ok := r.lost[name]; ok || len(r.lost) < mostLost {
			r.lost[name] += n
		}
	}
}

// Read calls yield for each statistic that was ever used and that stats_matcher lets through, in the order of names; then
// for counters that are gone and have a delta. A metric is yield's to keep.
func (r *Reader) Read(yield func(Metric)) {
	a := r.store.answer()
	r.store.mu.Lock()
	lost := r.lost
	r.lost = map[string]uint64{}
	r.store.mu.Unlock()
	r.turn++
	_ = a.metrics(anyKind, Options{UsedOnly: true}, func(m *Metric) error {
		k := r.reading(a, m.Name)
		if m.Kind == KindCounter {
			m.Delta = k.delta(m.Count, lost[m.Name])
			delete(lost, m.Name)
		}
		m.Extracted, m.Tags = k.extracted, k.tags
		yield(*m)
		return nil
	})
	for name, n := range lost {
		if a.rules.hidden(name) {
			continue
		}
		k := r.reading(a, name)
		if d := k.delta(0, n); d > 0 {
			yield(Metric{Name: name, Kind: KindCounter, Used: true, Count: n, Delta: d, Extracted: k.extracted, Tags: k.tags})
		}
	}
	// What a counter lost while it was read is told at the next reading, so it is kept until then.
	maps.DeleteFunc(r.seen, func(_ string, k *reading) bool { return k.turn+1 < r.turn })
}

// delta is what is not told yet of a counter that has count and has lost some.
func (k *reading) delta(count, lost uint64) uint64 {
	if count+lost < k.told {
		// It was zeroed while it was read: the next reading hears what it lost.
		k.told -= lost
		return 0
	}
	d := count + lost - k.told
	k.told = count
	return d
}

func (r *Reader) reading(a *answer, name string) *reading {
	k := r.seen[name]
	if k == nil {
		k = &reading{}
		k.extracted, k.tags = a.rules.extract(name)
		r.seen[name] = k
	}
	k.turn = r.turn
	return k
}
