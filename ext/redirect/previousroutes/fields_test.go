// SPDX-License-Identifier: Apache-2.0

package previousroutes

import (
	"testing"

	previousroutesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/previous_routes/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &previousroutesv3.PreviousRoutesConfig{})
}
