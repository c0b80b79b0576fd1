// SPDX-License-Identifier: Apache-2.0

package limiter

import (
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Counts are the statistics of one limit, with the names of Envoy's rate limit service.
type Counts struct{ total, over, near, overLocal, within, shadow atomic.Uint64 }

// each calls f for every counter.
func (c *Counts) each(f func(name string, n uint64)) {
	f("total_hits", c.total.Load())
	f("over_limit", c.over.Load())
	f("near_limit", c.near.Load())
	f("over_limit_with_local_cache", c.overLocal.Load())
	f("within_limit", c.within.Load())
	f("shadow_mode", c.shadow.Load())
}

// Stats are the statistics of a limiter. They outlive its rules.
type Stats struct {
	unknownDomain atomic.Uint64
	// globalShadow counts requests that passed only for the shadow mode of all.
	globalShadow atomic.Uint64
	// evicted counts counters that were forgotten to make room.
	evicted atomic.Uint64
	// unavailable counts descriptors that the store could not answer, storeCalls its
	// calls, storeErrors those that failed, storeWrong answers that made no sense.
	unavailable, storeCalls, storeErrors, storeWrong atomic.Uint64
	// waited counts descriptors whose request waited for the store.
	waited atomic.Uint64
	// open is 1 while the store is not asked, for it did not answer.
	open atomic.Uint64
	// configOK and configBad count configurations that were taken and refused.
	configOK, configBad atomic.Uint64

	mu    sync.RWMutex
	rules map[string]*Counts
	other Counts
}

// maxNames bounds the statistics that values give names to; what is beyond counts
// together, as "other".
const maxNames = 20_000

// of returns the statistics of a limit.
func (s *Stats) of(name string) *Counts {
	s.mu.RLock()
	c := s.rules[name]
	s.mu.RUnlock()
	if c != nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c = s.rules[name]; c != nil {
		return c
	}
	if len(s.rules) >= maxNames {
		return &s.other
	}
	if s.rules == nil {
		s.rules = map[string]*Counts{}
	}
	c = &Counts{}
	s.rules[name] = c
	return c
}

// All returns all statistics in order of their names, those of limits below
// rate_limit.DOMAIN.KEY_VALUE.
func (s *Stats) All() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		own := []struct {
			name string
			n    *atomic.Uint64
		}{
			{"config_load_error", &s.configBad}, {"config_load_success", &s.configOK}, {"counters_evicted", &s.evicted},
			{"domain_not_found", &s.unknownDomain}, {"global_shadow_mode", &s.globalShadow}, {"store_calls", &s.storeCalls},
			{"store_errors", &s.storeErrors}, {"store_open", &s.open}, {"store_unavailable", &s.unavailable},
			{"store_waits", &s.waited}, {"store_wrong_answers", &s.storeWrong},
		}
		for _, o := range own {
			if !yield(o.name, o.n.Load()) {
				return
			}
		}
		s.mu.RLock()
		rules := maps.Clone(s.rules)
		s.mu.RUnlock()
		if s.other.total.Load() > 0 {
			rules["other"] = &s.other
		}
		more := true
		for _, name := range slices.Sorted(maps.Keys(rules)) {
			rules[name].each(func(stat string, n uint64) {
				more = more && yield("rate_limit."+name+"."+stat, n)
			})
		}
	}
}
