// SPDX-License-Identifier: Apache-2.0

package grpcstats

import (
	"fmt"

	grpcstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/grpcstat"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.grpc_stats"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{Name: Name, Config: &grpcstatsv3.FilterConfig{}, New: newFilter}
}

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*grpcstatsv3.FilterConfig)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a FilterConfig", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	o := grpcstat.Options{
		Protocol:   "grpc",
		All:        m.GetStatsForAllMethods().GetValue(),
		Underscore: m.GetReplaceDotsInGrpcServiceName(),
		Only:       map[string][]string{},
	}
	for i, s := range m.GetIndividualMethodStatsAllowlist().GetServices() {
		if s.GetName() == "" {
			return nil, fmt.Errorf("individual_method_stats_allowlist.services[%d].name is empty: name a service such as package.Service", i)
		}
		o.Only[s.GetName()] = append(o.Only[s.GetName()], s.GetMethodNames()...)
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	if o.Underscore && !o.All {
		o.Underscore = false // It goes with stats_for_all_methods, as the field says.
	}
	f := &Filter{
		slot: c.Slot, set: grpcstat.New(c.Stats, c.Clusters, o),
		emit: m.GetEmitFilterState(), upstream: m.GetEnableUpstreamStats(),
	}
	if c.Own != nil {
		c.Own(f.set.Close)
	}
	return f, nil
}
