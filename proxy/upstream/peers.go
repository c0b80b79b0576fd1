// SPDX-License-Identifier: Apache-2.0

package upstream

import "weir.dev/weir/proxy/streaminfo"

// HasPeers reports whether there is a cluster of the proxies like this one
// (local_cluster_name).
func (m *Manager) HasPeers() bool { return m.options.LocalCluster != "" }

// Peers returns how many proxies are like this one, itself included; 0 if it is not
// known.
func (m *Manager) Peers() int {
	local := m.Get(m.options.LocalCluster)
	if local == nil {
		return 0
	}
	return len(local.newest.Load().Hosts)
}

// MetadataOf returns the metadata of a cluster; nil if there is no such cluster.
func (m *Manager) MetadataOf(cluster string) streaminfo.Metadata {
	if c := m.Get(cluster); c != nil {
		return c.Metadata
	}
	return nil
}
