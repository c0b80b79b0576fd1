// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"maps"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"

	"weir.dev/weir/xds"
)

// changeLimits takes the cluster that stands for the limiter of this process, whose metadata
// is what a control plane has that know, before filters ask; with gone, once they ask no
// more. It returns the other changes.
func (p *Proxy) changeLimits(changes []*xds.Change, gone bool) []*xds.Change {
	at := slices.IndexFunc(changes, func(c *xds.Change) bool { return c.Name == xds.LimiterCluster })
	if at < 0 {
		return changes
	}
	c := changes[at]
	rest := slices.Concat(changes[:at], changes[at+1:])
	if gone != (c.Message == nil) {
		return rest
	}
	var list []*rlsconfv3.RateLimitConfig
	var err error
	if c.Message != nil {
		list, err = limitsOf(c.Message.(*clusterv3.Cluster))
	}
	switch {
	case err != nil:
	case p.opts.Limits != nil:
		err = p.opts.Limits(list)
	case c.Message != nil:
		err = fmt.Errorf("there is no limiter in this process to count them: run it with --ratelimit-redis, which all proxies of the Gateway share")
	}
	if err != nil {
		p.refuse(c, xds.Problem{Severity: xds.Error, Kind: xds.KindCluster, Name: c.Name, Reason: "rate limits: " + err.Error()})
		return rest
	}
	p.refuse(c)
	return rest
}

// limitsOf reads what the limiter is to know, by domain.
func limitsOf(m *clusterv3.Cluster) ([]*rlsconfv3.RateLimitConfig, error) {
	all := m.GetMetadata().GetTypedFilterMetadata()
	var out []*rlsconfv3.RateLimitConfig
	for _, domain := range slices.Sorted(maps.Keys(all)) {
		l := &rlsconfv3.RateLimitConfig{}
		if err := all[domain].UnmarshalTo(l); err != nil {
			return nil, fmt.Errorf("domain %s: %w", domain, err)
		}
		out = append(out, l)
	}
	return out, nil
}
