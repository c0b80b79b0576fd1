// SPDX-License-Identifier: Apache-2.0

package static

import (
	"fmt"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
)

// Name is the value of Cluster.type.
const Name = "STATIC"

// Factory makes the extension known.
func Factory() upstream.DiscoveryFactory {
	return upstream.DiscoveryFactory{Name: Name, New: compile}
}

func compile(in *upstream.DiscoveryConfig) (func() (upstream.Discovery, error), error) {
	endpoints := make([]upstream.Endpoint, 0, len(in.Targets))
	for i := range in.Targets {
		t := &in.Targets[i]
		if t.Name != "" {
			return nil, xds.Problem{
				Path: t.Path, Reason: fmt.Sprintf("%q is not an IP address", t.Name), Remedy: "use type STRICT_DNS to resolve a name",
			}
		}
		endpoints = append(endpoints, t.Endpoint)
	}
	return func() (upstream.Discovery, error) { return New(endpoints), nil }, nil
}
