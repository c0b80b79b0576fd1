// SPDX-License-Identifier: Apache-2.0

// Package edition keeps values that are replaced while they are in use: who begins with
// one keeps it to the end, and what belongs to an edition is let go of once nobody uses
// it or one before. It starts no goroutine.
package edition

import (
	"sync"
	"sync/atomic"
)

// Of is one edition of a value.
type Of[T any] struct {
	Value T
	users atomic.Int64
	ends  []func()
}

// New returns an edition that nobody has yet.
func New[T any](v T) *Of[T] { return &Of[T]{Value: v} }

// Unpin ends a Pin.
func (e *Of[T]) Unpin() { e.users.Add(-1) }

// A Series is a value in its editions. The zero Series has none. Pin and Unpin may be
// called from any goroutine, and take no lock.
type Series[T any] struct {
	newest atomic.Pointer[Of[T]]

	mu  sync.Mutex
	old []*Of[T] // replaced and perhaps in use, the oldest first
}

// Pin returns the newest edition, which stays whole until Unpin; nil if there is none.
func (s *Series[T]) Pin() *Of[T] {
	for {
		e := s.newest.Load()
		if e == nil {
			return nil
		}
		e.users.Add(1)
		if s.newest.Load() == e {
			return e
		}
		e.Unpin() // It was replaced in between, and perhaps let go of.
	}
}

// Newest returns the newest edition's value for those who make the next.
func (s *Series[T]) Newest() (v T, ok bool) {
	if e := s.newest.Load(); e != nil {
		return e.Value, true
	}
	return v, false
}

// Publish makes e the newest edition. ends let go of what those before need and e does
// not; they are called, in order, by a later Publish or Close that finds that no such
// edition is in use.
func (s *Series[T]) Publish(e *Of[T], ends ...func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.newest.Swap(e); old != nil {
		old.ends = ends
		s.old = append(s.old, old)
	}
	s.sweep()
}

func (s *Series[T]) sweep() {
	for len(s.old) > 0 && s.old[0].users.Load() == 0 {
		for _, f := range s.old[0].ends {
			f()
		}
		s.old = s.old[1:]
	}
}

// Close lets go of what belongs to editions that were replaced, whoever uses them. It is
// for when nobody can any more.
func (s *Series[T]) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.old {
		for _, f := range e.ends {
			f()
		}
	}
	s.old = nil
}
