// SPDX-License-Identifier: Apache-2.0

package limiter

import (
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// shards is how many parts the counters are in, each with a lock of its own.
const shards = 64

// A table is all counters.
type table struct {
	seed   maphash.Seed
	shards [shards]shard
}

// shard is some of the counters.
type shard struct {
	mu       sync.Mutex
	counters map[string]*counter
	most     int
}

// counter is one window of one limit. It belongs to whoever holds its shard's lock.
type counter struct {
	shard *shard
	key   string
	// window is when it began, in seconds since 1970; seconds is how long it lasts.
	window, seconds int64
	limit           int64
	// used is what this limiter has let pass, or alone: what has come.
	used int64

	lease
}

// tryEvict is how many counters are looked at to find one to forget.
const tryEvict = 8

func (t *table) init(counters int) {
	t.seed = maphash.MakeSeed()
	for i := range t.shards {
		t.shards[i].counters = map[string]*counter{}
		t.shards[i].most = max(tryEvict, counters/shards)
	}
}

// lock returns the shard of a key, locked.
func (t *table) lock(key []byte) *shard {
	sh := &t.shards[maphash.Bytes(t.seed, key)%shards]
	sh.mu.Lock()
	return sh
}

// get returns the counter of a key in its present window.
func (sh *shard) get(key []byte, rule *rule, now int64, stats *Stats) *counter {
	c := sh.counters[string(key)]
	if c == nil {
		sh.makeRoom(now, stats)
		c = &counter{shard: sh, key: string(key), seconds: rule.seconds, window: -1}
		sh.counters[c.key] = c
	}
	if limit := int64(rule.requests); c.limit != limit {
		// Another limit: what is known of how much is left is not so any more.
		c.limit, c.over = limit, false
	}
	if start := now / c.seconds * c.seconds; start != c.window {
		c.window, c.used = start, 0
		c.lease.renew()
	}
	return c
}

// makeRoom forgets counters whose window is over and, if there are as many as there may
// be, of some the one that has come least near its limit: who floods the table with new
// keys loses those, and not the counters of who has used up a limit.
func (sh *shard) makeRoom(now int64, stats *Stats) {
	var least *counter
	part, tried := math.Inf(1), 0
	for _, c := range sh.counters {
		if c.busy() {
			continue
		}
		if now >= c.window+c.seconds {
			delete(sh.counters, c.key)
		} else if p := float64(c.used) / float64(max(1, c.limit)); p < part {
			least, part = c, p
		}
		if tried++; tried == tryEvict {
			break
		}
	}
	if len(sh.counters) >= sh.most && least != nil {
		delete(sh.counters, least.key)
		stats.evicted.Add(1)
	}
}

// verdict is what became of hits.
type verdict struct {
	over bool
	// wait tells that the store is to be asked first.
	wait bool
	// local tells that it was known here that the limit is used up.
	local bool
	// before and after are what had come before and after the hits, of all limiters.
	before, after int64
}

// alone counts without a store.
func (c *counter) alone(hits int64) verdict {
	before := c.used
	c.used = min(max(0, before+hits), maxCount)
	// Hits of 0 only look whether there is room, of which there is none at the limit.
	return verdict{over: hits > 0 && c.used > c.limit || hits == 0 && before >= c.limit, before: before, after: c.used}
}

// maxCount bounds what counters say, so that sums of two do not overflow.
const maxCount = 1 << 60

// count counts a claim under its limit, and settles its status, unless the store is to
// be asked first.
func (l *Limiter) count(r *Request, i int, key []byte, now time.Time) {
	f := &r.found[i]
	hits := int64(min(r.hits(i), maxCount))
	if r.Claims[i].Negative {
		hits = -hits
	} else {
		f.counts.total.Add(uint64(hits))
	}
	sh := l.lock(key)
	defer sh.mu.Unlock()
	c := sh.get(key, f.rule, now.Unix(), &l.stats)
	if l.share == nil {
		l.settle(r, i, c, c.alone(hits), hits, now)
		return
	}
	v := l.share.draw(c, hits, now)
	if !v.wait {
		l.settle(r, i, c, v, hits, now)
		return
	}
	if !l.share.ask(c) {
		l.fail(r, i)
		return
	}
	l.stats.waited.Add(1)
	r.missing.Add(1)
	c.waiters = append(c.waiters, waiter{r, i, hits})
}

// fail settles the status of a claim that the store does not answer.
func (l *Limiter) fail(r *Request, i int) {
	l.stats.unavailable.Add(1)
	r.Statuses[i] = Status{unavailable: true}
}

// settle makes a claim's status.
func (l *Limiter) settle(r *Request, i int, c *counter, v verdict, hits int64, now time.Time) {
	f := &r.found[i]
	s := Status{
		Limited: true, Over: v.over, Requests: f.rule.requests, Unit: f.rule.unit, Seconds: f.rule.seconds, Name: f.rule.name,
		Reset: time.Duration(c.seconds-now.Unix()%c.seconds) * time.Second,
	}
	if !v.over {
		s.Remaining = uint32(min(max(0, c.limit-v.after), math.MaxUint32))
	}
	if hits > 0 {
		l.tally(f.counts, c.limit, v, uint64(hits))
	}
	if v.over && f.rule.shadow {
		s.Over = false
		f.counts.shadow.Add(uint64(hits))
	}
	r.Statuses[i] = s
}

// tally counts hits as within, near or over the limit; of some that reach beyond one of
// both, those that do.
func (l *Limiter) tally(counts *Counts, limit int64, v verdict, hits uint64) {
	near := int64(math.Floor(float64(limit) * l.o.Near))
	switch {
	case v.over && v.local:
		counts.over.Add(hits)
		counts.overLocal.Add(hits)
	case v.over && v.before >= limit:
		counts.over.Add(hits)
	case v.over:
		counts.over.Add(uint64(max(0, v.after-limit)))
		counts.near.Add(uint64(max(0, limit-max(near, v.before))))
	default:
		counts.within.Add(hits)
		if v.after > near {
			counts.near.Add(uint64(max(0, min(int64(hits), v.after-near))))
		}
	}
}
