// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	healthcheckv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.health_check"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{Name: Name, Config: &healthcheckv3.HealthCheck{}, New: newFilter}
}

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*healthcheckv3.HealthCheck)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a HealthCheck", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	if m.GetPassThroughMode() == nil {
		return nil, errors.New("pass_through_mode is missing: set it to true or false")
	}
	headers, err := match.CompileHeaders(m.GetHeaders())
	if err != nil {
		return nil, fmt.Errorf("headers%w", err)
	}
	f := &Filter{
		slot: c.Slot, health: c.Health, headers: headers, node: c.Node.Cluster,
		pass:    m.GetPassThroughMode().GetValue(),
		members: members(c.Services),
	}
	if d := m.GetCacheTime(); d != nil {
		if f.cacheFor = int64(d.AsDuration()); f.cacheFor <= 0 {
			f.cacheFor = 0
		} else if !f.pass {
			return nil, errors.New("cache_time has no effect unless requests pass through: set pass_through_mode to true, or leave it out")
		}
	}
	for name, p := range m.GetClusterMinHealthyPercentages() {
		if f.pass {
			return nil, errors.New("cluster_min_healthy_percentages has no effect when requests pass through: set pass_through_mode to false, or leave it out")
		}
		f.clusters = append(f.clusters, minimum{name, uint64(p.GetValue())})
	}
	slices.SortFunc(f.clusters, func(a, b minimum) int { return strings.Compare(a.cluster, b.cluster) })
	return f, nil
}

// members returns how many hosts a cluster has, how many of them are healthy or
// degraded, and whether it exists.
func members(s *extension.Services) func(cluster string) (total, available uint64, ok bool) {
	return func(cluster string) (total, available uint64, ok bool) {
		if s.Clusters == nil {
			return 0, 0, false
		}
		c := s.Clusters.Get(cluster)
		if c == nil {
			return 0, 0, false
		}
		for _, l := range c.Set().Levels {
			total += uint64(len(l.Hosts))
			available += uint64(len(l.Healthy) + len(l.Degraded))
		}
		return total, available, true
	}
}
