// SPDX-License-Identifier: Apache-2.0

package connectionlimit

import (
	"testing"

	connectionlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &connectionlimitv3.ConnectionLimit{})
}
