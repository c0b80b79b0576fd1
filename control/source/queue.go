// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"sync"
)

// A Queue gathers changes from any goroutine until somebody takes them all at once:
// what comes while one batch is at work is the next. Of several changes of one object
// the last remains. The zero Queue is empty and ready.
type Queue struct {
	mu      sync.Mutex
	pending []Change
	at      map[Key]int
	changed chan struct{} // closed by the next Put; nil while nobody waits
	woken   bool
}

// Put adds changes.
func (q *Queue) Put(changes ...Change) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.at == nil {
		q.at = map[Key]int{}
	}
	for _, c := range changes {
		if i, ok := q.at[c.Key]; ok {
			q.pending[i] = c
			continue
		}
		q.at[c.Key] = len(q.pending)
		q.pending = append(q.pending, c)
	}
	q.wake()
}

// Wake has Take return, with no changes if there are none.
func (q *Queue) Wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.wake()
}

func (q *Queue) wake() {
	q.woken = true
	if q.changed != nil {
		close(q.changed)
		q.changed = nil
	}
}

// Take returns the changes that have come since, and waits for some; or until ctx
// ends, whose error it returns.
func (q *Queue) Take(ctx context.Context) ([]Change, error) {
	for {
		q.mu.Lock()
		if q.woken {
			out := q.pending
			q.pending, q.at, q.woken = nil, nil, false
			q.mu.Unlock()
			return out, nil
		}
		if q.changed == nil {
			q.changed = make(chan struct{})
		}
		changed := q.changed
		q.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
