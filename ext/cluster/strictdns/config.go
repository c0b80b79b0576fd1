// SPDX-License-Identifier: Apache-2.0

package strictdns

import (
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/dns"
)

// Name is the value of Cluster.type.
const Name = "STRICT_DNS"

// Factory makes the extension known. Lookups are made by resolvers of the source.
func Factory(source *dns.Source) upstream.DiscoveryFactory {
	return upstream.DiscoveryFactory{
		Name: Name,
		New: func(in *upstream.DiscoveryConfig) (func() (upstream.Discovery, error), error) {
			targets, config := in.Targets, in.DNS
			source.Show(in.Stats)
			return func() (upstream.Discovery, error) {
				return New(targets, config, source.Resolver(config)), nil
			}, nil
		},
	}
}
