// SPDX-License-Identifier: Apache-2.0

// Package upstream holds the other side of the proxy: clusters, their hosts, who
// picks one, and how much each may be asked to carry.
//
// A [Manager] owns the [Cluster]s. A cluster's [Discovery] tells its endpoints; from
// each answer the cluster builds a [PrioritySet], an immutable snapshot of hosts by
// priority and health, lets its [Policy] prepare what all event loops can share, and
// hands each loop a [Balancer] of its own. A [Worker] is one loop's view of one
// cluster: [Worker.Pick] takes no lock and allocates nothing.
//
// A host that two snapshots tell of by the same address is the same host: its
// [HostState] (health, statistics, connection pools) lives on. A host that is in no
// newer snapshot has its pools drained on each loop.
//
// The package resolves no names, speaks no protocol and opens no connection:
// discoveries and balancers are extensions (ext/cluster, ext/lb), and the connection
// pools of proxy/upstream/pool attach to hosts by [HostLocal].
package upstream
