// SPDX-License-Identifier: Apache-2.0

package upstream

// A Discovery tells a cluster's endpoints.
type Discovery interface {
	// Start begins to look for endpoints and calls update with all of them whenever
	// they changed. A call with nil endpoints and an error tells that looking failed:
	// the last endpoints stay. The first call, whichever it is, ends the cluster's warm-up. update may be
	// called before Start returns, and from one goroutine at a time.
	Start(update func([]Endpoint, error)) error
	// Close ends it and waits for its goroutines; afterwards update is not called any
	// more. Close may be called without Start.
	Close()
}
