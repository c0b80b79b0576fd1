// SPDX-License-Identifier: Apache-2.0

// Package health asks the hosts of clusters whether they are well: Envoy's active health
// checks.
//
// A cluster with health_checks has [Checks]. Each of its hosts belongs to one event loop,
// where a timer begins its checks; a check is a task, and between two of them a host costs
// no more than its timer and, if it is kept, its connection. How a host is asked is up to a
// [Checker] (ext/health/*); how many answers make it healthy or not, and when it is asked
// again, is decided here. Connections are the checks' own: they use the cluster's transport
// socket and count in none of its statistics, limits and pools.
//
// What follows for balancers is handed to the cluster off the loops, since it has tables
// built.
package health
