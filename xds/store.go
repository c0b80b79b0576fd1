// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"context"
	"iter"
	"sync"
)

// A Store holds the newest Snapshot and wakes those who wait for it. It starts no
// goroutine and never polls; a reader that is slow misses what lies between, never
// the newest. The zero Store is empty and ready. All methods may be called from
// any goroutine.
type Store struct {
	mu      sync.Mutex
	newest  *Snapshot
	changed chan struct{} // closed by the next Publish; nil while nobody waits
}

// Snapshot returns the newest snapshot, or nil before the first.
func (s *Store) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest
}

// Publish makes snapshot the newest. Publishing nil or the newest again does
// nothing.
func (s *Store) Publish(snapshot *Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if snapshot == nil || snapshot == s.newest {
		return
	}
	s.newest = snapshot
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Changed returns a channel that is closed once the newest snapshot is another than
// seen, which may be nil.
func (s *Store) Changed(seen *Snapshot) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest != seen {
		c := make(chan struct{})
		close(c)
		return c
	}
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// Wait returns the newest snapshot as soon as it is another than seen, which may
// be nil: at once, if it is already. It returns the context's error when that ends
// first.
func (s *Store) Wait(ctx context.Context, seen *Snapshot) (*Snapshot, error) {
	for {
		changed := s.Changed(seen)
		select {
		case <-changed:
			if newest := s.Snapshot(); newest != seen {
				return newest, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Watch yields the newest snapshot and then each newer one, on the caller's
// goroutine, until the context ends.
func (s *Store) Watch(ctx context.Context) iter.Seq[*Snapshot] {
	return func(yield func(*Snapshot) bool) {
		var seen *Snapshot
		for {
			next, err := s.Wait(ctx, seen)
			if err != nil || !yield(next) {
				return
			}
			seen = next
		}
	}
}
