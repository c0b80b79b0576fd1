// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"context"
	"time"
)

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

// A Caller makes requests of the proxy's own to clusters, for discoveries that ask one.
// Package call has it.
type Caller interface {
	// Get sends GET path to a host of the cluster, with the cluster's name as host, and
	// returns the response: its status, and its body of at most limit bytes. It waits
	// until there is such a cluster, which the timeout does not count. When ctx is done it
	// ends soon, and leaves nothing behind.
	Get(ctx context.Context, cluster, path string, timeout time.Duration, limit int) (status int, body []byte, err error)
}

// An Assigner is a Discovery whose endpoints come with a policy of their own, and whose
// updates its subscription counts. Policy is called after each update, from where that
// was called.
type Assigner interface{ Policy() AssignmentPolicy }
