// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A Scope is a name prefix in a [Store], for example "cluster.web.". It is cheap and makes no names by itself.
type Scope struct {
	store  *Store
	prefix string // "" or ending in "."
	names  dynamic
	once   sync.Once
}

// Scope is a scope within this one: its names begin with both prefixes.
func (s *Scope) Scope(prefix string) *Scope { return s.store.newScope(s.prefix + joinable(prefix)) }

// Prefix is the sanitized prefix, "" or ending in a dot.
func (s *Scope) Prefix() string { return s.prefix }

// Store is the store the scope belongs to.
func (s *Scope) Store() *Store { return s.store }

// Counter is the counter of the given name in this scope, made at first use; the same name is the same counter. Look it up
// when configuration is built and keep it. For a name known only when it happens, looking it up each time takes no lock and
// no memory after its first uses; as all loops share the counter, prefer [Register] or [Codes] for what is counted often.
//
// A name belongs to one kind; asking for it as another panics, as that is a mistake in the program.
func (s *Scope) Counter(name string) *Counter {
	c, ok := s.lookup(name, KindCounter, Unspecified).(*Counter)
	if !ok {
		panic(wrongKind(s.prefix, name))
	}
	return c
}

// Gauge is the gauge of the given name in this scope; see [Scope.Counter].
func (s *Scope) Gauge(name string) *Gauge {
	g, ok := s.lookup(name, KindGauge, Unspecified).(*Gauge)
	if !ok {
		panic(wrongKind(s.prefix, name))
	}
	return g
}

// Histogram is the histogram of the given name in this scope, its values in unit, which counts when it is made; see
// [Scope.Counter].
func (s *Scope) Histogram(name string, unit Unit) *Histogram {
	h, ok := s.lookup(name, KindHistogram, unit).(*Histogram)
	if !ok {
		panic(wrongKind(s.prefix, name))
	}
	return h
}

// Text is the text readout of the given name in this scope; see [Scope.Counter].
func (s *Scope) Text(name string) *Text {
	t, ok := s.lookup(name, KindText, Unspecified).(*Text)
	if !ok {
		panic(wrongKind(s.prefix, name))
	}
	return t
}

// Close takes away the names made by Counter, Gauge, Histogram and Text of this very scope, not those of scopes within it
// nor those of [Register]. See [Sharded.Close]. A second Close does nothing; a name asked for later is counted but not shown.
func (s *Scope) Close() {
	s.once.Do(func() { s.store.remove(&s.names) })
}

func wrongKind(prefix, name string) string {
	// The copy keeps the name of an ordinary lookup off the heap.
	return fmt.Sprintf("BUG: statistic %s%s is already of another kind", prefix, strings.Clone(name))
}

func (s *Scope) lookup(name string, kind Kind, unit Unit) any {
	if m := s.names.read.Load(); m != nil {
		if e, ok := (*m)[name]; ok {
			return e.cell
		}
	}
	e, first := s.names.miss(name, kind, unit)
	if first {
		// Not under the set's lock, which the store takes while it holds its own.
		s.store.add(&s.names)
	}
	if kind == KindHistogram {
		s.store.record(&s.names)
	}
	return e.cell
}

// dynamic is a growing set of named cells. Reading takes no lock: read is never written to after it was published.
type dynamic struct {
	scope string
	read  atomic.Pointer[map[string]*entry]
	mu    sync.Mutex
	dirty map[string]*entry // everything in read and more; nil if there is no more
}

type entry struct {
	name string // sanitized
	cell any
	unit Unit
}

// Below this size each new name is published at once. Above it, copying for each would be quadratic, so new names gather in
// dirty until one of them is asked for again.
const copyEach = 64

// miss finds or makes an entry that is not published, and tells if it is the first of all.
func (d *dynamic) miss(name string, kind Kind, unit Unit) (e *entry, first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cur := d.all()
	if e, ok := cur[name]; ok {
		d.publish(cur)
		return e, false
	}
	if d.dirty == nil {
		d.dirty = make(map[string]*entry, len(cur)+1)
		maps.Copy(d.dirty, cur)
	}
	key := strings.Clone(name) // name may be a part of a buffer, and stays on its owner's stack
	e = &entry{name: Sanitize(key), unit: unit}
	switch kind {
	case KindCounter:
		e.cell = new(Counter)
	case KindGauge:
		e.cell = new(Gauge)
	case KindHistogram:
		e.cell = new(Histogram)
	case KindText:
		e.cell = new(Text)
	}
	first = len(d.dirty) == 0
	d.dirty[key] = e
	if len(d.dirty) <= copyEach {
		d.publish(d.dirty)
	}
	return e, first
}

func (d *dynamic) publish(m map[string]*entry) {
	d.read.Store(&m)
	d.dirty = nil
}

func (d *dynamic) all() map[string]*entry {
	if d.dirty != nil {
		return d.dirty
	}
	if p := d.read.Load(); p != nil {
		return *p
	}
	return nil
}

// entries is a copy of all entries, so that they are visited without the lock.
func (d *dynamic) entries() []*entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]*entry, 0, len(d.all()))
	for _, e := range d.all() {
		out = append(out, e)
	}
	return out
}

func (d *dynamic) prefix() string { return d.scope }

func (d *dynamic) has(name string) bool {
	for _, e := range d.entries() {
		if e.name == name {
			return true
		}
	}
	return false
}

func (d *dynamic) names(yield func(string)) {
	for _, e := range d.entries() {
		yield(e.name)
	}
}

func (d *dynamic) visit(yield func(string, sample)) {
	for _, e := range d.entries() {
		v := sample{unit: e.unit}
		switch c := e.cell.(type) {
		case *Counter:
			v.kind, v.count = KindCounter, c.Value()
			v.used = v.count > 0
		case *Gauge:
			v.kind, v.level, v.used = KindGauge, c.Value(), c.used.Load()
		case *Histogram:
			v.kind, v.buckets = KindHistogram, c.buckets()
			v.used = len(v.buckets) > 0
		case *Text:
			v.kind, v.text = KindText, c.Value()
			v.used = c.v.Load() != nil
		}
		yield(e.name, v)
	}
}

func (d *dynamic) records() bool {
	return slices.ContainsFunc(d.entries(), func(e *entry) bool {
		_, is := e.cell.(*Histogram)
		return is
	})
}

func (d *dynamic) flush(yield func(string, Buckets)) {
	for _, e := range d.entries() {
		if h, ok := e.cell.(*Histogram); ok {
			if b := h.flush(); len(b) > 0 {
				yield(e.name, b)
			}
		}
	}
}

func (d *dynamic) reset(yield func(name string, n uint64)) {
	for _, e := range d.entries() {
		if c, ok := e.cell.(*Counter); ok {
			if n := c.v.Swap(0); n > 0 {
				yield(e.name, n)
			}
		}
	}
}

// Sanitize makes a name as Envoy does: one dot is taken from each end, and "://", ":/", ":" and NUL become "_".
func Sanitize(name string) string {
	name = strings.TrimSuffix(name, ".")
	name = strings.TrimPrefix(name, ".")
	if strings.IndexByte(name, ':') < 0 && strings.IndexByte(name, 0) < 0 {
		return name
	}
	var b strings.Builder
	b.Grow(len(name))
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case ':':
			b.WriteByte('_')
			if strings.HasPrefix(name[i:], "://") {
				i += 2
			} else if strings.HasPrefix(name[i:], ":/") {
				i++
			}
		case 0:
			b.WriteByte('_')
		default:
			b.WriteByte(name[i])
		}
	}
	return b.String()
}

// joinable is a sanitized prefix to which a name can be appended.
func joinable(prefix string) string {
	if prefix = Sanitize(prefix); prefix == "" {
		return ""
	}
	return prefix + "."
}
