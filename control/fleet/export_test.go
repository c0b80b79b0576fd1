// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"crypto/tls"
	"fmt"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Identify tells whose connection it is.
func Identify(t *testing.T, state tls.ConnectionState) string {
	t.Helper()
	ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: state}})
	who, err := (&Guard{}).identify(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if who == nil {
		return "<nil>"
	}
	return fmt.Sprint(who)
}

// Views is how many are kept, of all Gateways.
func (r *Runner) Views() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.gateways {
		n += len(g.views)
	}
	return n
}
