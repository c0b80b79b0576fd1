// SPDX-License-Identifier: Apache-2.0

package aggregate

import (
	_ "embed"
	"errors"
	"fmt"

	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

// Name is the full name of the message in cluster_type.typed_config.
const Name = "envoy.extensions.clusters.aggregate.v3.ClusterConfig"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Factory makes the extension known.
func Factory() upstream.DiscoveryFactory {
	return upstream.DiscoveryFactory{
		Name: Name,
		Provided: func(in *upstream.DiscoveryConfig) (upstream.Policy, error) {
			m := &aggregatev3.ClusterConfig{}
			if err := in.Typed.UnmarshalTo(m); err != nil {
				return nil, fmt.Errorf("cluster_type.typed_config: %w", err)
			}
			for _, p := range supported.Check(m, "cluster_type.typed_config") {
				if p.Severity == xds.Error {
					return nil, p
				}
			}
			if err := m.ValidateAll(); err != nil {
				return nil, xds.Problem{Path: "cluster_type.typed_config", Reason: err.Error(), Remedy: "name at least one cluster"}
			}
			for _, n := range m.GetClusters() {
				if n == in.Cluster {
					return nil, xds.Problem{Path: "cluster_type.typed_config.clusters", Reason: "the cluster names itself", Remedy: "remove the name"}
				}
			}
			return policy{m.GetClusters()}, nil
		},
		New: func(in *upstream.DiscoveryConfig) (func() (upstream.Discovery, error), error) {
			if len(in.Targets) > 0 {
				return nil, errors.New("load_assignment: an aggregate cluster has no endpoints of its own: remove it")
			}
			return func() (upstream.Discovery, error) { return discovery{}, nil }, nil
		},
	}
}
