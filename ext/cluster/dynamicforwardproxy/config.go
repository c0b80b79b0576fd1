// SPDX-License-Identifier: Apache-2.0

package dynamicforwardproxy

import (
	_ "embed"
	"fmt"

	dfpclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/dnscache"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

// Name is the full name of the message in cluster_type.typed_config.
const Name = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Factory makes the extension known. Its hosts are those of the caches.
func Factory(caches *dnscache.Set) upstream.DiscoveryFactory {
	return upstream.DiscoveryFactory{
		Name:     Name,
		Sticky:   true,
		Provided: func(*upstream.DiscoveryConfig) (upstream.Policy, error) { return policy{}, nil },
		New: func(in *upstream.DiscoveryConfig) (func() (upstream.Discovery, error), error) {
			m := &dfpclusterv3.ClusterConfig{}
			if in.Typed == nil {
				return nil, xds.Problem{Path: "cluster_type.typed_config", Reason: "is missing", Remedy: "give a " + Name}
			}
			if err := in.Typed.UnmarshalTo(m); err != nil {
				return nil, fmt.Errorf("cluster_type.typed_config: %w", err)
			}
			const path = "cluster_type.typed_config"
			if err := supported.Apply(m, path, in.Warn); err != nil {
				return nil, err
			}
			cfg, err := dnscache.Compile(m.GetDnsCacheConfig(), path+".dns_cache_config", in.Warn)
			if err != nil {
				return nil, err
			}
			return func() (upstream.Discovery, error) {
				c, release, err := caches.Get(cfg)
				if err != nil {
					return nil, err
				}
				return &Discovery{cache: c, release: release}, nil
			}, nil
		},
	}
}
