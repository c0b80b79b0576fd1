// SPDX-License-Identifier: Apache-2.0

package dynamicforwardproxy

import (
	"testing"

	dfpclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &dfpclusterv3.ClusterConfig{})
}
