// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
)

// Stats count the lookups of a Source, under the names of Envoy's default resolver
// ("dns.cares.").
type Stats struct {
	ResolveTotal stats.Counter `stat:"resolve_total"`
	Pending      stats.Gauge   `stat:"pending_resolutions"`
	NotFound     stats.Counter `stat:"not_found"`
	Timeout      stats.Counter `stat:"timeout"`
	Failure      stats.Counter `stat:"get_addr_failure"`
}

// A Source makes resolvers and bounds how many lookups run at once.
type Source struct {
	resolvConf, hosts string
	gate              chan struct{}
	interfaces        func() ([]net.Addr, error)
	stats             atomic.Pointer[Stats]
	shown             atomic.Bool
}

// maxLookups is how many lookups of one Source run at once.
const maxLookups = 256

// NewSource returns a Source that reads the given files: /etc/resolv.conf and
// /etc/hosts if empty.
func NewSource(resolvConf, hosts string) *Source {
	if resolvConf == "" {
		resolvConf = "/etc/resolv.conf"
	}
	if hosts == "" {
		hosts = "/etc/hosts"
	}
	s := &Source{resolvConf: resolvConf, hosts: hosts, gate: make(chan struct{}, maxLookups), interfaces: net.InterfaceAddrs}
	s.stats.Store(new(Stats))
	return s
}

// Resolver returns the resolver for a cluster's configuration.
func (s *Source) Resolver(c upstream.DNSConfig) Resolver {
	if c.Resolver.System || !c.Resolver.Custom && !c.RespectTTL {
		return &system{source: s, net: net.Resolver{PreferGo: !c.Resolver.System}}
	}
	return newClient(s, c.Resolver)
}

// Show puts the statistics into a store, the first time it is asked; nil is none.
func (s *Source) Show(store *stats.Store) {
	if store != nil && s.shown.CompareAndSwap(false, true) {
		s.stats.Store(stats.Register[Stats](store.Scope("dns.cares"), 1).At(0))
	}
}

// run looks something up once there is room among the lookups under way, and counts
// what comes of it.
func (s *Source) run(ctx context.Context, lookup func() (Answer, error)) (Answer, error) {
	st := s.stats.Load()
	st.ResolveTotal.Inc()
	st.Pending.Inc()
	defer st.Pending.Dec()
	select {
	case s.gate <- struct{}{}:
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	}
	defer func() { <-s.gate }()
	a, err := lookup()
	var late net.Error
	switch {
	case err == nil, ctx.Err() != nil:
	case definite(err):
		st.NotFound.Inc()
	case errors.As(err, &late) && late.Timeout():
		st.Timeout.Inc()
	default:
		st.Failure.Inc()
	}
	return a, err
}

// routable reports whether an interface beside the loopback has an address of an IP
// version (filter_unroutable_families). What cannot be found out counts as yes.
func (s *Source) routable(v6 bool) bool {
	list, err := s.interfaces()
	if err != nil {
		return true
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && (n.IP.To4() == nil) == v6 {
			return true
		}
	}
	return false
}
