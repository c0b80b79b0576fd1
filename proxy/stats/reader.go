// SPDX-License-Identifier: Apache-2.0

package stats

import "maps"

// mostLost bounds how many names a reader that does not read remembers of what is gone.
const mostLost = 1 << 16

// A Reader reads a store again and again, and tells of each counter what it has counted since it was last read
// ([Metric.Delta]). No count is told twice and none is missed, whatever is reset, removed and made anew in between; only
// what is counted by a set after it was closed is lost, as everywhere. Of histograms that are removed between two readings
// the values since the last [Store.Flush] are told, too.
//
// It keeps a number and the tags of each statistic that was used, for as long as there is such a statistic. One goroutine at
// a time may use it.
type Reader struct {
	store *Store
	seen  map[string]*reading
	turn  uint64
	// lost is what was zeroed or removed since the last reading. It is the store's lock's.
	lost map[string]loss
}

// A loss is what a statistic had and has no more.
type loss struct {
	count      uint64
	since, all Buckets // of the last interval, and of all time
	unit       Unit
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
	r := &Reader{store: s, seen: map[string]*reading{}, lost: map[string]loss{}}
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

// lose notes that a statistic has something no more. It is called with the lock.
func (s *Store) lose(name string, l loss) {
	if l.count == 0 && len(l.since) == 0 && len(l.all) == 0 {
		return
	}
	for r := range s.readers {
		before, ok := r.lost[name]
		if !ok && len(r.lost) >= mostLost {
			continue
		}
		r.lost[name] = loss{before.count + l.count, before.since.merge(l.since), before.all.merge(l.all), max(before.unit, l.unit)}
	}
}

// Read calls yield for each statistic that was ever used and that stats_matcher lets through, in the order of names; then
// for those that are gone and have something to tell. A metric is yield's to keep.
func (r *Reader) Read(yield func(Metric)) {
	a := r.store.answer()
	r.store.mu.Lock()
	lost := r.lost
	r.lost = map[string]loss{}
	r.store.mu.Unlock()
	r.turn++
	_ = a.metrics(anyKind, Options{UsedOnly: true}, func(m *Metric) error {
		k := r.reading(a, m.Name)
		l := lost[m.Name]
		delete(lost, m.Name)
		if m.Kind == KindCounter {
			m.Delta = k.delta(m.Count, l.count)
		}
		m.Interval = m.Interval.merge(l.since)
		m.Extracted, m.Tags = k.extracted, k.tags
		yield(*m)
		return nil
	})
	for name, l := range lost {
		if a.rules.hidden(name) {
			continue
		}
		k := r.reading(a, name)
		m := Metric{Name: name, Kind: KindCounter, Used: true, Count: l.count, Extracted: k.extracted, Tags: k.tags}
		if len(l.all) > 0 {
			m.Kind, m.Unit, m.Cumulative, m.Interval, m.Bounds = KindHistogram, l.unit, l.all, l.since, a.rules.bounds(name)
		} else {
			m.Delta = k.delta(0, l.count)
		}
		if m.Delta > 0 || len(m.Interval) > 0 {
			yield(m)
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
