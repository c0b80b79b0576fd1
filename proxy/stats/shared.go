// SPDX-License-Identifier: Apache-2.0

package stats

import "sync"

// Shared are sets of statistics that many configurations have in common, one for each
// scope: those of routes, which come and go with nobody to close what they count in.
// Its zero value is ready for use.
type Shared[T any] struct {
	mu   sync.Mutex
	sets map[sharedKey]*Sharded[T]
}

type sharedKey struct {
	store  *Store
	prefix string
}

// Register returns the set of a scope, registered at its first use. It stays until its
// store ends.
func (s *Shared[T]) Register(in *Scope, shards int) *Sharded[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := sharedKey{in.store, in.prefix}
	if r := s.sets[k]; r != nil {
		return r
	}
	if s.sets == nil {
		s.sets = map[sharedKey]*Sharded[T]{}
	}
	r := Register[T](in, shards)
	s.sets[k] = r
	return r
}
