// SPDX-License-Identifier: Apache-2.0

package route

import (
	"slices"
	"sync"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
)

// Tables with thousands of routes mostly say the same of many. What is alike is
// kept once: the memory that a match and what follows it touch then stays in the
// processor's caches, whichever of the routes is taken.

// sharing holds what routes of one table, and of those compiled after it, have in common.
type sharing struct {
	mu       sync.Mutex
	forwards map[forwardKey]*Forward
	// enough is how many entries there may be before it begins anew: some are of routes
	// that are no more.
	enough int
}

func newSharing() *sharing { return &sharing{forwards: map[forwardKey]*Forward{}} }

// forwardKey is all that a Forward is compiled from.
type forwardKey struct {
	action string // the message, encoded
	retry  *RetryPolicy
	hedge  *HedgePolicy
	cors   *CORS
}

// share replaces the route's Forward by one that is already there, if another
// route has the same. Routes to weighted clusters and those whose action depends
// on their own path or host are left alone.
func (c *compiler) share(r *Route, a *routev3.RouteAction, in *inherited) {
	rewrites := a.GetPrefixRewrite() != "" || a.GetRegexRewrite() != nil || a.GetPathRewritePolicy() != nil || a.GetHostRewriteSpecifier() != nil
	if r.weighted != nil || rewrites || len(r.Forward.Mirrors) > 0 || len(r.Forward.RateLimits) > 0 {
		return
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(a)
	if err != nil {
		return // It could be decoded; what cannot be encoded is not shared.
	}
	key := forwardKey{string(text), in.retry, in.hedge, in.vh.CORS}
	s := c.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.forwards[key]; f != nil {
		r.Forward = f
		return
	}
	s.forwards[key] = r.Forward
}

// compiled sets how far what a first table has in common may grow.
func (s *sharing) compiled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.enough == 0 {
		s.enough = 2*len(s.forwards) + 1000
	}
	if len(s.forwards) > s.enough {
		clear(s.forwards)
	}
}

func (l *level) empty() bool { return l.request == nil && l.response == nil && len(l.filters) == 0 }

// below returns the levels with one more, or themselves if that says nothing.
func below(levels []*level, own *level) []*level {
	if own.empty() {
		return slices.Clip(levels)
	}
	return append(slices.Clone(levels), own)
}
