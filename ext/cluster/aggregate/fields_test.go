// SPDX-License-Identifier: Apache-2.0

package aggregate

import (
	"testing"

	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &aggregatev3.ClusterConfig{})
}
