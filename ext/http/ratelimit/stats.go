// SPDX-License-Identifier: Apache-2.0

package ratelimit

import (
	"sync"

	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream"
)

// Stats are those of requests to one cluster: cluster.CLUSTER.ratelimit.STAT_PREFIX.*.
type Stats struct{ ok, errors, over, allowed *stats.Counter }

// counts are the statistics of all clusters.
type counts struct {
	store  *stats.Store
	suffix string

	mu     sync.RWMutex
	known  map[string]*Stats
	scopes []*stats.Scope
}

// maxClusters bounds the statistics, of clusters that come and go; what is beyond counts
// together.
const maxClusters = 10_000

// target is the cluster that a request goes to, under the name that its statistics have.
type target struct {
	name    string
	cluster *upstream.Cluster // nil if only the name is known
}

// charge counts a response that was made in place of the cluster's.
func (t target) charge(s *stream.Stream, status int) {
	if t.cluster != nil {
		t.cluster.Worker(s.Task().Loop().ID()).Stats.Response(status)
	}
}

// of returns the statistics of a cluster.
func (c *counts) of(t target) *Stats {
	name := t.name
	c.mu.RLock()
	s := c.known[name]
	c.mu.RUnlock()
	if s != nil {
		return s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s = c.known[name]; s != nil {
		return s
	}
	if len(c.known) >= maxClusters {
		if name = "other_clusters"; c.known[name] != nil {
			return c.known[name]
		}
	}
	scope := c.store.Scope("cluster." + stats.Sanitize(name) + c.suffix)
	s = &Stats{ok: scope.Counter("ok"), errors: scope.Counter("error"), over: scope.Counter("over_limit"), allowed: scope.Counter("failure_mode_allowed")}
	c.known[name], c.scopes = s, append(c.scopes, scope)
	return s
}

// close takes the names away.
func (c *counts) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.scopes {
		s.Close()
	}
}
