// SPDX-License-Identifier: Apache-2.0

package xds

import endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

// Placed returns the snapshot whose endpoints are as near makes them of those of another: as a proxy in
// some place is to prefer them. Before is the snapshot of which placed was made so, by the same function,
// and both may be nil: what has not changed since is taken from there.
func Placed(of, before, placed *Snapshot, near func(*endpointv3.ClusterLoadAssignment) *endpointv3.ClusterLoadAssignment) *Snapshot {
	out := *of
	var had Set[*endpointv3.ClusterLoadAssignment]
	endpoints := draft[*endpointv3.ClusterLoadAssignment]{of.endpoints} // Most are everybody's.
	if placed != nil {
		had, endpoints.Set = before.endpoints, placed.endpoints
	}
	for _, c := range appendChanges(nil, KindEndpoints, had, of.endpoints) {
		if m, ok := of.endpoints.Get(c.Name); ok {
			endpoints.Put(c.Name, near(m), of.endpoints.Origin(c.Name))
		} else {
			endpoints.Delete(c.Name)
		}
	}
	out.endpoints = endpoints.Set
	return &out
}
