// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"crypto/x509"
	"log/slog"
	"math"
	"sync"
	"time"
	"weak"

	"weir.dev/weir/proxy/stats"
)

// A Store has the secrets of a process. Its methods may be called from any
// goroutine.
type Store struct {
	log   *slog.Logger
	stats *stats.Store

	mu      sync.Mutex
	sources map[string]*Source
	groups  []weak.Pointer[Group]
	// shared are the slots of secrets that stand in the configuration itself, by what
	// was read for them, so that compiling it again makes nothing anew.
	shared map[shareKey]weak.Pointer[Slot]
	watch  *watcher
	idle   bool
	closed bool
	Servers
}

type shareKey struct {
	kind Kind
	sum  [32]byte
	// watches are the directories of a secret that is read again.
	watches string
}

// Options are what a store is made with.
type Options struct {
	// Log is told of what is wrong with a secret that changed; nil discards it.
	Log *slog.Logger
	// Stats has sds.NAME.* of each secret known by name; nil counts nowhere.
	Stats *stats.Store
	// Idle keeps the store from watching files: it only checks.
	Idle bool
	// Servers find secrets elsewhere than in files.
	Servers Servers
}

// NewStore returns a store without secrets.
func NewStore(o Options) *Store {
	s := &Store{log: o.Log, stats: o.Stats, idle: o.Idle, Servers: o.Servers, sources: map[string]*Source{}, shared: map[shareKey]weak.Pointer[Slot]{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.stats == nil {
		s.stats = stats.NewStore()
	}
	return s
}

// Close ends watching. What is loaded stays.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	w := s.watch
	s.watch = nil
	s.mu.Unlock()
	if w != nil {
		w.close()
	}
}

// Source returns the secrets that come from one place, such as one management
// server; "" are the bootstrap's own. It is made at first use.
func (s *Store) Source(key string) *Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.sources[key]
	if src == nil {
		src = &Source{store: s, slots: map[string]*Slot{}, subs: map[string]*counters{}, gone: map[string]bool{}}
		s.sources[key] = src
	}
	return src
}

// A Source is the secrets of one place by name.
type Source struct {
	store *Store

	mu    sync.Mutex
	slots map[string]*Slot
	subs  map[string]*counters
	gone  map[string]bool // removed
}

// Slot returns the place of a secret, which may not be there yet.
func (s *Source) Slot(name string, kind Kind) *Slot {
	s.mu.Lock()
	slot := s.slots[name]
	if slot == nil || slot.kind != kind {
		slot = &Slot{name: name, kind: kind}
		if old := s.slots[name]; old != nil {
			if v := old.Load(); v != nil && v.kind == kind {
				slot.value.Store(v)
			}
		}
		s.slots[name] = slot
	}
	s.mu.Unlock()
	return slot
}

// Has reports whether the source has a secret of that name.
func (s *Source) Has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := s.slots[name]
	return slot != nil && slot.Load() != nil && !s.gone[name]
}

// Remove takes a secret away: configuration can no longer name it. Contexts that use
// it keep the last good value.
func (s *Source) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone[name] = true
}

// counters are the statistics of one named secret, under sds.NAME.
type counters struct {
	attempt, success, failure, rejected, rotationFailed *stats.Counter
	version                                             *stats.Gauge
}

func (s *Source) counters(name string) *counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.subs[name]
	if c == nil {
		sc := s.store.stats.Scope("sds." + name + ".")
		c = &counters{
			sc.Counter("update_attempt"), sc.Counter("update_success"), sc.Counter("update_failure"),
			sc.Counter("update_rejected"), sc.Counter("key_rotation_failed"), sc.Gauge("version"),
		}
		s.subs[name] = c
	}
	return c
}

// A Group is what one TLS context uses: its certificates and what peers are verified
// against. A store lists those that are in use.
type Group struct {
	Certificates []*Slot
	Validation   *Slot // nil if peers are not verified
}

// Use notes that a context uses a group, for as long as the context keeps it.
func (s *Store) Use(g *Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	live := s.groups[:0]
	for _, w := range s.groups {
		if w.Value() != nil {
			live = append(live, w)
		}
	}
	s.groups = append(live, weak.Make(g))
}

// Groups returns what the contexts use, each combination once.
func (s *Store) Groups() []*Group {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*Group
	for _, w := range s.groups {
		if g := w.Value(); g != nil && !listed(out, g) {
			out = append(out, g)
		}
	}
	return out
}

func listed(all []*Group, g *Group) bool {
	for _, o := range all {
		same := o.Validation == g.Validation && len(o.Certificates) == len(g.Certificates)
		for i := 0; same && i < len(g.Certificates); i++ {
			same = o.Certificates[i] == g.Certificates[i]
		}
		if same {
			return true
		}
	}
	return false
}

// DaysUntilFirstExpiry is the number of whole days until the first certificate or
// authority in use expires, 0 if one has, as in Envoy's gauge; the largest uint32 if
// there is none.
func (s *Store) DaysUntilFirstExpiry(now time.Time) int64 {
	days := int64(math.MaxUint32)
	see := func(certs []*x509.Certificate) {
		for _, c := range certs {
			days = min(days, max(0, int64(c.NotAfter.Sub(now)/(24*time.Hour))))
		}
	}
	for _, g := range s.Groups() {
		for _, slot := range g.Certificates {
			if v := slot.Load(); v != nil {
				see(v.Certificate.Chain[:1])
			}
		}
		if g.Validation != nil {
			if v := g.Validation.Load(); v != nil {
				see(v.Validation.CAs)
			}
		}
	}
	return days
}
