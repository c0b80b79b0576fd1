// SPDX-License-Identifier: Apache-2.0

// Package pool keeps the connections to the hosts of clusters: it dials, secures, speaks
// HTTP/1 or HTTP/2, hands each request an [Exchange] on a connection that is free, makes
// others wait within the cluster's breakers, and closes what idles, ages or is drained.
//
// Each loop has connections of its own, which hang on the host ([upstream.HostLocal]):
// nothing here takes a lock. The package picks no host and tries nothing twice; that is
// the router's.
package pool
