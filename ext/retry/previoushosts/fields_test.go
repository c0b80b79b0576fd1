// SPDX-License-Identifier: Apache-2.0

package previoushosts

import (
	"testing"

	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &previoushostsv3.PreviousHostsPredicate{})
}
