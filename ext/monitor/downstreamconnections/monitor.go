// SPDX-License-Identifier: Apache-2.0

// Package downstreamconnections limits the downstream connections of the process, and
// measures them against that limit (envoy.resource_monitors.downstream_connections,
// whose resource is called envoy.resource_monitors.global_downstream_max_connections).
package downstreamconnections

type monitor struct {
	open func() int64
	most int64
}

// Pressure returns the connections that are open as a share of the limit.
func (m *monitor) Pressure() (float64, error) { return float64(m.open()) / float64(m.most), nil }

// MaxConnections returns the limit, which listeners hold.
func (m *monitor) MaxConnections() int64 { return m.most }
