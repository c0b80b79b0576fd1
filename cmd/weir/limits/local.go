// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"sync"
	"time"

	"weir.dev/weir/control/limiter"
	"weir.dev/weir/proxy/ratelimit"
)

// Local is the limiter as proxies of this process ask it.
func (l *Limits) Local() ratelimit.Limiter { return &local{limiter: l.limiter} }

type local struct {
	limiter *limiter.Limiter
	free    sync.Pool // of *job
}

// job is one question, in the words of both sides.
type job struct {
	limiter.Request
	l        *local
	q        *ratelimit.Question
	answered func()
	entries  []limiter.Entry
	finished func() // is finish
}

// Limit implements ratelimit.Limiter.
func (l *local) Limit(q *ratelimit.Question, answered func()) bool {
	j, _ := l.free.Get().(*job)
	if j == nil {
		j = &job{l: l}
		j.finished = j.finish
	}
	j.q, j.answered = q, answered
	j.ask()
	if !l.limiter.Ask(&j.Request, j.finished) {
		return false
	}
	j.tell()
	return true
}

// ask puts the question into the limiter's words.
func (j *job) ask() {
	q := j.q
	j.Domain, j.Hits = q.Domain, uint64(q.Hits)
	j.Claims, j.entries = j.Claims[:0], j.entries[:0]
	for i := range q.Descriptors {
		for _, e := range q.Descriptors[i].Entries {
			j.entries = append(j.entries, limiter.Entry(e))
		}
	}
	from := 0
	for i := range q.Descriptors {
		d := &q.Descriptors[i]
		to := from + len(d.Entries)
		c := limiter.Claim{Entries: j.entries[from:to:to], Hits: d.Hits, Counted: d.Counted, Negative: d.Negative}
		if unit, ok := limiter.ParseUnit(d.Unit); ok {
			c.Limit = limiter.Limit{Requests: d.RequestsPerUnit, Unit: unit, Seconds: unit.Seconds()}
		}
		j.Claims = append(j.Claims, c)
		from = to
	}
}

// tell puts the answer into the filter's words, and is done with the job.
func (j *job) tell() {
	a := &j.q.Answer
	a.Over, a.Err = j.Over, j.Err
	a.Statuses = a.Statuses[:0]
	for i := range j.Statuses {
		s := &j.Statuses[i]
		a.Statuses = append(a.Statuses, ratelimit.Status{
			Over: s.Over, Limited: s.Limited, Requests: s.Requests, Window: time.Duration(s.Seconds) * time.Second,
			Name: s.Name, Remaining: s.Remaining, Reset: s.Reset,
		})
	}
	if j.Metadata != nil {
		a.Metadata = map[string]any{"domain": j.Domain, "metadata": j.Metadata}
	}
	clear(j.entries) // They refer to memory of the stream's.
	j.q, j.answered = nil, nil
	j.l.free.Put(j)
}

func (j *job) finish() {
	answered := j.answered
	j.tell()
	answered()
}
