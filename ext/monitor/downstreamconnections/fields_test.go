// SPDX-License-Identifier: Apache-2.0

package downstreamconnections

import (
	"testing"

	downstreamconnectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &downstreamconnectionsv3.DownstreamConnectionsConfig{})
}
