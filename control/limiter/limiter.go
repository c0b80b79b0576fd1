// SPDX-License-Identifier: Apache-2.0

// Package limiter is Weir's own rate limit service: it says whether requests are within
// the limits that domains and their descriptors have, in fixed windows, as Envoy's
// reference implementation does and by its configuration. It counts in memory, alone or
// with others that share a [Store]; with a store it takes hits in advance, so that most
// requests need not ask it: see docs/design/0014-rate-limits.md.
//
// It is called in the process of a proxy, and by gRPC (control/limiter/rls). It knows
// neither, and no Redis (control/limiter/redis).
package limiter

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync/atomic"
	"time"
)

// Options of a Limiter.
type Options struct {
	// Store is shared with other limiters; nil counts alone.
	Store Store
	// Prefix begins the keys of the store.
	Prefix string
	// Near is the part of a limit from which hits count as near_limit; 0 is 0.8.
	Near float64
	// Counters bounds how many there are; 0 is 262,144, which takes some 60 MiB. Beyond
	// it, those that have counted least are forgotten.
	Counters int
	// Timeout is how long a call of the store may take; 0 is 100 ms.
	Timeout time.Duration
	// Shadow lets all requests pass, Quota makes all limits quotas.
	Shadow, Quota bool
	// Now is the clock; nil is the real one.
	Now func() time.Time
	// Log is told when the store is gone and when it is back; nil discards it.
	Log *slog.Logger
}

// A Limiter answers requests. Its methods may be called from any goroutine.
type Limiter struct {
	table
	o     Options
	stats Stats
	rules atomic.Pointer[Rules]
	share *sharing // nil without a store
}

// New returns a Limiter without any limit; Close ends what it started.
func New(o Options) *Limiter {
	if o.Near == 0 {
		o.Near = 0.8
	}
	if o.Counters <= 0 {
		o.Counters = 1 << 18
	}
	if o.Timeout <= 0 {
		o.Timeout = 100 * time.Millisecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Limiter{o: o}
	l.rules.Store(&Rules{})
	l.table.init(o.Counters)
	if o.Store != nil {
		l.share = newSharing(l)
	}
	return l
}

// Close ends the use of the store, which it does not close. Nobody may ask any more.
func (l *Limiter) Close() {
	if l.share != nil {
		l.share.close()
	}
}

// Stats returns the statistics.
func (l *Limiter) Stats() *Stats { return &l.stats }

// Rules returns what is limited now.
func (l *Limiter) Rules() *Rules { return l.rules.Load() }

// Set replaces all domains, or says what is wrong with them and keeps what there was.
// Counters go on.
func (l *Limiter) Set(domains []Domain) error {
	r, err := Compile(domains, &l.stats)
	if err != nil {
		l.stats.configBad.Add(1)
		return err
	}
	l.stats.configOK.Add(1)
	l.rules.Store(r)
	return nil
}

// An Entry is one part of a descriptor.
type Entry struct {
	Key   string
	Value []byte
}

// A Limit is one that a descriptor brings itself. Seconds is its window, 0 if there is
// none.
type Limit struct {
	Requests uint32
	Unit     Unit
	Seconds  int64
}

// A Claim is what a request counts under: a descriptor.
type Claim struct {
	Entries []Entry
	Limit   Limit
	// Hits, if Counted, is what counts instead of the request's Hits; Negative gives it
	// back, as far as this limiter has counted it.
	Hits              uint64
	Counted, Negative bool
}

// A Request asks whether there is room for it, and takes it. Its memory may be used for
// another once it is answered.
type Request struct {
	Domain string
	// Hits is how much it counts for; 0 is 1.
	Hits   uint64
	Claims []Claim

	// Over tells that it is to be refused, Err that it is not known. Statuses are those
	// of the Claims, Metadata what limits that let it pass add to it.
	Over     bool
	Err      error
	Statuses []Status
	Metadata map[string]any

	limiter *Limiter
	found   []found
	keys    []byte // of all that was found
	scratch []byte
	missing atomic.Int32 // answers
	done    func()
}

// Status is the answer for one Claim.
type Status struct {
	Over bool
	// Limited tells that there is a limit, which the other fields are about; Unlimited
	// that there is one without an end.
	Limited, Unlimited bool
	Requests           uint32
	Unit               Unit
	Seconds            int64
	Name               string
	// Remaining is what is left; Reset, in whole seconds, how long the window lasts.
	Remaining uint32
	Reset     time.Duration

	unavailable bool
}

// What is wrong with a request.
var (
	ErrNoDomain = errors.New("rate limit domain must not be empty")
	ErrNoClaims = errors.New("rate limit descriptor list must not be empty")
	// ErrUnavailable is the answer while the store does not answer.
	ErrUnavailable = errors.New("the store of counters does not answer")
)

// Ask answers a request: at once, upon which it returns true, or else later, upon which
// it calls done, from any goroutine, perhaps before Ask has returned. What Claims refer
// to is not looked at any more once Ask has returned.
func (l *Limiter) Ask(r *Request, done func()) bool {
	r.begin(l, done)
	switch {
	case r.Domain == "":
		r.Err = ErrNoDomain
		return true
	case len(r.Claims) == 0:
		r.Err = ErrNoClaims
		return true
	}
	rules, now := l.rules.Load(), l.o.Now()
	for i := range r.Claims {
		f := rules.find(r.Domain, &r.Claims[i], r.scratch, &l.stats)
		r.scratch = f.key
		f.at = len(r.keys)
		r.keys = append(r.keys, f.key...)
		r.found[i] = f
	}
	r.replace()
	for i := range r.found {
		f := &r.found[i]
		switch {
		case f.rule == nil:
		case f.rule.unlimited:
			f.counts.total.Add(r.hits(i))
			f.counts.within.Add(r.hits(i))
			r.Statuses[i] = Status{Unlimited: true, Remaining: math.MaxUint32}
		default:
			l.count(r, i, r.keys[f.at:f.at+len(f.key)], now)
		}
	}
	if r.missing.Add(-1) > 0 {
		return false
	}
	r.finish()
	return true
}

// Wait is Ask for who can wait.
func (l *Limiter) Wait(ctx context.Context, r *Request) error {
	answered := make(chan struct{})
	if l.Ask(r, func() { close(answered) }) {
		return r.Err
	}
	select {
	case <-answered:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Request) begin(l *Limiter, done func()) {
	r.limiter, r.done = l, done
	r.Over, r.Err, r.Metadata, r.keys = false, nil, nil, r.keys[:0]
	n := len(r.Claims)
	if cap(r.Statuses) < n {
		r.Statuses, r.found = make([]Status, n), make([]found, n)
	}
	r.Statuses, r.found = r.Statuses[:n], r.found[:n]
	clear(r.Statuses)
	r.missing.Store(1)
}

// hits is what the claim counts for.
func (r *Request) hits(i int) uint64 {
	if c := &r.Claims[i]; c.Counted {
		return c.Hits
	}
	return max(1, r.Hits)
}

// replace leaves out the limits that others replace.
func (r *Request) replace() {
	for i := range r.found {
		if r.found[i].rule == nil {
			continue
		}
		for _, name := range r.found[i].rule.replaces {
			for j := range r.found {
				if other := r.found[j].rule; other != nil && other.name == name {
					r.found[j].rule = nil
				}
			}
		}
	}
}

// finish makes one answer of all.
func (r *Request) finish() {
	quotas, overQuotas, missing := 0, 0, false
	for i := range r.Statuses {
		s, f := &r.Statuses[i], &r.found[i]
		quota := f.rule != nil && !s.Unlimited && (r.limiter.o.Quota || f.rule.quota)
		missing = missing || s.unavailable
		switch {
		case quota && s.Over:
			quotas++
			overQuotas++
		case quota:
			quotas++
		case s.Over:
			r.Over = true
		}
		if !s.Over && f.rule != nil && f.rule.metadata != nil {
			if r.Metadata == nil {
				r.Metadata = map[string]any{}
			}
			mergeMetadata(r.Metadata, f.rule.metadata)
		}
	}
	if quotas > 0 && quotas == overQuotas {
		r.Over = true
	}
	if missing && !r.Over {
		r.Err = ErrUnavailable
	}
	if r.Over && r.limiter.o.Shadow {
		r.Over = false
		r.limiter.stats.globalShadow.Add(1)
	}
}

// mergeMetadata adds what src has and dst has not; objects are merged.
func mergeMetadata(dst, src map[string]any) {
	for k, v := range src {
		old, ok := dst[k]
		if !ok {
			if m, isMap := v.(map[string]any); isMap {
				own := map[string]any{}
				mergeMetadata(own, m)
				v = own // What is configured does not change.
			}
			dst[k] = v
			continue
		}
		a, ok1 := old.(map[string]any)
		b, ok2 := v.(map[string]any)
		if ok1 && ok2 {
			mergeMetadata(a, b)
		}
	}
}

// answered is told that one of the claims that waited has its status.
func (r *Request) answered() {
	if r.missing.Add(-1) == 0 {
		r.finish()
		r.done()
	}
}
