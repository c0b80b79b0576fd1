// SPDX-License-Identifier: Apache-2.0

package logicaldns

import (
	"errors"
	"fmt"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/dns"
)

// Name is the value of Cluster.type.
const Name = "LOGICAL_DNS"

// Factory makes the extension known. Lookups are made by resolvers of the source.
func Factory(source *dns.Source) upstream.DiscoveryFactory {
	return upstream.DiscoveryFactory{
		Name: Name,
		New: func(in *upstream.DiscoveryConfig) (func() (upstream.Discovery, error), error) {
			if n := len(in.Targets); n != 1 {
				return nil, fmt.Errorf("load_assignment: LOGICAL_DNS needs exactly one endpoint, there are %d (use type STRICT_DNS for several)", n)
			}
			target, config := in.Targets[0], in.DNS
			if target.Name == "" {
				if target.Address.IsUnix() {
					return nil, errors.New(target.Path + ": a pipe is not a name (use type STATIC)")
				}
				// Envoy takes an address as a name that resolves to itself.
				target.Name, target.Port = target.Address.Addr().String(), target.Address.Port()
			}
			return func() (upstream.Discovery, error) {
				return New(target, config, source.Resolver(config)), nil
			}, nil
		},
	}
}
