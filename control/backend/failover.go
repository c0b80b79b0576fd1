// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"strings"

	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
)

// failoverSeparator parts the names of clusters, which have slashes, dots and commas.
const failoverSeparator = "|"

// Failover returns the cluster that is the first of others that has a healthy host.
func Failover(members []graph.ClusterID) graph.ClusterID {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.Name()
	}
	return graph.ClusterID{Backend: source.Key{Kind: source.Failover, Name: source.Name{Name: strings.Join(names, failoverSeparator)}}}
}

func failoverMembers(id graph.ClusterID) []string {
	return strings.Split(id.Backend.Name.Name, failoverSeparator)
}

// FailOver returns backends of which those that are Fallbacks are used only while the
// others have no healthy host, and the clusters besides theirs that this takes. The
// share of a backend without one goes to the others first. Without both kinds nothing is
// changed.
func FailOver(backends []graph.Backend, fallback func(graph.ClusterID) bool) (out []graph.Backend, members []graph.ClusterID) {
	var first, second []graph.ClusterID
	for _, b := range backends {
		switch {
		case !b.Valid || b.Weight == 0:
		case fallback(b.Cluster):
			second = append(second, b.Cluster)
		default:
			first = append(first, b.Cluster)
		}
	}
	if len(first) == 0 || len(second) == 0 {
		return backends, nil
	}
	for _, b := range backends {
		if !b.Valid || b.Weight == 0 {
			out = append(out, b)
			continue
		}
		if fallback(b.Cluster) {
			continue
		}
		order := []graph.ClusterID{b.Cluster}
		for _, o := range first {
			if o != b.Cluster {
				order = append(order, o)
			}
		}
		b.Cluster = Failover(append(order, second...))
		out = append(out, b)
	}
	return out, append(first, second...)
}
