// SPDX-License-Identifier: Apache-2.0

package xds

// LimiterCluster is the name of a cluster that no proxy has: as that of a rate limit
// service it stands for the limiter of the proxy's own process. A control plane delivers a
// cluster of this name that has no hosts: its typed metadata is what the limiter is to know,
// a RateLimitConfig for each domain.
const LimiterCluster = "weir.limiter"
