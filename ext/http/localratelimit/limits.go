// SPDX-License-Identifier: Apache-2.0

package localratelimit

import (
	"bytes"
	"container/list"
	"encoding/binary"
	"math"
	"slices"
	"sync"

	"weir.dev/weir/proxy/ratelimit"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/tokenbucket"
)

// Limits are buckets: one for each rule, and one for the rest.
type Limits struct {
	rules []Rule
	rest  *tokenbucket.Rate // nil lets through what no rule limits
	// always takes a token of the rest even if a rule applies.
	always bool

	restBucket *Bucket
}

// A Rule is the limit of one descriptor.
type Rule struct {
	entries []ratelimit.Entry
	rate    tokenbucket.Rate
	shadow  bool
	// most is how many buckets there may be for a rule that leaves values open; 0 if it
	// does not.
	most int

	bucket *Bucket
	open   *open
}

// A Bucket is a rule's bucket.
type Bucket struct {
	bucket *tokenbucket.Bucket
	shadow bool
}

// reset is in how many seconds there will be a token.
func (b *Bucket) reset(now int64) int64 { return int64(math.Ceil(b.bucket.Wait(now).Seconds())) }

// fresh returns the same limits with full buckets.
func (l *Limits) fresh(now int64) *Limits {
	out := &Limits{rest: l.rest, always: l.always, rules: make([]Rule, len(l.rules))}
	if l.rest != nil {
		out.restBucket = &Bucket{bucket: tokenbucket.New(*l.rest, now)}
	}
	for i, r := range l.rules {
		if r.most > 0 {
			r.open = &open{rule: &out.rules[i], buckets: map[string]*list.Element{}, order: list.New()}
		} else {
			r.bucket = &Bucket{tokenbucket.New(r.rate, now), r.shadow}
		}
		out.rules[i] = r
	}
	return out
}

// same reports whether two lists of entries are equal.
func same(a, b []ratelimit.Entry) bool {
	return slices.EqualFunc(a, b, func(x, y ratelimit.Entry) bool { return x.Key == y.Key && bytes.Equal(x.Value, y.Value) })
}

// matches reports whether a rule is for a descriptor; a rule's empty value is any.
func (r *Rule) matches(entries []ratelimit.Entry) bool {
	return slices.EqualFunc(r.entries, entries, func(own, e ratelimit.Entry) bool {
		return own.Key == e.Key && (len(own.Value) == 0 || bytes.Equal(own.Value, e.Value))
	})
}

// verdict is what the buckets say.
type verdict struct {
	allowed, shadow bool
	// by is the bucket that refused or, if none did, the first that was asked.
	by   *Bucket
	tell route.Toggle
}

// hit is a bucket that a descriptor takes tokens of.
type hit struct {
	bucket *Bucket
	of     *ratelimit.Descriptor
}

// take takes the tokens of a request; share is by how many proxies the buckets are
// shared. Buckets that fill more slowly are asked first, so that a request which they
// refuse costs the others nothing.
func (l *Limits) take(now int64, descriptors []ratelimit.Descriptor, share int) verdict {
	var buf [8]hit
	hits := buf[:0]
	for i := range descriptors {
		if b := l.bucketOf(now, &descriptors[i]); b != nil {
			hits = insert(hits, hit{b, &descriptors[i]})
		}
	}
	for _, h := range hits {
		if !h.take(now, share) {
			return verdict{shadow: h.bucket.shadow, by: h.bucket, tell: h.of.Headers}
		}
	}
	v := verdict{allowed: true}
	if len(hits) > 0 {
		v.by, v.tell = hits[0].bucket, hits[0].of.Headers
		if !l.always {
			return v
		}
	}
	switch {
	case l.restBucket == nil:
	case !l.restBucket.bucket.TakeN(now, float64(share)):
		return verdict{by: l.restBucket}
	case v.by == nil:
		v.by = l.restBucket
	}
	return v
}

func (h hit) take(now int64, share int) bool {
	n := uint64(1)
	if h.of.Counted {
		n = h.of.Hits
		if h.of.Negative {
			h.bucket.bucket.Give(now, float64(n))
			return true
		}
	}
	return h.bucket.bucket.TakeN(now, float64(n)*float64(share))
}

// insert keeps hits in the order of how fast their buckets fill.
func insert(hits []hit, h hit) []hit {
	hits = append(hits, h)
	speed := h.bucket.bucket.Rate().PerSecond()
	for i := len(hits) - 1; i > 0 && hits[i-1].bucket.bucket.Rate().PerSecond() > speed; i-- {
		hits[i-1], hits[i] = hits[i], hits[i-1]
	}
	return hits
}

// bucketOf returns the bucket of a descriptor: that of a rule with all its values, or
// else of the first that leaves some open.
func (l *Limits) bucketOf(now int64, d *ratelimit.Descriptor) *Bucket {
	var found *Rule
	for i := range l.rules {
		r := &l.rules[i]
		if !r.matches(d.Entries) {
			continue
		}
		if r.open == nil {
			return r.bucket
		}
		if found == nil {
			found = r
		}
	}
	if found == nil {
		return nil
	}
	return found.open.bucket(now, d.Entries)
}

// open has the buckets of a rule that leaves values open: those of the values seen
// last.
type open struct {
	rule *Rule

	mu      sync.Mutex // held for a lookup
	buckets map[string]*list.Element
	order   *list.List // of *opened, the last used first
	key     []byte
}

type opened struct {
	key    string
	bucket *Bucket
}

func (o *open) bucket(now int64, entries []ratelimit.Entry) *Bucket {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.key = o.key[:0]
	for i := range entries {
		if len(o.rule.entries[i].Value) == 0 {
			o.key = binary.AppendUvarint(o.key, uint64(len(entries[i].Value)))
			o.key = append(o.key, entries[i].Value...)
		}
	}
	if e := o.buckets[string(o.key)]; e != nil {
		o.order.MoveToFront(e)
		return e.Value.(*opened).bucket
	}
	n := &opened{string(o.key), &Bucket{tokenbucket.New(o.rule.rate, now), o.rule.shadow}}
	o.buckets[n.key] = o.order.PushFront(n)
	if o.order.Len() > o.rule.most {
		last := o.order.Back()
		delete(o.buckets, o.order.Remove(last).(*opened).key)
	}
	return n.bucket
}
