// SPDX-License-Identifier: Apache-2.0

package snicluster

import (
	"testing"

	sniclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &sniclusterv3.SniCluster{})
}
