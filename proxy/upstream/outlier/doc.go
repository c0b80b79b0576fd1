// SPDX-License-Identifier: Apache-2.0

// Package outlier finds the hosts of a cluster that fail more than others, by what
// becomes of the requests sent to them, and has them left out for a while: Envoy's
// outlier detection, or passive health checking.
//
// Each host has a [Monitor]. Whoever sends a request tells it the outcome: that takes
// no lock and no memory, and what is counted often is counted for each event loop apart.
// A cluster's [Detector] owns the judgement. It wakes when a run of failures has reached
// its length, and once in each interval, when it adds up what the loops have counted,
// compares hosts, and takes ejected hosts back. It runs off the event loops.
//
// The package knows neither clusters nor connections: what an ejection means is up to
// the [Host].
package outlier
