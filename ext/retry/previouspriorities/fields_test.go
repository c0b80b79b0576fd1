// SPDX-License-Identifier: Apache-2.0

package previouspriorities

import (
	"testing"

	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &previousprioritiesv3.PreviousPrioritiesConfig{})
}
