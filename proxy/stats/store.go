// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"reflect"
	"slices"
	"strings"
	"sync"
)

// A Store holds all statistics of one proxy. Its methods may be called from any goroutine.
//
// It keeps no entry per name: names are put together when somebody reads, so a cluster costs its shards and nothing more.
type Store struct {
	mu      sync.Mutex
	rules   *Config
	layouts map[reflect.Type]*layout
	sources map[string][]source // by prefix
	kept    map[string]*kept    // what outlives a source or a reset, by name
	// recorders are those of sources that have histograms. A map costs less to come and go in than a list.
	recorders map[source]struct{}
	// intervals are what histograms recorded between the last two Flushes, and late what those recorded since that have
	// gone, by name.
	intervals, late map[string]Buckets
	// readers are told of what counters lose.
	readers map[*Reader]struct{}
}

// A source shows some names below one prefix.
type source interface {
	prefix() string
	has(name string) bool
	visit(yield func(name string, v sample))
	// records tells if the source has histograms.
	records() bool
	// flush yields what histograms have recorded since its last call, maybe in several parts.
	flush(yield func(name string, since Buckets))
	// names yields every name the source may ever have shown.
	names(yield func(name string))
	// reset zeroes the counters and yields the names of those that were not zero, and what they had counted.
	reset(yield func(name string, n uint64))
}

// A sample is what one source says of one name.
type sample struct {
	kind    Kind
	unit    Unit
	used    bool
	count   uint64
	level   int64
	text    string
	buckets Buckets
}

// kept is what a name needs besides its live sources.
type kept struct {
	used    bool
	count   uint64
	buckets Buckets
}

// NewStore is an empty store with Envoy's default tags, no filter and the default buckets.
func NewStore() *Store {
	return &Store{
		rules:   DefaultConfig(),
		layouts: map[reflect.Type]*layout{},
		sources: map[string][]source{},
		kept:    map[string]*kept{},

		recorders: map[source]struct{}{},
		late:      map[string]Buckets{},
		readers:   map[*Reader]struct{}{},
	}
}

// Configure applies a bootstrap's stats_config, by [ParseConfig]. It may be called at any time and changes what is shown
// from then on; nil restores the defaults.
func (s *Store) Configure(c *Config) {
	if c == nil {
		c = DefaultConfig()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = c
}

// Scope is a scope of the given prefix, sanitized; "" is the root. Each call makes a new scope: two of one prefix share
// nothing but what is shown.
func (s *Store) Scope(prefix string) *Scope { return s.newScope(joinable(prefix)) }

func (s *Store) newScope(prefix string) *Scope {
	sc := &Scope{store: s, prefix: prefix}
	sc.names.scope = prefix
	return sc
}

func (s *Store) layout(t reflect.Type) *layout {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.layouts[t]
	if !ok {
		l = layoutOf(t)
		s.layouts[t] = l
	}
	return l
}

func (s *Store) add(src source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources[src.prefix()] = append(s.sources[src.prefix()], src)
	if src.records() {
		s.recorders[src] = struct{}{}
	}
}

// record notes that a source has a histogram, if it is there.
func (s *Store) record(src source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.sources[src.prefix()], src) {
		s.recorders[src] = struct{}{}
	}
}

// remove takes a source away and keeps what it counted under names that others still hold.
func (s *Store) remove(src source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := src.prefix()
	at := slices.Index(s.sources[p], src)
	if at < 0 {
		return
	}
	delete(s.recorders, src)
	s.sources[p] = slices.Delete(s.sources[p], at, at+1)
	if len(s.sources[p]) == 0 {
		delete(s.sources, p)
	}
	src.flush(func(name string, since Buckets) {
		if name = p + name; s.held(name) {
			s.late[name] = s.late[name].merge(since)
		} else {
			s.lose(name, loss{since: since})
		}
	})
	src.visit(func(name string, v sample) {
		name = p + name
		if v.kind == KindText || !v.used {
			return
		}
		if !s.held(name) {
			s.lose(name, loss{count: v.count, since: s.late[name], all: v.buckets, unit: v.unit})
			delete(s.late, name)
			return
		}
		k := s.keep(name)
		k.used = true
		k.count += v.count
		k.buckets = k.buckets.merge(v.buckets)
	})
	src.names(func(name string) {
		name = p + name
		if k := s.kept[name]; k != nil && !s.held(name) {
			s.lose(name, loss{count: k.count, all: k.buckets})
			delete(s.kept, name)
		}
	})
}

// held tells if a source shows the name. The same name may be cut into prefix and rest in several ways.
func (s *Store) held(name string) bool {
	for cut := 0; cut >= 0 && cut < len(name); {
		for _, src := range s.sources[name[:cut]] {
			if src.has(name[cut:]) {
				return true
			}
		}
		dot := strings.IndexByte(name[cut:], '.')
		if dot < 0 {
			return false
		}
		cut += dot + 1
	}
	return false
}

func (s *Store) keep(name string) *kept {
	k, ok := s.kept[name]
	if !ok {
		k = &kept{}
		s.kept[name] = k
	}
	return k
}

// plus adds two samples of one name. If they are of different kinds, which a correct program never does, the first stays.
func (v sample) plus(w sample) sample {
	if v.kind != w.kind {
		return v
	}
	if w.used && w.kind == KindText {
		v.text = w.text
	}
	v.used = v.used || w.used
	v.count += w.count
	v.level += w.level
	v.buckets = v.buckets.merge(w.buckets)
	return v
}

// ResetCounters sets every counter to zero, as Envoy's /reset_counters does; gauges and histograms stay. A counter that was
// used before counts as used after.
func (s *Store) ResetCounters() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, k := range s.kept {
		s.lose(name, loss{count: k.count})
		k.count = 0
	}
	for p, list := range s.sources {
		for _, src := range list {
			src.reset(func(name string, n uint64) {
				s.keep(p + name).used = true
				s.lose(p+name, loss{count: n})
			})
		}
	}
}

// Flush ends an interval: what histograms recorded since the last Flush becomes what [Metric.Interval] shows. The proxy
// calls it each stats_flush_interval (5 s by default); without it intervals are empty. It reads histograms that have
// recorded something since, and nothing else: of thousands of clusters, most have not.
func (s *Store) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intervals, s.late = s.late, map[string]Buckets{}
	var of source
	note := func(name string, since Buckets) {
		name = of.prefix() + name
		s.intervals[name] = s.intervals[name].merge(since)
	}
	for of = range s.recorders {
		of.flush(note)
	}
}

// A Tag is a part of a name that became a label, for example envoy.cluster_name = web.
type Tag struct{ Name, Value string }

// A Metric is one statistic as it stands when it is visited.
type Metric struct {
	Name string
	Kind Kind
	Unit Unit
	// Used tells if it was ever written, even if it is zero again.
	Used bool
	// Count is a counter's value; Delta is what it has counted since a [Reader] read it last, and 0 elsewhere.
	Count, Delta uint64
	// Level is a gauge's value.
	Level int64
	// Text is a text readout's value.
	Text string
	// Cumulative are all values of a histogram, Interval those of the last interval between two Flushes.
	Cumulative, Interval Buckets
	// Bounds are the upper bounds by which a histogram is shown.
	Bounds []float64
	// Extracted is the name without its tags, Tags what was taken out, in the order of the rules.
	Extracted string
	Tags      []Tag
}

// Visit calls yield for each statistic that stats_matcher lets through, in the order of names. It holds no lock then: yield
// may call the store.
func (s *Store) Visit(yield func(Metric)) {
	a := s.answer()
	_ = a.metrics(anyKind, Options{}, func(m *Metric) error {
		m.Extracted, m.Tags = a.rules.extract(m.Name)
		yield(*m)
		return nil
	})
}

func anyKind(Kind) bool { return true }

// metrics calls yield for each statistic of the kinds in pass that the options and stats_matcher let through, in the order
// of names, until it returns an error. The metric is without its tags, as these cost most, and is yield's until it returns.
func (a *answer) metrics(pass func(Kind) bool, o Options, yield func(*Metric) error) error {
	var m Metric
	return a.store.walk(a.stops, pass, func(w *shown) error {
		v := &w.sample
		if !o.accept(w.name, v) || a.rules.hidden(w.name) {
			return nil
		}
		m = Metric{
			Name: w.name, Kind: v.kind, Unit: v.unit, Used: v.used, Count: v.count, Level: v.level, Text: v.text,
			Cumulative: v.buckets, Interval: w.interval,
		}
		if v.kind == KindHistogram {
			m.Bounds = a.rules.bounds(w.name)
		}
		return yield(&m)
	})
}
