// SPDX-License-Identifier: Apache-2.0

// Package runtime holds Envoy's runtime: values an operator may change while
// the proxy runs, by key, in layers of which a later one overrides an earlier
// (envoy.config.bootstrap.v3.LayeredRuntime). Layers are static (written in the
// bootstrap), on disk (a directory tree in which each file is a key), the admin's
// (set through /runtime_modify) or a management server's (RTDS).
//
// All values together are a [Snapshot], which is never changed: a reload makes
// a new one and swaps it in. Looking up a value takes no lock and no memory.
//
// The package owns at most one goroutine, which looks whether directories were
// replaced; see [Runtime.Watch]. It serves nothing itself: package admin prints
// what [Snapshot.Layers] lists.
package runtime

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/stats"
)

// ErrNoAdminLayer is returned by [Runtime.Modify] if the configuration has no
// admin layer.
var ErrNoAdminLayer = errors.New("no admin layer is configured: add a layer with admin_layer to layered_runtime")

// Stats are the statistics of the runtime (runtime.*).
type Stats struct {
	DeprecatedUse  stats.Counter `stat:"deprecated_feature_use"`
	LoadError      stats.Counter `stat:"load_error"`
	LoadSuccess    stats.Counter `stat:"load_success"`
	OverrideDir    stats.Counter `stat:"override_dir_exists"`
	NoOverrideDir  stats.Counter `stat:"override_dir_not_exists"`
	AdminOverrides stats.Gauge   `stat:"admin_overrides_active"`
	DeprecatedSeen stats.Gauge   `stat:"deprecated_feature_seen_since_process_start"`
	Keys           stats.Gauge   `stat:"num_keys"`
	Layers         stats.Gauge   `stat:"num_layers"`
}

// Config is a compiled LayeredRuntime; see [Compile].
type Config struct{ layers []layerConfig }

type layerKind uint8

const (
	staticLayer layerKind = iota
	diskLayer
	adminLayer
	rtdsLayer
)

type layerConfig struct {
	name   string
	kind   layerKind
	values map[string]Value // of a static layer
	root   string           // of a disk layer: what is replaced as a whole
	dir    string           // of a disk layer: where its files are
	rtds   discovered
}

// Runtime is the runtime of a proxy. It is a [match.Runtime]. Its methods may
// be called from any goroutine.
type Runtime struct {
	cfg   *Config
	log   *slog.Logger
	set   *stats.Sharded[Stats]
	stats *Stats
	snap  atomic.Pointer[Snapshot]

	store   *stats.Store
	updates *resource.Stats // nil without layers that are discovered
	watches []*resource.Watch

	mu    sync.Mutex // of loading
	admin map[string]Value
	found []map[string]Value // of the layers that are discovered, by their index
	seen  []mark
	stop  chan struct{}
	done  chan struct{}
}

var _ match.Runtime = (*Runtime)(nil)

// New loads the layers. A layer on disk that cannot be read is left out,
// counted and logged, as Envoy does: it may come later. A nil log is none.
func New(cfg *Config, store *stats.Store, log *slog.Logger) *Runtime {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	set := stats.Register[Stats](store.Scope("runtime."), 1)
	r := &Runtime{cfg: cfg, log: log, store: store, set: set, stats: set.At(0), admin: map[string]Value{}, found: make([]map[string]Value, len(cfg.layers))}
	r.stats.AdminOverrides.Set(0)
	r.stats.DeprecatedSeen.Set(0)
	// What was wrong is counted and logged.
	_ = r.Reload()
	return r
}

// Snapshot returns the values in force. It is never changed.
func (r *Runtime) Snapshot() *Snapshot { return r.snap.Load() }

// Generation numbers the snapshots from 1: what was computed from the values stands as
// long as it is the same.
func (r *Runtime) Generation() uint64 { return r.snap.Load().generation }

// Fraction returns the fraction of a key: a FractionalPercent, or a number of
// percent. See [match.Runtime].
func (r *Runtime) Fraction(key string) (match.Fraction, bool) { return r.snap.Load().Fraction(key) }

// Int returns the number of a key, cut to a whole one; a negative number is as
// none, as all of Envoy's numbers are unsigned.
func (r *Runtime) Int(key string) (int64, bool) { return r.snap.Load().Int(key) }

// Double returns the number of a key.
func (r *Runtime) Double(key string) (float64, bool) { return r.snap.Load().Double(key) }

// Bool returns the truth of a key: true, false or a whole number, of which 0 is
// false.
func (r *Runtime) Bool(key string) (bool, bool) { return r.snap.Load().Bool(key) }

// String returns the text of a key.
func (r *Runtime) String(key string) (string, bool) { return r.snap.Load().String(key) }

// Deprecated reports whether a deprecated feature may be used: what its key
// says, else allowed. A use is counted.
func (r *Runtime) Deprecated(key string, allowed bool) bool {
	if v, ok := r.Bool(key); ok {
		allowed = v
	}
	if allowed {
		r.stats.DeprecatedUse.Inc()
		r.stats.DeprecatedSeen.Inc()
	}
	return allowed
}

// Modify sets values of the admin layer: all of them or, if one is refused,
// none. An empty value takes a key away.
func (r *Runtime) Modify(values map[string]string) error {
	has := false
	for i := range r.cfg.layers {
		has = has || r.cfg.layers[i].kind == adminLayer
	}
	if !has {
		return ErrNoAdminLayer
	}
	for k, v := range values {
		if k == "" {
			return errors.New("a runtime key is empty")
		}
		if len(k) > maxName || len(v) > maxText {
			return fmt.Errorf("runtime key %.40q: a key has at most %d bytes and a value %d", k, maxName, maxText)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	admin := maps.Clone(r.admin)
	for k, v := range values {
		delete(admin, k)
		if v != "" {
			admin[k] = ParseValue(v)
		}
	}
	if len(admin) > maxKeys {
		return fmt.Errorf("the admin layer has %d keys already", len(r.admin))
	}
	r.admin = admin
	r.stats.AdminOverrides.Set(int64(min(len(admin), 1)))
	_ = r.load()
	return nil
}

// Reload reads the layers on disk again and makes a new snapshot. A layer that
// cannot be read is left out; the errors of all such layers are returned.
func (r *Runtime) Reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.load()
}

func (r *Runtime) load() error {
	r.seen = r.marks(r.seen[:0])
	s := &Snapshot{values: map[string]Value{}}
	var errs []error
	dirs := 0
	for i := range r.cfg.layers {
		l := &r.cfg.layers[i]
		values := l.values
		switch l.kind {
		case adminLayer:
			values = r.admin
		case rtdsLayer:
			values = r.found[i]
		case diskLayer:
			if !isDir(l.dir) {
				continue
			}
			var err error
			if values, err = readDir(l.dir); err != nil {
				errs = append(errs, fmt.Errorf("layer %q: %w", l.name, err))
				continue
			}
			dirs++
		}
		s.layers = append(s.layers, Layer{l.name, values})
		maps.Copy(s.values, values)
	}
	if old := r.snap.Load(); old != nil {
		s.generation = old.generation
	}
	s.generation++
	r.snap.Store(s)
	st := r.stats
	st.Keys.Set(int64(len(s.values)))
	st.Layers.Set(int64(len(s.layers)))
	if dirs > 1 {
		st.OverrideDir.Inc()
	} else {
		st.NoOverrideDir.Inc()
	}
	err := errors.Join(errs...)
	if err != nil {
		st.LoadError.Inc()
		r.log.Error("load runtime", "error", err)
	} else {
		st.LoadSuccess.Inc()
	}
	return err
}

// Watch starts to look every interval, by default one second, whether a disk
// layer's symlink_root points elsewhere or its directory was changed, and
// reloads then. It does nothing if there is no such layer or a watch already;
// [Runtime.Close] ends it.
func (r *Runtime) Watch(interval time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop != nil || len(r.seen) == 0 {
		return
	}
	if interval <= 0 {
		interval = time.Second
	}
	r.stop, r.done = make(chan struct{}), make(chan struct{})
	go r.watch(interval, r.stop, r.done)
}

func (r *Runtime) watch(interval time.Duration, stop, done chan struct{}) {
	defer close(done)
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			r.look()
		}
	}
}

// look reloads if a directory is not what it was.
func (r *Runtime) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, m := range r.marks(nil) {
		if m != r.seen[i] {
			r.log.Info("runtime directory changed", "path", m.root)
			_ = r.load()
			return
		}
	}
}

// Close ends the watch and the statistics. Values can still be looked up.
func (r *Runtime) Close() {
	r.mu.Lock()
	stop, done := r.stop, r.done
	r.stop, r.done = nil, nil
	r.mu.Unlock()
	for _, w := range r.watches {
		w.Close()
	}
	r.updates.Close()
	if stop != nil {
		close(stop)
		<-done
	}
	r.set.Close()
}

// Snapshot is all values at one moment.
type Snapshot struct {
	values     map[string]Value
	layers     []Layer
	generation uint64
}

// Layer is one layer's values.
type Layer struct {
	Name   string
	Values map[string]Value
}

// Layers returns the layers, the strongest last, for a listing.
func (s *Snapshot) Layers() []Layer { return s.layers }

// Len returns the number of keys.
func (s *Snapshot) Len() int { return len(s.values) }

// Fraction is [Runtime.Fraction] of this snapshot.
func (s *Snapshot) Fraction(key string) (match.Fraction, bool) {
	v, ok := s.values[key]
	switch {
	case !ok:
		return match.Fraction{}, false
	case v.is&isFraction != 0:
		return v.fraction, true
	case v.is&isNumber == 0 || v.number < 0:
		return match.Fraction{}, false
	case v.number > 100:
		return match.All, true
	}
	return match.Fraction{N: uint32(v.number), Of: 100}, true
}

// Int is [Runtime.Int] of this snapshot.
func (s *Snapshot) Int(key string) (int64, bool) {
	v, ok := s.values[key]
	if !ok || v.is&isNumber == 0 || v.number < 0 {
		return 0, false
	}
	if v.number >= math.MaxInt64 {
		return math.MaxInt64, true
	}
	return int64(v.number), true
}

// Double is [Runtime.Double] of this snapshot.
func (s *Snapshot) Double(key string) (float64, bool) {
	v := s.values[key]
	return v.number, v.is&isNumber != 0
}

// Bool is [Runtime.Bool] of this snapshot.
func (s *Snapshot) Bool(key string) (bool, bool) {
	v := s.values[key]
	return v.truth, v.is&isBool != 0
}

// String is [Runtime.String] of this snapshot.
func (s *Snapshot) String(key string) (string, bool) {
	v, ok := s.values[key]
	return v.text, ok
}
