// SPDX-License-Identifier: Apache-2.0

package xds

// LimiterCluster is the name of a cluster that no configuration has: as that of a rate
// limit service it stands for the limiter of the proxy's own process.
const LimiterCluster = "weir.limiter"
