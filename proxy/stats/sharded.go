// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"
)

// cacheLine is the distance at which two loops do not disturb each other: two lines of 64 bytes, as processors fetch pairs.
const cacheLine = 128

// padded keeps a shard off the cache lines of whatever the allocator puts beside it.
type padded[T any] struct {
	_ [cacheLine]byte
	v T
	_ [cacheLine]byte
}

// Sharded is one T per event loop. A shard takes memory when a loop first asks for it.
type Sharded[T any] struct {
	shards []atomic.Pointer[T]
	source *shardSource
}

// Register puts the fields of T under their names in the scope, with one T for each of shards event loops (at least 1).
//
// T is a struct of [Counter], [Gauge], [Histogram] and [Codes] fields, each with a tag `stat:"name"`; a histogram's tag may
// name its unit (`stat:"upstream_rq_time,ms"`: ms, us, bytes or percent). Nested structs are allowed; the tag of one is put
// before its fields' names (`stat:"ssl."`), and it may have none. Register panics if T is not so.
//
// The same names may be registered several times: what is shown is the sum.
func Register[T any](s *Scope, shards int) *Sharded[T] {
	if shards < 1 {
		panic(fmt.Sprintf("BUG: stats of %v: %d shards", reflect.TypeFor[T](), shards))
	}
	r := &Sharded[T]{shards: make([]atomic.Pointer[T], shards)}
	r.source = &shardSource{
		scope:  s.prefix,
		store:  s.store,
		layout: s.store.layout(reflect.TypeFor[T]()),
		shards: func(visit func(unsafe.Pointer)) {
			for i := range r.shards {
				if p := r.shards[i].Load(); p != nil {
					visit(unsafe.Pointer(p))
				}
			}
		},
	}
	s.store.add(r.source)
	return r
}

// At is the shard of loop i, counted from 0; it never returns nil. Only loop i should write to it, and a loop that uses it
// often may keep it. It panics if i is not below the number of shards.
func (s *Sharded[T]) At(i int) *T {
	if p := s.shards[i].Load(); p != nil {
		return p
	}
	return s.make(i)
}

// Len is the number of shards.
func (s *Sharded[T]) Len() int { return len(s.shards) }

//go:noinline
func (s *Sharded[T]) make(i int) *T {
	s.shards[i].CompareAndSwap(nil, &new(padded[T]).v)
	return s.shards[i].Load()
}

// Close takes the names away, for a cluster or listener that is gone. Counts and histograms stay as long as another
// registration holds the same name; gauges leave with their owner. Close it when the loops have let go of it: what is
// counted later is lost. A second Close does nothing.
func (s *Sharded[T]) Close() { s.source.close() }

// Attach puts the fields of one T under their names in the scope, for what no loop writes often; see [Register]. The
// names are there until detach is called, which does what [Sharded.Close] does.
func Attach[T any](s *Scope, v *T) (detach func()) {
	source := &shardSource{
		scope:  s.prefix,
		store:  s.store,
		layout: s.store.layout(reflect.TypeFor[T]()),
		shards: func(visit func(unsafe.Pointer)) { visit(unsafe.Pointer(v)) },
	}
	s.store.add(source)
	return source.close
}

// shardSource is a Sharded without its type.
type shardSource struct {
	scope  string
	store  *Store
	layout *layout
	shards func(func(unsafe.Pointer))
	once   sync.Once
}

func (s *shardSource) close() { s.once.Do(func() { s.store.remove(s) }) }

func (s *shardSource) prefix() string { return s.scope }

func (s *shardSource) has(name string) bool { return s.layout.has(name) }

func (s *shardSource) names(yield func(string)) {
	for _, f := range s.layout.fields {
		if f.what != codesField {
			yield(f.name)
			continue
		}
		for code := 100; code < 600; code++ {
			yield(f.name + strconv.Itoa(code))
		}
	}
}

func (s *shardSource) visit(yield func(string, sample)) {
	var codes map[string]uint64
	for _, f := range s.layout.fields {
		var v sample
		v.unit = f.unit
		switch f.what {
		case counterField:
			v.kind = KindCounter
			s.shards(func(p unsafe.Pointer) { v.count += f.counter(p).Value() })
			v.used = v.count > 0
		case gaugeField:
			v.kind = KindGauge
			s.shards(func(p unsafe.Pointer) {
				g := f.gauge(p)
				v.level += g.Value()
				v.used = v.used || g.used.Load()
			})
		case histogramField:
			v.kind = KindHistogram
			s.shards(func(p unsafe.Pointer) { v.buckets = v.buckets.merge(f.histogram(p).buckets()) })
			v.used = len(v.buckets) > 0
		case codesField:
			codes = map[string]uint64{}
			s.shards(func(p unsafe.Pointer) { f.codes(p).collect(codes) })
			for code, n := range codes {
				yield(f.name+code, sample{kind: KindCounter, count: n, used: true})
			}
			continue
		}
		yield(f.name, v)
	}
}

func (s *shardSource) records() bool { return len(s.layout.histograms) > 0 }

func (s *shardSource) flush(yield func(string, Buckets)) {
	s.shards(func(p unsafe.Pointer) {
		for i := range s.layout.histograms {
			f := &s.layout.histograms[i]
			if b := f.histogram(p).flush(); len(b) > 0 {
				yield(f.name, b)
			}
		}
	})
}

func (s *shardSource) reset(yield func(name string, n uint64)) {
	for _, f := range s.layout.fields {
		switch f.what {
		case counterField:
			var n uint64
			s.shards(func(p unsafe.Pointer) { n += f.counter(p).v.Swap(0) })
			if n > 0 {
				yield(f.name, n)
			}
		case codesField:
			s.shards(func(p unsafe.Pointer) {
				f.codes(p).reset(func(code string, n uint64) { yield(f.name+code, n) })
			})
		case gaugeField, histogramField:
		}
	}
}

// collect adds the counted codes to m by their three digits.
func (c *Codes) collect(m map[string]uint64) {
	for i := range c.classes {
		p := c.classes[i].Load()
		if p == nil {
			continue
		}
		for j := range p {
			if n := p[j].Value(); n > 0 {
				m[strconv.Itoa((i+1)*100+j)] += n
			}
		}
	}
}

// reset zeroes all codes and yields those that were not zero, and what they had counted.
func (c *Codes) reset(yield func(code string, n uint64)) {
	for i := range c.classes {
		p := c.classes[i].Load()
		if p == nil {
			continue
		}
		for j := range p {
			if n := p[j].v.Swap(0); n > 0 {
				yield(strconv.Itoa((i+1)*100+j), n)
			}
		}
	}
}
