// SPDX-License-Identifier: Apache-2.0

package logicaldns

import (
	"fmt"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/dns"
	"weir.dev/weir/xds"
)

// Name is the value of Cluster.type.
const Name = "LOGICAL_DNS"

// Factory makes the extension known. Lookups are made by resolvers of the source.
func Factory(source *dns.Source) upstream.DiscoveryFactory {
	return upstream.DiscoveryFactory{
		Name: Name,
		New: func(in *upstream.DiscoveryConfig) (func() (upstream.Discovery, error), error) {
			if n := len(in.Targets); n != 1 {
				return nil, xds.Problem{
					Path: "load_assignment", Reason: fmt.Sprintf("LOGICAL_DNS needs exactly one endpoint, there are %d", n),
					Remedy: "use type STRICT_DNS for several",
				}
			}
			target, config := in.Targets[0], in.DNS
			if target.Name == "" {
				if target.Address.IsUnix() {
					return nil, xds.Problem{Path: target.Path, Reason: "a pipe is not a name", Remedy: "use type STATIC"}
				}
				// Envoy takes an address as a name that resolves to itself.
				target.Name, target.Port = target.Address.Addr().String(), target.Address.Port()
			}
			source.Show(in.Stats)
			return func() (upstream.Discovery, error) {
				return New(target, config, source.Resolver(config)), nil
			}, nil
		},
	}
}
