// SPDX-License-Identifier: Apache-2.0

package xds

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
)

// Placed returns the snapshot whose endpoints, and those within clusters, are as near makes them of those of
// another: as a proxy in some place is to prefer them. Near returns what it is given, or a new message. Before is the snapshot
// of which placed was made so, by the same function, and both may be nil: what has not changed since is taken
// from there.
func Placed(of, before, placed *Snapshot, near func(*endpointv3.ClusterLoadAssignment) *endpointv3.ClusterLoadAssignment) *Snapshot {
	out := *of
	if placed == nil {
		before, placed = &Snapshot{}, of // Most are everybody's.
	}
	out.endpoints = replaced(KindEndpoints, before.endpoints, of.endpoints, placed.endpoints, near)
	out.clusters = replaced(KindCluster, before.clusters, of.clusters, placed.clusters, func(m *clusterv3.Cluster) *clusterv3.Cluster {
		own := m.GetLoadAssignment()
		if own == nil {
			return m
		}
		now := near(own)
		if now == own {
			return m
		}
		m = proto.CloneOf(m)
		m.LoadAssignment = now
		return m
	})
	return &out
}

// replaced is placed, which was made of before, with what change makes of all that is other in of.
func replaced[M proto.Message](kind Kind, before, of, placed Set[M], change func(M) M) Set[M] {
	out := draft[M]{placed}
	for _, c := range appendChanges(nil, kind, before, of) {
		m, ok := of.Get(c.Name)
		if !ok {
			out.Delete(c.Name)
			continue
		}
		now := change(m)
		if had, ok := out.Get(c.Name); !ok || any(had) != any(now) {
			out.Put(c.Name, now, of.Origin(c.Name))
		}
	}
	return out.Set
}
